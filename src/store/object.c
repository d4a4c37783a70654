/* store/object.c: see object.h: pods, containers, usage figures. */
#include "store/object.h"

#include "store/db.h"

#include <errno.h>
#include <stdio.h>

#define COL(kind, type, member) { DB_##kind, offsetof(struct type, member) }

static const struct db_col pod_cols[] = {
    COL(TEXT, store_pod, id),    COL(TEXT, store_pod, ns),     COL(TEXT, store_pod, key),  COL(TEXT, store_pod, name),
    COL(TEXT, store_pod, state), COL(I64, store_pod, created), COL(TEXT, store_pod, spec), COL(TEXT, store_pod, status),
};
#define POD_SELECT "SELECT id, namespace, key, name, state, created, spec, status FROM pods "

static const struct db_col ctr_cols[] = {
    COL(TEXT, store_ctr, id),         COL(TEXT, store_ctr, ns),       COL(TEXT, store_ctr, pod_id),
    COL(TEXT, store_ctr, key),        COL(TEXT, store_ctr, name),     COL(TEXT, store_ctr, image_id),
    COL(TEXT, store_ctr, state),      COL(I64, store_ctr, created),   COL(I64, store_ctr, started),
    COL(I64, store_ctr, finished),    COL(I32, store_ctr, pid),       COL(U64, store_ctr, pid_start),
    COL(I32, store_ctr, exit_code),   COL(BOOL, store_ctr, oom_killed), COL(U32, store_ctr, restart_count),
    COL(TEXT, store_ctr, reason),     COL(TEXT, store_ctr, message),  COL(TEXT, store_ctr, spec),
    COL(TEXT, store_ctr, status),
};
#define CTR_SELECT                                                                                                     \
    "SELECT id, namespace, pod, key, name, image, state, created, started, finished, pid, pid_start, exit_code, oom,"  \
    " restarts, reason, message, spec, status FROM containers "

void store_pod_done(struct store_pod *p)
{
    free(p->id);
    free(p->ns);
    free(p->key);
    free(p->name);
    free(p->state);
    free(p->spec);
    free(p->status);
    *p = (struct store_pod) { 0 };
}

static void pod_done(void *p)
{
    store_pod_done(p);
}

void store_pods_done(struct store_pods *p)
{
    for (size_t i = 0; i < p->n; i++) {
        store_pod_done(&p->v[i]);
    }
    free(p->v);
    *p = (struct store_pods) { 0 };
}

void store_ctr_done(struct store_ctr *c)
{
    char *const strings[] = { c->id,    c->ns,     c->pod_id,  c->key,  c->name,  c->image_id,
                              c->state, c->reason, c->message, c->spec, c->status };
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        free(strings[i]);
    }
    strv_free(c->layers);
    *c = (struct store_ctr) { 0 };
}

static void ctr_done(void *c)
{
    store_ctr_done(c);
}

void store_ctrs_done(struct store_ctrs *c)
{
    for (size_t i = 0; i < c->n; i++) {
        store_ctr_done(&c->v[i]);
    }
    free(c->v);
    *c = (struct store_ctrs) { 0 };
}

/* The smallest string that is greater than every string that begins with an id's prefix: ids are hexadecimal, 'g' is above them. */
static bool is_prefix(const char *ref, char end[static 80])
{
    size_t len = strlen(ref);
    if (len < 1 || len > 64 || strspn(ref, "0123456789abcdef") != len) {
        return false;
    }
    snprintf(end, 80, "%sg", ref);
    return true;
}

int store_pod_add(struct store *s, const struct store_pod *p, struct err *e)
{
    int r = db_run(s, e, "INSERT INTO pods (id, namespace, key, name, state, created, spec, status) VALUES (?,?,?,?,?,?,?,?)",
                   "tttttitt", p->id, p->ns, p->key, p->name, p->state, p->created, p->spec, p->status);
    return r < 0 ? err_wrap(e, "record pod %s", p->id) : 0;
}

int store_pod_update(struct store *s, const struct store_pod *p, struct err *e)
{
    int r = db_run(s, e, "UPDATE pods SET name = ?, state = ?, spec = ?, status = ? WHERE id = ?", "ttttt", p->name, p->state, p->spec,
                   p->status, p->id);
    if (r == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no pod %s", p->id);
    }
    return r < 0 ? err_wrap(e, "record pod %s", p->id) : 0;
}

int store_pod_delete(struct store *s, const char *id, struct err *e)
{
    int r = db_run(s, e, "DELETE FROM pods WHERE id = ?", "t", id);
    if (r == -ENOENT) {
        return err_set(e, EBUSY, ERR_BUSY, "pod %s still has containers", id);
    }
    return r < 0 ? err_wrap(e, "forget pod %s", id) : 0;
}

/* Takes the first row, and refuses a second one. */
static int one_row(struct db_q *q, const struct db_col *cols, size_t n, void *out, const char *what, const char *ref, struct err *e)
{
    int r = db_step(q, e);
    if (r == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no %s %s", what, ref);
    }
    if (r > 0) {
        r = db_row(q, cols, n, out, e);
    }
    if (r == 0 && (r = db_step(q, e)) > 0) {
        return err_set(e, EINVAL, ERR_INVALID, "%s %s: several match", what, ref);
    }
    return r;
}

/* Ways of naming an object, tried in order. */
struct lookup {
    const char *sql;
    bool prefix, any_ns;
};

static int look_up(struct store *s, const struct lookup *ways, size_t n, const char *ns, const char *ref, const char *what,
                   const struct db_col *cols, size_t n_cols, void *out, struct err *e)
{
    char end[80];
    for (size_t i = 0; i < n; i++) {
        if ((!ns && !ways[i].any_ns) || (ways[i].prefix && !is_prefix(ref, end))) {
            continue;
        }
        CLEANUP_DB_Q struct db_q q = { 0 };
        int r = ways[i].prefix ? db_query(s, &q, e, ways[i].sql, "ttt", ns, ref, end) : db_query(s, &q, e, ways[i].sql, "tt", ns, ref);
        if (r == 0) {
            r = one_row(&q, cols, n_cols, out, what, ref, e);
        }
        if (r != -ENOENT) {
            return r;
        }
    }
    return err_set(e, ENOENT, ERR_NOT_FOUND, "no %s %s", what, ref);
}

static const struct lookup pod_ways[] = {
    { POD_SELECT "WHERE (?1 IS NULL OR namespace = ?1) AND id = ?2", false, true },
    { POD_SELECT "WHERE namespace = ?1 AND name = ?2 LIMIT 2", false, false },
    { POD_SELECT "WHERE namespace = ?1 AND id >= ?2 AND id < ?3 LIMIT 2", true, false },
};
static const struct lookup ctr_ways[] = {
    { CTR_SELECT "WHERE (?1 IS NULL OR namespace = ?1) AND id = ?2", false, true },
    { CTR_SELECT "WHERE namespace = ?1 AND name = ?2", false, false },
    { CTR_SELECT "WHERE namespace = ?1 AND id >= ?2 AND id < ?3 LIMIT 2", true, false },
};
static const struct lookup pod_key = { POD_SELECT "WHERE namespace = ?1 AND key = ?2", false, false };
static const struct lookup ctr_key = { CTR_SELECT "WHERE namespace = ?1 AND key = ?2", false, false };

int store_pod_get(struct store *s, const char *ns, const char *ref, struct store_pod *ret, struct err *e)
{
    CLEANUP_STORE_POD struct store_pod p = { 0 };
    int r = look_up(s, pod_ways, ARRAY_LEN(pod_ways), ns, ref, "pod", pod_cols, ARRAY_LEN(pod_cols), &p, e);
    if (r == 0) {
        *ret = p;
        p = (struct store_pod) { 0 };
    }
    return r;
}

int store_pod_by_key(struct store *s, const char *ns, const char *key, struct store_pod *ret, struct err *e)
{
    CLEANUP_STORE_POD struct store_pod p = { 0 };
    int r = look_up(s, &pod_key, 1, ns, key, "pod", pod_cols, ARRAY_LEN(pod_cols), &p, e);
    if (r == 0) {
        *ret = p;
        p = (struct store_pod) { 0 };
    }
    return r;
}

int store_pod_list(struct store *s, const char *ns, struct store_pods *ret, struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = db_query(s, &q, e, POD_SELECT "WHERE ?1 IS NULL OR namespace = ?1 ORDER BY n LIMIT ?2", "ti", ns, (int64_t)STORE_LIST_MAX);
    void *v = NULL;
    size_t n = 0;
    if (r == 0) {
        r = db_rows(&q, pod_cols, ARRAY_LEN(pod_cols), sizeof(struct store_pod), &v, &n, pod_done, e);
    }
    if (r == 0) {
        *ret = (struct store_pods) { v, n };
    }
    return r;
}

int store_ctr_add(struct store *s, const struct store_ctr *c, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        r = db_run(s, e,
                   "INSERT INTO containers (id, namespace, pod, key, name, image, state, created, started, finished, pid, pid_start,"
                   " exit_code, oom, restarts, reason, message, spec, status) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                   "tttttttiiiiiiiitttt", c->id, c->ns, c->pod_id, c->key, c->name, c->image_id, c->state, c->created, c->started,
                   c->finished, (int64_t)c->pid, (int64_t)c->pid_start, (int64_t)c->exit_code, (int64_t)c->oom_killed,
                   (int64_t)c->restart_count, c->reason, c->message, c->spec, c->status);
    }
    for (size_t i = 0; r >= 0 && c->layers && c->layers[i]; i++) {
        r = db_run(s, e, "INSERT INTO container_layers VALUES (?,?,?)", "tit", c->id, (int64_t)i, c->layers[i]);
    }
    return r < 0 ? err_wrap(e, "record container %s", c->id) : store_commit(&tx, e);
}

int store_ctr_update(struct store *s, const struct store_ctr *c, struct err *e)
{
    int r = db_run(s, e,
                   "UPDATE containers SET name = ?, state = ?, started = ?, finished = ?, pid = ?, pid_start = ?, exit_code = ?,"
                   " oom = ?, restarts = ?, reason = ?, message = ?, spec = ?, status = ? WHERE id = ?",
                   "ttiiiiiiittttt", c->name, c->state, c->started, c->finished, (int64_t)c->pid, (int64_t)c->pid_start,
                   (int64_t)c->exit_code, (int64_t)c->oom_killed, (int64_t)c->restart_count, c->reason, c->message, c->spec,
                   c->status, c->id);
    if (r == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no container %s", c->id);
    }
    return r < 0 ? err_wrap(e, "record container %s", c->id) : 0;
}

int store_ctr_delete(struct store *s, const char *id, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        r = db_run(s, e, "DELETE FROM containers WHERE id = ?", "t", id);
    }
    if (r >= 0) {
        r = db_run(s, e, "DELETE FROM usage WHERE kind = 'ctr' AND id = ?", "t", id);
    }
    return r < 0 ? err_wrap(e, "forget container %s", id) : store_commit(&tx, e);
}

int store_ctr_get(struct store *s, const char *ns, const char *ref, struct store_ctr *ret, struct err *e)
{
    CLEANUP_STORE_CTR struct store_ctr c = { 0 };
    int r = look_up(s, ctr_ways, ARRAY_LEN(ctr_ways), ns, ref, "container", ctr_cols, ARRAY_LEN(ctr_cols), &c, e);
    if (r == 0) {
        *ret = c;
        c = (struct store_ctr) { 0 };
    }
    return r;
}

int store_ctr_by_key(struct store *s, const char *ns, const char *key, struct store_ctr *ret, struct err *e)
{
    CLEANUP_STORE_CTR struct store_ctr c = { 0 };
    int r = look_up(s, &ctr_key, 1, ns, key, "container", ctr_cols, ARRAY_LEN(ctr_cols), &c, e);
    if (r == 0) {
        *ret = c;
        c = (struct store_ctr) { 0 };
    }
    return r;
}

int store_ctr_list(struct store *s, const char *ns, const char *pod_id, struct store_ctrs *ret, struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = pod_id ? db_query(s, &q, e, CTR_SELECT "WHERE (?1 IS NULL OR namespace = ?1) AND pod = ?2 ORDER BY n LIMIT ?3", "tti", ns,
                              pod_id, (int64_t)STORE_LIST_MAX)
                   : db_query(s, &q, e, CTR_SELECT "WHERE ?1 IS NULL OR namespace = ?1 ORDER BY n LIMIT ?2", "ti", ns,
                              (int64_t)STORE_LIST_MAX);
    void *v = NULL;
    size_t n = 0;
    if (r == 0) {
        r = db_rows(&q, ctr_cols, ARRAY_LEN(ctr_cols), sizeof(struct store_ctr), &v, &n, ctr_done, e);
    }
    if (r == 0) {
        *ret = (struct store_ctrs) { v, n };
    }
    return r;
}

int store_ctr_layers(struct store *s, const char *id, char ***ret, struct err *e)
{
    return db_strings(s, ret, e, "SELECT diff_id FROM container_layers WHERE container = ? ORDER BY idx", "t", id);
}

int store_usage_set(struct store *s, const char *kind, const char *id, const struct store_usage *u, struct err *e)
{
    int r = db_run(s, e, "INSERT OR REPLACE INTO usage VALUES (?,?,?,?,?)", "ttiii", kind, id, (int64_t)u->bytes, (int64_t)u->inodes,
                   u->time ? u->time : store_now());
    return r < 0 ? err_wrap(e, "record usage of %s %s", kind, id) : 0;
}

int store_usage_get(struct store *s, const char *kind, const char *id, struct store_usage *ret, struct err *e)
{
    static const struct db_col cols[] = { COL(U64, store_usage, bytes), COL(U64, store_usage, inodes), COL(I64, store_usage, time) };
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = db_query(s, &q, e, "SELECT bytes, inodes, time FROM usage WHERE kind = ? AND id = ?", "tt", kind, id);
    return r < 0 ? r : one_row(&q, cols, ARRAY_LEN(cols), ret, kind, id, e);
}
