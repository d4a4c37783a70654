/*
 * image/untar.c: see stream.h: tar entries become files below one folder, in overlayfs form.
 *
 * Names are made clean as text first (an absolute one is taken from the root, one that climbs above the root is refused); then the
 * folder that holds the entry is opened with openat2(RESOLVE_IN_ROOT) and the entry is made relative to that descriptor, without
 * following a symlink in its place. Nobody else writes below the folder meanwhile. The times of folders are set at the end.
 */
#include "image/stream.h"

#include "base/fd.h"
#include "sys/path.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PARENTS = 16 };

struct dir_times {
    char *path;
    struct timespec mtime;
};

struct untar {
    struct ring *ring;
    struct hash *hash;
    bool held;    /* a chunk of the ring is in libarchive's hands */
    size_t held_len;
    int ring_code;
    uint64_t total;    /* bytes of the tar so far */
    int64_t data_left; /* of the entry that is being written */
    int root;
    const struct unpack_options *o;
    struct unpack_limits max;
    struct unpack_result *ret;
    struct archive_entry *entry;
    char *name;   /* of the entry, clean: no leading slash, "" is the root */
    uint64_t entries;
    struct untar_parent {
        char *path;
        int fd;
    } parents[PARENTS];
    size_t next_parent;
    struct dir_times *dirs;
    size_t n_dirs, cap_dirs;
};

static void forget_parents(struct untar *u)
{
    for (size_t i = 0; i < PARENTS; i++) {
        free(u->parents[i].path);
        u->parents[i].path = NULL;
        fd_close(&u->parents[i].fd);
    }
}

/*
 * umoci writes layers that end with the last file's data, without the zeros up to the next block. Only these are made up for: data that
 * is missing stays an error.
 */
static ssize_t missing_padding(struct untar *u, const void **bytes)
{
    static const char zeros[512];
    size_t n = u->data_left <= 0 ? (size_t)(-u->total & 511) : 0;
    u->total += n;
    *bytes = zeros;
    return (ssize_t)n;
}

static ssize_t from_ring(struct archive *a, void *data, const void **bytes)
{
    struct untar *u = data;
    size_t len;
    if (u->held) {
        ring_took(u->ring, u->held_len);
        u->held = false;
    }
    *bytes = ring_bytes(u->ring, &len, &u->ring_code);
    if (!*bytes) {
        if (u->ring_code < 0 && a) {
            archive_set_error(a, -u->ring_code, "the layer's stream failed");
            return ARCHIVE_FATAL;
        }
        return a && u->ring_code == 0 ? missing_padding(u, bytes) : 0;
    }
    hash_add(u->hash, *bytes, len);
    u->total += len;
    u->held = true;
    u->held_len = len;
    return (ssize_t)len;
}

/* Lexical: drops "", "." and resolves "..". The error names the entry. */
static int clean(const char *raw, size_t max, char **ret, struct err *e)
{
    if (!raw || strlen(raw) > max) {
        return err_set(e, EINVAL, ERR_INVALID, "entry %.80s…: no name, or one longer than %zu bytes", raw ? raw : "", max);
    }
    CLEANUP_FREE char *out = malloc(strlen(raw) + 1);
    if (!out) {
        return err_oom(e);
    }
    size_t len = 0;
    for (const char *p = raw; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (len == 0) {
                return err_set(e, EPERM, ERR_INVALID, "entry %.200s: leads out of the layer", raw);
            }
            while (len > 0 && out[--len] != '/') {
            }
        } else if (n > 0 && !(n == 1 && p[0] == '.')) {
            if (n > NAME_MAX) {
                return err_set(e, ENAMETOOLONG, ERR_INVALID, "entry %.200s…: a name in it exceeds %d bytes", raw, NAME_MAX);
            }
            if (len > 0) {
                out[len++] = '/';
            }
            memcpy(out + len, p, n);
            len += n;
        }
        p += n + (p[n] == '/');
    }
    out[len] = '\0';
    *ret = PTR_STEAL(out);
    return 0;
}

static bool is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int set_opaque(const struct untar *u, int fd)
{
    const char *name = u->o->user_xattr ? "user.overlay.opaque" : "trusted.overlay.opaque";
    return fsetxattr(fd, name, "y", 1, 0) < 0 ? -errno : 0;
}

static int make_dir(struct untar *u, int parent, const char *name, bool opaque, int *ret_fd)
{
    if (mkdirat(parent, name, 0755) < 0) {
        return -errno;
    }
    CLEANUP_FD int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0755) < 0) {
        return -errno;
    }
    u->ret->inodes++;
    u->ret->bytes += 4096;
    int r = opaque ? set_opaque(u, fd) : 0;
    if (r == 0) {
        *ret_fd = fd_steal(&fd);
    }
    return r;
}

/* Opens the folder path (clean), making what is missing. Returns fd or -errno. */
static int open_dir(struct untar *u, const char *path)
{
    int fd = path_open_in_root(u->root, path, O_RDONLY | O_DIRECTORY, 0);
    if ((fd != -ENOENT && fd != -ENOTDIR) || !*path) {
        return fd;
    }
    const char *slash = strrchr(path, '/');
    CLEANUP_FREE char *up = slash ? strndup(path, (size_t)(slash - path)) : strdup("");
    if (!up) {
        return -ENOMEM;
    }
    CLEANUP_FD int parent = open_dir(u, up);
    if (parent < 0) {
        return parent;
    }
    const char *name = slash ? slash + 1 : path;
    struct stat st;
    bool white = false;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        white = is_whiteout(&st);
        if (!white || unlinkat(parent, name, 0) < 0) {
            return -ENOTDIR;
        }
    }
    int made = -1;
    int r = make_dir(u, parent, name, white, &made);
    return r < 0 ? r : made;
}

/* The folder that holds path; the descriptor stays the cache's. Returns fd or -errno; *base: last component. */
static int parent_of(struct untar *u, const char *path, const char **base)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    *base = slash ? slash + 1 : path;
    if (len == 0) {
        return u->root;
    }
    for (size_t i = 0; i < PARENTS; i++) {
        const char *p = u->parents[i].path;
        if (p && strncmp(p, path, len) == 0 && p[len] == '\0') {
            return u->parents[i].fd;
        }
    }
    char *up = strndup(path, len);
    int fd = up ? open_dir(u, up) : -ENOMEM;
    if (fd < 0) {
        free(up);
        return fd;
    }
    struct untar_parent *slot = &u->parents[u->next_parent++ % PARENTS];
    free(slot->path);
    fd_close(&slot->fd);
    *slot = (struct untar_parent) { up, fd };
    return fd;
}

/* Makes place for a new entry. *ret_white: a whiteout was there. */
static int clear_place(struct untar *u, int parent, const char *base, bool *ret_white, struct err *e)
{
    struct stat st;
    *ret_white = false;
    if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? 0 : err_sys(e, errno, "entry %s", u->name);
    }
    *ret_white = is_whiteout(&st);
    if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode)) {
        /* Cached folders may have been reached through it. */
        int r = dir_remove_all(parent, base, e);
        return r < 0 ? err_wrap(e, "entry %s: replace", u->name) : 1;
    }
    return unlinkat(parent, base, 0) < 0 ? err_sys(e, errno, "entry %s: replace", u->name) : 0;
}

static bool xattr_refused(const char *name)
{
    /* Overlayfs' own marks would let a layer redirect into others. */
    return str_starts(name, "trusted.overlay.") || str_starts(name, "user.overlay.");
}

/* fd: of the file, or -1: parent and base name something that cannot be opened. */
static int set_xattrs(struct untar *u, int fd, int parent, const char *base, struct err *e)
{
    if (archive_entry_xattr_reset(u->entry) <= 0) {
        return 0;
    }
    const char *name;
    const void *value;
    size_t size, total = 0;
    char path[64 + NAME_MAX];
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", parent, base);
    while (archive_entry_xattr_next(u->entry, &name, &value, &size) == ARCHIVE_OK) {
        total += size + strlen(name);
        if (total > u->max.xattr) {
            return err_set(e, E2BIG, ERR_INVALID, "entry %s: extended attributes exceed %zu bytes", u->name, u->max.xattr);
        }
        if (xattr_refused(name)) {
            continue;
        }
        int r = fd >= 0 ? fsetxattr(fd, name, value, size, 0) : lsetxattr(path, name, value, size, 0);
        if (r < 0 && errno != ENOTSUP && !(errno == EPERM && (u->o->user_xattr || fd < 0))) {
            return err_sys(e, errno, "entry %s: set %.100s", u->name, name);
        }
    }
    return 0;
}

static struct timespec entry_mtime(struct archive_entry *entry)
{
    return (struct timespec) { .tv_sec = archive_entry_mtime(entry), .tv_nsec = archive_entry_mtime_nsec(entry) };
}

static mode_t entry_perm(struct archive_entry *entry)
{
    return (mode_t)archive_entry_perm(entry) & 07777;
}

static int entry_ids(struct untar *u, uid_t *uid, gid_t *gid, struct err *e)
{
    int64_t a = archive_entry_uid(u->entry), b = archive_entry_gid(u->entry);
    if (a < 0 || b < 0 || a >= UINT32_MAX || b >= UINT32_MAX) {
        return err_set(e, EINVAL, ERR_INVALID, "entry %s: owner %lld:%lld is out of range", u->name, (long long)a, (long long)b);
    }
    *uid = (uid_t)a;
    *gid = (gid_t)b;
    return 0;
}

/* Owner before mode (chown drops set-uid), attributes after owner (it drops capabilities), times last. */
static int set_meta_fd(struct untar *u, int fd, struct err *e)
{
    uid_t uid = 0;
    gid_t gid = 0;
    int r = entry_ids(u, &uid, &gid, e);
    if (r < 0) {
        return r;
    }
    if (fchown(fd, uid, gid) < 0 || fchmod(fd, entry_perm(u->entry)) < 0) {
        return err_sys(e, errno, "entry %s: set owner and mode", u->name);
    }
    r = set_xattrs(u, fd, -1, "", e);
    struct timespec t[2] = { entry_mtime(u->entry), entry_mtime(u->entry) };
    if (r == 0 && futimens(fd, t) < 0) {
        return err_sys(e, errno, "entry %s: set times", u->name);
    }
    return r;
}

static int set_meta_at(struct untar *u, int parent, const char *base, bool mode, struct err *e)
{
    uid_t uid = 0;
    gid_t gid = 0;
    int r = entry_ids(u, &uid, &gid, e);
    if (r < 0) {
        return r;
    }
    if (fchownat(parent, base, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (mode && fchmodat(parent, base, entry_perm(u->entry), 0) < 0)) {
        return err_sys(e, errno, "entry %s: set owner and mode", u->name);
    }
    r = set_xattrs(u, -1, parent, base, e);
    struct timespec t[2] = { entry_mtime(u->entry), entry_mtime(u->entry) };
    if (r == 0 && utimensat(parent, base, t, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_sys(e, errno, "entry %s: set times", u->name);
    }
    return r;
}

static int write_data(struct untar *u, struct archive *a, int fd, struct err *e)
{
    const void *data;
    size_t len;
    int64_t offset, end = 0;
    int rc;
    u->data_left = archive_entry_size(u->entry);
    while ((rc = archive_read_data_block(a, &data, &len, &offset)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
        u->ret->bytes += (len + 4095) / 4096 * 4096;
        if (u->ret->bytes > u->max.bytes) {
            return err_set(e, EFBIG, ERR_INVALID, "entry %s: the layer exceeds %llu bytes", u->name, (unsigned long long)u->max.bytes);
        }
        for (size_t done = 0; done < len;) {
            ssize_t n = pwrite(fd, (const char *)data + done, len - done, offset + (int64_t)done);
            if (n < 0 && errno != EINTR) {
                return err_sys(e, errno, "entry %s: write", u->name);
            }
            done += n > 0 ? (size_t)n : 0;
        }
        end = offset + (int64_t)len;
        u->data_left = archive_entry_size(u->entry) - end;
    }
    if (rc != ARCHIVE_EOF) {
        return err_set(e, EBADMSG, ERR_INVALID, "entry %s: %s", u->name, archive_error_string(a));
    }
    if (end < archive_entry_size(u->entry) && ftruncate(fd, archive_entry_size(u->entry)) < 0) {
        return err_sys(e, errno, "entry %s: set size", u->name);
    }
    return 0;
}

static int make_file(struct untar *u, struct archive *a, int parent, const char *base, struct err *e)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    CLEANUP_FD int fd = openat(parent, base, flags, 0600);
    if (fd < 0) {
        return err_sys(e, errno, "entry %s", u->name);
    }
    int r = write_data(u, a, fd, e);
    return r < 0 ? r : set_meta_fd(u, fd, e);
}

static int make_link(struct untar *u, int parent, const char *base, struct err *e)
{
    CLEANUP_FREE char *target = NULL;
    int r = clean(archive_entry_hardlink(u->entry), u->max.name, &target, e);
    if (r < 0) {
        return err_wrap(e, "entry %s: hard link", u->name);
    }
    /* The cache may give up the slot that parent comes from. */
    CLEANUP_FD int here = fcntl(parent, F_DUPFD_CLOEXEC, 3);
    const char *from;
    int dir = here < 0 ? -errno : parent_of(u, target, &from);
    if (dir < 0) {
        return err_sys(e, -dir, "entry %s: hard link to %s", u->name, target);
    }
    struct stat st;
    if (fstatat(dir, from, &st, AT_SYMLINK_NOFOLLOW) < 0 || linkat(dir, from, here, base, 0) < 0) {
        return err_sys(e, errno, "entry %s: hard link to %s", u->name, target);
    }
    u->ret->inodes--;
    return 0;
}

static int make_node(struct untar *u, int parent, const char *base, mode_t type, struct err *e)
{
    if (u->o->no_devices && type != S_IFIFO) {
        u->ret->inodes--;
        return 0;
    }
    dev_t dev = type == S_IFIFO ? 0 : makedev((unsigned)archive_entry_rdevmajor(u->entry), (unsigned)archive_entry_rdevminor(u->entry));
    if (mknodat(parent, base, type | 0600, dev) < 0) {
        return err_sys(e, errno, "entry %s: make node", u->name);
    }
    return set_meta_at(u, parent, base, true, e);
}

static int remember_dir(struct untar *u, struct err *e)
{
    if (array_grow(&u->dirs, &u->cap_dirs, u->n_dirs + 1, sizeof(*u->dirs)) < 0) {
        return err_oom(e);
    }
    char *path = strdup(u->name);
    if (!path) {
        return err_oom(e);
    }
    u->dirs[u->n_dirs++] = (struct dir_times) { path, entry_mtime(u->entry) };
    return 0;
}

static int do_dir(struct untar *u, int parent, const char *base, struct err *e)
{
    CLEANUP_FD int fd = *base ? openat(parent, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : fcntl(u->root, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        bool white;
        int r = clear_place(u, parent, base, &white, e);
        if (r < 0) {
            return r;
        }
        int made = make_dir(u, parent, base, white, &fd);
        if (r > 0) {
            forget_parents(u);
        }
        if (made < 0) {
            return err_sys(e, -made, "entry %s", u->name);
        }
    }
    int r = set_meta_fd(u, fd, e);
    return r < 0 ? r : remember_dir(u, e);
}

/* ".wh..wh..opq", ".wh..wh.*" of aufs, ".wh.NAME". */
static int do_whiteout(struct untar *u, int parent, const char *base, struct err *e)
{
    const char *name = base + 4;
    if (str_eq(base, ".wh..wh..opq")) {
        int r = set_opaque(u, parent);
        return r < 0 ? err_sys(e, -r, "entry %s: mark the folder opaque", u->name) : 0;
    }
    if (str_starts(name, ".wh.")) {
        return 0;
    }
    if (!*name || str_eq(name, ".") || str_eq(name, "..")) {
        return err_set(e, EPERM, ERR_INVALID, "entry %s: a whiteout of nothing", u->name);
    }
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        /* This layer has it too: it stays, and only what lies below it in other layers is hidden. */
        CLEANUP_FD int fd = S_ISDIR(st.st_mode) ? openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        int r = fd >= 0 ? set_opaque(u, fd) : 0;
        return r < 0 ? err_sys(e, -r, "entry %s: mark the folder opaque", u->name) : 0;
    }
    if (mknodat(parent, name, S_IFCHR, makedev(0, 0)) < 0) {
        return err_sys(e, errno, "entry %s: make whiteout", u->name);
    }
    u->ret->inodes++;
    return 0;
}

static int do_other(struct untar *u, struct archive *a, int parent, const char *base, struct err *e)
{
    bool white;
    int cleared = clear_place(u, parent, base, &white, e);
    if (cleared < 0) {
        return cleared;
    }
    u->ret->inodes++;
    int r;
    mode_t type = (mode_t)archive_entry_filetype(u->entry);
    if (archive_entry_hardlink(u->entry)) {
        r = make_link(u, parent, base, e);
    } else if (type == S_IFREG) {
        r = make_file(u, a, parent, base, e);
    } else if (type == S_IFLNK) {
        const char *to = archive_entry_symlink(u->entry);
        r = to && *to && symlinkat(to, parent, base) == 0 ? set_meta_at(u, parent, base, false, e)
                                                       : err_sys(e, to && *to ? errno : EINVAL, "entry %s: make symlink", u->name);
    } else if (type == S_IFCHR || type == S_IFBLK || type == S_IFIFO) {
        r = make_node(u, parent, base, type, e);
    } else {
        r = err_set(e, EINVAL, ERR_INVALID, "entry %s: a kind of file that is not known", u->name);
    }
    if (cleared > 0) {
        forget_parents(u);
    }
    return r;
}

static int do_entry(struct untar *u, struct archive *a, struct err *e)
{
    if (++u->entries > u->max.entries) {
        return err_set(e, E2BIG, ERR_INVALID, "the layer has more than %llu entries", (unsigned long long)u->max.entries);
    }
    free(u->name);
    u->name = NULL;
    int r = clean(archive_entry_pathname(u->entry), u->max.name, &u->name, e);
    if (r < 0) {
        return r;
    }
    bool is_dir = archive_entry_filetype(u->entry) == AE_IFDIR && !archive_entry_hardlink(u->entry);
    if (!*u->name && !is_dir) {
        return err_set(e, EPERM, ERR_INVALID, "entry %.100s: the root has to be a folder", archive_entry_pathname(u->entry));
    }
    const char *base;
    int parent = parent_of(u, u->name, &base);
    if (parent < 0) {
        return err_sys(e, -parent, "entry %s: its folder", u->name);
    }
    if (str_starts(base, ".wh.")) {
        return do_whiteout(u, parent, base, e);
    }
    return is_dir ? do_dir(u, parent, base, e) : do_other(u, a, parent, base, e);
}

static void set_dir_times(struct untar *u)
{
    for (size_t i = 0; i < u->n_dirs; i++) {
        CLEANUP_FD int fd = path_open_in_root(u->root, u->dirs[i].path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        struct timespec t[2] = { u->dirs[i].mtime, u->dirs[i].mtime };
        if (fd >= 0 && futimens(fd, t) < 0) {
            continue; /* a folder that went away again has no times */
        }
    }
}

static int read_entries(struct untar *u, struct archive *a, struct err *e)
{
    archive_read_support_format_tar(a);
    archive_read_support_format_empty(a);
    archive_read_set_options(a, "hdrcharset=BINARY");
    int rc = archive_read_open(a, u, NULL, from_ring, NULL);
    while (rc >= ARCHIVE_WARN) {
        rc = archive_read_next_header(a, &u->entry);
        if (rc == ARCHIVE_EOF) {
            return 0;
        }
        int r = rc >= ARCHIVE_WARN ? do_entry(u, a, e) : 0;
        if (r < 0) {
            return r;
        }
    }
    return err_set(e, EBADMSG, ERR_INVALID, "damaged tar after entry %s: %s", u->name ? u->name : "(none)", archive_error_string(a));
}

int untar(struct ring *ring, struct hash *diff, int dirfd, const struct unpack_options *o, struct unpack_result *ret, struct err *e)
{
    struct untar u = { .ring = ring, .hash = diff, .root = dirfd, .o = o, .ret = ret, .max = o->limits };
    u.max.entries = u.max.entries ? u.max.entries : 4000000;
    u.max.bytes = u.max.bytes ? u.max.bytes : (uint64_t)1 << 40;
    u.max.name = u.max.name ? u.max.name : 4096;
    u.max.xattr = u.max.xattr ? u.max.xattr : 1 << 20;
    for (size_t i = 0; i < PARENTS; i++) {
        u.parents[i].fd = -1;
    }
    struct archive *a = archive_read_new();
    int r = a ? read_entries(&u, a, e) : err_oom(e);
    archive_read_free(a);
    /* What follows the end mark belongs to the digest. */
    const void *rest;
    while (r == 0 && from_ring(NULL, &u, &rest) > 0) {
    }
    if (u.held) {
        ring_took(ring, u.held_len);
    }
    if (r == 0) {
        set_dir_times(&u);
    }
    forget_parents(&u);
    for (size_t i = 0; i < u.n_dirs; i++) {
        free(u.dirs[i].path);
    }
    free(u.dirs);
    free(u.name);
    return r;
}
