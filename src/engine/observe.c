/* engine/observe.c: logs, figures, events, the journal: reading only. */
#include "engine/internal.h"

#include "engine/logs.h"
#include "engine/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

struct watched {
    struct engine *g;
    const char *id;
};

static bool still_alive(void *data)
{
    const struct watched *w = data;
    CLEANUP_CTR struct ctr c = { 0 };
    struct err ignored = { 0 };
    return ctr_load(w->g, w->id, &c, &ignored) == 0 && ctr_refresh(w->g, &c, &ignored) == 0 && ctr_lives(&c);
}

int engine_ctr_logs(struct engine *g, const char *ref, const struct engine_log_query *q, engine_log_fn *fn, void *data, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    int r = ctr_load(g, ref, &c, e);
    if (r < 0) {
        return r;
    }
    if (c.spec.log_format == ENGINE_LOG_NONE || !c.st.log_path) {
        return err_set(e, EINVAL, ERR_INVALID, "container %.12s keeps no log", c.row.id);
    }
    struct watched w = { g, c.row.id };
    struct logs_source src = { .path = c.st.log_path, .format = c.spec.log_format, .alive = still_alive, .data = &w };
    return logs_read(&src, q, fn, data, e);
}

/* ---- figures ------------------------------------------------------------------------------------------------ */

int engine_ctr_stats(struct engine *g, const char *ref, struct engine_stats *ret, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    struct engine_stats s = { 0 };
    struct err le = { 0 };
    int r = ctr_load(g, ref, &c, e);
    if (r == 0) {
        r = ctr_refresh(g, &c, e);
    }
    if (r < 0) {
        return r;
    }
    CLEANUP_FREE char *upper = str_printf("%s/upper", c.data);
    /* One that has ended has no cgroup: its figures are zero, but for its files. */
    if (c.st.cgroup && stats_cgroup_read(&g->cg, c.st.cgroup, &s, &le) < 0 && le.kind != ERR_NOT_FOUND) {
        *e = le;
        return -le.code;
    }
    if (c.row.pid > 0 && stats_net_read(c.row.pid, &s, &le) < 0) {
        err_clear(&le);
    }
    if (upper && stats_folder_usage(upper, &s.rw_bytes, &s.rw_inodes, &le) < 0) {
        err_clear(&le);
    }
    s.timestamp = store_now();
    *ret = s;
    return 0;
}

int engine_pod_stats(struct engine *g, const char *ref, struct engine_stats *ret, struct err *e)
{
    CLEANUP_POD struct pod p = { 0 };
    CLEANUP_STORE_CTRS struct store_ctrs rows = { 0 };
    struct engine_stats s = { 0 };
    struct err le = { 0 };
    int r = pod_load(g, ref, &p, e);
    if (r == 0) {
        r = store_ctr_list(g->store, NULL, p.row.id, &rows, e);
    }
    if (r < 0) {
        return r;
    }
    if (p.st.cgroup && stats_cgroup_read(&g->cg, p.st.cgroup, &s, &le) < 0) {
        err_clear(&le);
    }
    for (size_t i = 0; i < rows.n && s.net.n == 0; i++) {
        if (rows.v[i].pid > 0 && stats_net_read(rows.v[i].pid, &s, &le) < 0) {
            err_clear(&le);
        }
    }
    s.timestamp = store_now();
    *ret = s;
    return 0;
}

/* ---- events --------------------------------------------------------------------------------------------------- */

void engine_event_done(struct engine_event *ev)
{
    free(ev->type);
    free(ev->action);
    free(ev->object);
    free(ev->pod);
    str_map_done(&ev->attributes);
    *ev = (struct engine_event){ 0 };
}

static int give(const struct store_event *s, engine_event_fn *fn, void *data, struct err *e)
{
    const char *key;
    json_t *value, *o = s->attributes ? json_loads(s->attributes, 0, NULL) : NULL;
    struct engine_event ev = { .id = s->id, .time = s->time, .type = s->type, .action = s->action, .object = s->object, .pod = s->pod };
    int r = 0;
    json_object_foreach(o, key, value)
    {
        if (json_is_string(value) && str_map_set(&ev.attributes, key, json_string_value(value)) < 0) {
            r = err_oom(e);
        }
    }
    json_decref(o);
    r = r < 0 ? r : fn(data, &ev);
    str_map_done(&ev.attributes);
    return r;
}

/* The write-ahead log changes with every transaction; a second is the longest that a lost notice may cost. */
static void wait_change(int watch)
{
    char drop[4096];
    struct pollfd p = { .fd = watch, .events = POLLIN };
    if (poll(&p, watch >= 0 ? 1 : 0, 1000) > 0) {
        ssize_t n = read(watch, drop, sizeof(drop));
        (void)n;
        usleep(5000); /* what belongs together comes together */
    }
}

int engine_events(struct engine *g, uint64_t after, int64_t since, int64_t until, bool follow, engine_event_fn *fn, void *data,
                  struct err *e)
{
    CLEANUP_FD int watch = follow ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
    CLEANUP_FREE char *wal = str_printf("%s/state.db-wal", g->root);
    if (watch >= 0 && wal && inotify_add_watch(watch, wal, IN_MODIFY) < 0) {
        fd_close(&watch);
    }
    for (;;) {
        CLEANUP_STORE_EVENTS struct store_events list = { 0 };
        int r = event_list(g->store, g->ns, after, since, until, 0, &list, e);
        if (r < 0) {
            return r;
        }
        for (size_t i = 0; i < list.n; i++) {
            after = list.v[i].id;
            r = give(&list.v[i], fn, data, e);
            if (r < 0) {
                return r;
            }
        }
        if (list.n == 0 && (!follow || (until > 0 && store_now() > until))) {
            return 0;
        }
        if (list.n == 0) {
            wait_change(watch);
        }
    }
}

int engine_why(struct engine *g, const char *ref, engine_op_fn *fn, void *data, struct err *e)
{
    CLEANUP_STORE_OPS struct store_ops ops = { 0 };
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_POD struct pod p = { 0 };
    struct err le = { 0 };
    const char *object = ref;
    if (ctr_load(g, ref, &c, &le) == 0) {
        object = c.row.id;
    } else if (pod_load(g, ref, &p, &le) == 0) {
        object = p.row.id;
    }
    struct op_query q = { .object = object };
    int r = op_list(g->store, &q, &ops, e);
    for (size_t i = 0; r >= 0 && i < ops.n; i++) {
        const struct store_op *s = &ops.v[i];
        struct engine_op o = { s->id, s->kind, s->object, s->stage, s->error, s->started, s->stage_since, s->finished };
        r = fn(data, &o);
    }
    return r;
}
