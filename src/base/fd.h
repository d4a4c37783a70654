/*
 * base/fd.h: file descriptors: closing by scope, whole reads and writes, files written atomically.
 * Every descriptor is O_CLOEXEC from birth. Functions take (fd, path): the folder first.
 */
#pragma once

#include "base/buf.h"

#include <sys/types.h>

/* Closes *fd if it is >= 0, keeps errno, sets *fd to -1. */
void fd_close(int *fd);
#define CLEANUP_FD CLEANUP(fd_close)
static inline int fd_steal(int *fd)
{
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

/* Writes all of it; restarts on EINTR and short writes. Returns 0 or -errno. */
MUST_USE int fd_write_all(int fd, const void *data, size_t len);
/* Reads until end of file into out; -EFBIG past max bytes. Returns 0 or -errno. */
MUST_USE int fd_read_all(int fd, struct buf *out, size_t max);
/* Reads a whole small file, at most max bytes. The error names the path. */
MUST_USE int file_read(int dirfd, const char *path, size_t max, struct buf *out, struct err *e);
/* Writes (O_WRONLY, no create) to an existing file such as a cgroup or sysctl file, in one write. */
MUST_USE int file_write(int dirfd, const char *path, const char *data, size_t len, struct err *e);
/*
 * Replaces path with the given content so that a reader, or a crash, sees the old file or the new
 * one: temporary file beside it, optional fsync of file and folder, rename.
 */
MUST_USE int file_replace(int dirfd, const char *path, const char *data, size_t len, mode_t mode,
                          bool sync, struct err *e);
/* mkdir -p below dirfd; existing folders are fine. Not for paths inside a rootfs. */
MUST_USE int dir_make_all(int dirfd, const char *path, mode_t mode, struct err *e);
/* rm -rf of path below dirfd without following symlinks or crossing into mounts; absent is fine. */
MUST_USE int dir_remove_all(int dirfd, const char *path, struct err *e);
