/*
 * sys/loop.h: one epoll loop: descriptors, timers and signals. No threads; callbacks run one after another. A callback may
 * add and remove any source, its own included.
 */
#pragma once

#include "base/err.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/epoll.h>

struct loop;
struct loop_source;

/* events: EPOLLIN | EPOLLOUT | ... as they came. */
typedef void loop_fd_fn(struct loop_source *s, int fd, uint32_t events, void *data);
typedef void loop_timer_fn(struct loop_source *s, void *data);
typedef void loop_signal_fn(struct loop_source *s, const struct signalfd_siginfo *si, void *data);

MUST_USE int loop_new(struct loop **ret, struct err *e);
/* Frees the loop and all of its sources; does not close their descriptors. NULL is fine. */
void loop_free(struct loop *l);
/* Runs until loop_stop(). Returns 0 or -errno. */
MUST_USE int loop_run(struct loop *l, struct err *e);
/* Handles what is ready within timeout_ms (-1: waits) once. */
MUST_USE int loop_once(struct loop *l, int timeout_ms, struct err *e);
void loop_stop(struct loop *l);

/* The caller keeps the descriptor and closes it after loop_remove(). */
MUST_USE int loop_add_fd(struct loop *l, int fd, uint32_t events, loop_fd_fn *fn, void *data,
                         struct loop_source **ret, struct err *e);
MUST_USE int loop_set_events(struct loop_source *s, uint32_t events, struct err *e);
/* One shot after ns nanoseconds of CLOCK_MONOTONIC (CLOCK_BOOTTIME is not needed here); the source stays and can be armed again. */
MUST_USE int loop_add_timer(struct loop *l, uint64_t ns, loop_timer_fn *fn, void *data,
                            struct loop_source **ret, struct err *e);
/* 0 disarms. */
void loop_set_timer(struct loop_source *s, uint64_t ns);
/* Blocks the signals in this thread and delivers them here; once a loop. */
MUST_USE int loop_add_signals(struct loop *l, const sigset_t *set, loop_signal_fn *fn, void *data,
                              struct loop_source **ret, struct err *e);
/* Removes and frees. NULL is fine. */
void loop_remove(struct loop_source *s);
