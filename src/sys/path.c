/* sys/path.c: see path.h. */
#include "sys/path.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_resolved(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
        .resolve = resolve,
    };
    long fd;
    /* EAGAIN: the kernel saw a rename race while it checked "..": try again, but not for ever. */
    for (int i = 0; i < 32; i++) {
        fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) {
            break;
        }
    }
    return fd < 0 ? -errno : (int)fd;
}

int path_open_in_root(int rootfd, const char *path, int flags, mode_t mode)
{
    return open_resolved(rootfd, *path ? path : "/", flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int path_open_beneath(int rootfd, const char *path, int flags, mode_t mode)
{
    return open_resolved(rootfd, path, flags | O_NOFOLLOW, mode, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

/* The usual case of a missing folder: all but its last name is there. < 0: it takes the walk. */
static int make_last(int rootfd, const char *path, mode_t mode)
{
    const char *slash = strrchr(path, '/');
    char parent[256];
    if (!slash || slash == path || (size_t)(slash - path) >= sizeof(parent) || !slash[1] || str_eq(slash + 1, ".") || str_eq(slash + 1, "..")) {
        return -EINVAL;
    }
    snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    CLEANUP_FD int dir = path_open_in_root(rootfd, parent, O_PATH | O_DIRECTORY, 0);
    if (dir < 0 || mkdirat(dir, slash + 1, mode) < 0) {
        return -EEXIST;
    }
    int fd = openat(dir, slash + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/*
 * Walks the components that are missing. A symlink in the middle is followed inside the root by the kernel, because each prefix is
 * opened anew from the root as a whole; a missing component is made below the descriptor of its parent, which nobody can swap.
 */
int path_make_dirs_in_root(int rootfd, const char *path, mode_t mode, int *ret_fd, struct err *e)
{
    int fd = path_open_in_root(rootfd, path, O_PATH | O_DIRECTORY, 0);
    if (fd >= 0) {
        *ret_fd = fd;
        return 0;
    }
    if (fd != -ENOENT) {
        return err_sys(e, -fd, "open %s in the root", path);
    }
    fd = make_last(rootfd, path, mode);
    if (fd >= 0) {
        *ret_fd = fd;
        return 0;
    }
    CLEANUP_FREE char *copy = strdup(path);
    if (!copy) {
        return err_oom(e);
    }
    CLEANUP_FD int dir = path_open_in_root(rootfd, "/", O_PATH | O_DIRECTORY, 0);
    if (dir < 0) {
        return err_sys(e, -dir, "open the root");
    }
    bool made = false;
    for (char *p = copy; *p;) {
        char *name = p + strspn(p, "/");
        char *end = name + strcspn(name, "/");
        if (name == end) {
            break;
        }
        char saved = *end;
        *end = '\0';
        int next;
        if (made) {
            /* Below what was just made nothing exists; ".." would leave it. */
            next = str_eq(name, "..") || str_eq(name, ".") ? -EINVAL : -ENOENT;
        } else {
            next = path_open_in_root(rootfd, copy, O_PATH | O_DIRECTORY, 0);
        }
        if (next == -ENOENT) {
            if (mkdirat(dir, name, mode) < 0 && errno != EEXIST) {
                return err_sys(e, errno, "create %s in the root", copy);
            }
            /* A dangling symlink of that name is no folder: refused here, never followed. */
            next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            next = next < 0 ? -errno : next;
            made = next >= 0;
        }
        if (next < 0) {
            return err_sys(e, -next, "open %s in the root", copy);
        }
        fd_close(&dir);
        dir = next;
        *end = saved;
        p = end;
    }
    *ret_fd = fd_steal(&dir);
    return 0;
}

int path_parent_in_root(int rootfd, const char *path, mode_t mode, int *ret_dirfd, const char **ret_name, struct err *e)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (!*name || str_eq(name, ".") || str_eq(name, "..")) {
        return err_set(e, EINVAL, ERR_INVALID, "%s does not end in a name", path);
    }
    CLEANUP_FREE char *parent = slash && slash != path ? strndup(path, (size_t)(slash - path)) : strdup("/");
    if (!parent) {
        return err_oom(e);
    }
    int r = path_make_dirs_in_root(rootfd, parent, mode, ret_dirfd, e);
    if (r == 0) {
        *ret_name = name;
    }
    return r;
}

int path_mount_target(int rootfd, const char *path, bool want_dir, int *ret_fd, struct err *e)
{
    int fd = path_open_in_root(rootfd, path, O_PATH, 0);
    if (fd == -ENOENT && want_dir) {
        fd = make_last(rootfd, path, 0755);
        if (fd < 0) {
            return path_make_dirs_in_root(rootfd, path, 0755, ret_fd, e);
        }
    }
    if (fd == -ENOENT) {
        CLEANUP_FD int dir = -1;
        const char *name;
        int r = path_parent_in_root(rootfd, path, 0755, &dir, &name, e);
        if (r < 0) {
            return r;
        }
        CLEANUP_FD int made = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0644);
        if (made < 0) {
            return err_sys(e, errno, "create %s in the root", path);
        }
        fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        fd = fd < 0 ? -errno : fd;
    }
    if (fd < 0) {
        return err_sys(e, -fd, "open %s in the root", path);
    }
    *ret_fd = fd;
    return 0;
}

long path_fs_type(int fd)
{
    struct statfs st;
    return fstatfs(fd, &st) < 0 ? 0 : (long)st.f_type;
}

const char *path_of_fd(int fd, char buf[static 32])
{
    snprintf(buf, 32, "/proc/self/fd/%d", fd);
    return buf;
}
