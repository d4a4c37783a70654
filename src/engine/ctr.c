/* engine/ctr.c: containers as rows: loading, keeping in step with what the monitor wrote, get, list, wait, rename. */
#include "engine/internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

void ctr_done(struct ctr *c)
{
    store_ctr_done(&c->row);
    engine_ctr_spec_done(&c->spec);
    json_free(&ctr_status_type, &c->st);
    free(c->dir);
    free(c->data);
    *c = (struct ctr){ 0 };
}

int ctr_from_row(struct engine *g, struct store_ctr *row, struct ctr *c, struct err *e)
{
    c->row = *row;
    *row = (struct store_ctr){ 0 };
    c->dir = str_printf("%s/pods/%s/ctr/%s", g->run, c->row.pod_id, c->row.id);
    c->data = str_printf("%s/containers/%s", g->root, c->row.id);
    if (!c->dir || !c->data) {
        return err_oom(e);
    }
    int r = codec_ctr_spec_read(c->row.spec, &c->spec, e);
    if (r == 0) {
        r = codec_status_read(&ctr_status_type, c->row.status, &c->st, e);
    }
    return r < 0 ? err_wrap(e, "container %.12s", c->row.id) : 0;
}

int ctr_load(struct engine *g, const char *ref, struct ctr *ret, struct err *e)
{
    CLEANUP_STORE_CTR struct store_ctr row = { 0 };
    CLEANUP_CTR struct ctr c = { 0 };
    int r = store_ctr_get(g->store, g->ns, ref, &row, e);
    if (r == 0) {
        r = ctr_from_row(g, &row, &c, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = c;
    c = (struct ctr){ 0 };
    return 0;
}

int ctr_save(struct engine *g, struct ctr *c, struct err *e)
{
    char *text = NULL;
    int r = codec_status(&ctr_status_type, &c->st, &text, e);
    if (r < 0) {
        return r;
    }
    free(c->row.status);
    c->row.status = text;
    return store_ctr_update(g->store, &c->row, e);
}

int ctr_set_state(struct ctr *c, const char *state, struct err *e)
{
    char *s = strdup(state);
    if (!s) {
        return err_oom(e);
    }
    free(c->row.state);
    c->row.state = s;
    return 0;
}

/* ---- refresh ------------------------------------------------------------------------------------------------ */

static const char *reason_of(const struct mon_status *st)
{
    return st->oom_killed ? "OOMKilled" : st->reason[0] ? st->reason : st->exit_code == 0 ? "Completed" : "Error";
}

/* The monitor is gone, and the process too: nobody knows how it ended. */
static bool lost(struct engine *g, const struct ctr *c, const struct mon_status *st)
{
    CLEANUP_FREE char *dir = str_printf("%s/pods/%s", g->run, c->row.pod_id);
    CLEANUP_MON struct mon *m = NULL;
    if (mon_status_alive(st) || !dir || mon_connect(dir, MON_CALL_MS, &m, NULL) == 0) {
        return false;
    }
    return true;
}

static int look(struct engine *g, const struct ctr *c, struct mon_status *st)
{
    int r = mon_status_read(c->dir, st, NULL);
    if (r < 0) {
        /* No folder: a reboot. What ran does so no more. */
        *st = (struct mon_status){ .state = MON_STATE_EXITED, .exit_code = 255, .exited_ns = store_now(), .reason = "Reboot" };
        return ctr_lives(c) ? 0 : r;
    }
    if ((st->state == MON_STATE_RUNNING || st->state == MON_STATE_PAUSED) && lost(g, c, st)) {
        /* It may have written its last word between our two looks. */
        if (mon_status_read(c->dir, st, NULL) == 0 && st->state != MON_STATE_EXITED) {
            st->state = MON_STATE_EXITED;
            st->exit_code = 255;
            st->exited_ns = store_now();
            memcpy(st->reason, "MonitorLost", sizeof("MonitorLost"));
        }
    }
    return 0;
}

static const char *row_state(const struct mon_status *st)
{
    static const char *const names[] = { "creating", "created", "running", "paused", "exited" };
    return names[st->state];
}

static int take_status(struct engine *g, struct ctr *c, const struct mon_status *st, struct err *e)
{
    /* Whoever started it may have died before that was written down. */
    bool unknown_run = !ctr_lives(c) && st->started_ns > 0;
    bool was_live = ctr_lives(c) || unknown_run;
    int r = ctr_set_state(c, row_state(st), e);
    if (r == 0 && unknown_run) {
        r = event_put(g, "container", "start", c->row.id, c->row.pod_id, e, "name", c->row.name, "image", c->st.image_name, NULL);
    }
    c->row.pid = (int32_t)st->pid;
    c->row.pid_start = st->start_time;
    c->row.started = st->started_ns > 0 ? st->started_ns : c->row.started;
    if (r < 0 || st->state != MON_STATE_EXITED) {
        return r;
    }
    char code[16] = { 0 };
    struct buf text = { 0 };
    buf_addf(&text, "%d", st->exit_code);
    memcpy(code, buf_str(&text), text.len < sizeof(code) ? text.len : sizeof(code) - 1);
    buf_done(&text);
    c->row.pid = 0;
    c->row.exit_code = st->exit_code;
    c->row.finished = st->exited_ns;
    c->row.oom_killed = st->oom_killed;
    free(c->row.reason);
    c->row.reason = strdup(reason_of(st));
    if (!c->row.reason) {
        return err_oom(e);
    }
    if (st->oom_killed) {
        r = event_put(g, "container", "oom", c->row.id, c->row.pod_id, e, "name", c->row.name, NULL);
    }
    if (r == 0 && was_live) {
        r = event_put(g, "container", "die", c->row.id, c->row.pod_id, e, "name", c->row.name, "image", c->st.image_name, "exitCode",
                      code, NULL);
    }
    return r;
}

/* Whether the monitor knows more than the row does. */
static bool is_news(const struct ctr *c, const struct mon_status *st)
{
    return st->state > MON_STATE_CREATED && (!str_eq(row_state(st), c->row.state) || (!ctr_lives(c) && st->started_ns != c->row.started));
}

static int refresh(struct engine *g, struct ctr *c, struct err *e)
{
    struct mon_status st = { 0 };
    if (look(g, c, &st) < 0 || !is_news(c, &st)) {
        return 0;
    }
    /* Whoever comes first writes it and tells it; the others find it written. */
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    CLEANUP_CTR struct ctr now = { 0 };
    int r = store_begin(g->store, &tx, e);
    if (r == 0) {
        r = ctr_load(g, c->row.id, &now, e);
    }
    if (r == 0 && is_news(&now, &st)) {
        r = take_status(g, &now, &st, e);
        if (r == 0) {
            r = ctr_save(g, &now, e);
        }
    }
    if (r == 0) {
        r = store_commit(&tx, e);
    }
    if (r == 0) {
        struct ctr old = *c;
        *c = now;
        now = old;
        engine_wake(g);
    }
    return r;
}

int ctr_refresh(struct engine *g, struct ctr *c, struct err *e)
{
    return ctr_lives(c) ? refresh(g, c, e) : 0;
}

int ctr_find_start(struct engine *g, struct ctr *c, struct err *e)
{
    return str_eq(c->row.state, "creating") ? 0 : refresh(g, c, e);
}

/* ---- what doors see -------------------------------------------------------------------------------------------- */

static const char *const state_names[] = { "creating", "created", "running", "paused", "exited", "unknown" };

const char *engine_ctr_state_name(enum engine_ctr_state s)
{
    return (size_t)s < ARRAY_LEN(state_names) ? state_names[s] : "unknown";
}

static enum engine_ctr_state state_of(const char *s)
{
    for (size_t i = 0; i < ARRAY_LEN(state_names); i++) {
        if (str_eq(s, state_names[i])) {
            return (enum engine_ctr_state)i;
        }
    }
    return ENGINE_CTR_UNKNOWN;
}

void engine_ctr_free(struct engine_ctr *c)
{
    if (c) {
        free(c->id);
        free(c->pod_id);
        engine_ctr_spec_done(&c->spec);
        free(c->reason);
        free(c->message);
        free(c->log_path);
        free(c->image_name);
        free(c->image_id);
        strv_free(c->args);
        free(c->groups.v);
        free(c);
    }
}

void engine_ctrs_done(struct engine_ctrs *c)
{
    for (size_t i = 0; i < c->n; i++) {
        engine_ctr_free(c->v[i]);
    }
    free(c->v);
    *c = (struct engine_ctrs){ 0 };
}

static int to_public(struct ctr *c, struct engine_ctr **ret, struct err *e)
{
    struct engine_ctr *o = calloc(1, sizeof(*o));
    if (!o) {
        return err_oom(e);
    }
    o->id = PTR_STEAL(c->row.id);
    o->pod_id = PTR_STEAL(c->row.pod_id);
    o->spec = c->spec;
    c->spec = (struct engine_ctr_spec){ 0 };
    if (c->row.name) {
        /* The row has the name that counts: it may have been changed. */
        free(o->spec.name);
        o->spec.name = PTR_STEAL(c->row.name);
    }
    o->state = state_of(c->row.state);
    o->created_at = c->row.created;
    o->started_at = c->row.started;
    o->finished_at = c->row.finished;
    o->pid = c->row.pid;
    o->exit_code = c->row.exit_code;
    o->oom_killed = c->row.oom_killed;
    o->reason = PTR_STEAL(c->row.reason);
    o->message = PTR_STEAL(c->row.message);
    o->log_path = PTR_STEAL(c->st.log_path);
    o->image_name = PTR_STEAL(c->st.image_name);
    o->image_id = PTR_STEAL(c->row.image_id);
    o->args = PTR_STEAL(c->st.args);
    o->uid = c->st.uid;
    o->gid = c->st.gid;
    o->groups.v = PTR_STEAL(c->st.groups.v);
    o->groups.n = c->st.groups.n;
    c->st.groups.n = 0;
    o->restart_count = c->row.restart_count;
    *ret = o;
    return 0;
}

int engine_ctr_get(struct engine *g, const char *ref, struct engine_ctr **ret, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    int r = ctr_load(g, ref, &c, e);
    if (r == 0) {
        r = ctr_refresh(g, &c, e);
    }
    return r < 0 ? r : to_public(&c, ret, e);
}

int engine_ctr_list(struct engine *g, struct engine_ctrs *ret, struct err *e)
{
    CLEANUP_STORE_CTRS struct store_ctrs rows = { 0 };
    struct engine_ctrs out = { 0 };
    int r = store_ctr_list(g->store, g->ns, NULL, &rows, e);
    if (r == 0 && rows.n > 0) {
        out.v = calloc(rows.n, sizeof(*out.v));
        r = out.v ? 0 : err_oom(e);
    }
    for (size_t i = 0; r == 0 && i < rows.n; i++) {
        CLEANUP_CTR struct ctr c = { 0 };
        struct err le = { 0 };
        r = ctr_from_row(g, &rows.v[i], &c, e);
        /* One that was removed meanwhile, or cannot be looked at, spoils nobody's list. */
        if (r == 0 && ctr_refresh(g, &c, &le) < 0 && le.kind == ERR_NOT_FOUND) {
            continue;
        }
        if (r == 0) {
            r = to_public(&c, &out.v[out.n], e);
            out.n += r == 0;
        }
    }
    if (r < 0) {
        engine_ctrs_done(&out);
        return r;
    }
    *ret = out;
    return 0;
}

int name_check(const char *what, const char *name, struct err *e)
{
    size_t n = 0;
    while (isalnum((unsigned char)name[n]) || (n > 0 && name[n] != '\0' && strchr("_.-", name[n]))) {
        n++;
    }
    if (n > 0 && n <= 128 && name[n] == '\0') {
        return 0;
    }
    return err_set(e, EINVAL, ERR_INVALID, "invalid %s name \"%.128s\": 1 to 128 letters, digits, _ . - are allowed, the first a letter or digit",
                   what, name);
}

int engine_ctr_rename(struct engine *g, const char *ref, const char *name, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_FD int lock = -1;
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = name_check("container", name, e);
    if (r == 0) {
        r = ctr_load(g, ref, &c, e);
    }
    if (r == 0) {
        r = ctr_lock(g, c.row.id, &lock, e);
    }
    if (r == 0) {
        r = store_begin(g->store, &tx, e);
    }
    if (r == 0) {
        free(c.row.name);
        c.row.name = strdup(name);
        r = c.row.name ? ctr_save(g, &c, e) : err_oom(e);
        if (r == -EEXIST) {
            return err_set(e, EEXIST, ERR_EXISTS, "the container name \"%.128s\" is in use", name);
        }
    }
    if (r == 0) {
        r = event_put(g, "container", "rename", c.row.id, c.row.pod_id, e, "name", name, NULL);
    }
    if (r == 0) {
        r = store_commit(&tx, e);
    }
    if (r == 0) {
        engine_wake(g);
    }
    return r;
}

/* ---- wait ---------------------------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until the monitor says that it ended; without a monitor, a short sleep. */
static void wait_a_while(struct engine *g, const struct ctr *c, int64_t left)
{
    CLEANUP_FREE char *dir = str_printf("%s/pods/%s", g->run, c->row.pod_id);
    CLEANUP_MON struct mon *m = NULL;
    struct mon_ctr_state st;
    int slice = left < 0 || left > 60000 ? 60000 : (int)left;
    if (ctr_lives(c) && dir && mon_connect(dir, MON_CALL_MS, &m, NULL) == 0 && mon_wait(m, c->row.id, NULL, slice, &st, NULL) == 0) {
        mon_struct_done(&mon_ctr_state_type, &st);
        return;
    }
    usleep(slice > 50 || slice < 0 ? 50000 : (useconds_t)slice * 1000);
}

int engine_ctr_wait(struct engine *g, const char *ref, int timeout_ms, int32_t *ret_code, struct err *e)
{
    int64_t end = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
    CLEANUP_FREE char *id = NULL;
    struct err le = { 0 };
    e = e ? e : &le;
    for (;;) {
        CLEANUP_CTR struct ctr c = { 0 };
        int r = ctr_load(g, id ? id : ref, &c, e);
        if (r < 0 && id && e->kind == ERR_NOT_FOUND) {
            err_clear(e);
            *ret_code = 0; /* removed before we could look */
            return 0;
        }
        if (r == 0) {
            r = ctr_refresh(g, &c, e);
        }
        if (r < 0) {
            return r;
        }
        if (str_eq(c.row.state, "exited")) {
            *ret_code = c.row.exit_code;
            return 0;
        }
        if (now_ms() >= end) {
            return err_set(e, ETIMEDOUT, ERR_TIMEOUT, "container %.12s still runs", c.row.id);
        }
        wait_a_while(g, &c, end == INT64_MAX ? -1 : end - now_ms());
        if (!id) {
            id = PTR_STEAL(c.row.id);
        }
    }
}
