/*
 * oci/mount-cgroup.c: mounts of type cgroup. With a cgroup namespace the file systems are mounted anew and show the container's own
 * cgroup as their root; without one, the container's own folder is bound, so that no other can be seen.
 */
#include "base/fd.h"
#include "oci/cgroup.h"
#include "oci/ctr.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static int bind_own(const struct oci_cgroup *cg, size_t i, uint64_t attr, int *ret_fd, struct err *e)
{
    /* By name: the folder's descriptor is of the parent's mount namespace, of which nothing can be cloned here. */
    CLEANUP_FREE char *path = str_printf("%s%s", cg->machine.h[i].mount, cg->path);
    int fd = path ? open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) : -1;
    struct mount_attr a = { .attr_set = attr, .propagation = MS_PRIVATE };
    if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0) {
        fd_close(&fd);
        return err_sys(e, errno, "bind the container's cgroup");
    }
    *ret_fd = fd;
    return 0;
}

static int hierarchy_mount(struct ctr *c, size_t i, uint64_t attr, int *ret_fd, struct err *e)
{
    const struct oci_cgroup *cg = c->cgroup;
    const struct cg_hierarchy *h = &cg->machine.h[i];
    if (!(c->new_ns & CLONE_NEWCGROUP)) {
        return bind_own(cg, i, attr, ret_fd, e);
    }
    int r = h->v2 ? fs_mount_make(c, "cgroup2", "cgroup", NULL, attr, ret_fd, e)
                  : fs_mount_make(c, "cgroup", "cgroup", h->controllers, attr, ret_fd, e);
    /* In a user namespace the kernel may refuse to mount what the host has covered in part. */
    return r < 0 ? bind_own(cg, i, attr, ret_fd, e) : 0;
}

static int v1_links(int tmpfs, const char *controllers)
{
    char name[256];
    if (!strchr(controllers, ',')) {
        return 0;
    }
    for (const char *p = controllers; *p;) {
        size_t n = strcspn(p, ",");
        snprintf(name, sizeof(name), "%.*s", (int)n, p);
        if (symlinkat(controllers, tmpfs, name) < 0 && errno != EEXIST) {
            return -errno;
        }
        p += n + (p[n] == ',');
    }
    return 0;
}

/* A tmpfs with a folder for each hierarchy, as the host has it. */
static int mount_v1(struct ctr *c, const struct oci_mount *m, uint64_t attr, struct err *e)
{
    const struct oci_cgroup *cg = c->cgroup;
    CLEANUP_FD int tmpfs = -1;
    int r = fs_mount_make(c, "tmpfs", "cgroup", "mode=755,size=0k", attr & ~(uint64_t)MOUNT_ATTR_RDONLY, &tmpfs, e);
    if (r == 0) {
        r = mount_attach(c, tmpfs, m->destination, true, e);
    }
    for (size_t i = 0; r == 0 && i < cg->machine.n; i++) {
        const char *name = cg->machine.h[i].v2 ? "unified" : cg->machine.h[i].controllers;
        CLEANUP_FD int mnt = -1;
        CLEANUP_FREE char *path = str_printf("%s/%s", m->destination, name);
        if (!cg->has[i]) {
            continue;
        }
        if (!path || mkdirat(tmpfs, name, 0755) < 0 || v1_links(tmpfs, name) < 0) {
            return err_sys(e, path ? errno : ENOMEM, "create a folder for %s", name);
        }
        r = hierarchy_mount(c, i, attr, &mnt, e);
        if (r == 0) {
            r = mount_attach(c, mnt, path, true, e);
        }
    }
    struct mount_attr a = { .attr_set = MOUNT_ATTR_RDONLY };
    if (r == 0 && (attr & MOUNT_ATTR_RDONLY) && mount_setattr(tmpfs, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0) {
        r = err_sys(e, errno, "make it read-only");
    }
    return r;
}

int ctr_mount_cgroup(struct ctr *c, const struct oci_mount *m, const struct mount_flags *f, struct err *e)
{
    const struct oci_cgroup *cg = c->cgroup;
    enum cg_mode mode = cg_machine_mode(&cg->machine);
    if (mode == CG_NONE) {
        return err_set(e, ENODEV, ERR_UNSUPPORTED, "this machine has no cgroups mounted");
    }
    if (mode != CG_V2 && !str_eq(m->type, "cgroup2")) {
        return mount_v1(c, m, f->attr_set, e);
    }
    for (size_t i = 0; i < cg->machine.n; i++) {
        if (cg->machine.h[i].v2) {
            CLEANUP_FD int mnt = -1;
            int r = !cg->has[i] ? err_set(e, ENOENT, ERR_UNSUPPORTED, "the container has no cgroup in the v2 hierarchy")
                                   : hierarchy_mount(c, i, f->attr_set, &mnt, e);
            return r < 0 ? r : mount_attach(c, mnt, m->destination, true, e);
        }
    }
    return err_set(e, ENODEV, ERR_UNSUPPORTED, "this machine has no cgroup v2");
}
