/*
 * store/journal.h: the operations journal and the event log.
 *
 * Before its first side effect an operation writes what it is about to do; each stage is named and timed; one that is found
 * unfinished, and whose owner is dead, is completed or undone by the next program that starts. The event log is the one feed of changes:
 * append within the transaction of the change, then wake readers with a datagram (the engine's task).
 */
#pragma once

#include "store/store.h"

struct store_op {
    uint64_t id;
    char *ns, *key;
    char *kind, *object;  /* "run-pod", id */
    char *stage, *details; /* details: opaque text */
    char *boot_id;
    int32_t owner_pid;
    uint64_t owner_start;
    int64_t started, stage_since, finished; /* finished 0: in work */
    char *error; /* NULL: none (yet) */
};
void store_op_done(struct store_op *o);
struct store_ops {
    struct store_op *v;
    size_t n;
};
void store_ops_done(struct store_ops *o);
#define CLEANUP_STORE_OPS CLEANUP(store_ops_done)

/* Owner, boot id and times are filled in here. -EEXIST (ERR_BUSY) while an operation with this key is unfinished. */
MUST_USE int op_begin(struct store *s, const char *ns, const char *key, const char *kind, const char *object, const char *stage,
                      const char *details, uint64_t *ret_id, struct err *e);
/* details NULL: as they are. */
MUST_USE int op_stage(struct store *s, uint64_t id, const char *stage, const char *details, struct err *e);
/* error NULL: it went well. */
MUST_USE int op_finish(struct store *s, uint64_t id, const char *error, struct err *e);
/* Makes this process the owner of an operation whose owner is dead; -EBUSY (ERR_BUSY) while that one lives. */
MUST_USE int op_adopt(struct store *s, uint64_t id, struct err *e);
/* Owner alive: same boot, and a process with that pid and start time. */
bool op_owner_alive(const struct store *s, const struct store_op *o);
struct op_query {
    const char *ns, *key, *object; /* NULL: any */
    bool unfinished;
    size_t limit; /* newest so many, in order of id; 0: 1000 */
};
MUST_USE int op_list(struct store *s, const struct op_query *q, struct store_ops *ret, struct err *e);

struct store_event {
    uint64_t id;
    int64_t time;
    char *ns;
    char *type, *action; /* "container", "start" */
    char *object, *pod;  /* ids; pod NULL: none */
    char *attributes;    /* opaque text (JSON); NULL: none */
};
void store_event_done(struct store_event *ev);
struct store_events {
    struct store_event *v;
    size_t n;
};
void store_events_done(struct store_events *ev);
#define CLEANUP_STORE_EVENTS CLEANUP(store_events_done)

/* id and time are set when they are 0. *ret_id may be NULL. */
MUST_USE int event_append(struct store *s, const struct store_event *ev, uint64_t *ret_id, struct err *e);
/* Events with id > after in [since, until] (0: no bound), oldest first, at most limit (0: 1000). ns NULL: all. */
MUST_USE int event_list(struct store *s, const char *ns, uint64_t after, int64_t since, int64_t until, size_t limit,
                        struct store_events *ret, struct err *e);
/* Id of the newest event, 0 if there was none. */
MUST_USE int event_last(struct store *s, uint64_t *ret, struct err *e);

enum { EVENTS_MAX = 20000, OPS_FINISHED_MAX = 5000 };
/* Drops events beyond max_rows or older than max_age_ns, and finished operations likewise. event_append() keeps the bound by itself. */
MUST_USE int journal_trim(struct store *s, size_t max_rows, int64_t max_age_ns, struct err *e);
