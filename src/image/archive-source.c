/* image/archive-source.c: see archive-source.h. Member names are keys, never paths: what is taken out is called by its number. */
#include "image/archive-source.h"

#include "base/fd.h"
#include "image/stream.h"
#include "sys/path.h"
#include "sys/proc.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MEMBERS_MAX = 20000, NAME_LEN_MAX = 1024, LINKS_MAX = 8 };

void archive_source_done(struct archive_source *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->members[i].name);
        free(a->members[i].link);
    }
    free(a->members);
    if (a->store) {
        fd_close(&a->dirfd);
    }
    if (a->tmp) {
        int r = dir_remove_all(store_root_fd(a->store), a->tmp, NULL);
        (void)r; /* swept later by its name */
    }
    free(a->tmp);
    *a = (struct archive_source) { .dirfd = -1 };
}

/* Lexical, below base's folder when base is given; NULL when it climbs out or memory is short. */
static char *clean_name(const char *base, const char *name)
{
    CLEANUP_BUF struct buf joined = { .max = 2 * NAME_LEN_MAX };
    const char *slash = base ? strrchr(base, '/') : NULL;
    if (slash) {
        buf_add(&joined, base, (size_t)(slash - base) + 1);
    }
    buf_adds(&joined, name);
    CLEANUP_BUF struct buf out = { .max = NAME_LEN_MAX };
    for (const char *p = buf_str(&joined); *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (out.len == 0) {
                return NULL;
            }
            while (out.len > 0 && out.data[--out.len] != '/') {
            }
            out.data[out.len] = '\0';
        } else if (n > 0 && !(n == 1 && *p == '.')) {
            if (out.len > 0) {
                buf_addc(&out, '/');
            }
            buf_add(&out, p, n);
        }
        p += n + (p[n] == '/');
    }
    return buf_failed(&joined) || buf_failed(&out) ? NULL : buf_steal(&out);
}

static int write_member(struct archive_source *a, struct archive *t, const char *name, struct err *e)
{
    char number[24];
    snprintf(number, sizeof(number), "%zu", a->n);
    CLEANUP_FD int fd = openat(a->dirfd, number, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_sys(e, errno, "take out %s", name);
    }
    const void *data;
    size_t len;
    int64_t offset;
    int rc;
    while ((rc = archive_read_data_block(t, &data, &len, &offset)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
        for (size_t done = 0; done < len;) {
            ssize_t n = pwrite(fd, (const char *)data + done, len - done, offset + (int64_t)done);
            if (n < 0 && errno != EINTR) {
                return err_sys(e, errno, "take out %s", name);
            }
            done += n > 0 ? (size_t)n : 0;
        }
    }
    return rc == ARCHIVE_EOF ? 0 : err_set(e, EBADMSG, ERR_INVALID, "archive: member %s: %s", name, archive_error_string(t));
}

static int take_member(struct archive_source *a, struct archive *t, struct archive_entry *entry, struct err *e)
{
    const char *raw = archive_entry_pathname(entry), *to = archive_entry_symlink(entry), *hard = archive_entry_hardlink(entry);
    mode_t type = (mode_t)archive_entry_filetype(entry);
    if (type == S_IFDIR) {
        return 0;
    }
    if (a->n >= MEMBERS_MAX) {
        return err_set(e, E2BIG, ERR_INVALID, "archive: more than %d members", MEMBERS_MAX);
    }
    struct archive_member m = { .name = raw ? clean_name(NULL, raw) : NULL };
    int r = m.name ? 0 : err_set(e, EINVAL, ERR_INVALID, "archive: member %.200s: name leads out, or is too long", raw ? raw : "");
    if (r == 0 && (hard || type == S_IFLNK)) {
        m.link = hard ? clean_name(NULL, hard) : to ? clean_name(m.name, to) : NULL;
        r = m.link ? 0 : err_set(e, EINVAL, ERR_INVALID, "archive: link %.200s leads out", m.name);
    } else if (r == 0 && type != S_IFREG) {
        r = err_set(e, EINVAL, ERR_INVALID, "archive: member %.200s is no file", m.name);
    } else if (r == 0) {
        r = write_member(a, t, m.name, e);
    }
    if (r == 0 && array_grow(&a->members, &a->cap, a->n + 1, sizeof(m)) < 0) {
        r = err_oom(e);
    }
    if (r < 0) {
        free(m.name);
        free(m.link);
        return r;
    }
    a->members[a->n++] = m;
    return 0;
}

struct feed {
    struct inflate *in;
    char data[128 << 10];
};

static ssize_t feed_read(struct archive *t, void *data, const void **bytes)
{
    struct feed *f = data;
    ssize_t n = inflate_read(f->in, f->data, sizeof(f->data));
    *bytes = f->data;
    if (n < 0) {
        archive_set_error(t, (int)-n, "%s", inflate_error(f->in)->text);
        return ARCHIVE_FATAL;
    }
    return n;
}

static int take_all(struct archive_source *a, struct feed *f, struct err *e)
{
    struct archive *t = archive_read_new();
    if (!t) {
        return err_oom(e);
    }
    archive_read_support_format_tar(t);
    archive_read_set_options(t, "hdrcharset=BINARY");
    int r = 0, rc = archive_read_open(t, f, NULL, feed_read, NULL);
    struct archive_entry *entry;
    while (r == 0 && rc >= ARCHIVE_WARN && (rc = archive_read_next_header(t, &entry)) >= ARCHIVE_WARN && rc != ARCHIVE_EOF) {
        r = take_member(a, t, entry, e);
    }
    if (r == 0 && rc < ARCHIVE_WARN) {
        r = err_set(e, EBADMSG, ERR_INVALID, "archive: %s", archive_error_string(t));
    }
    archive_read_free(t);
    return r;
}

int archive_source_tar(struct archive_source *a, struct store *s, int fd, struct err *e)
{
    *a = (struct archive_source) { .store = s, .dirfd = -1 };
    uint64_t start = 0;
    int r = proc_start_time(getpid(), &start, NULL);
    (void)r; /* without it the folder is merely swept earlier */
    a->tmp = str_printf("ingest/load.tmp-%d-%llu-%u", (int)getpid(), (unsigned long long)start,
                        (unsigned)fd);
    if (!a->tmp) {
        return err_oom(e);
    }
    if ((mkdirat(store_root_fd(s), a->tmp, 0700) < 0 && errno != EEXIST) || (a->dirfd = openat(store_root_fd(s), a->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) < 0) {
        return err_sys(e, errno, "make %s/%s", store_root(s), a->tmp);
    }
    struct feed *f = calloc(1, sizeof(*f));
    if (!f) {
        return err_oom(e);
    }
    r = inflate_open(unpack_read_fd, &fd, NULL, &f->in, e);
    if (r == 0) {
        r = take_all(a, f, e);
        inflate_free(f->in);
    }
    free(f);
    return r;
}

int archive_source_dir(struct archive_source *a, struct store *s, const char *dir, struct err *e)
{
    *a = (struct archive_source) { .store = s, .dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
    return a->dirfd < 0 ? err_sys(e, errno, "open %s", dir) : 0;
}

/* Number of the member that name stands for, or -1. The last one of a name counts. */
static ssize_t find(const struct archive_source *a, const char *name)
{
    for (int links = 0; links < LINKS_MAX; links++) {
        size_t i = a->n;
        while (i > 0 && !str_eq(a->members[i - 1].name, name)) {
            i--;
        }
        if (i == 0) {
            return -1;
        }
        if (!a->members[i - 1].link) {
            return (ssize_t)i - 1;
        }
        name = a->members[i - 1].link;
    }
    return -1;
}

int archive_source_open(const struct archive_source *a, const char *name, int *ret_fd, struct err *e)
{
    CLEANUP_FREE char *clean = clean_name(NULL, name);
    if (!clean || !*clean) {
        return err_set(e, EINVAL, ERR_INVALID, "archive: %.200s is no name of a member", name);
    }
    CLEANUP_FD int fd = -1;
    if (a->tmp) {
        char number[24];
        ssize_t i = find(a, clean);
        snprintf(number, sizeof(number), "%zd", i);
        fd = i < 0 ? -1 : openat(a->dirfd, number, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    } else {
        fd = path_open_beneath(a->dirfd, clean, O_RDONLY | O_NONBLOCK, 0);
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "archive: there is no file %.200s", name);
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

bool archive_source_has(const struct archive_source *a, const char *name)
{
    CLEANUP_FD int fd = -1;
    return archive_source_open(a, name, &fd, NULL) == 0;
}

int archive_source_read(const struct archive_source *a, const char *name, size_t max, struct buf *out, struct err *e)
{
    CLEANUP_FD int fd = -1;
    int r = archive_source_open(a, name, &fd, e);
    if (r < 0) {
        return r;
    }
    r = fd_read_all(fd, out, max);
    return r < 0 ? err_sys(e, -r, "archive: read %s", name) : 0;
}
