/* engine/ctr-start.c: start, restart after an exit or a reboot, and what is due after an exit. */
#include "engine/internal.h"

#include "base/fault.h"
#include "base/num.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int commit_running(struct engine *g, struct ctr *c, uint64_t op, struct err *e)
{
    struct mon_status st = { 0 };
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = ctr_set_state(c, "running", e);
    c->row.started = store_now();
    c->row.finished = 0;
    c->row.exit_code = 0;
    c->row.oom_killed = false;
    free(PTR_STEAL(c->row.reason));
    if (r == 0 && mon_status_read(c->dir, &st, NULL) == 0) {
        c->row.pid = (int32_t)st.pid;
        c->row.pid_start = st.start_time;
        c->row.started = st.started_ns > 0 ? st.started_ns : c->row.started;
    }
    c->st.stopped = false;
    if (r == 0) {
        r = store_begin(g->store, &tx, e);
    }
    if (r == 0) {
        r = ctr_save(g, c, e);
    }
    if (r == 0) {
        r = event_put(g, "container", "start", c->row.id, c->row.pod_id, e, "name", c->row.name, "image", c->st.image_name, NULL);
    }
    if (r == 0) {
        r = op_finish(g->store, op, NULL, e);
    }
    return r < 0 ? r : store_commit(&tx, e);
}

/* Network, monitor and runtime state again, for one that has run before. */
static int make_again(struct engine *g, struct ctr *c, struct err *e)
{
    CLEANUP_POD struct pod p = { 0 };
    CLEANUP_MON struct mon *m = NULL;
    int r = pod_load(g, c->row.pod_id, &p, e);
    if (r == 0 && p.spec.kind != ENGINE_POD_CONTAINER) {
        return err_set(e, EINVAL, ERR_INVALID, "container %.12s has run already; its pod makes a new one instead", c->row.id);
    }
    if (r == 0 && !pod_is_up(g, &p)) {
        r = pod_down(g, &p, e);
        r = r == 0 ? ports_take(g, &p.spec, p.row.id, e) : r;
    }
    if (r == 0) {
        r = pod_up(g, &p, 0, e);
    }
    if (r == 0) {
        free(p.row.state);
        p.row.state = strdup("ready");
        r = p.row.state ? pod_save(g, &p, e) : err_oom(e);
    }
    if (r == 0) {
        r = pod_monitor(&p, &m, e);
    }
    if (r == 0) {
        r = monitor_forget(m, c->row.id, e);
    }
    if (r == 0) {
        r = bundle_dir(&p, c, e);
    }
    static const char *const docs[] = { "config.json" };
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(docs); i++) {
        CLEANUP_BUF struct buf b = { 0 };
        CLEANUP_FREE char *from = str_printf("%s/%s", c->data, docs[i]), *to = str_printf("%s/%s", c->dir, docs[i]);
        CLEANUP_OCI_SPEC struct oci_spec *s = NULL;
        CLEANUP_BUF struct buf process = { 0 };
        CLEANUP_FREE char *to_process = str_printf("%s/process.json", c->dir);
        r = from && to && to_process ? file_read(AT_FDCWD, from, CONFIG_MAX, &b, e) : err_oom(e);
        if (r == 0) {
            r = oci_spec_parse(b.data, b.len, &s, e);
        }
        if (r == 0) {
            r = json_format(&oci_process_type, s->process, 0, &process, e);
        }
        if (r == 0) {
            r = file_replace(AT_FDCWD, to, b.data, b.len, 0600, false, e);
        }
        if (r == 0) {
            r = file_replace(AT_FDCWD, to_process, process.data, process.len, 0600, false, e);
        }
    }
    return r < 0 ? r : ctr_make_runtime(g, &p, c, 0, e);
}

int ctr_ready_locked(struct engine *g, struct ctr *c, struct err *e)
{
    CLEANUP_FREE char *dir = str_printf("%s/pods/%s", g->run, c->row.pod_id);
    CLEANUP_MON struct mon *m = NULL;
    int r = ctr_refresh(g, c, e);
    if (r < 0 || ctr_lives(c) || (str_eq(c->row.state, "created") && dir && mon_connect(dir, MON_CALL_MS, &m, NULL) == 0)) {
        return r;
    }
    r = make_again(g, c, e);
    if (r == 0) {
        r = ctr_set_state(c, "created", e);
    }
    return r < 0 ? r : ctr_save(g, c, e);
}

static int start_runtime(struct engine *g, struct ctr *c, const char *dir, struct err *e)
{
    CLEANUP_MON struct mon *m = NULL;
    int r = ctr_ready_locked(g, c, e);
    if (r == 0) {
        r = mon_connect(dir, MON_CALL_MS, &m, e);
    }
    if (r == 0) {
        fault_point("start.before", NULL);
        r = mon_start(m, c->row.id, MON_CALL_MS, e);
        fault_point("start.after", NULL);
    }
    return r;
}

int ctr_start_locked(struct engine *g, struct ctr *c, struct err *e)
{
    CLEANUP_FREE char *dir = str_printf("%s/pods/%s", g->run, c->row.pod_id);
    struct err le = { 0 };
    uint64_t op = 0;
    e = e ? e : &le;
    if (!dir) {
        return err_oom(e);
    }
    int r = ctr_refresh(g, c, e);
    if (r < 0 || str_eq(c->row.state, "running")) {
        return r;
    }
    if (str_eq(c->row.state, "paused")) {
        return err_set(e, EINVAL, ERR_INVALID, "container %.12s is paused: unpause it", c->row.id);
    }
    r = journal_take(g, "start-container", c->row.id, "start", &op, e);
    if (r == 0) {
        r = start_runtime(g, c, dir, e);
    }
    if (r == 0) {
        r = commit_running(g, c, op, e);
    }
    if (r < 0 && op) {
        struct err why = { 0 };
        int f = op_finish(g->store, op, e->text, &why);
        (void)f;
    }
    return r;
}

int engine_ctr_start(struct engine *g, const char *ref, struct err *e)
{
    CLEANUP_CTR struct ctr first = { 0 }, c = { 0 };
    CLEANUP_FD int lock = -1;
    int r = ctr_load(g, ref, &first, e);
    if (r == 0) {
        r = ctr_lock(g, first.row.id, &lock, e);
    }
    if (r == 0) {
        r = ctr_load(g, first.row.id, &c, e);
    }
    if (r == 0) {
        r = ctr_start_locked(g, &c, e);
    }
    if (r == 0) {
        engine_wake(g);
    }
    return r;
}

/* ---- after an exit -------------------------------------------------------------------------------------------- */

static bool wants_restart(const struct ctr *c)
{
    const char *p = c->spec.restart_policy;
    uint32_t max = 0;
    if (str_empty(p) || c->st.stopped || str_eq(p, "no")) {
        return false;
    }
    if (str_starts(p, "on-failure")) {
        bool limited = p[10] == ':' && num_u32(p + 11, &max) == 0 && max > 0;
        return c->row.exit_code != 0 && (!limited || c->row.restart_count < max);
    }
    return str_eq(p, "always") || str_eq(p, "unless-stopped");
}

/* 100 ms, doubled each time up to a minute; one that ran for ten seconds begins anew. */
static useconds_t back_off(const struct ctr *c)
{
    if (c->row.finished - c->row.started > 10000000000) {
        return 100000;
    }
    uint32_t n = c->row.restart_count < 10 ? c->row.restart_count : 10;
    uint32_t us = 100000u << n;
    return us > 60000000 ? 60000000 : us;
}

static int settle(struct engine *g, struct ctr *c, struct err *e)
{
    CLEANUP_POD struct pod p = { 0 };
    int r = ctr_refresh(g, c, e);
    if (r < 0 || !str_eq(c->row.state, "exited")) {
        return r;
    }
    if (wants_restart(c)) {
        c->row.restart_count++;
        return ctr_start_locked(g, c, e);
    }
    r = pod_load(g, c->row.pod_id, &p, e);
    /* Address and monitor are of no use to one that has ended. */
    if (r < 0 || p.spec.kind != ENGINE_POD_CONTAINER) {
        return r;
    }
    r = pod_down(g, &p, e);
    free(p.row.state);
    p.row.state = strdup("notready");
    return r < 0 ? r : p.row.state ? pod_save(g, &p, e) : err_oom(e);
}

int engine_ctr_cleanup(struct engine *g, const char *ref, struct err *e)
{
    CLEANUP_CTR struct ctr first = { 0 }, c = { 0 };
    CLEANUP_FD int lock = -1;
    int r = ctr_load(g, ref, &first, e);
    if (r == 0) {
        r = ctr_refresh(g, &first, e);
    }
    if (r < 0) {
        return r;
    }
    if (wants_restart(&first) && str_eq(first.row.state, "exited")) {
        usleep(back_off(&first));
    }
    if (first.spec.auto_remove && str_eq(first.row.state, "exited")) {
        return engine_ctr_remove(g, first.row.id, false, e);
    }
    if (r == 0) {
        r = ctr_lock(g, first.row.id, &lock, e);
    }
    if (r == 0) {
        r = ctr_load(g, first.row.id, &c, e);
    }
    if (r == 0) {
        r = settle(g, &c, e);
    }
    /* It may have ended before its start was written down: only now is that known. */
    if (r == 0 && c.spec.auto_remove && str_eq(c.row.state, "exited")) {
        fd_close(&lock);
        return engine_ctr_remove(g, c.row.id, false, e);
    }
    return r;
}
