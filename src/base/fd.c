/* base/fd.c: see fd.h. */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        *fd = -1;
        errno = saved;
    }
}

int fd_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int fd_read_all(int fd, struct buf *out, size_t max)
{
    size_t start = out->len;
    for (;;) {
        char *p = buf_reserve(out, 4096);
        if (!p) {
            return -ENOMEM;
        }
        size_t room = out->cap - out->len - 1;
        ssize_t n = read(fd, p, room);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        if (out->len - start > max) {
            return -EFBIG;
        }
        if (n == 0) {
            return 0;
        }
    }
}

int file_read(int dirfd, const char *path, size_t max, struct buf *out, struct err *e)
{
    CLEANUP_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "open %s", path);
    }
    int r = fd_read_all(fd, out, max);
    if (r == -EFBIG) {
        return err_set(e, EFBIG, ERR_INVALID, "%s is larger than %zu bytes", path, max);
    }
    return r < 0 ? err_sys(e, -r, "read %s", path) : 0;
}

int file_write(int dirfd, const char *path, const char *data, size_t len, struct err *e)
{
    CLEANUP_FD int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "open %s", path);
    }
    ssize_t n;
    do {
        n = write(fd, data, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return err_sys(e, errno, "write '%.*s' to %s", (int)(len > 64 ? 64 : len), data, path);
    }
    return (size_t)n == len ? 0 : err_sys(e, EIO, "short write to %s", path);
}

static int folder_sync(int dirfd, const char *path)
{
    CLEANUP_FREE char *copy = strdup(path);
    if (!copy) {
        return -ENOMEM;
    }
    char *slash = strrchr(copy, '/');
    const char *dir = slash == copy ? "/" : ".";
    if (slash && slash != copy) {
        *slash = '\0';
        dir = copy;
    }
    CLEANUP_FD int fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int file_replace(int dirfd, const char *path, const char *data, size_t len, mode_t mode, bool sync,
                 struct err *e)
{
    CLEANUP_FREE char *tmp = str_printf("%s.tmp%d", path, (int)gettid());
    if (!tmp) {
        return err_oom(e);
    }
    int r = 0;
    {
        CLEANUP_FD int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0) {
            return err_sys(e, errno, "create %s", tmp);
        }
        r = fd_write_all(fd, data, len);
        if (r == 0 && fchmod(fd, mode) < 0) {
            r = -errno;
        }
        if (r == 0 && sync && fsync(fd) < 0) {
            r = -errno;
        }
    }
    if (r == 0 && renameat(dirfd, tmp, dirfd, path) < 0) {
        r = -errno;
    }
    if (r < 0) {
        unlinkat(dirfd, tmp, 0);
        return err_sys(e, -r, "write %s", path);
    }
    r = sync ? folder_sync(dirfd, path) : 0;
    return r < 0 ? err_sys(e, -r, "sync the folder of %s", path) : 0;
}

int dir_make_all(int dirfd, const char *path, mode_t mode, struct err *e)
{
    CLEANUP_FREE char *copy = strdup(path);
    if (!copy) {
        return err_oom(e);
    }
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != '\0') {
            continue;
        }
        char c = *p;
        *p = '\0';
        if (mkdirat(dirfd, copy, mode) < 0 && errno != EEXIST) {
            return err_sys(e, errno, "create folder %s", copy);
        }
        if (c == '\0') {
            return 0;
        }
        *p = c;
    }
}

enum { REMOVE_DEPTH = 64 };

struct removal {
    int top; /* the folder that is being removed */
    dev_t dev;
    uint64_t moved;
};

/*
 * What lies deeper than a few descriptors and a little stack reach is moved up, to where the walk will find it: whoever made the tree
 * may have nested it as deep as he liked.
 */
static int move_up(struct removal *rm, int dirfd, const char *name)
{
    char to[64];
    int r;
    do {
        snprintf(to, sizeof(to), ".removed-%llu", (unsigned long long)rm->moved++);
        r = renameat2(dirfd, name, rm->top, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
    } while (r == -EEXIST);
    return r == -ENOENT ? 0 : r; /* somebody else removes it too */
}

static int remove_at(struct removal *rm, int dirfd, const char *name, int depth);

/* Takes fd. */
static int remove_entries(struct removal *rm, int fd, int depth)
{
    DIR *d = fdopendir(fd);
    if (!d) {
        int saved = errno;
        close(fd);
        return -saved;
    }
    int r = 0;
    uint64_t moved;
    do {
        moved = rm->moved;
        struct dirent *ent;
        while (r == 0 && (ent = readdir(d))) {
            if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0) {
                r = remove_at(rm, fd, ent->d_name, depth + 1);
            }
        }
        rewinddir(d);
        /* Only the topmost one gets new entries from below. */
    } while (r == 0 && depth == 0 && moved != rm->moved);
    closedir(d);
    return r;
}

static int remove_at(struct removal *rm, int dirfd, const char *name, int depth)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return -errno;
    }
    if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != ENOTEMPTY && errno != EEXIST) {
        return -errno;
    }
    if (depth > REMOVE_DEPTH) {
        return move_up(rm, dirfd, name);
    }
    CLEANUP_FD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    if (st.st_dev != rm->dev) {
        return -EBUSY;
    }
    if (depth == 0) {
        rm->top = fd;
    }
    int r = remove_entries(rm, fd_steal(&fd), depth);
    return r == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : r;
}

int dir_remove_all(int dirfd, const char *path, struct err *e)
{
    struct stat st;
    if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? 0 : err_sys(e, errno, "stat %s", path);
    }
    struct removal rm = { .top = -1, .dev = st.st_dev };
    int r = remove_at(&rm, dirfd, path, 0);
    return r < 0 ? err_sys(e, -r, "remove %s", path) : 0;
}
