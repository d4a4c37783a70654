/*
 * sys/spawn.h: starting programs from threaded programs: a clone that shares memory until exec (as vfork does), so that its cost
 * does not grow with ours, and a pidfd back. The child has no descriptor of ours but those that were named.
 */
#pragma once

#include "base/buf.h"

#include <sys/types.h>

struct spawn_fd {
    int from; /* ours */
    int to;   /* its number in the child */
};

struct spawn_options {
    const char *path;  /* program; without a slash it is looked up in PATH */
    char *const *argv;
    char *const *envp; /* NULL: ours */
    const char *cwd;   /* NULL: ours */
    /* What the child keeps; 0, 1 and 2 are /dev/null unless they are named here. */
    const struct spawn_fd *fds;
    size_t n_fds;
    bool new_session;
    int pdeathsig; /* 0: none */
    int cgroup_fd; /* v2 cgroup to be born in; <= 0: ours */
    int netns_fd;  /* network namespace to enter; <= 0: ours */
};

/* *ret_pidfd: to be waited for with spawn_wait() (or waitid(P_PIDFD)). An exec that fails is an error here. */
MUST_USE int spawn(const struct spawn_options *o, int *ret_pidfd, pid_t *ret_pid, struct err *e);
/*
 * Waits until it has ended, and reaps. *ret_code: exit code, or 128 + signal. After timeout_ms (-1: for ever) it returns
 * -ETIMEDOUT and the process still runs.
 */
MUST_USE int spawn_wait(int pidfd, int timeout_ms, int *ret_code, struct err *e);
/*
 * Runs to the end with input on standard input, collecting at most max bytes each of its output. At the time-out it is
 * killed and reaped, and -ETIMEDOUT returned. o->fds may name others than 0–2. out, errout may be NULL: /dev/null.
 */
MUST_USE int spawn_run(const struct spawn_options *o, const char *input, size_t input_len, size_t max, int timeout_ms,
                       struct buf *out, struct buf *errout, int *ret_code, struct err *e);
