/*
 * oci/rootfs.c: the root file system: a detached mount made on the parent's side, put over "/" of the init's own mount namespace and
 * pivoted into. Only "/" itself has to be private for that; whatever else is mounted keeps the propagation that the config asks for.
 */
#include "base/fd.h"
#include "oci/ctr.h"
#include "sys/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* The kernel's own words about a failed fsconfig(), if it left any. */
static void fs_log(int fs, char *out, size_t size)
{
    ssize_t n = read(fs, out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static int fs_option(int fs, char *option)
{
    char *eq = strchr(option, '=');
    if (eq) {
        *eq = '\0';
        return fsconfig(fs, FSCONFIG_SET_STRING, option, eq + 1, 0);
    }
    /* Some file systems take their words as flags, some as empty strings. */
    int r = fsconfig(fs, FSCONFIG_SET_FLAG, option, NULL, 0);
    return r < 0 && errno == EINVAL ? fsconfig(fs, FSCONFIG_SET_STRING, option, "", 0) : r;
}

int fs_mount_make(struct ctr *c, const char *type, const char *source, const char *data, uint64_t attr, int *ret_fd, struct err *e)
{
    CLEANUP_FD int fs = fsopen(type, FSOPEN_CLOEXEC);
    CLEANUP_FREE char *copy = strdup(data ? data : "");
    char why[256];
    if (fs < 0) {
        return errno == ENODEV ? err_set(e, ENODEV, ERR_INVALID, "file system type '%s' is not known to this kernel", type)
                               : err_sys(e, errno, "fsopen %s", type);
    }
    if (!copy) {
        return err_oom(e);
    }
    if (!str_empty(source) && fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0) {
        int saved = errno;
        fs_log(fs, why, sizeof(why));
        return err_sys(e, saved, "source %s of %s %s", source, type, why);
    }
    for (char *p = copy, *next; p && *p; p = next) {
        next = strchr(p, ',');
        if (next) {
            *next++ = '\0';
        }
        if (*p && fs_option(fs, p) < 0) {
            int saved = errno;
            fs_log(fs, why, sizeof(why));
            return err_sys(e, saved, "option '%s' of %s%s%s", p, type, *why ? ": " : "", why);
        }
    }
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        int saved = errno;
        fs_log(fs, why, sizeof(why));
        return err_sys(e, saved, "mount %s%s%s", type, *why ? ": " : "", why);
    }
    int fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attr);
    if (fd < 0) {
        return err_sys(e, errno, "fsmount %s", type);
    }
    ctr_fd_done(c, &fs);
    *ret_fd = fd;
    return 0;
}

static int overlay_config_upper(int fs, const struct oci_overlay *o)
{
    if (o->upper && (fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", o->upper, 0) < 0 ||
                     fsconfig(fs, FSCONFIG_SET_STRING, "workdir", o->work, 0) < 0)) {
        return -errno;
    }
    return 0;
}

/* Kernels before 6.5 take one lowerdir= string, of which fsconfig() passes 256 bytes at most: those get mount(2), in the init. */
static int overlay_config(int fs, const struct oci_overlay *o)
{
    for (char *const *l = o->lowers; *l; l++) {
        if (fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", *l, 0) < 0) {
            return -errno;
        }
    }
    return overlay_config_upper(fs, o);
}

static int overlay_create(int fs, const struct oci_overlay *o, struct err *e)
{
    char why[256];
    if ((o->upper && o->is_volatile && fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0) ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        int saved = errno;
        fs_log(fs, why, sizeof(why));
        return err_sys(e, saved, "mount the layers as overlay%s%s", *why ? ": " : "", why);
    }
    return 0;
}

static int overlay_make_plain(int fs, const struct oci_overlay *o, struct err *e)
{
    int r = overlay_config(fs, o);
    return r < 0 ? err_sys(e, -r, "name the layers of the overlay") : overlay_create(fs, o, e);
}

/* A clone of path's mount that shows, to a user namespace, ids as the namespace numbers them; nothing on disk changes. */
static int mapped_clone(const char *path, int userns, int *ret_fd, struct err *e)
{
    CLEANUP_FD int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    struct mount_attr a = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)(unsigned)userns };
    if (fd < 0) {
        return err_sys(e, errno, "open layer %s", path);
    }
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0) {
        return err_sys(e, errno, "map the ids of layer %s", path);
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

static int set_layer(int fs, const char *key, int layer, struct err *e)
{
    if (fsconfig(fs, FSCONFIG_SET_FD, key, NULL, layer) < 0) {
        return errno == EINVAL ? err_set(e, ENOSYS, ERR_UNSUPPORTED, "this kernel cannot map the ids of layers; 6.14 or newer can")
                               : err_sys(e, errno, "%s of the overlay", key);
    }
    return 0;
}

/* A detached mount ends with its descriptor: all of them stay open until the overlay is made. */
static int overlay_make_mapped(int fs, const struct oci_overlay *o, int userns, struct err *e)
{
    size_t n = 0, max = strv_len(o->lowers) + 1;
    int *fds = calloc(max, sizeof(*fds));
    int r = fds ? 0 : err_oom(e);
    for (; r == 0 && n + 1 < max; n += r == 0) {
        r = mapped_clone(o->lowers[n], userns, &fds[n], e);
        if (r == 0 && (r = set_layer(fs, "lowerdir+", fds[n], e)) < 0) {
            fd_close(&fds[n]);
        }
    }
    /* The upper layer is not mapped: overlay itself, as the host's root, could make nothing in it. Its owner is the mapped root. */
    if (r == 0 && overlay_config_upper(fs, o) < 0) {
        r = err_sys(e, errno, "name the upper layer of the overlay");
    }
    if (r == 0) {
        r = overlay_create(fs, o, e);
    }
    while (n > 0) {
        fd_close(&fds[--n]);
    }
    free(fds);
    return r;
}

static int overlay_make(const struct oci_overlay *o, int userns, int *ret_fd, struct err *e)
{
    /* Overlay wants two layers or an upper one: a single read-only layer is just a bind mount. */
    if (!o->upper && o->lowers[0] && !o->lowers[1]) {
        if (userns >= 0) {
            return mapped_clone(o->lowers[0], userns, ret_fd, e);
        }
        int fd = open_tree(AT_FDCWD, o->lowers[0], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        *ret_fd = fd;
        return fd < 0 ? err_sys(e, errno, "open layer %s", o->lowers[0]) : 0;
    }
    CLEANUP_FD int fs = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fs < 0) {
        return err_sys(e, errno, "fsopen overlay");
    }
    int r = userns >= 0 ? overlay_make_mapped(fs, o, userns, e) : overlay_make_plain(fs, o, e);
    if (r < 0) {
        return r;
    }
    int fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    if (fd < 0) {
        return err_sys(e, errno, "fsmount overlay");
    }
    *ret_fd = fd;
    return 0;
}

int ctr_overlay_open(struct ctr *c, struct err *e)
{
    if (c->args->overlay) {
        int r = overlay_make(c->args->overlay, c->userns, &c->overlay, e);
        /* EINVAL of an older kernel: the init tries mount(2). */
        return r == -EINVAL && c->userns < 0 ? 0 : r;
    }
    struct stat st;
    if (lstat(c->rootfs, &st) < 0) {
        return err_sys(e, errno, "root.path: %s", c->rootfs);
    }
    if (S_ISLNK(st.st_mode)) {
        return err_set(e, ENOTDIR, ERR_INVALID, "root.path: %s is a symbolic link; it has to be the folder itself", c->rootfs);
    }
    if (!S_ISDIR(st.st_mode)) {
        return err_set(e, ENOTDIR, ERR_INVALID, "root.path: %s is not a folder", c->rootfs);
    }
    c->overlay = open_tree(AT_FDCWD, c->rootfs, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
    /* Rootless: only the init, inside its user namespace, may clone mounts. */
    return c->overlay < 0 && errno != EPERM ? err_sys(e, errno, "root.path: open %s", c->rootfs) : 0;
}

static int overlay_mount_old(struct ctr *c, struct err *e)
{
    const struct oci_overlay *o = c->args->overlay;
    CLEANUP_BUF struct buf b = { .max = 4095 };
    buf_adds(&b, "lowerdir=");
    for (char *const *l = o->lowers; *l; l++) {
        buf_addf(&b, "%s%s", l == o->lowers ? "" : ":", *l);
    }
    if (o->upper) {
        buf_addf(&b, ",upperdir=%s,workdir=%s%s", o->upper, o->work, o->is_volatile ? ",volatile" : "");
    }
    if (buf_failed(&b)) {
        return err_set(e, E2BIG, ERR_UNSUPPORTED, "this image has more layers than this kernel can mount; 6.5 or newer can");
    }
    if (mount("overlay", c->args->bundle, "overlay", 0, buf_str(&b)) < 0) {
        return err_sys(e, errno, "mount the layers as overlay");
    }
    c->overlay = open_tree(AT_FDCWD, c->args->bundle, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    return c->overlay < 0 ? err_sys(e, errno, "clone the overlay mount") : 0;
}

static int propagation_of(const char *name, unsigned *ret, struct err *e)
{
    static const struct {
        const char *name;
        unsigned flags;
    } all[] = { { "shared", MS_SHARED },   { "rshared", MS_SHARED | MS_REC },   { "slave", MS_SLAVE },
                { "rslave", MS_SLAVE | MS_REC }, { "private", MS_PRIVATE }, { "rprivate", MS_PRIVATE | MS_REC },
                { "unbindable", MS_UNBINDABLE }, { "runbindable", MS_UNBINDABLE | MS_REC } };
    *ret = MS_SLAVE | MS_REC;
    if (str_empty(name)) {
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (str_eq(all[i].name, name)) {
            *ret = all[i].flags;
            return 0;
        }
    }
    return err_set(e, EINVAL, ERR_INVALID, "linux.rootfsPropagation: '%s' is not known", name);
}

int ctr_rootfs_prepare(struct ctr *c, struct err *e)
{
    unsigned flags;
    int r = propagation_of(c->spec->linux->rootfs_propagation, &flags, e);
    if (r < 0) {
        return r;
    }
    /* Unbindable mounts could not be cloned for the container: that kind is set at the very end. */
    unsigned now = flags & MS_UNBINDABLE ? MS_PRIVATE | MS_REC : flags;
    if (mount(NULL, "/", NULL, now | MS_REC, NULL) < 0 || mount(NULL, "/", NULL, MS_PRIVATE, NULL) < 0) {
        return err_sys(e, errno, "set the propagation of /");
    }
    if (c->overlay < 0 && c->args->overlay) {
        r = overlay_mount_old(c, e);
        if (r < 0) {
            return r;
        }
    } else if (c->overlay < 0) {
        c->overlay = open_tree(AT_FDCWD, c->rootfs, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
        if (c->overlay < 0) {
            return err_sys(e, errno, "root.path: open %s", c->rootfs);
        }
    }
    struct mount_attr a = { .propagation = flags & MS_SHARED ? 0 : MS_PRIVATE };
    if (a.propagation && mount_setattr(c->overlay, "", AT_EMPTY_PATH | AT_RECURSIVE, &a, sizeof(a)) < 0) {
        return err_sys(e, errno, "make the root file system private");
    }
    if (move_mount(c->overlay, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return err_sys(e, errno, "mount the root file system");
    }
    c->root = c->overlay;
    return 0;
}

int ctr_rootfs_pivot(struct ctr *c, struct err *e)
{
    if (fchdir(c->root) < 0) {
        return err_sys(e, errno, "enter the root file system");
    }
    if (c->args->no_pivot) {
        /* On the initramfs nothing can be pivoted away; what was "/" stays below, out of reach of every path. */
        return chroot(".") < 0 ? err_sys(e, errno, "chroot") : 0;
    }
    if (syscall(SYS_pivot_root, ".", ".") < 0) {
        return err_sys(e, errno, "pivot_root");
    }
    /* The old root now lies on top of the new one: taken off, without a trace in other namespaces. */
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return err_sys(e, errno, "take off the old root");
    }
    return 0;
}

int ctr_rootfs_finish(struct ctr *c, struct err *e)
{
    const char *name = c->spec->linux->rootfs_propagation;
    unsigned flags;
    int r = propagation_of(name, &flags, e);
    if (r < 0) {
        return r;
    }
    if (!str_empty(name) && mount(NULL, "/", NULL, flags, NULL) < 0) {
        return err_sys(e, errno, "linux.rootfsPropagation: set %s", name);
    }
    if (c->spec->root->readonly) {
        struct mount_attr a = { .attr_set = MOUNT_ATTR_RDONLY };
        if (mount_setattr(c->root, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0) {
            return err_sys(e, errno, "root.readonly");
        }
    }
    return 0;
}

/* One read-only tmpfs and one /dev/null serve every masked path; both are known by descriptor, so nobody can swap them. */
struct masks {
    int tmpfs, null;
    bool attached; /* the tmpfs */
};

static int null_open(int *ret_fd, struct err *e)
{
    CLEANUP_FD int fd = open("/dev/null", O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(e, errno, "open /dev/null");
    }
    if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
        return err_set(e, EINVAL, ERR_DENIED, "/dev/null of the host is not the null device");
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

static int mask_one(struct ctr *c, struct masks *m, const char *path, struct err *e)
{
    CLEANUP_FD int target = path_open_in_root(c->root, path, O_PATH, 0);
    struct stat st;
    int r = 0;
    if (target == -ENOENT || target == -ENOTDIR) {
        return 0;
    }
    if (target < 0 || fstat(target, &st) < 0) {
        return err_sys(e, target < 0 ? -target : errno, "open");
    }
    bool dir = S_ISDIR(st.st_mode);
    if (dir && m->tmpfs < 0) {
        r = fs_mount_make(c, "tmpfs", "tmpfs", "size=0k,nr_inodes=2,mode=755", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
                          &m->tmpfs, e);
    } else if (!dir && m->null < 0) {
        r = null_open(&m->null, e);
    }
    if (r < 0) {
        return r;
    }
    /* The tmpfs itself goes on the first folder, clones of it on the others: kernels before 6.15 clone only what is attached. */
    bool first = dir && !m->attached;
    CLEANUP_FD int clone = first ? -1 : open_tree(dir ? m->tmpfs : m->null, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    int mnt = first ? m->tmpfs : clone;
    m->attached |= first;
    if (mnt < 0 || move_mount(mnt, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        return err_sys(e, errno, "mount over it");
    }
    ctr_fd_done(c, &clone);
    ctr_fd_done(c, &target);
    return 0;
}

static int readonly_one(struct ctr *c, const char *path, struct err *e)
{
    CLEANUP_FD int target = path_open_in_root(c->root, path, O_PATH, 0);
    if (target == -ENOENT || target == -ENOTDIR) {
        return 0;
    }
    if (target < 0) {
        return err_sys(e, -target, "open");
    }
    CLEANUP_FD int mnt = open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    struct mount_attr a = { .attr_set = MOUNT_ATTR_RDONLY };
    if (mnt < 0 || mount_setattr(mnt, "", AT_EMPTY_PATH | AT_RECURSIVE, &a, sizeof(a)) < 0 ||
        move_mount(mnt, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        return err_sys(e, errno, "make it read-only");
    }
    ctr_fd_done(c, &mnt);
    ctr_fd_done(c, &target);
    return 0;
}

int ctr_paths_mask(struct ctr *c, struct err *e)
{
    const struct oci_linux *l = c->spec->linux;
    struct masks m = { -1, -1, false };
    int r = 0;
    for (char **p = l->readonly_paths; r == 0 && p && *p; p++) {
        r = readonly_one(c, *p, e);
        if (r < 0) {
            err_wrap(e, "linux.readonlyPaths: %s", *p);
        }
    }
    for (char **p = l->masked_paths; r == 0 && p && *p; p++) {
        r = mask_one(c, &m, *p, e);
        if (r < 0) {
            err_wrap(e, "linux.maskedPaths: %s", *p);
        }
    }
    ctr_fd_done(c, &m.tmpfs);
    ctr_fd_done(c, &m.null);
    return r;
}
