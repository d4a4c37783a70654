/* store/journal.c: see journal.h. */
#include "store/journal.h"

#include "base/fault.h"
#include "store/db.h"
#include "sys/proc.h"

#include <errno.h>
#include <unistd.h>

#define COL(kind, type, member) { DB_##kind, offsetof(struct type, member) }

static const struct db_col op_cols[] = {
    COL(U64, store_op, id),         COL(TEXT, store_op, ns),        COL(TEXT, store_op, key),
    COL(TEXT, store_op, kind),      COL(TEXT, store_op, object),    COL(TEXT, store_op, stage),
    COL(TEXT, store_op, details),   COL(TEXT, store_op, boot_id),   COL(I32, store_op, owner_pid),
    COL(U64, store_op, owner_start), COL(I64, store_op, started),   COL(I64, store_op, stage_since),
    COL(I64, store_op, finished),   COL(TEXT, store_op, error),
};
#define OP_COLUMNS                                                                                                     \
    "id, namespace, key, kind, object, stage, details, boot, owner_pid, owner_start, started, stage_since, finished, error"

static const struct db_col event_cols[] = {
    COL(U64, store_event, id),      COL(I64, store_event, time),    COL(TEXT, store_event, ns),  COL(TEXT, store_event, type),
    COL(TEXT, store_event, action), COL(TEXT, store_event, object), COL(TEXT, store_event, pod), COL(TEXT, store_event, attributes),
};

enum { EVENT_ATTRIBUTES_MAX = 64 << 10, TRIM_EVERY = 256 };
#define EVENTS_AGE_NS ((int64_t)7 * 24 * 3600 * 1000000000)

void store_op_done(struct store_op *o)
{
    char *const strings[] = { o->ns, o->key, o->kind, o->object, o->stage, o->details, o->boot_id, o->error };
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        free(strings[i]);
    }
    *o = (struct store_op) { 0 };
}

static void op_done(void *o)
{
    store_op_done(o);
}

void store_ops_done(struct store_ops *o)
{
    for (size_t i = 0; i < o->n; i++) {
        store_op_done(&o->v[i]);
    }
    free(o->v);
    *o = (struct store_ops) { 0 };
}

void store_event_done(struct store_event *ev)
{
    char *const strings[] = { ev->ns, ev->type, ev->action, ev->object, ev->pod, ev->attributes };
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        free(strings[i]);
    }
    *ev = (struct store_event) { 0 };
}

static void event_done(void *ev)
{
    store_event_done(ev);
}

void store_events_done(struct store_events *ev)
{
    for (size_t i = 0; i < ev->n; i++) {
        store_event_done(&ev->v[i]);
    }
    free(ev->v);
    *ev = (struct store_events) { 0 };
}

int op_begin(struct store *s, const char *ns, const char *key, const char *kind, const char *object, const char *stage,
             const char *details, uint64_t *ret_id, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(s, &tx, e);
    if (r < 0) {
        return r;
    }
    int64_t now = store_now();
    r = db_run(s, e,
               "INSERT INTO operations (namespace, key, kind, object, stage, details, boot, owner_pid, owner_start, started,"
               " stage_since, finished) VALUES (?,?,?,?,?,?,?,?,?,?,?,0)",
               "tttttttiiii", ns, key, kind, object, stage, details, s->boot_id, (int64_t)getpid(), (int64_t)s->self_start, now, now);
    if (r == -EEXIST) {
        return err_set(e, EEXIST, ERR_BUSY, "operation %s is running", key);
    }
    uint64_t id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    r = r < 0 ? err_wrap(e, "begin %s", key) : store_commit(&tx, e);
    if (r == 0) {
        *ret_id = id;
        fault_point("op-begin", kind);
    }
    return r;
}

int op_stage(struct store *s, uint64_t id, const char *stage, const char *details, struct err *e)
{
    int r = db_run(s, e,
                   "UPDATE operations SET stage = ?, stage_since = ?, details = coalesce(?, details) WHERE id = ? AND finished = 0",
                   "titi", stage, store_now(), details, (int64_t)id);
    if (r == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no running operation %llu", (unsigned long long)id);
    }
    fault_point("op-stage", stage);
    return r < 0 ? err_wrap(e, "stage %s", stage) : 0;
}

int op_finish(struct store *s, uint64_t id, const char *error, struct err *e)
{
    int r = db_run(s, e, "UPDATE operations SET finished = ?, error = ? WHERE id = ? AND finished = 0", "iti", store_now(), error,
                   (int64_t)id);
    fault_point("op-finish", NULL);
    return r < 0 ? err_wrap(e, "finish operation") : 0;
}

bool op_owner_alive(const struct store *s, const struct store_op *o)
{
    uint64_t start = 0;
    char state = 0;
    return str_eq(o->boot_id, s->boot_id) && proc_start_time(o->owner_pid, &start, &state) == 0 && start == o->owner_start &&
           state != 'Z' && state != 'X';
}

static int op_get(struct store *s, uint64_t id, struct store_op *ret, struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = db_query(s, &q, e, "SELECT " OP_COLUMNS " FROM operations WHERE id = ? AND finished = 0", "i", (int64_t)id);
    if (r == 0 && (r = db_step(&q, e)) == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no running operation %llu", (unsigned long long)id);
    }
    return r < 0 ? r : db_row(&q, op_cols, ARRAY_LEN(op_cols), ret, e);
}

int op_adopt(struct store *s, uint64_t id, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    CLEANUP(store_op_done) struct store_op o = { 0 };
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        r = op_get(s, id, &o, e);
    }
    if (r < 0) {
        return r;
    }
    if (op_owner_alive(s, &o) && (o.owner_pid != getpid() || o.owner_start != s->self_start)) {
        return err_set(e, EBUSY, ERR_BUSY, "operation %s belongs to process %d", o.key, o.owner_pid);
    }
    r = db_run(s, e, "UPDATE operations SET boot = ?, owner_pid = ?, owner_start = ? WHERE id = ?", "tiii", s->boot_id,
               (int64_t)getpid(), (int64_t)s->self_start, (int64_t)id);
    return r < 0 ? err_wrap(e, "adopt operation %s", o.key) : store_commit(&tx, e);
}

int op_list(struct store *s, const struct op_query *query, struct store_ops *ret, struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    int64_t limit = query->limit ? (int64_t)query->limit : 1000;
    int r = db_query(s, &q, e,
                     "SELECT * FROM (SELECT " OP_COLUMNS " FROM operations WHERE (?1 IS NULL OR namespace = ?1)"
                     " AND (?2 IS NULL OR key = ?2) AND (?3 IS NULL OR object = ?3) AND (?4 = 0 OR finished = 0)"
                     " ORDER BY id DESC LIMIT ?5) ORDER BY id",
                     "tttii", query->ns, query->key, query->object, (int64_t)query->unfinished, limit);
    void *v = NULL;
    size_t n = 0;
    if (r == 0) {
        r = db_rows(&q, op_cols, ARRAY_LEN(op_cols), sizeof(struct store_op), &v, &n, op_done, e);
    }
    if (r == 0) {
        *ret = (struct store_ops) { v, n };
    }
    return r;
}

int event_append(struct store *s, const struct store_event *ev, uint64_t *ret_id, struct err *e)
{
    if (ev->attributes && strlen(ev->attributes) > EVENT_ATTRIBUTES_MAX) {
        return err_set(e, E2BIG, ERR_INVALID, "event %s %s: attributes exceed %d bytes", ev->type, ev->action, EVENT_ATTRIBUTES_MAX);
    }
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(s, &tx, e);
    if (r < 0) {
        return r;
    }
    r = db_run(s, e, "INSERT INTO events (time, namespace, type, action, object, pod, attributes) VALUES (?,?,?,?,?,?,?)", "itttttt",
               ev->time ? ev->time : store_now(), ev->ns, ev->type, ev->action, ev->object, ev->pod, ev->attributes);
    uint64_t id = r < 0 ? 0 : (uint64_t)sqlite3_last_insert_rowid(s->db);
    if (r >= 0 && id % TRIM_EVERY == 0) {
        r = journal_trim(s, EVENTS_MAX, EVENTS_AGE_NS, e);
    }
    r = r < 0 ? err_wrap(e, "append event") : store_commit(&tx, e);
    if (r == 0 && ret_id) {
        *ret_id = id;
    }
    return r;
}

int event_list(struct store *s, const char *ns, uint64_t after, int64_t since, int64_t until, size_t limit, struct store_events *ret,
               struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = db_query(s, &q, e,
                     "SELECT id, time, namespace, type, action, object, pod, attributes FROM events WHERE id > ?1"
                     " AND (?2 IS NULL OR namespace = ?2) AND time >= ?3 AND (?4 = 0 OR time <= ?4) ORDER BY id LIMIT ?5",
                     "itiii", (int64_t)after, ns, since, until, limit ? (int64_t)limit : (int64_t)1000);
    void *v = NULL;
    size_t n = 0;
    if (r == 0) {
        r = db_rows(&q, event_cols, ARRAY_LEN(event_cols), sizeof(struct store_event), &v, &n, event_done, e);
    }
    if (r == 0) {
        *ret = (struct store_events) { v, n };
    }
    return r;
}

int event_last(struct store *s, uint64_t *ret, struct err *e)
{
    int64_t last = 0;
    int r = db_int(s, 0, &last, e, "SELECT seq FROM sqlite_sequence WHERE name = 'events'", "");
    if (r == 0) {
        *ret = (uint64_t)last;
    }
    return r;
}

int journal_trim(struct store *s, size_t max_rows, int64_t max_age_ns, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(s, &tx, e);
    int64_t oldest = store_now() - max_age_ns;
    if (r == 0) {
        r = db_run(s, e, "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?1 OR time < ?2", "ii", (int64_t)max_rows,
                   oldest);
    }
    if (r >= 0) {
        r = db_run(s, e,
                   "DELETE FROM operations WHERE finished > 0 AND (finished < ?1 OR id <= (SELECT max(id) FROM operations) - ?2)",
                   "ii", oldest, (int64_t)OPS_FINISHED_MAX);
    }
    return r < 0 ? err_wrap(e, "trim the journal") : store_commit(&tx, e);
}
