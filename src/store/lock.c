/* store/lock.c: see lock.h. */
#include "store/lock.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int lock_name(const char *kind, const char *id, char out[static 200], struct err *e)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:";
    int n = snprintf(out, 200, "locks/%s-%s", kind, id);
    if (n < 0 || n >= 200 || str_empty(id) || strspn(id, allowed) != strlen(id)) {
        return err_set(e, EINVAL, ERR_INVALID, "lock %s: %.64s is not an id", kind, id);
    }
    return 0;
}

static int lock_wait(int fd, bool shared, int timeout_ms)
{
    int how = shared ? LOCK_SH : LOCK_EX;
    if (timeout_ms < 0) {
        int r;
        while ((r = flock(fd, how)) < 0 && errno == EINTR) {
        }
        return r < 0 ? -errno : 0;
    }
    int64_t end = store_now() + (int64_t)timeout_ms * 1000000;
    for (long pause = 500000;; pause = pause < 20000000 ? pause * 2 : pause) {
        if (flock(fd, how | LOCK_NB) == 0) {
            return 0;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return -errno;
        }
        if (store_now() >= end) {
            return -EAGAIN;
        }
        nanosleep(&(struct timespec) { .tv_nsec = pause }, NULL);
    }
}

/* The file may have been removed by lock_forget() while we waited: then what we hold is nobody's lock any more. */
static bool lock_is_current(struct store *s, const char *name, int fd)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && fstatat(store_run_fd(s), name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

int lock_take(struct store *s, const char *kind, const char *id, bool shared, int timeout_ms, int *ret_fd, struct err *e)
{
    char name[200];
    int r = lock_name(kind, id, name, e);
    if (r < 0) {
        return r;
    }
    for (;;) {
        CLEANUP_FD int fd = openat(store_run_fd(s), name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            return err_sys(e, errno, "open %s/%s", store_run(s), name);
        }
        r = lock_wait(fd, shared, timeout_ms);
        if (r == -EAGAIN) {
            return err_set(e, EAGAIN, ERR_BUSY, "%s %s is being worked on", kind, id);
        }
        if (r < 0) {
            return err_sys(e, -r, "lock %s/%s", store_run(s), name);
        }
        if (lock_is_current(s, name, fd)) {
            *ret_fd = fd_steal(&fd);
            return 0;
        }
    }
}

void lock_forget(struct store *s, const char *kind, const char *id)
{
    char name[200];
    if (lock_name(kind, id, name, NULL) == 0) {
        unlinkat(store_run_fd(s), name, 0);
    }
}
