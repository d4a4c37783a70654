/* engine/pod.c: pods as rows: run, stop, remove, get, list. What lies outside of the database is pod-setup.c's. */
#include "engine/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

void pod_done(struct pod *p)
{
    store_pod_done(&p->row);
    engine_pod_spec_done(&p->spec);
    json_free(&pod_status_type, &p->st);
    free(p->dir);
    free(p->data);
    *p = (struct pod){ 0 };
}

static int pod_from_row(struct engine *g, struct store_pod *row, struct pod *p, struct err *e)
{
    p->row = *row;
    *row = (struct store_pod){ 0 };
    p->dir = str_printf("%s/pods/%s", g->run, p->row.id);
    p->data = str_printf("%s/pods/%s", g->root, p->row.id);
    if (!p->dir || !p->data) {
        return err_oom(e);
    }
    int r = codec_pod_spec_read(p->row.spec, &p->spec, e);
    if (r == 0) {
        r = codec_status_read(&pod_status_type, p->row.status, &p->st, e);
    }
    return r < 0 ? err_wrap(e, "pod %.12s", p->row.id) : 0;
}

int pod_load(struct engine *g, const char *ref, struct pod *ret, struct err *e)
{
    CLEANUP_STORE_POD struct store_pod row = { 0 };
    CLEANUP_POD struct pod p = { 0 };
    int r = store_pod_get(g->store, g->ns, ref, &row, e);
    if (r == 0) {
        r = pod_from_row(g, &row, &p, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = p;
    p = (struct pod){ 0 };
    return 0;
}

int pod_save(struct engine *g, struct pod *p, struct err *e)
{
    char *text = NULL;
    int r = codec_status(&pod_status_type, &p->st, &text, e);
    if (r < 0) {
        return r;
    }
    free(p->row.status);
    p->row.status = text;
    return store_pod_update(g->store, &p->row, e);
}

static int set_state(struct pod *p, const char *state, struct err *e)
{
    char *s = strdup(state);
    if (!s) {
        return err_oom(e);
    }
    free(p->row.state);
    p->row.state = s;
    return 0;
}

/* ---- run -------------------------------------------------------------------------------------------------- */

static char *pod_key(const struct engine_pod_spec *s)
{
    if (s->kind != ENGINE_POD_SANDBOX || str_empty(s->name)) {
        return NULL;
    }
    return str_printf("pod/%s/%s/%s/%u", s->k8s_namespace ? s->k8s_namespace : "", s->name, s->uid ? s->uid : "", s->attempt);
}

static int record(struct engine *g, const struct engine_pod_spec *s, const char *id, const char *key, uint64_t *op, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    CLEANUP_FREE char *spec = NULL, *opkey = str_printf("pod/%s", id);
    int r = opkey ? codec_pod_spec(s, &spec, e) : err_oom(e);
    struct store_pod row = { .id = (char *)(uintptr_t)id, .ns = g->ns, .key = (char *)(uintptr_t)key, .name = s->name,
                             .state = (char *)(uintptr_t) "creating", .created = store_now(), .spec = spec };
    if (r == 0) {
        r = store_begin(g->store, &tx, e);
    }
    if (r == 0) {
        r = op_begin(g->store, g->ns, key ? key : opkey, "run-pod", id, "record", NULL, op, e);
    }
    if (r == 0) {
        r = store_pod_add(g->store, &row, e);
    }
    return r < 0 ? r : store_commit(&tx, e);
}

/* One at a time, so that of two that want a port the second one sees the first. */
static int record_with_ports(struct engine *g, const struct engine_pod_spec *s, const char *id, const char *key, uint64_t *op,
                             struct err *e)
{
    CLEANUP_FD int lock = -1;
    struct engine_pod_spec own = *s;
    if (s->kind != ENGINE_POD_CONTAINER || s->ports.n == 0) {
        return record(g, s, id, key, op, e);
    }
    CLEANUP_FREE struct engine_port *ports = calloc(s->ports.n, sizeof(*ports));
    if (!ports) {
        return err_oom(e);
    }
    memcpy(ports, s->ports.v, s->ports.n * sizeof(*ports));
    own.ports.v = ports;
    int r = key_lock(g, "host-ports", &lock, e);
    if (r == 0) {
        r = ports_take(g, &own, id, e);
    }
    return r < 0 ? r : record(g, &own, id, key, op, e);
}

static int commit_ready(struct engine *g, struct pod *p, uint64_t op, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = set_state(p, "ready", e);
    if (r == 0) {
        r = store_begin(g->store, &tx, e);
    }
    if (r == 0) {
        r = pod_save(g, p, e);
    }
    if (r == 0) {
        r = event_put(g, "pod", "start", p->row.id, p->row.id, e, "name", p->row.name, NULL);
    }
    if (r == 0) {
        r = op_finish(g->store, op, NULL, e);
    }
    return r < 0 ? r : store_commit(&tx, e);
}

int pod_run_new(struct engine *g, const struct engine_pod_spec *s, const char *id, const char *key, struct err *e)
{
    CLEANUP_FD int lock = -1;
    CLEANUP_POD struct pod p = { 0 };
    uint64_t op = 0;
    int r = pod_lock(g, id, false, &lock, e);
    if (r == 0) {
        r = record_with_ports(g, s, id, key, &op, e);
    }
    if (r < 0) {
        return r;
    }
    r = pod_load(g, id, &p, e);
    if (r == 0) {
        r = pod_up(g, &p, op, e);
    }
    if (r == 0) {
        r = commit_ready(g, &p, op, e);
    }
    if (r < 0) {
        struct err why = { 0 };
        if (pod_down(g, &p, &why) == 0 && store_pod_delete(g->store, id, &why) == 0) {
            int f = op_finish(g->store, op, e->text, &why);
            (void)f;
        } else {
            int f = op_stage(g->store, op, "cleanup", why.text, NULL);
            (void)f;
        }
        return r;
    }
    engine_wake(g);
    return 0;
}

/* A pod that an earlier call with this key has left: ready is the answer; anything unfinished is taken away first. */
static int find_by_key(struct engine *g, const char *key, char **ret_id, struct err *e)
{
    CLEANUP_STORE_POD struct store_pod row = { 0 };
    CLEANUP_FD int lock = -1;
    CLEANUP_POD struct pod p = { 0 };
    if (store_pod_by_key(g->store, g->ns, key, &row, e) < 0) {
        return 0;
    }
    if (str_eq(row.state, "ready")) {
        *ret_id = PTR_STEAL(row.id);
        return 0;
    }
    int r = pod_lock(g, row.id, false, &lock, e);
    if (r == 0) {
        r = pod_from_row(g, &row, &p, e);
    }
    return r < 0 ? r : pod_remove_locked(g, &p, e);
}

int engine_pod_run(struct engine *g, const struct engine_pod_spec *s, char **ret_id, struct err *e)
{
    CLEANUP_FREE char *key = pod_key(s);
    CLEANUP_FREE char *found = NULL;
    CLEANUP_FD int lock = -1;
    char id[ID_SIZE];
    struct err le = { 0 };
    int r = 0;
    e = e ? e : &le;
    /* What comes through CRI has been checked by its own rules. */
    if (!s->cri_config && !str_empty(s->name) && name_check("pod", s->name, e) < 0) {
        return -EINVAL;
    }
    if (key) {
        r = key_lock(g, key, &lock, e);
        if (r == 0) {
            r = find_by_key(g, key, &found, e);
        }
        if (r < 0 || found) {
            *ret_id = r < 0 ? *ret_id : PTR_STEAL(found);
            return r;
        }
    }
    err_clear(e);
    r = new_id(id, e);
    if (r == 0) {
        r = pod_run_new(g, s, id, key, e);
    }
    if (r < 0) {
        return err_wrap(e, "run pod %s", s->name ? s->name : id);
    }
    *ret_id = strdup(id);
    return *ret_id ? 0 : err_oom(e);
}

/* ---- stop and remove ------------------------------------------------------------------------------------------ */

static int each_ctr(struct engine *g, struct pod *p, int (*fn)(struct engine *, struct ctr *, struct err *), struct err *e)
{
    CLEANUP_STORE_CTRS struct store_ctrs rows = { 0 };
    int r = store_ctr_list(g->store, NULL, p->row.id, &rows, e);
    for (size_t i = 0; r == 0 && i < rows.n; i++) {
        CLEANUP_CTR struct ctr c = { 0 };
        CLEANUP_FD int lock = -1;
        r = ctr_lock(g, rows.v[i].id, &lock, e);
        if (r == 0) {
            r = ctr_from_row(g, &rows.v[i], &c, e);
        }
        if (r == 0) {
            r = fn(g, &c, e);
        }
    }
    return r;
}

static int stop_now(struct engine *g, struct ctr *c, struct err *e)
{
    return ctr_stop_locked(g, c, 0, e);
}

int pod_stop_locked(struct engine *g, struct pod *p, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = each_ctr(g, p, stop_now, e);
    if (r == 0) {
        r = pod_down(g, p, e);
    }
    if (r == 0) {
        r = store_begin(g->store, &tx, e);
    }
    if (r == 0 && !str_eq(p->row.state, "notready")) {
        r = set_state(p, "notready", e);
        if (r == 0) {
            r = event_put(g, "pod", "stop", p->row.id, p->row.id, e, "name", p->row.name, NULL);
        }
    }
    if (r == 0) {
        r = pod_save(g, p, e);
    }
    if (r == 0) {
        r = store_commit(&tx, e);
    }
    return r;
}

/* Journals fn on a pod that is locked. */
static int journaled(struct engine *g, struct pod *p, const char *kind, int (*fn)(struct engine *, struct pod *, struct err *), struct err *e)
{
    uint64_t op = 0;
    int r = journal_take(g, kind, p->row.id, "signal", &op, e);
    if (r < 0) {
        return r;
    }
    r = fn(g, p, e);
    journal_end(g, op, r, e);
    engine_wake(g);
    return r;
}

int engine_pod_stop(struct engine *g, const char *ref, struct err *e)
{
    CLEANUP_POD struct pod p = { 0 }, q = { 0 };
    CLEANUP_FD int lock = -1;
    struct err le = { 0 };
    e = e ? e : &le;
    int r = pod_load(g, ref, &p, e);
    if (r == 0) {
        r = pod_lock(g, p.row.id, false, &lock, e);
    }
    if (r == 0) {
        r = pod_load(g, p.row.id, &q, e);
    }
    if (r == 0 && str_eq(q.row.state, "notready") && !pod_is_up(g, &q)) {
        return 0;
    }
    if (r == 0) {
        r = journaled(g, &q, "stop-pod", pod_stop_locked, e);
    }
    return r < 0 ? err_wrap(e, "stop pod %.64s", ref) : 0;
}

int pod_remove_locked(struct engine *g, struct pod *p, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = each_ctr(g, p, ctr_remove_locked, e);
    if (r == 0) {
        r = pod_down(g, p, e);
    }
    if (r == 0) {
        r = dir_remove_all(AT_FDCWD, p->dir, e);
    }
    if (r == 0) {
        r = dir_remove_all(AT_FDCWD, p->data, e);
    }
    if (r == 0) {
        r = store_begin(g->store, &tx, e);
    }
    if (r == 0) {
        r = event_put(g, "pod", "destroy", p->row.id, p->row.id, e, "name", p->row.name, NULL);
    }
    if (r == 0) {
        r = store_pod_delete(g->store, p->row.id, e);
    }
    if (r == 0) {
        r = store_commit(&tx, e);
    }
    if (r == 0) {
        lock_forget(g->store, "pod", p->row.id);
    }
    return r;
}

int engine_pod_remove(struct engine *g, const char *ref, struct err *e)
{
    CLEANUP_POD struct pod p = { 0 }, q = { 0 };
    CLEANUP_FD int lock = -1;
    struct err le = { 0 };
    e = e ? e : &le;
    int r = pod_load(g, ref, &p, e);
    if (r < 0) {
        return e->kind == ERR_NOT_FOUND && id_whole(ref) ? 0 : r;
    }
    r = pod_lock(g, p.row.id, false, &lock, e);
    if (r == 0 && pod_load(g, p.row.id, &q, e) < 0) {
        return e->kind == ERR_NOT_FOUND ? 0 : -e->code;
    }
    if (r == 0) {
        r = journaled(g, &q, "remove-pod", pod_remove_locked, e);
    }
    return r < 0 ? err_wrap(e, "remove pod %.64s", ref) : 0;
}

/* ---- get and list --------------------------------------------------------------------------------------------- */

void engine_pod_free(struct engine_pod *p)
{
    if (p) {
        free(p->id);
        engine_pod_spec_done(&p->spec);
        strv_free(p->ips);
        free(p->netns_path);
        free(p);
    }
}

void engine_pods_done(struct engine_pods *p)
{
    for (size_t i = 0; i < p->n; i++) {
        engine_pod_free(p->v[i]);
    }
    free(p->v);
    *p = (struct engine_pods){ 0 };
}

static int to_public(struct engine *g, struct pod *p, struct engine_pod **ret, struct err *e)
{
    struct engine_pod *o = calloc(1, sizeof(*o));
    if (!o) {
        return err_oom(e);
    }
    o->id = PTR_STEAL(p->row.id);
    o->spec = p->spec;
    p->spec = (struct engine_pod_spec){ 0 };
    /* A monitor that has gone, and a reboot, make a pod unready whatever the row says. */
    bool ready = str_eq(p->row.state, "ready") && str_eq(p->st.boot_id, store_boot_id(g->store)) && pid_alive(p->st.monitor_pid, 0);
    o->state = ready ? ENGINE_POD_READY : str_eq(p->row.state, "creating") ? ENGINE_POD_CREATING : ENGINE_POD_NOTREADY;
    o->created_at = p->row.created;
    o->ips = PTR_STEAL(p->st.ips);
    o->netns_path = p->st.netns ? PTR_STEAL(p->st.netns) : NULL;
    *ret = o;
    return 0;
}

int engine_pod_get(struct engine *g, const char *ref, struct engine_pod **ret, struct err *e)
{
    CLEANUP_POD struct pod p = { 0 };
    int r = pod_load(g, ref, &p, e);
    return r < 0 ? r : to_public(g, &p, ret, e);
}

int engine_pod_list(struct engine *g, struct engine_pods *ret, struct err *e)
{
    CLEANUP_STORE_PODS struct store_pods rows = { 0 };
    struct engine_pods out = { 0 };
    int r = store_pod_list(g->store, g->ns, &rows, e);
    if (r == 0 && rows.n > 0) {
        out.v = calloc(rows.n, sizeof(*out.v));
        r = out.v ? 0 : err_oom(e);
    }
    for (size_t i = 0; r == 0 && i < rows.n; i++) {
        CLEANUP_POD struct pod p = { 0 };
        r = pod_from_row(g, &rows.v[i], &p, e);
        if (r == 0) {
            r = to_public(g, &p, &out.v[out.n], e);
            out.n += r == 0;
        }
    }
    if (r < 0) {
        engine_pods_done(&out);
        return r;
    }
    *ret = out;
    return 0;
}
