/*
 * oci/create.c: the parent's side of a container's birth. Everything that needs the host is opened first, then the init is cloned with
 * its namespaces at once, and while it mounts, the cgroup's limits are written here.
 */
#include "base/fd.h"
#include "oci/cgroup.h"
#include "oci/ctr.h"
#include "oci/netdev.h"
#include "sys/path.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int oci_id_check(const char *id, struct err *e)
{
    size_t n = strlen(id);
    if (n == 0 || n > 1024 || str_eq(id, ".") || str_eq(id, "..")) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid container ID '%.80s'", id);
    }
    for (const char *p = id; *p; p++) {
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("_+-.", *p))) {
            return err_set(e, EINVAL, ERR_INVALID, "invalid container ID '%.80s': letters, digits, '_', '+', '-' and '.' are allowed", id);
        }
    }
    return 0;
}

void oci_created_done(struct oci_created *c)
{
    fd_close(&c->pidfd);
    fd_close(&c->start_fd);
    fd_close(&c->report_fd);
    free(c->cgroup);
    c->cgroup = NULL;
    state_kept_free(c->kept);
    c->kept = NULL;
}

static void ctr_done(struct ctr *c)
{
    ctr_namespaces_close(c);
    for (size_t i = 0; c->sources && i < c->spec->mounts.n; i++) {
        fd_close(&c->sources[i]);
    }
    free(c->sources);
    free(c->rootfs);
    fd_close(&c->overlay);
    fd_close(&c->sock[0]);
    fd_close(&c->sock[1]);
    fd_close(&c->start_fd);
    fd_close(&c->report_fd);
    fd_close(&c->state_dir);
    seccomp_prog_done(&c->seccomp);
    oci_cgroup_free(c->cgroup);
}

static int args_check(const struct oci_create_args *a, struct err *e)
{
    int r = oci_id_check(a->id, e);
    if (r < 0) {
        return r;
    }
    if (!a->spec->linux) {
        return err_set(e, EINVAL, ERR_INVALID, "linux: required field is missing");
    }
    if (!a->spec->process) {
        return err_set(e, EINVAL, ERR_INVALID, "process: required field is missing");
    }
    if (a->spec->process->terminal && a->console_socket < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "process.terminal: a terminal needs a console socket (--console-socket)");
    }
    if (!a->spec->process->terminal && a->console_socket >= 0) {
        return err_set(e, EINVAL, ERR_INVALID, "process.terminal: a console socket is given, but no terminal is asked for");
    }
    return 0;
}

/* Pipes or fifo by which the container will be started. */
static int start_channel(struct ctr *c, struct oci_created *out, struct err *e)
{
    if (c->args->state_root && !c->args->start_here) {
        c->start_fd = state_fifo_open(c->args->state_root, c->args->id, O_RDWR, e);
        return c->start_fd < 0 ? c->start_fd : 0;
    }
    int start[2], report[2];
    if (pipe2(start, O_CLOEXEC) < 0) {
        return err_sys(e, errno, "pipe");
    }
    c->start_fd = start[0];
    out->start_fd = start[1];
    if (c->args->state_root) {
        return 0; /* what the exec says goes to standard error */
    }
    if (pipe2(report, O_CLOEXEC) < 0) {
        return err_sys(e, errno, "pipe");
    }
    out->report_fd = report[0];
    c->report_fd = report[1];
    return 0;
}

static int cgroup_make(struct ctr *c, struct err *e)
{
    const struct oci_linux *l = c->spec->linux;
    const char *path = c->args->cgroup_path ? c->args->cgroup_path : l->cgroups_path;
    if (c->args->state_root) {
        CLEANUP_FREE char *text = cgroup_text_of(path, c->args->id, c->args->systemd_cgroup);
        int r = text ? state_note_cgroup(c->state_dir, text, e) : err_oom(e);
        if (r < 0) {
            return r;
        }
    }
    return oci_cgroup_create(path, c->args->id, c->args->systemd_cgroup, c->spec, &c->cgroup, e);
}

static int open_all(struct ctr *c, struct oci_created *out, struct err *e)
{
    const struct oci_spec *s = c->spec;
    c->rootfs = s->root->path[0] == '/' ? strdup(s->root->path) : str_printf("%s/%s", c->args->bundle, s->root->path);
    if (!c->rootfs) {
        return err_oom(e);
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, c->sock) < 0) {
        return err_sys(e, errno, "socketpair");
    }
    int r = ctr_namespaces_open(c, e);
    if (r == 0) {
        r = ctr_overlay_open(c, e);
    }
    if (r == 0) {
        r = ctr_mount_sources_open(c, e);
    }
    if (r == 0 && s->linux->seccomp) {
        r = seccomp_compile(s->linux->seccomp, c->args->seccomp_cache, &c->seccomp, e);
    }
    if (r == 0) {
        r = start_channel(c, out, e);
    }
    return r == 0 ? cgroup_make(c, e) : r;
}

static pid_t clone_with(uint64_t flags, bool reparent, int cgroup_fd, int *pidfd)
{
    struct clone_args a = { .flags = flags, .exit_signal = reparent || (flags & CLONE_PARENT) ? 0 : SIGCHLD };
    if (reparent) {
        a.flags |= CLONE_PARENT;
    }
    if (pidfd) {
        a.flags |= CLONE_PIDFD;
        a.pidfd = (uint64_t)(uintptr_t)pidfd;
    }
    if (cgroup_fd >= 0) {
        a.flags |= CLONE_INTO_CGROUP;
        a.cgroup = (uint64_t)(unsigned)cgroup_fd;
    }
    return (pid_t)syscall(SYS_clone3, &a, sizeof(a));
}

/* Where the host owns a namespace that is to be joined, it has to be joined before the privilege over it is given up. */
static void join_early(struct ctr *c)
{
    size_t left = 0;
    for (size_t i = 0; i < c->n_join; i++) {
        int flag = c->join[i].flag;
        if (flag == CLONE_NEWPID || flag == CLONE_NEWTIME || flag == CLONE_NEWNS || setns(c->join[i].fd, flag) < 0) {
            c->join[left++] = c->join[i];
        } else {
            /* Kept as made: sysctls ask which namespaces are the container's own. */
            c->new_ns |= (uint64_t)(unsigned)flag << 32;
        }
    }
    c->n_join = left;
}

/* The init and the intermediate share a socket: the init says nothing before the parent has heard who it is. */
static _Noreturn void born_inside(struct ctr *c)
{
    struct sync_msg m;
    if (sync_recv(c->sock[1], &m, NULL) < 0) {
        _exit(1);
    }
    ctr_init_main(c);
}

static _Noreturn void intermediate_main(struct ctr *c)
{
    struct err e = { 0 };
    int pidfd = -1;
    int r = oci_cgroup_join_self(c->cgroup);
    if (r < 0) {
        err_sys(&e, -r, "join the cgroup %s", oci_cgroup_text(c->cgroup));
        goto fail;
    }
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    join_early(c);
    if (setns(c->userns, CLONE_NEWUSER) < 0) {
        err_sys(&e, errno, "join the user namespace");
        goto fail;
    }
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) {
        err_sys(&e, errno, "become root in the user namespace (are uid and gid 0 mapped?)");
        goto fail;
    }
    pid_t pid = clone_with((c->new_ns & 0xffffffffu & ~(uint64_t)CLONE_NEWCGROUP) | CLONE_PARENT, false, -1, &pidfd);
    if (pid == 0) {
        c->new_ns = (c->new_ns & 0xffffffffu) | c->new_ns >> 32;
        born_inside(c);
    }
    if (pid < 0) {
        err_sys(&e, errno, "create the container's namespaces inside of its user namespace");
        goto fail;
    }
    /* The number is that of our own PID namespace, which may be a joined one; the descriptor means the same everywhere. */
    _exit(sync_send(c->sock[1], SYNC_PID, pid, NULL, pidfd) < 0);
fail:
    (void)sync_send(c->sock[1], SYNC_ERROR, 0, &e, -1);
    _exit(1);
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

static int birth(struct ctr *c, struct oci_created *out, struct err *e)
{
    /* The v2 directory of a threaded or delegated-away cgroup may refuse: then the init joins by cgroup.procs. */
    int cgroup_fd = oci_cgroup_clone_fd(c->cgroup);
    bool user = c->userns >= 0;
    uint64_t flags = user ? 0 : c->new_ns & ~(uint64_t)CLONE_NEWCGROUP;
    pid_t pid = clone_with(flags, c->args->reparent, cgroup_fd, user ? NULL : &out->pidfd);
    if (pid == 0) {
        if (user) {
            intermediate_main(c);
        }
        ctr_init_main(c);
    }
    if (pid < 0) {
        return err_sys(e, errno, "clone the container's init");
    }
    fd_close(&c->sock[1]);
    if (!user) {
        out->pid = pid;
        return 0;
    }
    struct sync_msg m;
    CLEANUP_FD int pidfd = -1;
    int r = sync_recv(c->sock[0], &m, &pidfd);
    if (!c->args->reparent) {
        reap(pid);
    }
    if (r < 0) {
        return err_sys(e, -r, "the container's user namespace could not be entered");
    }
    if (m.type != SYNC_PID) {
        *e = m.err;
        return -e->code;
    }
    r = proc_pidfd_pid(pidfd, &out->pid);
    if (r < 0) {
        return err_sys(e, -r, "find the container's init");
    }
    out->pidfd = fd_steal(&pidfd);
    r = sync_send(c->sock[0], SYNC_GO, 0, NULL, -1);
    return r < 0 ? err_sys(e, -r, "tell the init to begin") : 0;
}

static int runtime_hooks(struct ctr *c, const struct oci_created *out, struct err *e)
{
    const struct oci_hooks *h = c->spec->hooks;
    struct oci_hook_state state = { c->args->id, "creating", c->args->bundle, out->pid, &c->spec->annotations };
    int r = netdev_move_all(c->spec->linux, out->pid, e);
    if (r == 0 && h) {
        r = oci_hooks_run(&h->prestart, "prestart", &state, e);
    }
    if (r == 0 && h) {
        r = oci_hooks_run(&h->create_runtime, "createRuntime", &state, e);
    }
    if (r == 0) {
        r = sync_send(c->sock[0], SYNC_GO, 0, NULL, -1);
        r = r < 0 ? err_sys(e, -r, "tell the init to go on") : 0;
    }
    return r;
}

/* Sends the listener with the state that the specification asks for (containerProcessState) to whoever listens for it. */
static int listener_deliver(struct ctr *c, const struct oci_created *out, int listener, struct err *e)
{
    const struct oci_seccomp *s = c->spec->linux->seccomp;
    if (str_empty(s->listener_path)) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs one");
    }
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    if (strlen(s->listener_path) >= sizeof(a.sun_path)) {
        return err_set(e, ENAMETOOLONG, ERR_INVALID, "linux.seccomp.listenerPath: too long");
    }
    memcpy(a.sun_path, s->listener_path, strlen(s->listener_path));
    CLEANUP_FD int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0) {
        return err_sys(e, errno, "linux.seccomp.listenerPath: connect to %s", s->listener_path);
    }
    json_t *state = json_pack("{s:s, s:[s], s:i, s:s, s:{s:s, s:s, s:s, s:i, s:s}}", "ociVersion", OCI_VERSION, "fds", "seccompFd", "pid",
                              (int)out->pid, "metadata", s->listener_metadata ?: "", "state", "ociVersion", OCI_VERSION, "id", c->args->id,
                              "status", "creating", "pid", (int)out->pid, "bundle", c->args->bundle);
    CLEANUP_FREE char *text = state ? json_dumps(state, JSON_COMPACT) : NULL;
    json_decref(state);
    if (!text) {
        return err_oom(e);
    }
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { 0 };
    struct iovec iov = { text, strlen(text) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
    struct cmsghdr *m = CMSG_FIRSTHDR(&h);
    m->cmsg_level = SOL_SOCKET;
    m->cmsg_type = SCM_RIGHTS;
    m->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(m), &listener, sizeof(listener));
    return sendmsg(sock, &h, MSG_NOSIGNAL) < 0 ? err_sys(e, errno, "linux.seccomp: send the listener to %s", s->listener_path) : 0;
}

static int converse(struct ctr *c, struct oci_created *out, struct err *e)
{
    for (;;) {
        struct sync_msg m;
        CLEANUP_FD int fd = -1;
        int r = sync_recv(c->sock[0], &m, &fd);
        if (r < 0) {
            return err_set(e, ECHILD, ERR_INTERNAL, "the container's init ended before it was ready (killed? out of memory: raise linux.resources.memory.limit)");
        }
        switch (m.type) {
        case SYNC_HOOKS:
            r = runtime_hooks(c, out, e);
            break;
        case SYNC_LISTENER:
            r = listener_deliver(c, out, fd, e);
            break;
        case SYNC_CREATED:
            c->rlimits_left = m.value != 0;
            return 0;
        case SYNC_ERROR:
            *e = m.err;
            return -e->code;
        default:
            r = err_set(e, EPROTO, ERR_INTERNAL, "unexpected message %u of the init", m.type);
        }
        if (r < 0) {
            return r;
        }
    }
}

static void undo(struct ctr *c, struct oci_created *out)
{
    if (out->pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, out->pidfd, SIGKILL, NULL, 0);
        if (!c->args->reparent) {
            reap(out->pid);
        }
    }
    fd_close(&c->sock[0]);
    if (c->cgroup) {
        (void)!oci_cgroup_kill(c->cgroup, SIGKILL, NULL);
        (void)!oci_cgroup_destroy(c->cgroup, NULL);
    }
    if (c->args->state_root) {
        state_dir_remove(c->args->state_root, c->args->id);
    }
    oci_created_done(out);
    *out = (struct oci_created){ .pidfd = -1, .start_fd = -1, .report_fd = -1 };
}

/* gmtime() of the C library reads the time zone's file first. Days are counted in eras of 400 years that begin on a 1st of March. */
static void utc_of(time_t now, struct tm *ret)
{
    int secs = (int)(now % 86400);
    int days = (int)(now / 86400) + 719468;
    int era = days / 146097, of_era = days % 146097;
    int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (5 * of_year + 2) / 153; /* 0: March */
    ret->tm_mday = of_year - (153 * month + 2) / 5 + 1;
    ret->tm_mon = month < 10 ? month + 3 : month - 9;
    ret->tm_year = year + era * 400 + (ret->tm_mon <= 2);
    ret->tm_hour = secs / 3600;
    ret->tm_min = secs / 60 % 60;
    ret->tm_sec = secs % 60;
}

static int state_keep(struct ctr *c, const struct oci_created *out, struct err *e)
{
    char stamp[96];
    struct timespec now;
    struct tm tm = { 0 };
    clock_gettime(CLOCK_REALTIME, &now);
    utc_of(now.tv_sec, &tm);
    snprintf(stamp, sizeof(stamp), "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ", tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min,
             tm.tm_sec, now.tv_nsec);
    struct oci_container k = { .pid = out->pid,
                               .start_time = process_start_time(out->pid, NULL),
                               .created = stamp,
                               .cgroup = (char *)(uintptr_t)oci_cgroup_text(c->cgroup),
                               .systemd_cgroup = c->args->systemd_cgroup };
    return state_save(c, &k, e);
}

/* Without linux.resources the rules for devices hold nevertheless: the default ones and nothing else. */
static const struct oci_resources *resources_of(const struct oci_spec *s)
{
    static const struct oci_resources none = { 0 };
    return s->linux->resources ? s->linux->resources : &none;
}

/* What would be in the init's own way while it makes nodes and opens files. */
static int restrict_init(struct ctr *c, const struct oci_created *out, struct err *e)
{
    int r = c->rlimits_left ? process_rlimits(out->pid, c->spec->process, e) : 0;
    if (r < 0) {
        return r;
    }
    r = cgroup_devices_apply(c->cgroup, resources_of(c->spec), e);
    return r < 0 ? err_wrap(e, "linux.resources.devices") : 0;
}

/* A scope of systemd's is held by a helper, which is to go now: that one is looked up again at its end. */
static struct oci_kept *kept_of(struct ctr *c)
{
    struct oci_kept *k = c->args->start_here && !c->args->systemd_cgroup ? calloc(1, sizeof(*k)) : NULL;
    if (k) {
        k->dir = fd_steal(&c->state_dir);
        k->cgroup = PTR_STEAL(c->cgroup);
    }
    return k;
}

int oci_create(const struct oci_create_args *args, struct oci_created *ret, struct err *e)
{
    struct ctr c = { .args = args, .spec = args->spec, .sock = { -1, -1 }, .start_fd = -1, .report_fd = -1, .state_dir = -1, .userns = -1, .overlay = -1,
                     .listener_fd = -1, .root = -1, .proc = -1, .console = -1 };
    struct oci_created out = { .pidfd = -1, .start_fd = -1, .report_fd = -1 };
    int r = args_check(args, e);
    if (r == 0 && args->state_root) {
        r = state_dir_make(args->state_root, args->id, !args->start_here, &c.state_dir, e);
    }
    if (r < 0) {
        return r; /* nothing is made, and an existing container of that name is not ours to undo */
    }
    r = open_all(&c, &out, e);
    if (r == 0) {
        r = birth(&c, &out, e);
    }
    if (r == 0) {
        r = oci_cgroup_apply(c.cgroup, resources_of(args->spec), false, e);
    }
    if (r == 0) {
        r = converse(&c, &out, e);
    }
    if (r == 0) {
        r = restrict_init(&c, &out, e);
    }
    if (r == 0 && args->pidfd_socket >= 0) {
        r = sync_send(args->pidfd_socket, SYNC_PID, out.pid, NULL, out.pidfd);
        r = r < 0 ? err_sys(e, -r, "send the pidfd") : 0;
    }
    if (r == 0 && args->state_root) {
        r = state_keep(&c, &out, e);
    }
    if (r == 0) {
        r = sync_send(c.sock[0], SYNC_GO, 0, NULL, -1);
        r = r < 0 ? err_set(e, ECHILD, ERR_INTERNAL, "the container's init ended before it could be started") : 0;
    }
    if (r == 0) {
        out.cgroup = strdup(oci_cgroup_text(c.cgroup));
        out.kept = kept_of(&c);
        *ret = out;
    } else {
        undo(&c, &out);
    }
    ctr_done(&c);
    return r;
}

int oci_created_start(struct oci_created *c, struct err *e)
{
    if (write(c->start_fd, "s", 1) != 1) {
        return err_set(e, ESRCH, ERR_NOT_FOUND, "the container's init has ended");
    }
    struct err child;
    ssize_t n;
    do {
        n = read(c->report_fd, &child, sizeof(child));
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof(child)) {
        child.text[sizeof(child.text) - 1] = '\0';
        *e = child;
        return -child.code;
    }
    return n < 0 ? err_sys(e, errno, "wait for the exec") : 0;
}
