/* monitor/job.c: forked children that do what may block; see mon.h. */
#include "monitor/mon.h"

#include "base/fd.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KEEP_MAX = 16 };

/* ---- in the child ---------------------------------------------------------------------------------------- */

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* Others' pipes must not stay open in a child that lingers: their ends would never be seen. */
static void close_others(const int *keep, size_t n_keep, int socket)
{
    int fds[KEEP_MAX + 1];
    size_t n = 0;
    fds[n++] = socket;
    for (size_t i = 0; i < n_keep; i++) {
        fds[n++] = keep[i];
    }
    qsort(fds, n, sizeof(*fds), compare_ints);
    unsigned from = 3;
    for (size_t i = 0; i < n; i++) {
        if (fds[i] >= (int)from) {
            if ((unsigned)fds[i] > from) {
                syscall(SYS_close_range, from, (unsigned)fds[i] - 1, 0u);
            }
            from = (unsigned)fds[i] + 1;
        }
    }
    syscall(SYS_close_range, from, ~0u, 0u);
}

static void restore_process(const struct monitor *m)
{
    struct sigaction sa = { .sa_handler = SIG_DFL };
    sigset_t none;
    sigaction(SIGPIPE, &sa, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (m->oom_score_adj) {
        (void)!file_write(AT_FDCWD, "/proc/self/oom_score_adj", m->oom_score_adj, strlen(m->oom_score_adj), NULL);
    }
}

void job_report(int socket, const struct job_result *r, int fd)
{
    (void)!sock_send(socket, r, sizeof(*r), &fd, fd >= 0 ? 1 : 0, 0);
}

void job_report_error(int socket, const struct err *e)
{
    struct job_result r = { .code = e->code ? e->code : EIO, .kind = e->kind };
    snprintf(r.text, sizeof(r.text), "%s", e->text);
    job_report(socket, &r, -1);
}

bool job_wait_go(int socket)
{
    char c;
    ssize_t n;
    do {
        n = read(socket, &c, 1);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

/* ---- in the monitor -------------------------------------------------------------------------------------- */

void job_go(struct job *j)
{
    (void)!sock_send(j->socket, "g", 1, NULL, 0, MSG_DONTWAIT);
}

void job_kill(struct job *j)
{
    if (j->pid > 0) {
        kill(j->pid, SIGKILL);
    }
}

void job_free(struct job *j)
{
    if (!j) {
        return;
    }
    for (struct job **p = &j->m->jobs; *p; p = &(*p)->next) {
        if (*p == j) {
            *p = j->next;
            break;
        }
    }
    if (!j->m->jobs) { /* nobody is left who could ask for those */
        free(j->m->early);
        j->m->early = NULL;
        j->m->n_early = j->m->cap_early = 0;
    }
    loop_remove(j->source);
    loop_remove(j->timer);
    fd_close(&j->socket);
    free(j);
}

static void on_job(struct loop_source *s, int fd, uint32_t events, void *data)
{
    struct job *j = data;
    struct job_result r;
    int got = -1;
    size_t n_fds = 1;
    (void)s;
    (void)events;
    ssize_t n = sock_recv(fd, &r, sizeof(r), &got, &n_fds, MSG_DONTWAIT);
    if (n == -EAGAIN) {
        return;
    }
    if (n_fds == 0) {
        got = -1;
    }
    if (n != (ssize_t)sizeof(r)) {
        loop_remove(j->source); /* done() may keep the job no longer */
        j->source = NULL;
        j->done(j, NULL, &got);
    } else {
        r.text[sizeof(r.text) - 1] = '\0';
        j->results++;
        j->done(j, &r, &got);
    }
    fd_close(&got);
}

static void on_timeout(struct loop_source *s, void *data)
{
    struct job *j = data;
    (void)s;
    j->timed_out = true;
    job_kill(j);
}

static pid_t job_fork(struct monitor *m, job_fn *fn, void *data, const int *keep, size_t n_keep, int socket)
{
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    close_others(keep, n_keep, socket);
    restore_process(m);
    _exit(fn(m, data, socket));
}

int job_start(struct monitor *m, job_fn *fn, void *data, const int *keep, size_t n_keep, uint64_t timeout_ms, job_done_fn *done,
              void *owner, const struct reply_to *to, struct job **ret, struct err *e)
{
    int pair[2];
    if (n_keep > KEEP_MAX) {
        return err_set(e, E2BIG, ERR_INTERNAL, "a job keeps too many descriptors");
    }
    struct job *j = calloc(1, sizeof(*j));
    if (!j) {
        return err_oom(e);
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        int saved = errno;
        free(j);
        return err_sys(e, saved, "create a socket pair");
    }
    *j = (struct job){ .m = m, .socket = pair[0], .done = done, .owner = owner, .next = m->jobs };
    if (to) {
        j->to = *to;
    }
    m->jobs = j;
    int r = loop_add_fd(m->loop, j->socket, EPOLLIN, on_job, j, &j->source, e);
    if (r == 0 && timeout_ms > 0) {
        r = loop_add_timer(m->loop, timeout_ms * 1000000u, on_timeout, j, &j->timer, e);
    }
    if (r == 0) {
        j->pid = job_fork(m, fn, data, keep, n_keep, pair[1]);
        r = j->pid < 0 ? err_sys(e, errno, "fork") : 0;
    }
    close(pair[1]);
    if (r < 0) {
        job_free(j);
        return r;
    }
    *ret = j;
    return 0;
}
