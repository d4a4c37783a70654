/*
 * oci/namespaces.c: which namespaces to make and which to join. A namespace with a path is opened by the parent, so that no path is
 * looked up inside the container, and its kind is checked by NS_GET_NSTYPE.
 */
#include "base/fd.h"
#include "oci/ctr.h"
#include "sys/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/sched.h>

static const struct {
    const char *type;
    int flag;
} kinds[] = {
    /* "user" is first: it is joined before the others and is handled on its own. */
    { "user", CLONE_NEWUSER }, { "mount", CLONE_NEWNS }, { "pid", CLONE_NEWPID },       { "network", CLONE_NEWNET },
    { "ipc", CLONE_NEWIPC },   { "uts", CLONE_NEWUTS },  { "cgroup", CLONE_NEWCGROUP }, { "time", CLONE_NEWTIME },
};

static int ns_open(const struct oci_namespace *n, int flag, int *ret_fd, struct err *e)
{
    CLEANUP_FD int fd = open(n->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "linux.namespaces: open %s namespace %s", n->type, n->path);
    }
    int type = ioctl(fd, NS_GET_NSTYPE);
    if (type != flag) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.namespaces: %s is no %s namespace", n->path, n->type);
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

static int maps_write(pid_t pid, const char *file, const struct oci_id_map *m, size_t n, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    char path[64];
    for (size_t i = 0; i < n; i++) {
        buf_addf(&b, "%u %u %u\n", m[i].container_id, m[i].host_id, m[i].size);
    }
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    int r = buf_failed(&b) ? err_oom(e) : file_write(AT_FDCWD, path, buf_str(&b), b.len, e);
    return r < 0 ? err_wrap(e, "linux.%s", file[0] == 'u' ? "uidMappings" : "gidMappings") : 0;
}

int userns_make(const struct oci_id_map *uids, size_t n_uids, const struct oci_id_map *gids, size_t n_gids, int *ret_fd, struct err *e)
{
    struct clone_args a = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
    pid_t pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
    if (pid < 0) {
        return err_sys(e, errno, "create a user namespace");
    }
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    char path[64];
    int fd = -1;
    int r = 0;
    if (geteuid() != 0) {
        /* Without privilege the kernel wants setgroups off before a gid map is written. */
        snprintf(path, sizeof(path), "/proc/%d/setgroups", (int)pid);
        r = file_write(AT_FDCWD, path, "deny", 4, e);
    }
    if (r == 0) {
        r = maps_write(pid, "uid_map", uids, n_uids, e);
    }
    if (r == 0) {
        r = maps_write(pid, "gid_map", gids, n_gids, e);
    }
    if (r == 0) {
        snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        r = fd < 0 ? err_sys(e, errno, "open %s", path) : 0;
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (r == 0) {
        *ret_fd = fd;
    }
    return r;
}

static int userns_open(struct ctr *c, const struct oci_namespace *n, struct err *e)
{
    const struct oci_linux *l = c->spec->linux;
    if (str_empty(n->path)) {
        return userns_make(l->uid_mappings.v, l->uid_mappings.n, l->gid_mappings.v, l->gid_mappings.n, &c->userns, e);
    }
    return ns_open(n, CLONE_NEWUSER, &c->userns, e);
}

/* Offsets have to be written before the first process is in the namespace: into the caller's "for children" one. */
static int time_offsets(const struct oci_time_offsets *t, struct err *e)
{
    if (unshare(CLONE_NEWTIME) < 0) {
        return err_sys(e, errno, "linux.namespaces: create a time namespace");
    }
    const struct {
        const char *name;
        const struct oci_time_offset *o;
    } all[] = { { "boottime", t ? t->boottime : NULL }, { "monotonic", t ? t->monotonic : NULL } };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (!all[i].o) {
            continue;
        }
        char line[96];
        int n = snprintf(line, sizeof(line), "%s %lld %u\n", all[i].name, (long long)all[i].o->secs, all[i].o->nanosecs);
        int r = file_write(AT_FDCWD, "/proc/self/timens_offsets", line, (size_t)n, e);
        if (r < 0) {
            return err_wrap(e, "linux.timeOffsets.%s", all[i].name);
        }
    }
    return 0;
}

int ctr_namespaces_open(struct ctr *c, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct oci_namespace *n = oci_spec_namespace(c->spec, kinds[i].type);
        int r = 0;
        if (!n) {
            continue;
        }
        if (kinds[i].flag == CLONE_NEWUSER) {
            r = userns_open(c, n, e);
        } else if (!str_empty(n->path)) {
            struct ns_join *j = &c->join[c->n_join];
            r = ns_open(n, kinds[i].flag, &j->fd, e);
            if (r == 0) {
                j->flag = kinds[i].flag;
                c->n_join++;
            }
        } else if (kinds[i].flag == CLONE_NEWTIME) {
            r = time_offsets(c->spec->linux->time_offsets, e);
        } else {
            c->new_ns |= (uint64_t)(unsigned)kinds[i].flag;
        }
        if (r < 0) {
            return r;
        }
    }
    if (!ctr_has_ns(c, CLONE_NEWNS)) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.namespaces: a mount namespace is needed");
    }
    /* Only children are born in these two, so the parent itself joins. */
    for (size_t i = 0; i < c->n_join; i++) {
        if ((c->join[i].flag == CLONE_NEWPID || c->join[i].flag == CLONE_NEWTIME) && setns(c->join[i].fd, c->join[i].flag) < 0) {
            return err_sys(e, errno, "linux.namespaces: join the %s namespace", c->join[i].flag == CLONE_NEWPID ? "pid" : "time");
        }
    }
    return 0;
}

int ctr_namespaces_join(struct ctr *c, struct err *e)
{
    for (size_t i = 0; i < c->n_join; i++) {
        int flag = c->join[i].flag;
        if (flag != CLONE_NEWPID && flag != CLONE_NEWTIME && setns(c->join[i].fd, flag) < 0) {
            return err_sys(e, errno, "linux.namespaces: join namespace of kind 0x%x", (unsigned)flag);
        }
    }
    return 0;
}

void ctr_namespaces_close(struct ctr *c)
{
    for (size_t i = 0; i < c->n_join; i++) {
        fd_close(&c->join[i].fd);
    }
    c->n_join = 0;
    fd_close(&c->userns);
}
