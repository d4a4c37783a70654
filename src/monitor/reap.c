/*
 * monitor/reap.c: every child that ends. Containers and execs are ours by CLONE_PARENT, so one can end before its builder has told
 * its pid: while jobs are under way, what nobody knows is remembered.
 */
#include "monitor/mon.h"

#include <errno.h>
#include <sys/wait.h>

enum { EARLY_MAX = 4096 };

static void remember(struct monitor *m, pid_t pid, int status)
{
    if (!m->jobs || m->n_early >= EARLY_MAX || array_grow(&m->early, &m->cap_early, m->n_early + 1, sizeof(*m->early)) < 0) {
        return;
    }
    m->early[m->n_early++] = (struct early){ .pid = pid, .status = status };
}

bool reap_early(struct monitor *m, pid_t pid, int *ret_status)
{
    for (size_t i = 0; i < m->n_early; i++) {
        if (m->early[i].pid == pid) {
            *ret_status = m->early[i].status;
            m->early[i] = m->early[--m->n_early];
            return true;
        }
    }
    return false;
}

static bool is_job(struct monitor *m, pid_t pid)
{
    for (struct job *j = m->jobs; j; j = j->next) {
        if (j->pid == pid) {
            j->pid = 0; /* its result may still be in the socket */
            return true;
        }
    }
    return false;
}

static void reaped(struct monitor *m, pid_t pid, int status)
{
    if (pid == m->pod.init) {
        m->pod.init = 0;
        return;
    }
    if (is_job(m, pid)) {
        return;
    }
    for (struct ctr *c = m->ctrs; c; c = c->next) {
        if (c->status.pid == pid && !c->reaped) {
            ctr_reaped(c, status);
            return;
        }
        for (struct exec *x = c->execs; x; x = x->next) {
            if (x->pid == pid) {
                exec_reaped(x, status);
                return;
            }
        }
    }
    remember(m, pid, status);
}

void reap_signal(struct loop_source *s, const struct signalfd_siginfo *si, void *data)
{
    struct monitor *m = data;
    int status;
    pid_t pid;
    (void)s;
    if (si->ssi_signo != SIGCHLD) {
        if (m->n_ctrs == 0) {
            loop_stop(m->loop);
        }
        return;
    }
    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
        reaped(m, pid, status);
    }
}
