/*
 * oci/mounts.c: config.json's mounts. Sources of bind mounts are opened and mapped by the parent, on the host's side of everything;
 * targets are resolved inside the root and mounted on by descriptor, so that a symlink planted there leads nowhere.
 */
#include "base/fd.h"
#include "oci/ctr.h"
#include "sys/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char *source_path(const struct ctr *c, const struct oci_mount *m)
{
    return m->source[0] == '/' ? strdup(m->source) : str_printf("%s/%s", c->args->bundle, m->source);
}

static int source_idmap(const struct ctr *c, const struct oci_mount *m, const struct mount_flags *f, int mnt, struct err *e)
{
    CLEANUP_FD int made = -1;
    int userns = c->userns;
    if (m->uid_mappings.n || m->gid_mappings.n) {
        int r = userns_make(m->uid_mappings.v, m->uid_mappings.n, m->gid_mappings.v, m->gid_mappings.n, &made, e);
        if (r < 0) {
            return r;
        }
        userns = made;
    } else if (!f->idmap) {
        return 0;
    }
    if (userns < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "idmap needs a user namespace or uidMappings and gidMappings");
    }
    struct mount_attr a = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)(unsigned)userns };
    if (mount_setattr(mnt, "", AT_EMPTY_PATH | (f->ridmap ? AT_RECURSIVE : 0), &a, sizeof(a)) < 0) {
        return errno == EINVAL ? err_set(e, EINVAL, ERR_UNSUPPORTED, "the file system of %s cannot map ids (idmapped mounts)", m->source)
                               : err_sys(e, errno, "map the ids of %s", m->source);
    }
    return 0;
}

static int source_open(const struct ctr *c, const struct oci_mount *m, const struct mount_flags *f, int *ret_fd, struct err *e)
{
    CLEANUP_FREE char *path = str_empty(m->source) ? NULL : source_path(c, m);
    if (!path) {
        return err_set(e, EINVAL, ERR_INVALID, "source: a bind mount needs one");
    }
    unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (f->recursive ? AT_RECURSIVE : 0u) | (f->src_nofollow ? AT_SYMLINK_NOFOLLOW : 0u);
    CLEANUP_FD int fd = open_tree(AT_FDCWD, path, flags);
    if (fd < 0) {
        return err_sys(e, errno, "source %s", path);
    }
    int r = source_idmap(c, m, f, fd, e);
    if (r == 0) {
        *ret_fd = fd_steal(&fd);
    }
    return r;
}

int ctr_mount_sources_open(struct ctr *c, struct err *e)
{
    size_t n = c->spec->mounts.n;
    c->sources = calloc(n + 1, sizeof(*c->sources));
    if (!c->sources) {
        return err_oom(e);
    }
    memset(c->sources, 0xff, (n + 1) * sizeof(*c->sources)); /* all -1 */
    for (size_t i = 0; i < n; i++) {
        const struct oci_mount *m = &c->spec->mounts.v[i];
        struct mount_flags f;
        int r = mount_flags_parse(m, &f, e);
        if (r < 0) {
            return r;
        }
        if (f.bind && !f.remount) {
            r = source_open(c, m, &f, &c->sources[i], e);
        } else if (m->uid_mappings.n || f.idmap) {
            r = err_set(e, EINVAL, ERR_INVALID, "only bind mounts can be mapped");
        }
        mount_flags_done(&f);
        /* Rootless: the init opens it, inside its user namespace. */
        if (r < 0 && !(r == -EPERM && c->userns >= 0)) {
            return err_wrap(e, "mounts[%zu] (%s)", i, m->destination);
        }
    }
    return 0;
}

/* Files of /proc that may be mounted over, as lxcfs does. */
static bool proc_file_allowed(const char *path)
{
    static const char *const allowed[] = { "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps",
                                           "/proc/uptime",  "/proc/loadavg",   "/proc/slabinfo", "/proc/net/dev",
                                           "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled" };
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        if (str_eq(allowed[i], path)) {
            return true;
        }
    }
    return false;
}

static int proc_check(int target, int mnt, const char *path, struct err *e)
{
    if (path_fs_type(target) != PROC_SUPER_MAGIC || proc_file_allowed(path)) {
        return 0;
    }
    struct stat a, b;
    /* The root of one procfs over the root of another is how /proc itself gets replaced. */
    if (path_fs_type(mnt) == PROC_SUPER_MAGIC && fstat(target, &a) == 0 && fstat(mnt, &b) == 0 && a.st_ino == 1 && b.st_ino == 1) {
        return 0;
    }
    return err_set(e, EPERM, ERR_DENIED, "%s is inside /proc: nothing may be mounted there", path);
}

static int attach_to(int target, int mnt, const char *path, struct err *e)
{
    int r = proc_check(target, mnt, path, e);
    if (r == 0 && move_mount(mnt, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        r = err_sys(e, errno, "mount on %s", path);
    }
    return r;
}

int mount_attach(struct ctr *c, int mnt, const char *path, bool is_dir, struct err *e)
{
    CLEANUP_FD int target = -1;
    int r = path_mount_target(c->root, path, is_dir, &target, e);
    r = r < 0 ? r : attach_to(target, mnt, path, e);
    ctr_fd_done(c, &target);
    return r;
}

/*
 * procfs and sysfs go only on a real folder: a symlink in the image could put them where the masks do not reach (CVE-2023-27561). What
 * was looked at is what is mounted on: another container with the same volume may be swapping it meanwhile.
 */
static int kernel_fs_attach(struct ctr *c, int mnt, const char *path, struct err *e)
{
    const char *name = path + strspn(path, "/");
    CLEANUP_FD int fd = path_open_beneath(c->root, name, O_PATH | O_DIRECTORY, 0);
    if (fd == -ENOENT) {
        CLEANUP_FD int made = -1;
        int r = path_make_dirs_in_root(c->root, path, 0755, &made, e);
        if (r < 0) {
            return r;
        }
        fd = path_open_beneath(c->root, name, O_PATH | O_DIRECTORY, 0);
    }
    if (fd == -ENOTDIR || fd == -ELOOP || fd == -EXDEV) {
        return err_set(e, ENOTDIR, ERR_DENIED, "%s in the root file system has to be a real folder", path);
    }
    int r = fd < 0 ? err_sys(e, -fd, "open %s", path) : attach_to(fd, mnt, path, e);
    ctr_fd_done(c, &fd);
    return r;
}

static int mount_set(int mnt, const struct mount_flags *f, unsigned base_propagation, struct err *e)
{
    struct mount_attr own = { .attr_set = f->attr_set, .attr_clr = f->attr_clear };
    struct mount_attr rec = { .attr_set = f->rec_set, .attr_clr = f->rec_clear };
    if (own.attr_set & MOUNT_ATTR__ATIME || (own.attr_clr & MOUNT_ATTR__ATIME)) {
        own.attr_clr |= MOUNT_ATTR__ATIME;
    }
    if (f->bind && (own.attr_set || own.attr_clr) && mount_setattr(mnt, "", AT_EMPTY_PATH, &own, sizeof(own)) < 0) {
        return err_sys(e, errno, "set the mount's attributes");
    }
    if ((rec.attr_set || rec.attr_clr) && mount_setattr(mnt, "", AT_EMPTY_PATH | AT_RECURSIVE, &rec, sizeof(rec)) < 0) {
        return err_sys(e, errno, "set the mounts' attributes recursively");
    }
    const unsigned all[] = { f->bind ? base_propagation : 0, f->propagation };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct mount_attr p = { .propagation = all[i] & ~(unsigned)MS_REC };
        if (p.propagation &&
            mount_setattr(mnt, "", AT_EMPTY_PATH | (all[i] & MS_REC ? AT_RECURSIVE : 0), &p, sizeof(p)) < 0) {
            return err_sys(e, errno, "set the mount's propagation");
        }
    }
    return 0;
}

static int copy_file(int from, int to, const char *name, const struct stat *st)
{
    CLEANUP_FD int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP_FD int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, st->st_mode & 07777);
    if (in < 0 || out < 0) {
        return -errno;
    }
    char b[16384];
    ssize_t n;
    while ((n = read(in, b, sizeof(b))) > 0) {
        int r = fd_write_all(out, b, (size_t)n);
        if (r < 0) {
            return r;
        }
    }
    return n < 0 || fchown(out, st->st_uid, st->st_gid) < 0 || fchmod(out, st->st_mode & 07777) < 0 ? -errno : 0;
}


static int copy_tree(int from, int to, int depth);

static int copy_entry(int from, int to, const char *name, int depth)
{
    struct stat st;
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    if (S_ISREG(st.st_mode)) {
        return copy_file(from, to, name, &st);
    }
    if (S_ISLNK(st.st_mode)) {
        char link[4096];
        ssize_t n = readlinkat(from, name, link, sizeof(link) - 1);
        if (n < 0) {
            return -errno;
        }
        link[n] = '\0';
        return symlinkat(link, to, name) < 0 ? -errno : 0;
    }
    if (S_ISDIR(st.st_mode)) {
        if (mkdirat(to, name, st.st_mode & 07777) < 0) {
            return -errno;
        }
        CLEANUP_FD int f = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        CLEANUP_FD int t = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (f < 0 || t < 0 || fchown(t, st.st_uid, st.st_gid) < 0) {
            return -errno;
        }
        return copy_tree(f, t, depth + 1);
    }
    return mknodat(to, name, st.st_mode, st.st_rdev) < 0 ? -errno : 0;
}

/* tmpcopyup: what the image has in the folder shows in the tmpfs that is mounted over it. */
static int copy_tree(int from, int to, int depth)
{
    if (depth > 128) {
        return -ELOOP;
    }
    int copy = fcntl(from, F_DUPFD_CLOEXEC, 3);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d) {
        return -errno;
    }
    int r = 0;
    struct dirent *ent;
    while (r == 0 && (ent = readdir(d))) {
        if (!str_eq(ent->d_name, ".") && !str_eq(ent->d_name, "..")) {
            r = copy_entry(from, to, ent->d_name, depth);
        }
    }
    closedir(d);
    return r;
}

static int tmpfs_copy_up(struct ctr *c, int mnt, const char *path, struct err *e)
{
    CLEANUP_FD int from = path_open_in_root(c->root, path, O_RDONLY | O_DIRECTORY, 0);
    if (from == -ENOENT) {
        return 0;
    }
    if (from < 0) {
        return err_sys(e, -from, "tmpcopyup: open %s", path);
    }
    int r = copy_tree(from, mnt, 0);
    return r < 0 ? err_sys(e, -r, "tmpcopyup of %s", path) : 0;
}

static int mount_remount(struct ctr *c, const struct oci_mount *m, const struct mount_flags *f, struct err *e)
{
    CLEANUP_FD int fd = path_open_in_root(c->root, m->destination, O_PATH, 0);
    struct mount_attr a = { .attr_set = f->attr_set, .attr_clr = f->attr_clear };
    if (fd < 0) {
        return err_sys(e, -fd, "open %s", m->destination);
    }
    return mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0 ? err_sys(e, errno, "remount %s", m->destination) : 0;
}

/* With src-nofollow + copy-symlink the link itself is made in the root instead of a mount. */
static int symlink_copy(struct ctr *c, const struct oci_mount *m, const char *link, struct err *e)
{
    CLEANUP_FD int dir = -1;
    const char *name;
    int r = path_parent_in_root(c->root, m->destination, 0755, &dir, &name, e);
    if (r == 0 && symlinkat(link, dir, name) < 0 && errno != EEXIST) {
        r = err_sys(e, errno, "create the symlink %s", m->destination);
    }
    return r;
}

static int mount_bind(struct ctr *c, size_t i, const struct oci_mount *m, const struct mount_flags *f, struct err *e)
{
    CLEANUP_FD int mnt = fd_steal(&c->sources[i]);
    struct stat st;
    int r = mnt < 0 ? source_open(c, m, f, &mnt, e) : 0;
    if (r < 0) {
        return r;
    }
    if (fstat(mnt, &st) < 0) {
        return err_sys(e, errno, "stat %s", m->source);
    }
    if (f->copy_symlink && S_ISLNK(st.st_mode)) {
        char link[4096];
        ssize_t n = readlinkat(mnt, "", link, sizeof(link) - 1);
        if (n < 0) {
            return err_sys(e, errno, "read the symlink %s", m->source);
        }
        link[n] = '\0';
        return symlink_copy(c, m, link, e);
    }
    const char *base = c->spec->linux->rootfs_propagation;
    unsigned propagation = !base || str_ends(base, "slave") ? MS_SLAVE | MS_REC : str_ends(base, "shared") ? 0 : MS_PRIVATE | MS_REC;
    r = mount_set(mnt, f, propagation, e);
    r = r < 0 ? r : mount_attach(c, mnt, m->destination, S_ISDIR(st.st_mode), e);
    ctr_fd_done(c, &mnt);
    return r;
}

static int mount_fs(struct ctr *c, const struct oci_mount *m, const struct mount_flags *f, struct err *e)
{
    CLEANUP_FD int mnt = -1;
    int r = 0;
    if (str_empty(m->type)) {
        return err_set(e, EINVAL, ERR_INVALID, "type: required unless it is a bind mount");
    }
    /* What is to be copied in first cannot be read-only yet. */
    struct mount_attr late = { .attr_set = f->tmpcopyup ? f->attr_set & MOUNT_ATTR_RDONLY : 0 };
    r = fs_mount_make(c, m->type, m->source, buf_str(&f->data), f->attr_set & ~late.attr_set, &mnt, e);
    if (r == 0) {
        r = mount_set(mnt, f, 0, e);
    }
    if (r == 0 && f->tmpcopyup) {
        r = tmpfs_copy_up(c, mnt, m->destination, e);
    }
    if (r == 0 && late.attr_set && mount_setattr(mnt, "", AT_EMPTY_PATH, &late, sizeof(late)) < 0) {
        r = err_sys(e, errno, "make it read-only");
    }
    if (r == 0 && (str_eq(m->type, "proc") || str_eq(m->type, "sysfs"))) {
        r = kernel_fs_attach(c, mnt, m->destination, e);
    } else if (r == 0) {
        r = mount_attach(c, mnt, m->destination, true, e);
    }
    ctr_fd_done(c, &mnt);
    return r;
}

int ctr_mounts(struct ctr *c, struct err *e)
{
    for (size_t i = 0; i < c->spec->mounts.n; i++) {
        const struct oci_mount *m = &c->spec->mounts.v[i];
        struct mount_flags f;
        int r = mount_flags_parse(m, &f, e);
        if (r == 0 && f.remount) {
            r = mount_remount(c, m, &f, e);
        } else if (r == 0 && f.bind) {
            r = mount_bind(c, i, m, &f, e);
        } else if (r == 0 && (str_eq(m->type, "cgroup") || str_eq(m->type, "cgroup2"))) {
            r = ctr_mount_cgroup(c, m, &f, e);
        } else if (r == 0) {
            r = mount_fs(c, m, &f, e);
        }
        mount_flags_done(&f);
        if (r < 0) {
            return err_wrap(e, "mounts[%zu] (%s)", i, m->destination);
        }
    }
    return 0;
}
