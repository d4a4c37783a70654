/* engine/ctr-stop.c: signals, stop, pause, update, remove. A stop waits for the process alone, never for a reader of its output. */
#include "engine/internal.h"

#include "base/fault.h"
#include "base/num.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

int signal_number(const char *name)
{
    static const struct {
        const char *name;
        int n;
    } t[] = { { "HUP", 1 },   { "INT", 2 },   { "QUIT", 3 },  { "ILL", 4 },   { "TRAP", 5 },  { "ABRT", 6 },    { "BUS", 7 },   { "FPE", 8 },
              { "KILL", 9 },  { "USR1", 10 }, { "SEGV", 11 }, { "USR2", 12 }, { "PIPE", 13 }, { "ALRM", 14 },   { "TERM", 15 }, { "STKFLT", 16 },
              { "CHLD", 17 }, { "CONT", 18 }, { "STOP", 19 }, { "TSTP", 20 }, { "TTIN", 21 }, { "TTOU", 22 },   { "URG", 23 },  { "XCPU", 24 },
              { "XFSZ", 25 }, { "VTALRM", 26 }, { "PROF", 27 }, { "WINCH", 28 }, { "IO", 29 }, { "PWR", 30 },    { "SYS", 31 } };
    uint32_t n;
    const char *s = str_starts(name, "SIG") ? name + 3 : name;
    if (num_u32(s, &n) == 0) {
        return n >= 1 && n <= 64 ? (int)n : -EINVAL;
    }
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        if (str_eq(t[i].name, s)) {
            return t[i].n;
        }
    }
    if (str_starts(s, "RTMIN+") && num_u32(s + 6, &n) == 0 && n <= 30) {
        return 34 + (int)n;
    }
    if (str_starts(s, "RTMAX-") && num_u32(s + 6, &n) == 0 && n <= 30) {
        return 64 - (int)n;
    }
    return str_eq(s, "RTMIN") ? 34 : str_eq(s, "RTMAX") ? 64 : -EINVAL;
}

int monitor_forget(struct mon *m, const char *id, struct err *e)
{
    struct err le = { 0 };
    int r = mon_remove(m, id, true, MON_CALL_MS, &le);
    for (int tries = 0; r == -EBUSY && tries < 500; tries++) {
        usleep(tries < 20 ? 1000 : 20000);
        err_clear(&le);
        r = mon_remove(m, id, true, MON_CALL_MS, &le);
    }
    if (r < 0 && e) {
        *e = le;
    }
    return r;
}

enum { DEAF_MS = 2000 };

static int connect_to(struct engine *g, const struct ctr *c, struct mon **ret, struct err *e)
{
    CLEANUP_FREE char *dir = str_printf("%s/pods/%s", g->run, c->row.pod_id);
    return dir ? mon_connect(dir, MON_CALL_MS, ret, e) : err_oom(e);
}

/* Without a monitor the process is found by number and start time. */
static int signal_lost(struct engine *g, const struct ctr *c, int signo, int timeout_ms, struct err *e)
{
    CLEANUP_FD int fd = -1;
    if (proc_open(c->row.pid, c->row.pid_start, &fd) == 0) {
        proc_pidfd_kill(fd, signo);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, timeout_ms) > 0 && signo != SIGKILL) {
            return 0;
        }
    }
    return signo == SIGKILL ? cgroup_kill(g, c->st.cgroup, e) : 0;
}

static int wait_exit(struct mon *m, const char *id, int64_t ms, struct err *e)
{
    struct mon_ctr_state st;
    int r = mon_wait(m, id, NULL, ms > INT32_MAX ? -1 : (int)ms, &st, e);
    if (r == 0) {
        mon_struct_done(&mon_ctr_state_type, &st);
    }
    return r;
}

/*
 * A PID 1 that has only just been executed, and has not come to its sigaction() yet, never hears of a signal: it is sent again as
 * soon as there is somebody to hear it. Returns what is left of timeout_ms.
 */
static int64_t signal_again(struct mon *m, const struct ctr *c, int signo, int64_t timeout_ms)
{
    CLEANUP_FD int fd = -1;
    int64_t gone = 0;
    if (proc_open(c->row.pid, c->row.pid_start, &fd) < 0) {
        return timeout_ms;
    }
    for (int ms = 2; gone + ms < timeout_ms && gone < DEAF_MS; ms = ms < 64 ? ms * 2 : ms) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, ms) != 0) {
            break;
        }
        gone += ms;
        if (proc_hears(c->row.pid, signo)) {
            struct err le = { 0 };
            int r = mon_kill(m, c->row.id, NULL, signo, false, MON_CALL_MS, &le);
            (void)r; /* it has exited: the wait tells */
            break;
        }
    }
    return timeout_ms - gone;
}

static int stop_by_monitor(struct engine *g, struct ctr *c, struct mon **m, int signo, int64_t timeout_s, struct err *e)
{
    struct err le = { 0 };
    if (str_eq(c->row.state, "paused")) {
        int u = mon_resume(*m, c->row.id, MON_CALL_MS, &le);
        (void)u;
    }
    if (timeout_s > 0) {
        int64_t ms = timeout_s * 1000;
        bool heard = proc_hears(c->row.pid, signo);
        int r = mon_kill(*m, c->row.id, NULL, signo, false, MON_CALL_MS, &le);
        if (r == 0 && !heard) {
            ms = signal_again(*m, c, signo, ms);
        }
        if (r == 0 && wait_exit(*m, c->row.id, ms, &le) == 0) {
            return 0;
        }
        /* A connection on which a wait timed out is dead. */
        mon_close(PTR_STEAL(*m));
        r = connect_to(g, c, m, e);
        if (r < 0) {
            return r;
        }
    }
    err_clear(&le);
    int r = mon_kill(*m, c->row.id, NULL, SIGKILL, true, MON_CALL_MS, &le);
    if (r < 0 && le.kind != ERR_NOT_FOUND) {
        *e = le;
        return r;
    }
    return wait_exit(*m, c->row.id, MON_CALL_MS, e);
}

int ctr_stop_locked(struct engine *g, struct ctr *c, int64_t timeout_s, struct err *e)
{
    CLEANUP_MON struct mon *m = NULL;
    struct err le = { 0 };
    int r = ctr_refresh(g, c, e);
    if (r < 0 || !ctr_lives(c)) {
        return r;
    }
    int signo = signal_number(c->st.stop_signal ? c->st.stop_signal : "SIGTERM");
    int64_t s = timeout_s >= 0 ? timeout_s : c->spec.stop_timeout >= 0 ? c->spec.stop_timeout : STOP_DEFAULT_S;
    fault_point("stop.before", NULL);
    if (connect_to(g, c, &m, &le) == 0) {
        r = stop_by_monitor(g, c, &m, signo, s, e);
        fault_point("stop.after", NULL);
    } else {
        r = s > 0 ? signal_lost(g, c, signo, (int)(s > 3600 ? 3600 : s) * 1000, e) : 0;
        if (r == 0) {
            r = signal_lost(g, c, SIGKILL, 5000, e);
        }
    }
    return r < 0 ? r : ctr_refresh(g, c, e);
}

/* Loads, locks, loads again: what was read before the lock may have changed. */
static int take(struct engine *g, const char *ref, struct ctr *c, int *lock, struct err *e)
{
    CLEANUP_CTR struct ctr first = { 0 };
    int r = ctr_load(g, ref, &first, e);
    if (r == 0) {
        r = ctr_lock(g, first.row.id, lock, e);
    }
    if (r == 0) {
        r = ctr_load(g, first.row.id, c, e);
    }
    return r < 0 ? r : ctr_refresh(g, c, e);
}

int engine_ctr_stop(struct engine *g, const char *ref, int64_t timeout_s, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_FD int lock = -1;
    int r = take(g, ref, &c, &lock, e);
    if (r < 0 || (!ctr_lives(&c) && (c.st.stopped || str_empty(c.spec.restart_policy)))) {
        return r;
    }
    /* Told to one that waits for its restart, too. */
    bool lives = ctr_lives(&c);
    c.st.stopped = true;
    r = ctr_save(g, &c, e);
    if (r < 0 || !lives) {
        return r;
    }
    r = ctr_stop_locked(g, &c, timeout_s, e);
    if (r == 0) {
        r = event_put(g, "container", "stop", c.row.id, c.row.pod_id, e, "name", c.row.name, "image", c.st.image_name, NULL);
        engine_wake(g);
    }
    return r;
}

static int running(struct engine *g, const char *ref, struct ctr *c, struct mon **m, struct err *e)
{
    int r = ctr_load(g, ref, c, e);
    if (r == 0) {
        r = ctr_refresh(g, c, e);
    }
    if (r == 0 && !ctr_lives(c)) {
        return err_set(e, EINVAL, ERR_INVALID, "container %.12s is not running", c->row.id);
    }
    return r < 0 ? r : connect_to(g, c, m, e);
}

int engine_ctr_kill(struct engine *g, const char *ref, int signo, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_MON struct mon *m = NULL;
    struct err le = { 0 };
    int r = running(g, ref, &c, &m, &le);
    if (r < 0 && le.kind == ERR_UNAVAILABLE && ctr_lives(&c)) {
        return signal_lost(g, &c, signo, 0, e);
    }
    if (r == 0) {
        r = mon_kill(m, c.row.id, NULL, signo, false, MON_CALL_MS, &le);
    }
    if (r < 0 && e) {
        *e = le;
    }
    return r;
}

static int set_paused(struct engine *g, const char *ref, bool pause, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_MON struct mon *m = NULL;
    CLEANUP_FD int lock = -1;
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = take(g, ref, &c, &lock, e);
    if (r == 0 && !str_eq(c.row.state, pause ? "running" : "paused")) {
        return err_set(e, EINVAL, ERR_INVALID, "container %.12s is %s", c.row.id, c.row.state);
    }
    if (r == 0) {
        r = connect_to(g, &c, &m, e);
    }
    if (r == 0) {
        r = pause ? mon_pause(m, c.row.id, MON_CALL_MS, e) : mon_resume(m, c.row.id, MON_CALL_MS, e);
    }
    if (r == 0) {
        r = ctr_set_state(&c, pause ? "paused" : "running", e);
    }
    if (r == 0) {
        r = store_begin(g->store, &tx, e);
    }
    if (r == 0) {
        r = ctr_save(g, &c, e);
    }
    if (r == 0) {
        r = event_put(g, "container", pause ? "pause" : "unpause", c.row.id, c.row.pod_id, e, "name", c.row.name, NULL);
    }
    if (r == 0) {
        r = store_commit(&tx, e);
        engine_wake(g);
    }
    return r;
}

int engine_ctr_pause(struct engine *g, const char *ref, struct err *e)
{
    return set_paused(g, ref, true, e);
}

int engine_ctr_unpause(struct engine *g, const char *ref, struct err *e)
{
    return set_paused(g, ref, false, e);
}

int engine_ctr_update(struct engine *g, const char *ref, const struct engine_resources *r, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_MON struct mon *m = NULL;
    CLEANUP_FD int lock = -1;
    CLEANUP_BUF struct buf b = { 0 };
    struct oci_resources res = { 0 };
    int rc = take(g, ref, &c, &lock, e);
    if (rc == 0) {
        rc = spec_resources(r, &res, e);
    }
    if (rc == 0) {
        rc = json_format(&oci_resources_type, &res, 0, &b, e);
    }
    json_free(&oci_resources_type, &res);
    if (rc == 0 && !ctr_lives(&c) && !str_eq(c.row.state, "created")) {
        return err_set(e, EINVAL, ERR_INVALID, "container %.12s is %s", c.row.id, c.row.state);
    }
    if (rc == 0) {
        rc = connect_to(g, &c, &m, e);
    }
    return rc < 0 ? rc : mon_update(m, c.row.id, buf_str(&b), MON_CALL_MS, e);
}

int engine_ctr_reopen_log(struct engine *g, const char *ref, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_MON struct mon *m = NULL;
    int r = running(g, ref, &c, &m, e);
    return r < 0 ? r : mon_reopen_log(m, c.row.id, MON_CALL_MS, e);
}

int engine_ctr_resize(struct engine *g, const char *ref, const char *exec_id, uint32_t rows, uint32_t cols, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_MON struct mon *m = NULL;
    int r = ctr_load(g, ref, &c, e);
    if (r == 0) {
        r = connect_to(g, &c, &m, e);
    }
    return r < 0 ? r : mon_resize(m, c.row.id, exec_id, rows, cols, MON_CALL_MS, e);
}

int engine_ctr_pids(struct engine *g, const char *ref, int32_t **ret, size_t *ret_n, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    int r = ctr_load(g, ref, &c, e);
    if (r == 0) {
        r = ctr_refresh(g, &c, e);
    }
    if (r == 0 && !ctr_lives(&c)) {
        return err_set(e, EINVAL, ERR_INVALID, "container %.12s is not running", c.row.id);
    }
    return r < 0 ? r : cgroup_pids(g, c.st.cgroup, ret, ret_n, e);
}

/* ---- remove ------------------------------------------------------------------------------------------------- */

static int forget(struct engine *g, struct ctr *c, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(g->store, &tx, e);
    if (r == 0) {
        r = event_put(g, "container", "destroy", c->row.id, c->row.pod_id, e, "name", c->row.name, "image", c->st.image_name, NULL);
    }
    if (r == 0) {
        r = store_ctr_delete(g->store, c->row.id, e);
    }
    return r < 0 ? r : store_commit(&tx, e);
}

int ctr_remove_locked(struct engine *g, struct ctr *c, struct err *e)
{
    CLEANUP_MON struct mon *m = NULL;
    struct err le = { 0 };
    int r = ctr_stop_locked(g, c, 0, e);
    if (r == 0 && connect_to(g, c, &m, &le) == 0) {
        fault_point("remove.stopped", NULL);
        r = monitor_forget(m, c->row.id, e);
    }
    fault_point("remove.runtime", NULL);
    if (r == 0 && c->st.cgroup) {
        r = cgroup_kill(g, c->st.cgroup, e);
        if (r == 0) {
            r = cgroup_remove(g, c->st.cgroup, e);
        }
    }
    if (r == 0) {
        fault_point("remove.cgroup", NULL);
        r = c->st.runtime ? rootfs_unmount(c, e) : 0;
        r = r == 0 ? dir_remove_all(AT_FDCWD, c->dir, e) : r;
    }
    if (r == 0) {
        fault_point("remove.bundle", NULL);
        r = dir_remove_all(AT_FDCWD, c->data, e);
    }
    if (r == 0) {
        fault_point("remove.snapshot", NULL);
        for (char **v = c->st.anonymous; v && *v; v++) {
            volume_remove_with_last(g, *v);
        }
        r = forget(g, c, e);
        fault_point("remove.forgotten", NULL);
    }
    if (r == 0) {
        lock_forget(g->store, "ctr", c->row.id);
    }
    return r;
}

int engine_ctr_remove(struct engine *g, const char *ref, bool force, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_POD struct pod p = { 0 };
    CLEANUP_FD int lock = -1;
    struct err le = { 0 };
    e = e ? e : &le;
    int r = take(g, ref, &c, &lock, e);
    if (r < 0) {
        return e->kind == ERR_NOT_FOUND && id_whole(ref) ? 0 : r;
    }
    if (ctr_lives(&c) && !force) {
        return err_set(e, EBUSY, ERR_BUSY, "container %.12s is %s: stop it first, or force", c.row.id, c.row.state);
    }
    r = pod_load(g, c.row.pod_id, &p, e);
    if (r == 0 && p.spec.kind == ENGINE_POD_CONTAINER) {
        /* Locks go pod first: this one is let go, and the pod's removal takes the container with it. */
        fd_close(&lock);
        return engine_pod_remove(g, p.row.id, e);
    }
    uint64_t op = 0;
    if (r == 0) {
        r = journal_take(g, "remove-container", c.row.id, "stop", &op, e);
    }
    if (r == 0) {
        r = ctr_remove_locked(g, &c, e);
        journal_end(g, op, r, e);
        engine_wake(g);
    }
    return r < 0 ? err_wrap(e, "remove container %.64s", ref) : 0;
}
