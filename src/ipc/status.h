/*
 * ipc/status.h: the status file of a container (RUN/pods/ID/ctr/CID/status): key=value lines that the monitor replaces by
 * rename before it tells anybody, so that an exit is known even if nobody lives to hear of it.
 */
#pragma once

#include "base/buf.h"

#include <sys/types.h>

enum mon_state { MON_STATE_CREATING, MON_STATE_CREATED, MON_STATE_RUNNING, MON_STATE_PAUSED, MON_STATE_EXITED };

struct mon_status {
    enum mon_state state;
    pid_t pid;           /* kept after the exit, for the record */
    uint64_t start_time; /* field 22 of /proc/PID/stat: tells the process from a later one with its number */
    int64_t created_ns, started_ns, exited_ns;
    int32_t exit_code;   /* 128 + signal when a signal ended it */
    int32_t exit_signal; /* 0: it exited by itself */
    bool oom_killed;
    uint64_t lost_lines;
    char reason[64]; /* "", "MonitorLost", … */
};

/* "created", "running", … */
const char *mon_state_name(enum mon_state s);
/* Reads DIR/status, DIR being a container's folder. ERR_NOT_FOUND if there is none. */
MUST_USE int mon_status_read(const char *ctr_dir, struct mon_status *ret, struct err *e);
MUST_USE int mon_status_parse(const char *text, size_t len, struct mon_status *ret, struct err *e);
void mon_status_format(const struct mon_status *s, struct buf *out);
MUST_USE int mon_status_write(int dirfd, const char *path, const struct mon_status *s, struct err *e);
/* Whether the process that it names still runs (not a zombie). */
bool mon_status_alive(const struct mon_status *s);
