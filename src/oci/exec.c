/*
 * oci/exec.c: a further process in a running container: setns() by the init's pidfd, one clone, the same steps as the init's own
 * process. The caller's parent can be made the parent, so that a monitor's helper may do this.
 */
#include "base/fd.h"
#include "oci/ctr.h"
#include "oci/process.h"

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
#include <sys/wait.h>
#include <unistd.h>

struct exec {
    const struct oci_exec_args *args;
    struct seccomp_prog seccomp;
    const struct oci_cgroup *cgroup;
    struct oci_cgroup *own; /* cgroup, if it is ours to free */
    int pidfd, sock[2];
    int ns;     /* CLONE_NEW* that the target has and we do not */
};

/* The namespaces in which the target differs from us. Which they are the kernel knows better than any configuration. */
static int ns_differ(pid_t pid, int *ret, struct err *e)
{
    static const struct {
        const char *name;
        int flag;
    } all[] = { { "user", CLONE_NEWUSER }, { "mnt", CLONE_NEWNS }, { "pid", CLONE_NEWPID }, { "net", CLONE_NEWNET },
                { "ipc", CLONE_NEWIPC },   { "uts", CLONE_NEWUTS }, { "cgroup", CLONE_NEWCGROUP }, { "time", CLONE_NEWTIME } };
    int flags = 0;
    char path[64];
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct stat theirs, ours;
        snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, all[i].name);
        if (stat(path, &theirs) < 0) {
            if (errno == ENOENT && all[i].flag == CLONE_NEWTIME) {
                continue;
            }
            return err_sys(e, errno, "look at the namespaces of process %d", (int)pid);
        }
        snprintf(path, sizeof(path), "/proc/self/ns/%s", all[i].name);
        if (stat(path, &ours) == 0 && theirs.st_ino != ours.st_ino) {
            flags |= all[i].flag;
        }
    }
    *ret = flags;
    return 0;
}

static int child_steps(struct exec *x, char **ret_path, struct proc_ctx *p, struct err *e)
{
    const struct oci_process *proc = x->args->process;
    int console = -1;
    int r = oci_cgroup_join_self(x->cgroup);
    if (r < 0) {
        return err_sys(e, -r, "join the container's cgroup");
    }
    if (proc->exec_cpu_affinity && (r = process_affinity(proc->exec_cpu_affinity->initial, "initial", e)) < 0) {
        return r;
    }
    r = process_rlimits(0, proc, e);
    if (r == 0) {
        r = process_limits(p, e); /* while /proc is still the host's */
    }
    if (r < 0) {
        return r;
    }
    if ((x->ns & ~CLONE_NEWPID) && setns(x->pidfd, x->ns & ~CLONE_NEWPID) < 0) {
        return err_sys(e, errno, "join the container's namespaces");
    }
    if (setsid() < 0) {
        return err_sys(e, errno, "setsid");
    }
    umask(0);
    if ((x->ns & CLONE_NEWUSER) && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)) {
        return err_sys(e, errno, "become root in the container's user namespace");
    }
    if (proc->terminal) {
        CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        r = root < 0 ? err_sys(e, errno, "open /") : console_open(root, proc, x->args->console_socket, &console, e);
        r = r < 0 ? r : process_terminal(console, e);
    } else {
        r = process_stdio(x->args->stdio, e);
    }
    if (r < 0) {
        return r;
    }
    r = process_close_fds(x->args->preserve_fds, &x->sock[1], 1, e);
    if (r == 0) {
        r = process_scheduling(p, e);
    }
    if (r == 0 && proc->exec_cpu_affinity) {
        r = process_affinity(proc->exec_cpu_affinity->final, "final", e);
    }
    if (r == 0) {
        r = process_credentials(p, e);
    }
    return r < 0 ? r : process_find(proc, ret_path, e);
}

static _Noreturn void child_main(struct exec *x)
{
    struct err e = { 0 };
    char *path = NULL;
    struct proc_ctx p = { .process = x->args->process, .seccomp = &x->seccomp, .proc = -1, .listener_fd = -1, .sock = x->sock[1],
                          .linux_config = x->args->spec ? x->args->spec->linux : NULL, .in_userns = x->ns & CLONE_NEWUSER };
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (child_steps(x, &path, &p, &e) == 0) {
        process_exec(&p, path, &e);
    }
    (void)sync_send(x->sock[1], SYNC_ERROR, 0, &e, -1);
    _exit(e.code == ENOENT ? 127 : 126);
}

static int exec_open(struct exec *x, struct err *e)
{
    const struct oci_exec_args *a = x->args;
    x->pidfd = (int)syscall(SYS_pidfd_open, a->pid, 0);
    if (x->pidfd < 0) {
        return err_sys(e, errno, "the container's init (pid %d)", (int)a->pid);
    }
    int r = ns_differ(a->pid, &x->ns, e);
    if (r == 0) {
        r = a->opened && !a->sub_cgroup ? 0 : oci_cgroup_open_sub(a->cgroup, a->sub_cgroup, a->pid, &x->own, e);
        x->cgroup = x->own ? x->own : a->opened;
    }
    if (r == 0 && a->spec && a->spec->linux && a->spec->linux->seccomp) {
        r = seccomp_compile(a->spec->linux->seccomp, a->seccomp_cache, &x->seccomp, e);
    }
    if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, x->sock) < 0) {
        r = err_sys(e, errno, "socketpair");
    }
    return r;
}

static pid_t exec_clone(struct exec *x, int *pidfd, struct err *e)
{
    /* Only children are born in another pid namespace, so it is the caller that joins. */
    if ((x->ns & CLONE_NEWPID) && setns(x->pidfd, CLONE_NEWPID) < 0) {
        return err_sys(e, errno, "join the container's pid namespace");
    }
    int cgroup = oci_cgroup_clone_fd(x->cgroup);
    struct clone_args c = { .flags = CLONE_PIDFD | (x->args->reparent ? CLONE_PARENT : 0), .pidfd = (uint64_t)(uintptr_t)pidfd,
                            .exit_signal = x->args->reparent ? 0 : SIGCHLD };
    if (cgroup >= 0) {
        c.flags |= CLONE_INTO_CGROUP;
        c.cgroup = (uint64_t)(unsigned)cgroup;
    }
    pid_t pid = (pid_t)syscall(SYS_clone3, &c, sizeof(c));
    if (pid == 0) {
        child_main(x);
    }
    return pid < 0 ? err_sys(e, errno, "clone") : pid;
}

int oci_exec(const struct oci_exec_args *args, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
    struct exec x = { .args = args, .pidfd = -1, .sock = { -1, -1 } };
    CLEANUP_FD int pidfd = -1;
    int r = exec_open(&x, e);
    if (r == 0) {
        r = exec_clone(&x, &pidfd, e);
    }
    if (r > 0) {
        *ret_pid = r;
        fd_close(&x.sock[1]);
        struct sync_msg m;
        CLEANUP_FD int listener = -1;
        /* The end of the conversation is the exec itself: the descriptor closes on it. */
        r = sync_recv(x.sock[0], &m, &listener);
        if (r == 0 && m.type == SYNC_ERROR) {
            *e = m.err;
            r = -e->code;
            if (!args->reparent) {
                while (waitpid(*ret_pid, NULL, 0) < 0 && errno == EINTR) {
                }
            }
        } else {
            r = 0;
            *ret_pidfd = fd_steal(&pidfd);
        }
    }
    fd_close(&x.pidfd);
    fd_close(&x.sock[0]);
    fd_close(&x.sock[1]);
    seccomp_prog_done(&x.seccomp);
    oci_cgroup_free(x.own);
    return r;
}
