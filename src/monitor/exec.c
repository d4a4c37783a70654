/*
 * monitor/exec.c: further processes in a container. A captured one is answered when it has ended, with what it had written by then;
 * what it left in the background is not waited for, and at a time-out it goes with it.
 */
#include "monitor/mon.h"

#include "base/fd.h"
#include "monitor/kill.h"
#include "oci/oci.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DRAIN_NS = 25000000,
    CAPTURE_MAX = 16 << 20,
    SETUP_TIMEOUT_MS = 60000,
};

struct exec *exec_find(const struct ctr *c, const char *id)
{
    for (struct exec *x = c->execs; x; x = x->next) {
        if (strcmp(x->id, id) == 0) {
            return x;
        }
    }
    return NULL;
}

void exec_fill_state(const struct exec *x, struct mon_ctr_state *s)
{
    *s = (struct mon_ctr_state){ .id = x->ctr->id, .exec_id = x->id,
                                 .state = x->finished ? MON_STATE_EXITED : x->pid > 0 ? MON_STATE_RUNNING : MON_STATE_CREATING,
                                 .pid = x->pid, .exited_ns = x->exited_ns, .exit_code = x->exit_code,
                                 .exit_signal = x->exit_signal };
}

void exec_free(struct exec *x)
{
    for (struct exec **p = &x->ctr->execs; *p; p = &(*p)->next) {
        if (*p == x) {
            *p = x->next;
            x->ctr->n_execs--;
            break;
        }
    }
    if (x->job) {
        x->job->owner = NULL;
    }
    loop_remove(x->timer);
    loop_remove(x->drain);
    struct buf *out = x->io.cap_out, *err = x->io.cap_err;
    io_done(&x->io);
    if (out) {
        buf_done(out);
        buf_done(err);
        free(out); /* both are one block */
    }
    free(x->id);
    free(x);
}

/* Ended ones can be asked for a while: the newest few are kept (the list has the newest first). */
static void forget_old(struct ctr *c)
{
    size_t kept = 0;
    for (struct exec *x = c->execs, *next; x; x = next) {
        next = x->next;
        if (x->finished && !x->io.viewers && ++kept > MON_EXECS_KEPT) {
            exec_free(x);
        }
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static int output_memfd(const struct buf *b)
{
    int fd = memfd_create("output", MFD_CLOEXEC);
    if (fd >= 0 && fd_write_all(fd, b->data, b->len) < 0) {
        fd_close(&fd);
    }
    return fd;
}

static void put_output(struct mon_exec_reply *r, const struct buf *out, const struct buf *err)
{
    bool small = out->len + err->len <= MON_INLINE_MAX;
    if (small) {
        r->out = (struct mon_bytes){ out->data, out->len };
        r->err = (struct mon_bytes){ err->data, err->len };
        return;
    }
    r->out_fd = out->len ? output_memfd(out) : -1;
    r->err_fd = err->len ? output_memfd(err) : -1;
    r->truncated = r->truncated || (out->len && r->out_fd < 0) || (err->len && r->err_fd < 0);
}

static void answer_captured(struct exec *x)
{
    struct mon_exec_reply r;
    mon_struct_init(&mon_exec_reply_type, &r);
    r.exec_id = x->id;
    r.exit_code = x->exit_code;
    r.exit_signal = x->exit_signal;
    r.timed_out = x->timed_out;
    r.truncated = x->io.truncated;
    put_output(&r, x->io.cap_out, x->io.cap_err);
    reply_ok(x->ctr->m, &x->to, &mon_exec_reply_type, &r);
    fd_close(&r.out_fd);
    fd_close(&r.err_fd);
}

static void answer_waiters(struct exec *x, const struct mon_ctr_state *s)
{
    for (size_t i = 0; i < ARRAY_LEN(x->waiters); i++) {
        if (x->waiters[i].client) {
            reply_ok(x->ctr->m, &x->waiters[i], &mon_ctr_state_type, s);
            x->waiters[i].client = 0;
        }
    }
}

static void exec_finish(struct exec *x)
{
    struct ctr *c = x->ctr;
    struct mon_ctr_state s;
    if (x->finished) {
        return;
    }
    x->finished = true;
    loop_remove(x->timer);
    loop_remove(x->drain);
    x->timer = x->drain = NULL;
    io_stop(&x->io);
    if (x->own_cgroup) {
        kill_remove_cgroup(c->cgroup, x->id);
    }
    io_finish(&x->io, x->exit_code);
    exec_fill_state(x, &s);
    answer_waiters(x, &s);
    if (x->mode == MON_EXEC_CAPTURED) {
        answer_captured(x);
        exec_free(x);
        return;
    }
    event_send(c->m, MON_EXEC_EXITED, &s);
    forget_old(c);
}

static void on_drained(struct io *io, void *data)
{
    struct exec *x = data;
    (void)io;
    if (x->ended) {
        exec_finish(x);
    }
}

static void on_drain_timeout(struct loop_source *s, void *data)
{
    (void)s;
    exec_finish(data);
}

void exec_reaped(struct exec *x, int status)
{
    x->ended = true;
    x->pid = 0;
    x->exited_ns = monitor_now();
    x->exit_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    x->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    io_drain(&x->io);
    if (!io_has_output(&x->io) || x->timed_out ||
        loop_add_timer(x->ctr->m->loop, DRAIN_NS, on_drain_timeout, x, &x->drain, NULL) < 0) {
        exec_finish(x);
    }
}

void exec_kill_tree(struct exec *x)
{
    if (x->own_cgroup && kill_cgroup(x->ctr->cgroup, x->id) == 0) {
        return;
    }
    if (x->pid > 0) {
        kill_tree(x->pid);
    }
}

static void on_timeout(struct loop_source *s, void *data)
{
    struct exec *x = data;
    (void)s;
    x->timed_out = true;
    if (x->pid > 0) {
        exec_kill_tree(x);
    } else if (x->job) {
        job_kill(x->job);
    }
}

int exec_wait(struct exec *x, const struct reply_to *to, struct err *e)
{
    struct mon_ctr_state s;
    if (x->finished) {
        exec_fill_state(x, &s);
        reply_ok(x->ctr->m, to, &mon_ctr_state_type, &s);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(x->waiters); i++) {
        if (!x->waiters[i].client || !client_find(x->ctr->m, x->waiters[i].client)) {
            x->waiters[i] = *to;
            return 0;
        }
    }
    return err_set(e, EMFILE, ERR_EXHAUSTED, "too many wait for exec %s", x->id);
}

/* ---- the beginning ------------------------------------------------------------------------------------------ */

static void fail(struct exec *x, const struct job_result *r, const struct job *j)
{
    struct err e = { 0 };
    if (x->timed_out) { /* its time was over before it ran */
        x->exit_code = 137;
        exec_finish(x);
        return;
    }
    err_set(&e, r ? r->code : j->timed_out ? ETIMEDOUT : EIO,
            r ? (enum err_kind)r->kind : j->timed_out ? ERR_TIMEOUT : ERR_INTERNAL, "%s", r ? r->text : "the exec's builder died");
    reply_error(x->ctr->m, &x->to, &e);
    exec_free(x);
}

/* It runs: whoever attached gets the stream, whoever does not want to wait his answer. */
static int answer_running(struct exec *x, struct err *e)
{
    struct mon_exec_reply r;
    int q = 0;
    mon_struct_init(&mon_exec_reply_type, &r);
    if (x->mode == MON_EXEC_ATTACHED) {
        q = io_attach(&x->io, true, true, &r.stream_fd, e);
    }
    if (q == 0) {
        r.exec_id = x->id;
        r.pid = x->pid;
        reply_ok(x->ctr->m, &x->to, &mon_exec_reply_type, &r);
    }
    fd_close(&r.stream_fd);
    return q;
}

static void on_builder(struct job *j, const struct job_result *r, int *fd)
{
    struct exec *x = j->owner;
    struct err e = { 0 };
    int status, q = 0;
    if (x) {
        x->job = NULL;
    }
    if (!x || !r || r->code) {
        if (x) {
            fail(x, r, j);
        }
        job_free(j);
        return;
    }
    x->pid = r->pid;
    if (x->io.tty) {
        q = io_set_master(&x->io, fd, &e);
    }
    if (q == 0 && x->mode != MON_EXEC_CAPTURED) {
        q = answer_running(x, &e);
    }
    if (q == 0) {
        q = io_watch(&x->io, &e);
    }
    if (q < 0) {
        reply_error(j->m, &x->to, &e);
        x->mode = MON_EXEC_DETACHED;
        exec_kill_tree(x);
    }
    if (reap_early(j->m, r->pid, &status)) {
        exec_reaped(x, status);
    } else if (x->timed_out) {
        exec_kill_tree(x);
    }
    job_free(j);
}

static int check(const struct ctr *c, const struct mon_exec *x, struct err *e)
{
    if (c->status.state != MON_STATE_RUNNING) {
        return err_set(e, EINVAL, ERR_INVALID, "container %s is %s, not running", c->id, mon_state_name(c->status.state));
    }
    if (c->n_execs >= MON_EXECS_MAX + MON_EXECS_KEPT) {
        return err_set(e, EMFILE, ERR_EXHAUSTED, "container %s has %zu execs already", c->id, c->n_execs);
    }
    if (x->mode > MON_EXEC_DETACHED || (x->mode == MON_EXEC_CAPTURED && x->tty)) {
        return err_set(e, EINVAL, ERR_INVALID, "exec mode %u%s", x->mode, x->tty ? " with a terminal" : "");
    }
    if (x->process.len == 0 && x->process_fd < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "exec without a process");
    }
    if (x->exec_id) {
        int r = oci_id_check(x->exec_id, e);
        if (r < 0 || exec_find(c, x->exec_id)) {
            return r < 0 ? r : err_set(e, EEXIST, ERR_EXISTS, "exec %s exists already", x->exec_id);
        }
    }
    return 0;
}

static int prepare_capture(struct exec *x, const struct mon_exec *s)
{
    struct buf *b = calloc(2, sizeof(*b));
    if (!b) {
        return -ENOMEM;
    }
    x->io.cap_out = &b[0];
    x->io.cap_err = &b[1];
    x->io.max_out = s->max_out && s->max_out < CAPTURE_MAX ? s->max_out : CAPTURE_MAX;
    x->io.max_err = s->max_err && s->max_err < CAPTURE_MAX ? s->max_err : CAPTURE_MAX;
    return 0;
}

static int launch(struct exec *x, struct mon_exec *s, struct err *e)
{
    struct monitor *m = x->ctr->m;
    struct build_exec b = { .ctr = x->ctr, .spec = s, .sub_cgroup = x->own_cgroup ? x->id : NULL };
    int keep[4];
    size_t n = 0;
    memcpy(b.stdio, x->io.child, sizeof(b.stdio));
    for (int i = 0; i < 3 && !x->io.tty; i++) {
        keep[n++] = b.stdio[i];
    }
    if (s->process_fd >= 0) {
        keep[n++] = s->process_fd;
    }
    if (x->timeout_ms) {
        int r = loop_add_timer(m->loop, x->timeout_ms * 1000000u, on_timeout, x, &x->timer, e);
        if (r < 0) {
            return r;
        }
    }
    return job_start(m, x->ctr->spec.runtime ? foreign_exec : builtin_exec, &b, keep, n, SETUP_TIMEOUT_MS, on_builder, x, NULL,
                     &x->job, e);
}

int exec_start(struct ctr *c, struct mon_exec *s, const struct reply_to *to, struct err *e)
{
    int r = check(c, s, e);
    struct exec *x = r < 0 ? NULL : calloc(1, sizeof(*x));
    if (!x) {
        return r < 0 ? r : err_oom(e);
    }
    *x = (struct exec){ .ctr = c, .to = *to, .mode = s->mode, .next = c->execs,
                        .timeout_ms = s->timeout_ms < UINT32_MAX ? s->timeout_ms : UINT32_MAX,
                        /* Only where it is cheap: one folder, not one in each of a dozen hierarchies. */
                        .own_cgroup = c->m->pure_v2 && s->timeout_ms && c->cgroup && !c->spec.runtime };
    c->execs = x;
    c->n_execs++;
    io_init(&x->io, c->m->loop, &c->m->io_scratch);
    x->io.ended = on_drained;
    x->io.data = x;
    x->io.stdin_once = true;
    x->id = s->exec_id ? strdup(s->exec_id) : str_printf("exec-%u", ++c->next_exec);
    r = x->id && (s->mode != MON_EXEC_CAPTURED || prepare_capture(x, s) == 0) ? 0 : err_oom(e);
    if (r == 0) {
        r = io_open(&x->io, s->tty, s->stdin_open && s->mode == MON_EXEC_ATTACHED, s->mode != MON_EXEC_DETACHED, e);
    }
    if (r == 0) {
        r = launch(x, s, e);
    }
    io_close_child(&x->io);
    if (r < 0) {
        exec_free(x);
    }
    return r;
}
