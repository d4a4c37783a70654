/*
 * oci/devices.c: /dev of the container and its console. Nodes are made below a descriptor of the real folder /dev; a /dev that is a
 * symlink in the image is refused, for it could lead the nodes anywhere.
 */
#include "base/fd.h"
#include "oci/ctr.h"
#include "oci/process.h"
#include "sys/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const struct oci_device defaults[] = {
    { .type = (char *)(uintptr_t) "c", .path = (char *)(uintptr_t) "/dev/null", .major = 1, .minor = 3 },
    { .type = (char *)(uintptr_t) "c", .path = (char *)(uintptr_t) "/dev/zero", .major = 1, .minor = 5 },
    { .type = (char *)(uintptr_t) "c", .path = (char *)(uintptr_t) "/dev/full", .major = 1, .minor = 7 },
    { .type = (char *)(uintptr_t) "c", .path = (char *)(uintptr_t) "/dev/random", .major = 1, .minor = 8 },
    { .type = (char *)(uintptr_t) "c", .path = (char *)(uintptr_t) "/dev/urandom", .major = 1, .minor = 9 },
    { .type = (char *)(uintptr_t) "c", .path = (char *)(uintptr_t) "/dev/tty", .major = 5, .minor = 0 },
};

static mode_t device_kind(const struct oci_device *d)
{
    return d->type[0] == 'b' ? S_IFBLK : d->type[0] == 'p' ? S_IFIFO : S_IFCHR;
}

/* Inside a user namespace nodes cannot be made: the host's is bound instead, and has to be the same device. */
static int device_bind(int dir, const char *name, const struct oci_device *d, struct err *e)
{
    CLEANUP_FD int host = open(d->path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (host < 0 || fstat(host, &st) < 0) {
        return err_sys(e, errno, "open %s of the host", d->path);
    }
    if ((st.st_mode & S_IFMT) != device_kind(d) || st.st_rdev != makedev((unsigned)d->major, (unsigned)d->minor)) {
        return err_set(e, EPERM, ERR_DENIED, "cannot create %s in a user namespace, and the host's is another device", d->path);
    }
    CLEANUP_FD int mnt = open_tree(host, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    CLEANUP_FD int file = openat(dir, name, O_CREAT | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0666);
    CLEANUP_FD int target = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (mnt < 0 || target < 0 || move_mount(mnt, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        return err_sys(e, errno, "bind %s", d->path);
    }
    return 0;
}

static int device_existing(int dir, const char *name, const struct oci_device *d, struct err *e)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_sys(e, errno, "stat %s", d->path);
    }
    bool same = (st.st_mode & S_IFMT) == device_kind(d) &&
                (device_kind(d) == S_IFIFO || st.st_rdev == makedev((unsigned)d->major, (unsigned)d->minor));
    return same ? 0 : err_set(e, EEXIST, ERR_INVALID, "%s is there already and is something else", d->path);
}

static int device_make(const struct ctr *c, int dir, const char *name, const struct oci_device *d, struct err *e)
{
    mode_t mode = d->file_mode ? *d->file_mode & 07777 : 0666;
    uid_t uid = d->uid ? *d->uid : 0;
    gid_t gid = d->gid ? *d->gid : 0;
    if (c->userns >= 0) {
        return device_bind(dir, name, d, e);
    }
    if (mknodat(dir, name, device_kind(d) | mode, makedev((unsigned)d->major, (unsigned)d->minor)) < 0) {
        if (errno == EEXIST) {
            return device_existing(dir, name, d, e);
        }
        return errno == EPERM ? device_bind(dir, name, d, e) : err_sys(e, errno, "create %s", d->path);
    }
    /* The umask is 0 here, so the mode is right; most nodes belong to root already. */
    if ((uid || gid) && fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_sys(e, errno, "give %s to %u:%u", d->path, uid, gid);
    }
    return 0;
}

static int dev_folder(struct ctr *c, int *ret_fd, struct err *e)
{
    int fd = path_open_beneath(c->root, "dev", O_PATH | O_DIRECTORY, 0);
    if (fd == -ENOENT) {
        return path_make_dirs_in_root(c->root, "/dev", 0755, ret_fd, e);
    }
    if (fd < 0) {
        return err_set(e, -fd, ERR_DENIED, "/dev in the root file system has to be a real folder");
    }
    *ret_fd = fd;
    return 0;
}

static int dev_links(int dev, struct err *e)
{
    static const char *const links[][2] = { { "/proc/self/fd", "fd" },
                                            { "/proc/self/fd/0", "stdin" },
                                            { "/proc/self/fd/1", "stdout" },
                                            { "/proc/self/fd/2", "stderr" },
                                            { "pts/ptmx", "ptmx" } };
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        if (symlinkat(links[i][0], dev, links[i][1]) == 0) {
            continue;
        }
        /* An image may bring a /dev/ptmx of its own, which would be the host's terminals. */
        if (errno == EEXIST && str_eq(links[i][1], "ptmx") && unlinkat(dev, "ptmx", 0) == 0 && symlinkat(links[i][0], dev, "ptmx") == 0) {
            continue;
        }
        if (errno != EEXIST) {
            return err_sys(e, errno, "create /dev/%s", links[i][1]);
        }
    }
    return 0;
}

/* With the host's /dev bound in, everything is there and nothing may be made. */
static bool dev_is_bound(const struct ctr *c)
{
    for (size_t i = 0; i < c->spec->mounts.n; i++) {
        const struct oci_mount *m = &c->spec->mounts.v[i];
        if (str_eq(m->destination, "/dev") || str_eq(m->destination, "/dev/")) {
            struct mount_flags f;
            if (mount_flags_parse(m, &f, NULL) == 0) {
                mount_flags_done(&f);
                return f.bind;
            }
        }
    }
    return false;
}

static int device_configured(struct ctr *c, int dev, const struct oci_device *d, struct err *e)
{
    if (d->type[0] == 'u') {
        struct oci_device plain = *d;
        plain.type = (char *)(uintptr_t) "c";
        return device_configured(c, dev, &plain, e);
    }
    if (str_starts(d->path, "/dev/") && !strchr(d->path + 5, '/')) {
        return device_make(c, dev, d->path + 5, d, e);
    }
    CLEANUP_FD int dir = -1;
    const char *name;
    int r = path_parent_in_root(c->root, d->path, 0755, &dir, &name, e);
    return r < 0 ? r : device_make(c, dir, name, d, e);
}

int ctr_devices(struct ctr *c, struct err *e)
{
    const struct oci_linux *l = c->spec->linux;
    if (dev_is_bound(c)) {
        return 0;
    }
    CLEANUP_FD int dev = -1;
    int r = dev_folder(c, &dev, e);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(defaults); i++) {
        bool given = false;
        for (size_t k = 0; k < l->devices.n; k++) {
            given |= str_eq(l->devices.v[k].path, defaults[i].path);
        }
        if (!given) {
            r = device_make(c, dev, defaults[i].path + 5, &defaults[i], e);
        }
    }
    for (size_t i = 0; r == 0 && i < l->devices.n; i++) {
        r = device_configured(c, dev, &l->devices.v[i], e);
        if (r < 0) {
            err_wrap(e, "linux.devices[%zu]", i);
        }
    }
    r = r < 0 ? r : dev_links(dev, e);
    ctr_fd_done(c, &dev);
    return r;
}

static int console_send(int sock, int master, const char *name)
{
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { 0 };
    struct iovec iov = { (char *)(uintptr_t)name, strlen(name) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
    struct cmsghdr *m = CMSG_FIRSTHDR(&h);
    m->cmsg_level = SOL_SOCKET;
    m->cmsg_type = SCM_RIGHTS;
    m->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(m), &master, sizeof(master));
    ssize_t n;
    do {
        n = sendmsg(sock, &h, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* The peer of a pty master, by descriptor: no path of the container is looked at. */
static int pty_peer(int master, char *name, size_t size, int *ret_slave, struct err *e)
{
    int unlock = 0;
    unsigned number;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0) {
        return err_sys(e, errno, "unlock the pty");
    }
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        return err_sys(e, errno, "open the pty's peer");
    }
    snprintf(name, size, "/dev/pts/%u", number);
    *ret_slave = slave;
    return 0;
}

/* The container's own devpts, and nothing else that lies there under that name. */
static int ptmx_open(int root, struct err *e)
{
    int fd = path_open_in_root(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, 0);
    if (fd < 0) {
        return err_sys(e, -fd, "open /dev/pts/ptmx");
    }
    struct stat st;
    if (path_fs_type(fd) != DEVPTS_SUPER_MAGIC || fstat(fd, &st) < 0 || st.st_rdev != makedev(5, 2)) {
        fd_close(&fd);
        return err_set(e, EINVAL, ERR_DENIED, "/dev/pts/ptmx of the container is no pty multiplexer");
    }
    return fd;
}

int console_open(int root, const struct oci_process *p, int console_socket, int *ret_slave, struct err *e)
{
    char name[32];
    CLEANUP_FD int slave = -1;
    CLEANUP_FD int master = ptmx_open(root, e);
    if (master < 0) {
        return master;
    }
    int r = pty_peer(master, name, sizeof(name), &slave, e);
    if (r < 0) {
        return r;
    }
    if (p->console_size) {
        struct winsize ws = { .ws_row = (unsigned short)p->console_size->height, .ws_col = (unsigned short)p->console_size->width };
        (void)ioctl(master, TIOCSWINSZ, &ws);
    }
    if (p->user.uid && fchown(slave, p->user.uid, (gid_t)-1) < 0) {
        return err_sys(e, errno, "give the pty to uid %u", p->user.uid);
    }
    r = console_socket < 0 ? -ENOTCONN : console_send(console_socket, master, name);
    if (r < 0) {
        return err_sys(e, -r, "send the console to the console socket");
    }
    *ret_slave = fd_steal(&slave);
    return 0;
}

int ctr_console_open(struct ctr *c, struct err *e)
{
    int r = console_open(c->root, c->spec->process, c->args->console_socket, &c->console, e);
    if (r < 0) {
        return err_wrap(e, "process.terminal");
    }
    CLEANUP_FD int dev = -1;
    r = dev_folder(c, &dev, e);
    if (r < 0) {
        return r;
    }
    CLEANUP_FD int file = openat(dev, "console", O_CREAT | O_NOFOLLOW | O_WRONLY | O_NOCTTY | O_CLOEXEC, 0666);
    CLEANUP_FD int target = openat(dev, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP_FD int mnt = open_tree(c->console, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (target < 0 || mnt < 0 || move_mount(mnt, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        return err_sys(e, errno, "bind the pty on /dev/console");
    }
    return 0;
}
