/*
 * ipc/client.h: the engine's side of the monitor's socket. Calls block, until timeout_ms (-1: for ever). A connection is used by
 * one thread at a time; connect once a call (some 50 µs) or keep it. After a time-out or a broken connection the connection is dead:
 * every further call fails with ERR_UNAVAILABLE, and a new one has to be made.
 *
 * Errors of the monitor come back as they were (code, kind, text). ERR_UNAVAILABLE: no monitor answers in that folder.
 */
#pragma once

#include "ipc/proto.h"
#include "ipc/status.h"

#include <sys/types.h>

struct mon;

/*
 * Starts `monitor_path` for the pod folder dir, in a session of its own and with no descriptor of ours, and waits until it answers
 * on dir/mon.sock. *ret: its pids and namespace paths; released with mon_struct_done(&mon_pod_state_type, ret). A monitor that
 * answers there already is ERR_EXISTS.
 */
MUST_USE int mon_spawn(const char *monitor_path, const char *dir, const struct mon_pod *pod, int timeout_ms,
                       struct mon_pod_state *ret, struct err *e);

MUST_USE int mon_connect(const char *dir, int timeout_ms, struct mon **ret, struct err *e);
void mon_close(struct mon *m);
static inline void mon_close_p(struct mon **m)
{
    mon_close(*m);
}
#define CLEANUP_MON CLEANUP(mon_close_p)
/* Lower minor of both sides. */
unsigned mon_minor(const struct mon *m);
/* For epoll: readable when an event or the end of the connection is there. */
int mon_fd(const struct mon *m);

/*
 * *ret (may be NULL) is the container's state afterwards. The container is created and waits for mon_start().
 * Output of a runtime that failed is in the error's text.
 */
MUST_USE int mon_create(struct mon *m, const struct mon_create *c, int timeout_ms, struct mon_ctr_state *ret, struct err *e);
MUST_USE int mon_start(struct mon *m, const char *id, int timeout_ms, struct err *e);
/* exec_id NULL: the container. ERR_NOT_FOUND when it has ended. */
MUST_USE int mon_kill(struct mon *m, const char *id, const char *exec_id, int signo, bool all, int timeout_ms, struct err *e);
/*
 * Attached and detached: returns when the process runs. Captured: returns when it has ended and its output is collected; a
 * time-out of the exec itself is not an error of the call: ret->timed_out. Output longer than MON_INLINE_MAX is read out of the
 * memfds into ret->out and ret->err by this call.
 */
MUST_USE int mon_exec(struct mon *m, const struct mon_exec *x, int timeout_ms, struct mon_exec_reply *ret, struct err *e);
/* *ret_fd: a stream as in ipc/stream.h; the caller closes it. ERR_NOT_FOUND when the container has ended. */
MUST_USE int mon_attach(struct mon *m, const char *id, const char *exec_id, bool stdin_open, int timeout_ms, int *ret_fd,
                        struct err *e);
MUST_USE int mon_resize(struct mon *m, const char *id, const char *exec_id, uint32_t rows, uint32_t cols, int timeout_ms,
                        struct err *e);
MUST_USE int mon_close_stdin(struct mon *m, const char *id, const char *exec_id, int timeout_ms, struct err *e);
/* The new file exists when this returns. */
MUST_USE int mon_reopen_log(struct mon *m, const char *id, int timeout_ms, struct err *e);
MUST_USE int mon_pause(struct mon *m, const char *id, int timeout_ms, struct err *e);
MUST_USE int mon_resume(struct mon *m, const char *id, int timeout_ms, struct err *e);
/* json: OCI linux.resources. */
MUST_USE int mon_update(struct mon *m, const char *id, const char *json, int timeout_ms, struct err *e);
/* Returns when the container (or exec) has exited; -ETIMEDOUT. *ret released with mon_struct_done(&mon_ctr_state_type, ret). */
MUST_USE int mon_wait(struct mon *m, const char *id, const char *exec_id, int timeout_ms, struct mon_ctr_state *ret,
                      struct err *e);
MUST_USE int mon_ctr_state(struct mon *m, const char *id, const char *exec_id, int timeout_ms, struct mon_ctr_state *ret,
                           struct err *e);
MUST_USE int mon_pod_state(struct mon *m, int timeout_ms, struct mon_pod_state *ret, struct err *e);
/* Forgets a container that has exited or was only created; force: kills it first. Its cgroup is removed, its folder is not. An unknown id is fine. */
MUST_USE int mon_remove(struct mon *m, const char *id, bool force, int timeout_ms, struct err *e);
/* Ends the monitor when no container lives in it; else ERR_BUSY. Returns when it is gone from its socket. */
MUST_USE int mon_shutdown(struct mon *m, int timeout_ms, struct err *e);

/* From now on this connection gets events; make no other calls on it. */
MUST_USE int mon_subscribe(struct mon *m, int timeout_ms, struct err *e);
/* *ret_type: MON_EXITED, MON_EXEC_EXITED or MON_OOM. -ETIMEDOUT; ERR_UNAVAILABLE when the monitor has gone. */
MUST_USE int mon_next_event(struct mon *m, int timeout_ms, unsigned *ret_type, struct mon_ctr_state *ret, struct err *e);
