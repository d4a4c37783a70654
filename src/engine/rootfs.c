/*
 * engine/rootfs.c: looking into an image or a container that does not run: a detached overlay mount of its layers. It is at no path,
 * so there is nothing to unmount, whatever kills us. Only a foreign runtime needs a path: there it stays until the container is
 * made again or removed.
 */
#include "engine/internal.h"

#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static int set_string(int fs, const char *key, const char *value)
{
    return syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

/* "lowerdir+" has no limit of a page and no characters to escape; kernels before 6.7 have only the joined form. */
static int set_lowers(int fs, char *const *lowers, struct err *e)
{
    size_t n = strv_len(lowers);
    int r = 0;
    for (size_t i = n; i-- > 0;) {
        r = set_string(fs, "lowerdir+", lowers[i]);
        if (r == -EINVAL && i == n - 1) {
            break;
        }
        if (r < 0) {
            return err_sys(e, -r, "overlay layer %s", lowers[i]);
        }
    }
    if (r == 0) {
        return 0;
    }
    CLEANUP_BUF struct buf b = { 0 };
    for (size_t i = n; i-- > 0;) {
        buf_addf(&b, "%s%s", b.len > 0 ? ":" : "", lowers[i]);
    }
    r = buf_failed(&b) ? -ENOMEM : set_string(fs, "lowerdir", buf_str(&b));
    return r < 0 ? err_sys(e, -r, "overlay of %zu layers", n) : 0;
}

int rootfs_open(char *const *lowers, const char *upper, const char *work, int *ret_fd, struct err *e)
{
    if (strv_len(lowers) == 1 && !upper) {
        int fd = open(lowers[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
            return err_sys(e, errno, "open layer %s", lowers[0]);
        }
        *ret_fd = fd;
        return 0;
    }
    CLEANUP_FD int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
    if (fs < 0) {
        return err_sys(e, errno, "fsopen overlay");
    }
    int r = set_lowers(fs, lowers, e);
    if (r == 0 && upper) {
        r = set_string(fs, "upperdir", upper);
        r = r == 0 ? set_string(fs, "workdir", work) : r;
        r = r < 0 ? err_sys(e, -r, "overlay on %s", upper) : 0;
    }
    if (r < 0) {
        return r;
    }
    if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return err_sys(e, errno, "make an overlay");
    }
    int fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
    if (fd < 0) {
        return err_sys(e, errno, "mount an overlay");
    }
    *ret_fd = fd;
    return 0;
}

int rootfs_of_process(int32_t pid, uint64_t start, int *ret_fd, struct err *e)
{
    CLEANUP_FD int pidfd = -1;
    char path[48];
    if (proc_open(pid, start, &pidfd) < 0) {
        return err_set(e, ESRCH, ERR_NOT_FOUND, "process %d has ended", pid);
    }
    snprintf(path, sizeof(path), "/proc/%d/root", pid);
    CLEANUP_FD int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "open the root of process %d", pid);
    }
    /* It lives still, so the number was its own all the time: another's root may be the host's. */
    struct pollfd p = { .fd = pidfd, .events = POLLIN };
    if (poll(&p, 1, 0) != 0) {
        return err_set(e, ESRCH, ERR_NOT_FOUND, "process %d has ended", pid);
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

int ctr_lowers(struct engine *g, const char *id, char ***ret, struct err *e)
{
    CLEANUP_STRV char **layers = NULL;
    CLEANUP_ROOTFS struct rootfs fs = { 0 };
    int r = store_ctr_layers(g->store, id, &layers, e);
    if (r == 0) {
        r = rootfs_get(g->store, layers, &fs, e);
    }
    if (r == 0) {
        *ret = PTR_STEAL(fs.lowers);
    }
    return r;
}

int rootfs_unmount(const struct ctr *c, struct err *e)
{
    CLEANUP_FREE char *path = str_printf("%s/rootfs", c->dir);
    if (!path) {
        return err_oom(e);
    }
    /* EINVAL: nothing is mounted there. */
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
    }
    return errno == EINVAL || errno == ENOENT ? 0 : err_sys(e, errno, "unmount %s", path);
}

int rootfs_mount(struct engine *g, const struct ctr *c, struct err *e)
{
    CLEANUP_STRV char **lowers = NULL;
    CLEANUP_FD int fd = -1;
    CLEANUP_FREE char *path = str_printf("%s/rootfs", c->dir), *upper = str_printf("%s/upper", c->data), *work = str_printf("%s/work", c->data);
    int r = path && upper && work ? rootfs_unmount(c, e) : err_oom(e);
    if (r == 0) {
        r = dir_make_all(AT_FDCWD, path, 0711, e);
    }
    if (r == 0) {
        r = ctr_lowers(g, c->row.id, &lowers, e);
    }
    if (r == 0) {
        r = rootfs_open(lowers, upper, work, &fd, e);
    }
    if (r == 0 && syscall(SYS_move_mount, fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        r = err_sys(e, errno, "mount an overlay at %s", path);
    }
    return r;
}
