/* sys/proc.h: what /proc tells of a process. */
#pragma once

#include "base/err.h"

#include <sys/types.h>

/* Field 22 of /proc/PID/stat (clock ticks since boot), and its state letter (may be NULL). -ESRCH when there is none. */
MUST_USE int proc_start_time(pid_t pid, uint64_t *ret, char *ret_state);
/* Opens a pidfd for the process that has this number and start time; -ESRCH if it has gone. */
MUST_USE int proc_open(pid_t pid, uint64_t start_time, int *ret_pidfd);
int proc_pidfd_open(pid_t pid);
/* The number that a pidfd's process has where /proc belongs to; -ESRCH when it has gone or is not to be seen from there. */
MUST_USE int proc_pidfd_pid(int pidfd, pid_t *ret);
int proc_pidfd_kill(int pidfd, int signo);
/*
 * Whether a signal reaches the process: it is caught or blocked (then pending), or is SIGKILL or SIGSTOP. The kernel drops others when
 * they are sent to the PID 1 of a namespace. False for a process that has gone.
 */
bool proc_hears(pid_t pid, int signo);
