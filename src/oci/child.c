/*
 * oci/child.c: the init between clone3() and exec: one list of steps, in the order that the kernel and the specification ask for.
 * Whatever fails is sent to the parent as a struct err, and the process ends.
 */
#include "base/fd.h"
#include "base/num.h"
#include "oci/ctr.h"
#include "oci/process.h"
#include "sys/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct proc_ctx process_ctx(const struct ctr *c)
{
    return (struct proc_ctx){ .process = c->listening.args ? &c->listening : c->spec->process,
                              .seccomp = &c->seccomp,
                              .proc = c->proc,
                              .listener_fd = c->listener_fd,
                              .sock = c->sock[1],
                              .linux_config = c->spec->linux,
                              .in_userns = c->userns >= 0 };
}

static int step_session(struct ctr *c, struct err *e)
{
    /* Nobody in the container may look into this process before it has become the container's own (CVE-2016-9962). */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return err_sys(e, errno, "make the init undumpable");
    }
    umask(0);
    if (setsid() < 0 && errno != EPERM) {
        return err_sys(e, errno, "setsid");
    }
    return c->args->no_new_keyring ? 0 : process_keyring(c->args->id, c->spec->process, e);
}

static int step_cgroup(struct ctr *c, struct err *e)
{
    /* With a user namespace the intermediate has joined already. */
    int r = c->userns >= 0 ? 0 : oci_cgroup_join_self(c->cgroup);
    if (r < 0) {
        return err_sys(e, -r, "join the cgroup %s", oci_cgroup_text(c->cgroup));
    }
    /* Only now: a cgroup namespace shows the cgroup that one is in as the root. */
    if ((c->new_ns & CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP) < 0) {
        return err_sys(e, errno, "linux.namespaces: create a cgroup namespace");
    }
    return 0;
}

static int loopback_up(struct err *e)
{
    CLEANUP_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    if (fd < 0) {
        return errno == EAFNOSUPPORT ? 0 : err_sys(e, errno, "open a socket");
    }
    return ioctl(fd, SIOCSIFFLAGS, &r) < 0 ? err_sys(e, errno, "bring the loopback device up") : 0;
}

static int step_names(struct ctr *c, struct err *e)
{
    const struct oci_spec *s = c->spec;
    if (!str_empty(s->hostname) && sethostname(s->hostname, strlen(s->hostname)) < 0) {
        return err_sys(e, errno, "hostname: set '%s'", s->hostname);
    }
    if (!str_empty(s->domainname) && setdomainname(s->domainname, strlen(s->domainname)) < 0) {
        return err_sys(e, errno, "domainname: set '%s'", s->domainname);
    }
    return c->new_ns & CLONE_NEWNET ? loopback_up(e) : 0;
}

static int step_limits(struct ctr *c, struct err *e)
{
    struct proc_ctx p = process_ctx(c); /* rlimits come at the end: until then we need descriptors */
    int r = process_limits(&p, e);
    return r < 0 ? r : process_scheduling(&p, e);
}

static bool wants_hooks(const struct oci_spec *s)
{
    return (s->hooks && (s->hooks->prestart.n || s->hooks->create_runtime.n)) || s->linux->net_devices.n;
}

/* The parent runs prestart and createRuntime hooks and moves network devices, while the root is mounted but not yet pivoted to. */
static int step_runtime_hooks(struct ctr *c, struct err *e)
{
    if (!wants_hooks(c->spec)) {
        return 0;
    }
    struct sync_msg m;
    int r = sync_send(c->sock[1], SYNC_HOOKS, 0, NULL, -1);
    if (r == 0) {
        r = sync_recv(c->sock[1], &m, NULL);
    }
    return r < 0 ? err_sys(e, -r, "wait for the hooks") : 0;
}

static int step_container_hooks(struct ctr *c, struct err *e)
{
    if (!c->spec->hooks || !c->spec->hooks->create_container.n) {
        return 0;
    }
    struct oci_hook_state state = { c->args->id, "creating", c->args->bundle, getpid(), &c->spec->annotations };
    return oci_hooks_run(&c->spec->hooks->create_container, "createContainer", &state, e);
}

static int step_console(struct ctr *c, struct err *e)
{
    return c->spec->process && c->spec->process->terminal ? ctr_console_open(c, e) : 0;
}

/* For what is written after the pivot: nothing that is mounted in the container can stand in for it. */
static int step_procfs(struct ctr *c, struct err *e)
{
    const struct oci_process *p = c->spec->process;
    if (!c->spec->linux->sysctl.n && !(p && (p->apparmor_profile || p->selinux_label))) {
        return 0;
    }
    int r = fs_mount_make(c, "proc", "proc", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, &c->proc, e);
    if (r == -EPERM) {
        /* In a user namespace below a masked /proc the kernel refuses a fresh one: the container's own is taken, if it is one. */
        c->proc = path_open_beneath(c->root, "proc", O_PATH | O_DIRECTORY, 0);
        if (c->proc < 0 || path_fs_type(c->proc) != PROC_SUPER_MAGIC) {
            return err_set(e, EPERM, ERR_DENIED, "/proc of the container is not a procfs");
        }
        r = 0;
    }
    return r;
}

/* Which namespace has to be the container's own for a sysctl to be allowed: without, it would change the host. */
static int sysctl_namespace(const char *key)
{
    static const char *const ipc[] = { "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
                                       "kernel.shmmni", "kernel.shm_rmid_forced" };
    for (size_t i = 0; i < ARRAY_LEN(ipc); i++) {
        if (str_eq(ipc[i], key)) {
            return CLONE_NEWIPC;
        }
    }
    return str_starts(key, "fs.mqueue.") ? CLONE_NEWIPC
           : str_starts(key, "net.")     ? CLONE_NEWNET
           : str_eq(key, "kernel.domainname") ? CLONE_NEWUTS
                                              : 0;
}

static int sysctl_set(struct ctr *c, const char *key, const char *value, struct err *e)
{
    char dotted[256], path[272];
    bool slashes = strchr(key, '/') && (!strchr(key, '.') || strchr(key, '/') < strchr(key, '.'));
    if (strlen(key) >= sizeof(dotted) || strstr(key, "..") || strstr(key, "//") || key[0] == '/' || key[0] == '.') {
        return err_set(e, EINVAL, ERR_INVALID, "'%s' is not the name of a sysctl", key);
    }
    snprintf(dotted, sizeof(dotted), "%s", key);
    /* "net/ipv4/conf/eth0.1/x" is written with slashes so that a dot can be in a name. */
    for (char *p = dotted; *p; p++) {
        *p = slashes ? (*p == '/' ? '.' : *p == '.' ? '/' : *p) : *p;
    }
    int ns = sysctl_namespace(dotted);
    if (!ns) {
        return err_set(e, EINVAL, ERR_INVALID, "%s is not separate for each container", dotted);
    }
    if (!ctr_has_ns(c, ns)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s is not allowed: the container shares that namespace with the host", dotted);
    }
    snprintf(path, sizeof(path), "sys/%s", dotted);
    for (char *p = path + 4; *p; p++) {
        *p = *p == '.' ? '/' : *p == '/' ? '.' : *p;
    }
    return file_write(c->proc, path, value, strlen(value), e);
}

static int step_sysctl(struct ctr *c, struct err *e)
{
    const struct str_map *m = &c->spec->linux->sysctl;
    for (size_t i = 0; i < m->n; i++) {
        int r = sysctl_set(c, m->v[i].key, m->v[i].value, e);
        if (r < 0) {
            return err_wrap(e, "linux.sysctl");
        }
    }
    return 0;
}

/* runc and crun make a working directory that is missing, and images rely on it. What cannot be made is told when it is entered. */
static int step_cwd(struct ctr *c, struct err *e)
{
    const char *cwd = c->spec->process->cwd;
    CLEANUP_FD int fd = -1;
    struct err ignored = { 0 };
    (void)e;
    if (cwd[strspn(cwd, "/")] && path_make_dirs_in_root(c->root, cwd, 0755, &fd, &ignored) < 0) {
        return 0;
    }
    return 0;
}

/* Socket activation: the descriptors that systemd gave us, and the variables that tell of them, for process 1. */
static int listen_env(struct ctr *c, unsigned *ret_n, struct err *e)
{
    const char *count = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
    uint32_t n = 0;
    if (!c->args->listen_fds || !count || num_u32(count, &n) < 0 || n > 1024) {
        return 0;
    }
    const struct oci_process *p = c->spec->process;
    size_t len = strv_len(p->env);
    char **env = calloc(len + 4, sizeof(*env));
    char *fds = str_printf("LISTEN_FDS=%u", n);
    if (!env || !fds) {
        return err_oom(e);
    }
    if (len) {
        memcpy(env, p->env, len * sizeof(*env));
    }
    env[len++] = fds;
    env[len++] = (char *)(uintptr_t) "LISTEN_PID=1";
    env[len] = names ? str_printf("LISTEN_FDNAMES=%s", names) : NULL;
    c->listening = *p;
    c->listening.env = env;
    *ret_n = n;
    return 0;
}

static int step_stdio(struct ctr *c, struct err *e)
{
    unsigned listening = 0;
    int r = c->console >= 0 ? process_terminal(c->console, e) : process_stdio(c->args->stdio, e);
    if (r == 0) {
        r = listen_env(c, &listening, e);
    }
    if (r < 0) {
        return r;
    }
    /* What stays until the exec leads nowhere: a socket, pipes, and a procfs of this pid namespace for labels. */
    int mine[] = { c->sock[1], c->start_fd, c->report_fd, c->proc };
    return process_close_fds(c->args->preserve_fds + listening, mine, ARRAY_LEN(mine), e);
}

static const struct step {
    const char *name;
    int (*run)(struct ctr *c, struct err *e);
} steps[] = {
    { "session", step_session },
    { "cgroup", step_cgroup },
    { "namespaces", ctr_namespaces_join },
    { "names", step_names },
    { "limits", step_limits },
    { "rootfs", ctr_rootfs_prepare },
    { "mounts", ctr_mounts },
    { "devices", ctr_devices },
    { "console", step_console },
    { "cwd", step_cwd },
    { "procfs", step_procfs },
    { "hooks", step_runtime_hooks },
    { "createContainer hooks", step_container_hooks },
    { "masked paths", ctr_paths_mask },
    { "pivot", ctr_rootfs_pivot },
    { "root", ctr_rootfs_finish },
    { "sysctl", step_sysctl },
    { "stdio", step_stdio },
};

/* Waits for one byte; the end of the file means that nobody will ever start this container. */
static int start_wait(int fd)
{
    char byte;
    ssize_t n;
    do {
        n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    return n == 1 ? 0 : -ECONNRESET;
}

static int start_hooks(struct ctr *c, struct err *e)
{
    if (!c->spec->hooks || !c->spec->hooks->start_container.n) {
        return 0;
    }
    struct oci_hook_state state = { c->args->id, "created", c->args->bundle, getpid(), &c->spec->annotations };
    return oci_hooks_run(&c->spec->hooks->start_container, "startContainer", &state, e);
}

_Noreturn void ctr_init_main(struct ctr *c)
{
    struct err e = { 0 };
    char *path = NULL;
    int r = 0;
    /* Or we would never see the parent's end close, should it be killed. */
    fd_close(&c->sock[0]);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(steps); i++) {
        r = steps[i].run(c, &e);
    }
    struct proc_ctx p = process_ctx(c);
    if (r == 0 && !c->spec->process) {
        r = err_set(&e, EINVAL, ERR_INVALID, "process: required to start a container");
    }
    if (r == 0) {
        r = process_credentials(&p, &e);
    }
    if (r == 0) {
        r = process_find(c->spec->process, &path, &e);
    }
    if (r < 0) {
        (void)sync_send(c->sock[1], SYNC_ERROR, 0, &e, -1);
        _exit(1);
    }
    /* The answer comes when the state is on disk: a parent that is killed before leaves no init that nobody knows of. */
    struct sync_msg m;
    /* Lowering is anybody's right; what raises a limit may be left to the parent, which may be allowed to. */
    bool left = process_rlimits(0, c->spec->process, NULL) < 0;
    if (sync_send(c->sock[1], SYNC_CREATED, left, NULL, -1) < 0 || sync_recv(c->sock[1], &m, NULL) < 0) {
        _exit(1);
    }
    fd_close(&c->sock[1]);
    fd_close(&c->proc);
    if (start_wait(c->start_fd) < 0) {
        _exit(1);
    }
    r = start_hooks(c, &e);
    if (r == 0) {
        process_exec(&p, path, &e);
    }
    int code = e.code == ENOENT ? 127 : 126;
    if (c->report_fd >= 0) {
        (void)!write(c->report_fd, &e, sizeof(e));
    } else {
        dprintf(2, "%s\n", e.text);
    }
    _exit(code);
}
