/*
 * engine/recover.c: what the dead left behind is completed or undone. The journal's unfinished operations come first, then what bears an
 * id that no row has. Nothing of a living owner is touched: its lock tells.
 */
#include "engine/internal.h"

#include "store/blob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

/* A pod that was on its way up or down. */
static int settle_pod(struct engine *g, const struct store_op *op, struct err *e)
{
    CLEANUP_POD struct pod p = { 0 };
    CLEANUP_FD int lock = -1;
    int r = lock_take(g->store, "pod", op->object, false, LOCK_TRY, &lock, e);
    if (r < 0) {
        return r;
    }
    r = pod_load(g, op->object, &p, e);
    if (r < 0 && e->kind == ERR_NOT_FOUND) {
        lock_forget(g->store, "pod", op->object);
        return 0;
    }
    if (r < 0) {
        return r;
    }
    if (str_eq(op->kind, "stop-pod")) {
        return pod_stop_locked(g, &p, e);
    }
    bool finished = str_eq(op->kind, "run-pod") && !str_eq(p.row.state, "creating");
    return finished ? 0 : pod_remove_locked(g, &p, e);
}

static int settle_ctr(struct engine *g, const struct store_op *op, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_POD struct pod p = { 0 };
    CLEANUP_FD int lock = -1;
    int r = lock_take(g->store, "ctr", op->object, false, LOCK_TRY, &lock, e);
    if (r < 0) {
        return r;
    }
    r = ctr_load(g, op->object, &c, e);
    if (r < 0) {
        if (e->kind == ERR_NOT_FOUND) {
            lock_forget(g->store, "ctr", op->object);
            return 0;
        }
        return r;
    }
    if (str_eq(op->kind, "start-container")) {
        return ctr_find_start(g, &c, e);
    }
    if (str_eq(op->kind, "remove-container")) {
        return ctr_remove_locked(g, &c, e);
    }
    if (!str_eq(c.row.state, "creating")) {
        return 0;
    }
    r = pod_load(g, c.row.pod_id, &p, e);
    if (r == 0) {
        r = ctr_remove_locked(g, &c, e);
    }
    fd_close(&lock);
    /* A stand-alone container's pod is of no use without it. */
    return r == 0 && p.spec.kind == ENGINE_POD_CONTAINER ? engine_pod_remove(g, p.row.id, e) : r;
}

static int settle(struct engine *g, const struct store_op *op, struct err *e)
{
    static const struct {
        const char *kind;
        int (*fn)(struct engine *g, const struct store_op *op, struct err *e);
    } table[] = { { "run-pod", settle_pod }, { "stop-pod", settle_pod }, { "remove-pod", settle_pod }, { "create-container", settle_ctr },
                { "start-container", settle_ctr }, { "remove-container", settle_ctr } };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (str_eq(op->kind, table[i].kind)) {
            return table[i].fn(g, op, e);
        }
    }
    return 0; /* a pull: what arrived is resumed by the next one */
}

static int replay(struct engine *g, struct err *e)
{
    CLEANUP_STORE_OPS struct store_ops ops = { 0 };
    struct op_query q = { .ns = g->ns, .unfinished = true };
    int r = op_list(g->store, &q, &ops, e);
    for (size_t i = 0; r == 0 && i < ops.n; i++) {
        struct err le = { 0 };
        const struct store_op *op = &ops.v[i];
        /* "cleanup" is what even its living owner has given up. */
        if (op_owner_alive(g->store, op) && !str_eq(op->stage, "cleanup")) {
            continue;
        }
        int s = settle(g, op, &le);
        if (s == 0) {
            s = op_finish(g->store, op->id, "interrupted", &le);
        } else if (s != -EAGAIN) {
            s = op_stage(g->store, op->id, "cleanup", le.text, &le);
        }
        (void)s;
    }
    return r;
}

/* A stand-alone container's pod whose creator died before the container had its row. */
static void drop_if_barren(struct engine *g, const char *id)
{
    CLEANUP_STORE_CTRS struct store_ctrs rows = { 0 };
    CLEANUP_POD struct pod p = { 0 };
    CLEANUP_FD int new_lock = -1, lock = -1;
    struct err e = { 0 };
    if (store_ctr_list(g->store, NULL, id, &rows, &e) < 0 || rows.n > 0 ||
        lock_take(g->store, "new", id, false, LOCK_TRY, &new_lock, &e) < 0) {
        return;
    }
    store_ctrs_done(&rows);
    rows = (struct store_ctrs){ 0 };
    /* Its creator may have come to an end while we looked. */
    if (store_ctr_list(g->store, NULL, id, &rows, &e) == 0 && rows.n == 0 &&
        lock_take(g->store, "pod", id, false, LOCK_TRY, &lock, &e) == 0 && pod_load(g, id, &p, &e) == 0 &&
        p.spec.kind == ENGINE_POD_CONTAINER) {
        int r = pod_remove_locked(g, &p, &e);
        (void)r; /* tried again at the next start */
    }
    lock_forget(g->store, "new", id);
}

static int drop_barren(struct engine *g, struct err *e)
{
    CLEANUP_STORE_PODS struct store_pods rows = { 0 };
    int r = store_pod_list(g->store, g->ns, &rows, e);
    for (size_t i = 0; r == 0 && i < rows.n; i++) {
        if (!rows.v[i].key) {
            drop_if_barren(g, rows.v[i].id);
        }
    }
    return r;
}

/* ---- what no row has --------------------------------------------------------------------------------------------- */

static bool known_pod(struct engine *g, const char *id)
{
    CLEANUP_STORE_POD struct store_pod row = { 0 };
    struct err e = { 0 };
    /* When in doubt it stays. */
    return store_pod_get(g->store, NULL, id, &row, &e) == 0 || e.kind != ERR_NOT_FOUND;
}

static void sweep_pod(struct engine *g, const char *id)
{
    CLEANUP_FD int lock = -1;
    struct err e = { 0 };
    struct pod p = { 0 };
    if (lock_take(g->store, "pod", id, false, LOCK_TRY, &lock, &e) < 0 || known_pod(g, id)) {
        return;
    }
    p.row.id = strdup(id);
    p.dir = str_printf("%s/pods/%s", g->run, id);
    p.data = str_printf("%s/pods/%s", g->root, id);
    p.st.cgroup = str_printf("%s/tare-%s", str_eq(g->cgroup_parent, "/") ? "" : g->cgroup_parent, id);
    if (p.row.id && p.dir && p.data && p.st.cgroup && pod_down(g, &p, &e) == 0 && dir_remove_all(AT_FDCWD, p.dir, &e) == 0 &&
        dir_remove_all(AT_FDCWD, p.data, &e) == 0) {
        lock_forget(g->store, "pod", id);
    }
    pod_done(&p);
}

static void sweep_ctr(struct engine *g, const char *id)
{
    CLEANUP_STORE_CTR struct store_ctr row = { 0 };
    CLEANUP_FD int lock = -1;
    struct err e = { 0 };
    CLEANUP_FREE char *dir = str_printf("%s/containers/%s", g->root, id);
    if (!dir || lock_take(g->store, "ctr", id, false, LOCK_TRY, &lock, &e) < 0 || store_ctr_get(g->store, NULL, id, &row, &e) == 0 ||
        e.kind != ERR_NOT_FOUND) {
        return;
    }
    if (dir_remove_all(AT_FDCWD, dir, &e) == 0) {
        lock_forget(g->store, "ctr", id);
    }
}

static void sweep(struct engine *g, int base, const char *dir, void (*fn)(struct engine *, const char *))
{
    struct dirent **names = NULL;
    int n = scandirat(base, dir, &names, NULL, NULL);
    for (int i = 0; i < n; i++) {
        if (id_whole(names[i]->d_name)) {
            fn(g, names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
}

static void sweep_network(struct engine *g)
{
    CLEANUP_STRV char **ids = NULL;
    struct err e = { 0 };
    if (net_cached_ids(g->net, &ids, &e) < 0) {
        return;
    }
    for (size_t i = 0; ids && ids[i]; i++) {
        if (id_whole(ids[i]) && !known_pod(g, ids[i])) {
            sweep_pod(g, ids[i]);
        }
    }
}

int engine_recover(struct engine *g, struct err *e)
{
    struct engine_ctrs ctrs = { 0 };
    int r = replay(g, e);
    if (r == 0) {
        r = drop_barren(g, e);
    }
    if (r < 0) {
        return r;
    }
    sweep(g, store_run_fd(g->store), "pods", sweep_pod);
    sweep(g, store_root_fd(g->store), "pods", sweep_pod);
    sweep(g, store_root_fd(g->store), "containers", sweep_ctr);
    sweep_network(g);
    r = store_collect_after_crash(g->store, e);
    if (r < 0) {
        return r;
    }
    /* Looking at each container writes down what ended while nobody looked. */
    r = engine_ctr_list(g, &ctrs, e);
    engine_ctrs_done(&ctrs);
    return r;
}
