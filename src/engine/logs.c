/*
 * engine/logs.c: see logs.h. A tail looks for its first line from the end backwards, so that its cost does not depend on how long the
 * log is. Following waits on inotify for the folder; a file that was rotated away is read to its end before the new one.
 */
#include "engine/logs.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4 << 20, FILES_MAX = 100, BLOCK = 65536 };

static int digits(const char *s, size_t len, size_t at, size_t n, int *ret)
{
    int v = 0;
    for (size_t i = at; i < at + n; i++) {
        if (i >= len || s[i] < '0' || s[i] > '9') {
            return -EINVAL;
        }
        v = v * 10 + (s[i] - '0');
    }
    *ret = v;
    return 0;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar. */
static int64_t days_of(int y, int m, int d)
{
    int64_t year = m <= 2 ? y - 1 : y;
    int64_t era = year / 400, yoe = year - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

int rfc3339_parse(const char *s, size_t len, int64_t *ret, size_t *ret_len)
{
    int y, mo, d, h, mi, sec;
    if (digits(s, len, 0, 4, &y) < 0 || digits(s, len, 5, 2, &mo) < 0 || digits(s, len, 8, 2, &d) < 0 || digits(s, len, 11, 2, &h) < 0 ||
        digits(s, len, 14, 2, &mi) < 0 || digits(s, len, 17, 2, &sec) < 0 || s[4] != '-' || s[7] != '-' || (s[10] != 'T' && s[10] != 't') ||
        s[13] != ':' || s[16] != ':' || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || sec > 60 || y < 1970 || y > 2261) {
        return -EINVAL;
    }
    size_t at = 19;
    int64_t ns = 0, unit = 100000000;
    if (at < len && s[at] == '.') {
        for (at++; at < len && s[at] >= '0' && s[at] <= '9'; at++, unit /= 10) {
            ns += unit * (s[at] - '0');
        }
    }
    int64_t offset = 0;
    if (at < len && (s[at] == 'Z' || s[at] == 'z')) {
        at++;
    } else if (at + 5 < len && (s[at] == '+' || s[at] == '-')) {
        int oh, om;
        if (digits(s, len, at + 1, 2, &oh) < 0 || s[at + 3] != ':' || digits(s, len, at + 4, 2, &om) < 0) {
            return -EINVAL;
        }
        offset = (s[at] == '-' ? -1 : 1) * (oh * 3600 + om * 60);
        at += 6;
    } else {
        return -EINVAL;
    }
    *ret = (days_of(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec - offset) * 1000000000 + ns;
    *ret_len = at;
    return 0;
}

static int parse_cri(const char *line, size_t len, struct log_line *ret)
{
    size_t at;
    if (rfc3339_parse(line, len, &ret->time, &at) < 0 || len < at + 10 || line[at] != ' ') {
        return -EINVAL;
    }
    if (memcmp(line + at, " stdout ", 8) == 0) {
        ret->stream = 1;
    } else if (memcmp(line + at, " stderr ", 8) == 0) {
        ret->stream = 2;
    } else {
        return -EINVAL;
    }
    at += 8;
    /* Tags are separated by colons; the first says whether the line goes on. */
    size_t tag = at;
    while (at < len && line[at] != ' ') {
        at++;
    }
    if (at == tag || (line[tag] != 'P' && line[tag] != 'F') || at >= len) {
        return -EINVAL;
    }
    ret->partial = line[tag] == 'P';
    ret->text = line + at + 1;
    ret->len = len - at - 1;
    return 0;
}

static int parse_json(const char *line, size_t len, struct log_line *ret)
{
    json_t *v = json_loadb(line, len, 0, NULL);
    const char *text = json_string_value(json_object_get(v, "log"));
    const char *stream = json_string_value(json_object_get(v, "stream"));
    const char *time = json_string_value(json_object_get(v, "time"));
    size_t used;
    int r = -EINVAL;
    if (text && time && rfc3339_parse(time, strlen(time), &ret->time, &used) == 0) {
        size_t n = json_string_length(json_object_get(v, "log"));
        ret->stream = str_eq(stream, "stderr") ? 2 : 1;
        ret->partial = n == 0 || text[n - 1] != '\n';
        ret->len = ret->partial ? n : n - 1;
        ret->owned = malloc(ret->len + 1);
        if (ret->owned) {
            memcpy(ret->owned, text, ret->len);
            ret->owned[ret->len] = '\0';
            ret->text = ret->owned;
            r = 0;
        }
    }
    json_decref(v);
    return r;
}

int log_line_parse(enum engine_log_format format, const char *line, size_t len, struct log_line *ret)
{
    *ret = (struct log_line){ 0 };
    return format == ENGINE_LOG_JSON ? parse_json(line, len, ret) : parse_cri(line, len, ret);
}

struct reader {
    const struct logs_source *src;
    const struct engine_log_query *q;
    engine_log_fn *fn;
    void *data;
    struct buf rest; /* a line that has not come to its end */
    bool past;       /* a line after `until` was seen */
};

static int line_give(struct reader *r, const char *line, size_t len)
{
    struct log_line l;
    /* A line that is cut off or damaged (full disk, crash) is left out; the rest of the log is still good. */
    if (log_line_parse(r->src->format, line, len, &l) < 0) {
        return 0;
    }
    int k = 0;
    bool wanted = (l.stream == 1 ? r->q->want_stdout : r->q->want_stderr) && (!r->q->since || l.time >= r->q->since);
    if (r->q->until && l.time > r->q->until) {
        r->past = true;
    } else if (wanted) {
        k = r->fn(r->data, l.time, l.stream, l.text, l.len, l.partial);
    }
    free(l.owned);
    return k;
}

/* Gives every whole line of what fd has from its position on. */
static int drain(struct reader *r, int fd, struct err *e)
{
    for (;;) {
        char *p = buf_reserve(&r->rest, BLOCK);
        if (!p) {
            return err_oom(e);
        }
        ssize_t n = read(fd, p, BLOCK);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_sys(e, errno, "read the log %s", r->src->path);
        }
        if (n == 0) {
            return 0;
        }
        r->rest.len += (size_t)n;
        r->rest.data[r->rest.len] = '\0';
        size_t done = 0;
        for (char *nl; !r->past && (nl = memchr(r->rest.data + done, '\n', r->rest.len - done));) {
            int k = line_give(r, r->rest.data + done, (size_t)(nl - r->rest.data) - done);
            if (k < 0) {
                return k;
            }
            done = (size_t)(nl - r->rest.data) + 1;
        }
        buf_consume(&r->rest, done);
        if (r->rest.len > LINE_MAX_BYTES) {
            buf_reset(&r->rest); /* no line of ours is that long */
        }
        if (r->past) {
            return 0;
        }
    }
}

/* Offset of the last *lines lines of fd; *lines becomes what is still missing when there are fewer. */
static int tail_find(int fd, int64_t *lines, off_t *ret)
{
    struct stat st;
    char block[4096];
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    off_t end = st.st_size;
    while (end > 0) {
        size_t n = end > (off_t)sizeof(block) ? sizeof(block) : (size_t)end;
        ssize_t got = pread(fd, block, n, end - (off_t)n);
        if (got != (ssize_t)n) {
            return got < 0 ? -errno : -EIO;
        }
        for (size_t i = n; i-- > 0;) {
            off_t at = end - (off_t)n + (off_t)i;
            if (block[i] != '\n' || at == st.st_size - 1) {
                continue;
            }
            if (--*lines == 0) {
                *ret = at + 1;
                return 0;
            }
        }
        end -= (off_t)n;
    }
    *lines -= st.st_size > 0;
    *ret = 0;
    return 0;
}

struct files {
    int fd[FILES_MAX]; /* newest first */
    size_t n;
};

static void files_done(struct files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        fd_close(&f->fd[i]);
    }
}

static int files_open(const char *path, bool older, struct files *f, struct err *e)
{
    for (size_t i = 0; i < FILES_MAX && (i == 0 || older); i++) {
        CLEANUP_FREE char *name = i ? str_printf("%s.%zu", path, i) : strdup(path);
        int fd = name ? open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
        if (fd < 0 && (!name || errno != ENOENT)) {
            return name ? err_sys(e, errno, "open the log %s", name) : err_oom(e);
        }
        if (fd < 0) {
            break;
        }
        f->fd[f->n++] = fd;
    }
    return 0;
}

/* Positions the files; returns the index of the oldest one that has wanted lines. */
static int files_seek(struct files *f, int64_t tail, size_t *ret, struct err *e)
{
    *ret = f->n;
    if (tail < 0) {
        return 0;
    }
    for (size_t i = 0; i < f->n; i++) {
        off_t at = 0;
        int r = tail > 0 ? tail_find(f->fd[i], &tail, &at) : 0;
        if (r < 0 || lseek(f->fd[i], at, SEEK_SET) < 0) {
            return err_sys(e, r < 0 ? -r : errno, "look for the last lines of the log");
        }
        if (tail <= 0) {
            *ret = i + 1;
            return 0;
        }
    }
    return 0;
}

/* Waits until something happens in the log's folder, a second at most: a file system without inotify is still followed. */
static void wait_change(int notify)
{
    struct pollfd p = { notify, POLLIN, 0 };
    char drop[4096];
    if (poll(&p, 1, notify < 0 ? 100 : 1000) > 0) {
        (void)!read(notify, drop, sizeof(drop));
    }
}

static int notify_open(const char *path)
{
    CLEANUP_FREE char *dir = strdup(path);
    char *slash = dir ? strrchr(dir, '/') : NULL;
    int fd = slash ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
    if (fd >= 0) {
        *slash = '\0';
        if (inotify_add_watch(fd, *dir ? dir : "/", IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
            fd_close(&fd);
        }
    }
    return fd;
}

/* After a rotation the path names another file: read from its beginning. */
static void follow_rotation(const char *path, int *fd)
{
    struct stat a, b;
    if (stat(path, &a) < 0 || (*fd >= 0 && fstat(*fd, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev)) {
        return;
    }
    int next = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (next >= 0) {
        fd_close(fd);
        *fd = next;
    }
}

static int follow(struct reader *r, int fd, struct err *e)
{
    CLEANUP_FD int notify = notify_open(r->src->path);
    CLEANUP_FD int current = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    for (;;) {
        /* Asked before the reading: what was written before the end is then read. */
        bool alive = r->src->alive && r->src->alive(r->src->data);
        int k = current >= 0 ? drain(r, current, e) : 0;
        if (k < 0 || r->past) {
            return k;
        }
        follow_rotation(r->src->path, &current);
        k = current >= 0 ? drain(r, current, e) : 0;
        if (k < 0 || r->past || !alive) {
            return k;
        }
        wait_change(notify);
    }
}

int logs_read(const struct logs_source *src, const struct engine_log_query *q, engine_log_fn *fn, void *data, struct err *e)
{
    struct reader r = { .src = src, .q = q, .fn = fn, .data = data };
    struct files f = { .n = 0 };
    size_t from = 0;
    int k = files_open(src->path, true, &f, e);
    if (k == 0 && q->tail == 0) {
        /* Nothing of what is there: only what comes. */
        if (f.n && lseek(f.fd[0], 0, SEEK_END) < 0) {
            k = err_sys(e, errno, "seek in the log");
        }
    } else if (k == 0) {
        k = files_seek(&f, q->tail, &from, e);
    }
    for (size_t i = from; k >= 0 && i-- > 0 && !r.past;) {
        k = drain(&r, f.fd[i], e);
        if (i) {
            buf_reset(&r.rest);
        }
    }
    if (k >= 0 && q->follow && !r.past) {
        k = follow(&r, f.n ? f.fd[0] : -1, e);
    }
    files_done(&f);
    buf_done(&r.rest);
    return k;
}
