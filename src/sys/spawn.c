/*
 * sys/spawn.c: see spawn.h. Between clone and exec the child runs on a small stack of its own in our memory: it may only make
 * system calls, and it reports a failure by writing into struct job.
 */
#include "sys/spawn.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STACK_SIZE = 64 << 10, FDS_MAX = 32 };

struct job {
    const struct spawn_options *o;
    const char *path;
    int saved[FDS_MAX]; /* the descriptors, out of the way of their targets */
    int error;
    const char *step; /* what failed */
};

static int fail(struct job *j, const char *step)
{
    j->error = errno;
    j->step = step;
    return 127;
}

static int child_fds(struct job *j)
{
    const struct spawn_options *o = j->o;
    bool named[3] = { false, false, false };
    int above = 3;
    for (size_t i = 0; i < o->n_fds; i++) {
        above = o->fds[i].to >= above ? o->fds[i].to + 1 : above;
        if (o->fds[i].to < 3) {
            named[o->fds[i].to] = true;
        }
    }
    for (size_t i = 0; i < o->n_fds; i++) {
        j->saved[i] = fcntl(o->fds[i].from, F_DUPFD_CLOEXEC, above);
        if (j->saved[i] < 0) {
            return fail(j, "duplicate a descriptor");
        }
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++) {
        if (!named[fd] && (fd == null ? fcntl(fd, F_SETFD, 0) : dup2(null, fd)) < 0) {
            return fail(j, "open /dev/null");
        }
    }
    if (syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) < 0) {
        return fail(j, "close_range");
    }
    for (size_t i = 0; i < o->n_fds; i++) {
        if (dup2(j->saved[i], o->fds[i].to) < 0) {
            return fail(j, "place a descriptor");
        }
    }
    return 0;
}

static void child_signals(void)
{
    struct sigaction sa = { .sa_handler = SIG_DFL };
    for (int i = 1; i < NSIG; i++) {
        sigaction(i, &sa, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_cgroup(int cgroup_fd)
{
    int fd = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, "0", 1) < 0 ? -1 : 0;
}

static int child_main(void *data)
{
    struct job *j = data;
    const struct spawn_options *o = j->o;
    if (o->pdeathsig && prctl(PR_SET_PDEATHSIG, o->pdeathsig) < 0) {
        return fail(j, "prctl");
    }
    if (o->cgroup_fd > 0 && child_cgroup(o->cgroup_fd) < 0) {
        return fail(j, "join the cgroup");
    }
    if (o->netns_fd > 0 && setns(o->netns_fd, CLONE_NEWNET) < 0) {
        return fail(j, "enter the network namespace");
    }
    if (o->new_session) {
        setsid();
    }
    if (o->cwd && chdir(o->cwd) < 0) {
        return fail(j, "chdir");
    }
    int r = child_fds(j);
    if (r != 0) {
        return r;
    }
    child_signals();
    execve(j->path, o->argv, o->envp ? o->envp : environ);
    return fail(j, "execute");
}

/* Looks a name without a slash up in PATH. */
static int find_program(const char *name, char **ret, struct err *e)
{
    const char *path = getenv("PATH") ?: "/usr/sbin:/usr/bin:/sbin:/bin";
    if (strchr(name, '/')) {
        *ret = strdup(name);
        return *ret ? 0 : err_oom(e);
    }
    while (*path) {
        size_t n = strcspn(path, ":");
        CLEANUP_FREE char *full = str_printf("%.*s/%s", (int)n, path, name);
        if (!full) {
            return err_oom(e);
        }
        if (n > 0 && access(full, X_OK) == 0) {
            *ret = PTR_STEAL(full);
            return 0;
        }
        path += n + (path[n] == ':');
    }
    return err_set(e, ENOENT, ERR_NOT_FOUND, "program %s is not in PATH", name);
}

int spawn(const struct spawn_options *o, int *ret_pidfd, pid_t *ret_pid, struct err *e)
{
    CLEANUP_FREE char *path = NULL;
    int r = find_program(o->path, &path, e);
    if (r < 0) {
        return r;
    }
    if (o->n_fds > FDS_MAX) {
        return err_set(e, E2BIG, ERR_INVALID, "more than %d descriptors for %s", FDS_MAX, path);
    }
    char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        return err_sys(e, errno, "map a stack");
    }
    struct job j = { .o = o, .path = path };
    CLEANUP_FD int pidfd = -1;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* no handler of ours may run in the child */
    pid_t pid = clone(child_main, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &j, &pidfd);
    int saved = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    munmap(stack, STACK_SIZE);
    if (pid < 0) {
        return err_sys(e, saved, "start %s", path);
    }
    if (j.error) {
        waitid(P_PIDFD, (id_t)pidfd, &(siginfo_t){ 0 }, WEXITED);
        return err_sys(e, j.error, "start %s: %s", path, j.step);
    }
    *ret_pidfd = fd_steal(&pidfd);
    if (ret_pid) {
        *ret_pid = pid;
    }
    return 0;
}

int spawn_wait(int pidfd, int timeout_ms, int *ret_code, struct err *e)
{
    struct pollfd p = { .fd = pidfd, .events = POLLIN };
    int n;
    while (timeout_ms >= 0 && (n = poll(&p, 1, timeout_ms)) <= 0) {
        if (n == 0) {
            return err_set(e, ETIMEDOUT, ERR_TIMEOUT, "the process still runs after %d ms", timeout_ms);
        }
        if (errno != EINTR) {
            return err_sys(e, errno, "poll");
        }
    }
    siginfo_t si = { 0 };
    while (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED) < 0) {
        if (errno != EINTR) {
            return err_sys(e, errno, "wait for the process");
        }
    }
    *ret_code = si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The pipes of spawn_run(): ours and the child's ends of standard input, output and error. */
struct pipes {
    int ours[3], theirs[3];
    const char *input;
    size_t input_len, max;
    struct buf *out[3];
};

static void pipes_done(struct pipes *p)
{
    for (int i = 0; i < 3; i++) {
        fd_close(&p->ours[i]);
        fd_close(&p->theirs[i]);
    }
}

static int pipes_open(struct pipes *p)
{
    for (int i = 0; i < 3; i++) {
        int fd[2];
        if (i == 0 ? !p->input : !p->out[i]) {
            continue;
        }
        if (pipe2(fd, O_CLOEXEC) < 0) {
            return -errno;
        }
        p->ours[i] = i == 0 ? fd[1] : fd[0];
        p->theirs[i] = i == 0 ? fd[0] : fd[1];
        fcntl(p->ours[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

/* A program that does not read its input must not end us: the SIGPIPE of this thread's write is taken back. */
static ssize_t write_quietly(int fd, const void *data, size_t len)
{
    sigset_t pipe, old, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &old);
    ssize_t n = write(fd, data, len);
    int saved = errno;
    if (n < 0 && saved == EPIPE && !sigismember(&pending, SIGPIPE)) {
        sigtimedwait(&pipe, NULL, &(struct timespec){ 0 });
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = saved;
    return n;
}

static void pump_in(struct pipes *p)
{
    ssize_t n = p->input_len ? write_quietly(p->ours[0], p->input, p->input_len) : 0;
    if (n > 0) {
        p->input += n;
        p->input_len -= (size_t)n;
    }
    if (p->input_len == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        fd_close(&p->ours[0]);
    }
}

static void pump_out(struct pipes *p, int i)
{
    char chunk[16384];
    ssize_t n = read(p->ours[i], chunk, sizeof(chunk));
    if (n > 0) {
        size_t room = p->max > p->out[i]->len ? p->max - p->out[i]->len : 0;
        buf_add(p->out[i], chunk, (size_t)n < room ? (size_t)n : room);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        fd_close(&p->ours[i]);
    }
}

/* Until the process has ended and what it wrote is read. Returns 0, -ETIMEDOUT or -errno. */
static int pump(struct pipes *p, int pidfd, int timeout_ms)
{
    int64_t end = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
    bool ended = false;
    while (!ended || p->ours[1] >= 0 || p->ours[2] >= 0) {
        struct pollfd f[4] = {
            { .fd = p->ours[0], .events = POLLOUT },
            { .fd = p->ours[1], .events = POLLIN },
            { .fd = p->ours[2], .events = POLLIN },
            { .fd = ended ? -1 : pidfd, .events = POLLIN },
        };
        int64_t left = end - now_ms();
        if (left <= 0) {
            return -ETIMEDOUT;
        }
        int n = poll(f, 4, ended ? 0 : left > 60000 ? 60000 : (int)left);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0 && ended) {
            return 0; /* a child of its own still holds the pipe: not waited for */
        }
        if (n > 0) {
            ended = ended || f[3].revents;
            for (int i = 1; i < 3; i++) {
                if (f[i].revents) {
                    pump_out(p, i);
                }
            }
            if (f[0].revents) {
                pump_in(p);
            }
        }
    }
    return 0;
}

int spawn_run(const struct spawn_options *o, const char *input, size_t input_len, size_t max, int timeout_ms, struct buf *out,
              struct buf *errout, int *ret_code, struct err *e)
{
    struct pipes p CLEANUP(pipes_done) = { .ours = { -1, -1, -1 }, .theirs = { -1, -1, -1 }, .input = input,
                                           .input_len = input_len, .max = max, .out = { NULL, out, errout } };
    struct spawn_fd fds[FDS_MAX];
    struct spawn_options with = *o;
    CLEANUP_FD int pidfd = -1;
    if (o->n_fds > FDS_MAX - 3) {
        return err_set(e, E2BIG, ERR_INVALID, "more than %d descriptors for %s", FDS_MAX - 3, o->path);
    }
    int r = pipes_open(&p);
    if (r < 0) {
        return err_sys(e, -r, "create a pipe");
    }
    if (o->n_fds) {
        memcpy(fds, o->fds, o->n_fds * sizeof(*fds));
    }
    for (int i = 0; i < 3; i++) {
        if (p.theirs[i] >= 0) {
            fds[with.n_fds++] = (struct spawn_fd){ .from = p.theirs[i], .to = i };
        }
    }
    with.fds = fds;
    r = spawn(&with, &pidfd, NULL, e);
    for (int i = 0; i < 3; i++) {
        fd_close(&p.theirs[i]);
    }
    if (r < 0) {
        return r;
    }
    r = pump(&p, pidfd, timeout_ms);
    if (r < 0) {
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    }
    int code = 0, w = spawn_wait(pidfd, -1, &code, e);
    if (r == -ETIMEDOUT) {
        return err_set(e, ETIMEDOUT, ERR_TIMEOUT, "%s did not end within %d ms", o->path, timeout_ms);
    }
    if (r < 0 || w < 0) {
        return r < 0 ? err_sys(e, -r, "run %s", o->path) : w;
    }
    if ((out && buf_failed(out)) || (errout && buf_failed(errout))) {
        return err_oom(e);
    }
    *ret_code = code;
    return 0;
}
