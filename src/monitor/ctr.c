/*
 * monitor/ctr.c: a container from CREATE to REMOVE. The order at its end: reaped → what is left in its cgroup killed, OOM kills read
 * → output drained → status file → whoever waits is told.
 */
#include "monitor/mon.h"

#include "base/fd.h"
#include "oci/oci.h"
#include "sys/proc.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DRAIN_NS = 500000000 };

struct ctr *ctr_find(struct monitor *m, const char *id)
{
    for (struct ctr *c = m->ctrs; c; c = c->next) {
        if (strcmp(c->id, id) == 0) {
            return c;
        }
    }
    return NULL;
}

bool ctr_alive(const struct ctr *c)
{
    return c->status.pid > 0 ? !c->reaped : c->job != NULL;
}

void ctr_fill_state(const struct ctr *c, struct mon_ctr_state *s)
{
    const struct mon_status *t = &c->status;
    *s = (struct mon_ctr_state){
        .id = c->id, .state = t->state, .pid = t->pid, .start_time = t->start_time, .created_ns = t->created_ns,
        .started_ns = t->started_ns, .exited_ns = t->exited_ns, .exit_code = t->exit_code, .exit_signal = t->exit_signal,
        .oom_killed = t->oom_killed, .reason = (char *)(uintptr_t)t->reason,
        .lost_lines = c->io.log ? ctrlog_lost(c->io.log) : t->lost_lines,
    };
}

int ctr_write_status(struct ctr *c, struct err *e)
{
    CLEANUP_FREE char *path = str_printf("%s/status", c->bundle);
    if (c->io.log) {
        c->status.lost_lines = ctrlog_lost(c->io.log);
    }
    return path ? mon_status_write(AT_FDCWD, path, &c->status, e) : err_oom(e);
}

static void unlink_ctr(struct ctr *c)
{
    for (struct ctr **p = &c->m->ctrs; *p; p = &(*p)->next) {
        if (*p == c) {
            *p = c->next;
            c->m->n_ctrs--;
            return;
        }
    }
}

void ctr_free(struct ctr *c)
{
    unlink_ctr(c);
    for (struct job *j = c->m->jobs; j; j = j->next) {
        if (j->owner == c) {
            j->owner = NULL;
        }
    }
    while (c->execs) {
        exec_free(c->execs);
    }
    while (c->waiters) {
        struct waiter *w = c->waiters;
        c->waiters = w->next;
        free(w);
    }
    loop_remove(c->drain);
    loop_remove(c->exit_timer);
    io_done(&c->io);
    mon_struct_done(&mon_create_type, &c->spec);
    free(c->id);
    free(c->bundle);
    free(c->cgroup);
    free(c);
}

/* ---- the end ----------------------------------------------------------------------------------------------- */

static void notify(struct ctr *c)
{
    char text[MON_ID_MAX + 32];
    if (c->m->notify) {
        int n = snprintf(text, sizeof(text), "exit %s\n", c->id);
        sock_notify(c->m->notify, text, (size_t)n);
    }
}

static void on_exit_timer(struct loop_source *s, void *data)
{
    struct ctr *c = data;
    loop_remove(s);
    c->exit_timer = NULL;
    monitor_exit_command(c->m, c);
}

/* Who was attached to the end removes it by himself, as a rule: then REMOVE comes first, and a program less is run. */
static void run_exit_command(struct ctr *c, bool attached)
{
    uint64_t ms = c->spec.exit_grace_ms < MON_EXIT_GRACE_MAX_MS ? c->spec.exit_grace_ms : MON_EXIT_GRACE_MAX_MS;
    if (!attached || ms == 0 || loop_add_timer(c->m->loop, ms * 1000000, on_exit_timer, c, &c->exit_timer, NULL) < 0) {
        monitor_exit_command(c->m, c);
    }
}

/* The output is drained: everybody is told. */
static void ctr_finish(struct ctr *c)
{
    if (c->finished) {
        return;
    }
    struct mon_ctr_state s;
    bool attached = c->io.n_viewers > 0;
    c->finished = true;
    loop_remove(c->drain);
    c->drain = NULL;
    io_stop(&c->io);
    (void)!ctr_write_status(c, NULL);
    io_finish(&c->io, c->status.exit_code);
    ctr_fill_state(c, &s);
    while (c->waiters) {
        struct waiter *w = c->waiters;
        c->waiters = w->next;
        reply_ok(c->m, &w->to, &mon_ctr_state_type, &s);
        free(w);
    }
    if (s.oom_killed) {
        event_send(c->m, MON_OOM, &s);
    }
    event_send(c->m, MON_EXITED, &s);
    notify(c);
    run_exit_command(c, attached);
    if (c->removing) { /* REMOVE with force waited for this */
        struct reply_to to = c->remove_to;
        struct err e = { 0 };
        c->removing = false;
        if (ctr_remove(c, false, &to, &e) < 0) {
            reply_error(c->m, &to, &e);
        }
    }
}

static void on_drained(struct io *io, void *data)
{
    struct ctr *c = data;
    (void)io;
    if (c->reaped) {
        ctr_finish(c);
    }
}

static void on_drain_timeout(struct loop_source *s, void *data)
{
    (void)s;
    ctr_finish(data);
}

/* What shared the PID namespace with others has to be killed by its cgroup; then the kernel's count of OOM kills is final. */
static void read_cgroup(struct ctr *c)
{
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    if (!c->cgroup || oci_cgroup_open(c->cgroup, &cg, NULL) < 0) {
        return;
    }
    (void)!oci_cgroup_kill(cg, SIGKILL, NULL);
    c->status.oom_killed = oci_cgroup_oom_kills(cg) > 0;
}

void ctr_reaped(struct ctr *c, int status)
{
    c->reaped = true;
    c->status.state = MON_STATE_EXITED;
    c->status.exited_ns = monitor_now();
    c->status.exit_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    c->status.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (c->start_code) {
        c->status.exit_code = c->start_code;
        c->status.exit_signal = 0;
    }
    read_cgroup(c);
    (void)!ctr_write_status(c, NULL);
    io_drain(&c->io);
    if (!c->io.watched || !io_has_output(&c->io)) {
        ctr_finish(c);
    } else if (loop_add_timer(c->m->loop, DRAIN_NS, on_drain_timeout, c, &c->drain, NULL) < 0) {
        ctr_finish(c);
    }
}

/* ---- create ------------------------------------------------------------------------------------------------- */

static int check_spec(struct monitor *m, const struct mon_create *s, struct err *e)
{
    int r = oci_id_check(s->id, e);
    if (r < 0) {
        return r;
    }
    if (strlen(s->id) > MON_ID_MAX) {
        return err_set(e, EINVAL, ERR_INVALID, "container id is longer than %d bytes", MON_ID_MAX);
    }
    if (ctr_find(m, s->id)) {
        return err_set(e, EEXIST, ERR_EXISTS, "container %s exists already", s->id);
    }
    if (m->n_ctrs >= MON_CTRS_MAX) {
        return err_set(e, EMFILE, ERR_EXHAUSTED, "the pod has %d containers already", MON_CTRS_MAX);
    }
    if (s->bundle[0] != '/' || (s->log_path && s->log_path[0] != '/')) {
        return err_set(e, EINVAL, ERR_INVALID, "bundle and log path have to be absolute");
    }
    if (s->log_format > MON_LOG_JSON) {
        return err_set(e, EINVAL, ERR_INVALID, "log format %u is not known", s->log_format);
    }
    return 0;
}

static int open_streams(struct ctr *c, struct err *e)
{
    const struct mon_create *s = &c->spec;
    io_init(&c->io, c->m->loop, &c->m->io_scratch);
    c->io.ended = on_drained;
    c->io.data = c;
    c->io.stdin_once = s->stdin_once;
    int r = 0;
    if (s->log_path && s->log_format != MON_LOG_NONE) {
        r = ctrlog_open(s->log_path, s->log_format == MON_LOG_CRI ? CTRLOG_CRI : CTRLOG_JSON, s->log_max_size, s->log_max_files,
                        &c->m->scratch, &c->io.log, e);
    }
    return r < 0 ? r : io_open(&c->io, s->tty, s->stdin_open, true, e);
}

/* The builder's second result: the program runs, or could not be executed. */
static void started(struct ctr *c, struct job *j, const struct job_result *r)
{
    struct err e = { 0 };
    c->job = NULL;
    if (r && r->code == 0) {
        c->status.started_ns = monitor_now();
        if (!c->reaped) {
            c->status.state = MON_STATE_RUNNING;
        }
        (void)!ctr_write_status(c, NULL);
        reply_ok(j->m, &j->to, NULL, NULL);
        return;
    }
    err_set(&e, r ? r->code : EIO, r ? (enum err_kind)r->kind : ERR_INTERNAL, "%s",
            r ? r->text : j->timed_out ? "starting took too long" : "the builder ended before the container ran");
    c->start_code = e.code == ENOENT ? 127 : 126;
    snprintf(c->status.reason, sizeof(c->status.reason), "StartError");
    if (c->reaped) {
        c->status.exit_code = c->start_code;
        (void)!ctr_write_status(c, NULL);
    } else if (c->status.pid > 0) {
        kill(c->status.pid, SIGKILL);
    }
    reply_error(j->m, &j->to, &e);
}

static void create_failed(struct ctr *c, struct job *j, const struct job_result *r)
{
    struct err e = { 0 };
    err_set(&e, r ? r->code : j->timed_out ? ETIMEDOUT : EIO,
            r ? (enum err_kind)r->kind : j->timed_out ? ERR_TIMEOUT : ERR_INTERNAL, "%s",
            r ? r->text : j->timed_out ? "creating took too long" : "the builder died");
    reply_error(j->m, &j->to, &e);
    if (c->removing) {
        reply_ok(j->m, &c->remove_to, NULL, NULL);
    }
    ctr_free(c);
}

static int adopt_created(struct ctr *c, const struct job_result *r, int *fd, struct err *e)
{
    int status, q = 0;
    c->status.pid = r->pid;
    c->status.state = MON_STATE_CREATED;
    c->status.created_ns = monitor_now();
    c->cgroup = r->text[0] ? strdup(r->text) : NULL;
    (void)!proc_start_time(r->pid, &c->status.start_time, NULL);
    if (c->spec.tty) {
        q = io_set_master(&c->io, fd, e);
        if (q == 0 && c->spec.rows && c->spec.cols) {
            (void)!io_resize(&c->io, c->spec.rows, c->spec.cols, NULL);
        }
    }
    if (q == 0) {
        q = ctr_write_status(c, e);
    }
    if (q == 0) {
        q = io_watch(&c->io, e);
    }
    if (reap_early(c->m, r->pid, &status)) {
        ctr_reaped(c, status);
    }
    return q;
}

static void on_builder(struct job *j, const struct job_result *r, int *fd)
{
    struct ctr *c = j->owner;
    struct err e = { 0 };
    if (!c) {
        job_free(j);
        return;
    }
    if (c->status.pid > 0) {
        started(c, j, r);
        job_free(j);
        return;
    }
    if (!r || r->code) {
        c->job = NULL;
        create_failed(c, j, r);
        job_free(j);
        return;
    }
    if (j->timer) {
        loop_set_timer(j->timer, 0);
    }
    if (adopt_created(c, r, fd, &e) < 0) {
        reply_error(j->m, &j->to, &e);
        (void)!ctr_remove(c, true, &(struct reply_to){ 0 }, NULL);
        return;
    }
    struct mon_ctr_state s;
    ctr_fill_state(c, &s);
    reply_ok(j->m, &j->to, &mon_ctr_state_type, &s);
    j->to = (struct reply_to){ 0 };
}

static int start_builder(struct ctr *c, const struct reply_to *to, struct err *e)
{
    struct build b = { .spec = &c->spec, .stdio = { c->io.child[0], c->io.child[1], c->io.child[2] } };
    uint64_t timeout = c->spec.timeout_ms ? c->spec.timeout_ms : MON_CREATE_TIMEOUT_MS;
    return job_start(c->m, c->spec.runtime ? foreign_create : builtin_create, &b, b.stdio, c->spec.tty ? 0 : 3, timeout,
                     on_builder, c, to, &c->job, e);
}

int ctr_create(struct monitor *m, struct mon_create *spec, const struct reply_to *to, struct err *e)
{
    int r = check_spec(m, spec, e);
    if (r < 0) {
        return r;
    }
    struct ctr *c = calloc(1, sizeof(*c));
    if (!c) {
        return err_oom(e);
    }
    c->m = m;
    c->next = m->ctrs;
    m->ctrs = c;
    m->n_ctrs++;
    io_init(&c->io, m->loop, &m->io_scratch);
    c->id = strdup(spec->id);
    c->bundle = strdup(spec->bundle);
    c->spec = *spec; /* moved */
    mon_struct_init(&mon_create_type, spec);
    r = c->id && c->bundle ? open_streams(c, e) : err_oom(e);
    if (r == 0) {
        r = start_builder(c, to, e);
    }
    io_close_child(&c->io);
    if (r < 0) {
        ctr_free(c);
    }
    return r;
}

int ctr_start(struct ctr *c, const struct reply_to *to, struct err *e)
{
    if (c->status.state != MON_STATE_CREATED || !c->job) {
        return err_set(e, EINVAL, ERR_INVALID, "container %s is %s and cannot be started", c->id,
                       mon_state_name(c->status.state));
    }
    if (c->job->results > 1 || c->job->to.type == MON_START) {
        return err_set(e, EBUSY, ERR_BUSY, "container %s is being started", c->id);
    }
    c->job->to = *to;
    if (c->job->timer) {
        loop_set_timer(c->job->timer, (uint64_t)MON_CREATE_TIMEOUT_MS * 1000000u);
    }
    job_go(c->job);
    return 0;
}

/* ---- kill, remove --------------------------------------------------------------------------------------------- */

int ctr_kill(struct ctr *c, int signo, bool all, struct err *e)
{
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    if (c->status.pid <= 0 && c->job) {
        if (signo == SIGKILL) {
            job_kill(c->job); /* a builder that hangs */
            return 0;
        }
        return err_set(e, EBUSY, ERR_BUSY, "container %s is being created", c->id);
    }
    if (c->reaped) {
        return err_set(e, ESRCH, ERR_NOT_FOUND, "container %s does not run", c->id);
    }
    if (all && c->cgroup) {
        int r = oci_cgroup_open(c->cgroup, &cg, e);
        if (r == 0) {
            r = oci_cgroup_kill(cg, signo, e);
        }
        if (r < 0) {
            return r;
        }
    }
    return (!all || signo == SIGKILL) && kill(c->status.pid, signo) < 0 ? err_sys(e, errno, "kill container %s", c->id) : 0;
}

static void removed(struct job *j, const struct job_result *r, int *fd)
{
    struct ctr *c = j->owner;
    struct err e = { 0 };
    (void)fd;
    if (r && r->code == 0) {
        reply_ok(j->m, &j->to, NULL, NULL);
        if (c) {
            c->job = NULL;
            ctr_free(c);
        }
    } else {
        err_set(&e, r ? r->code : ETIMEDOUT, r ? (enum err_kind)r->kind : ERR_TIMEOUT, "%s",
                r ? r->text : "removing the container did not end");
        reply_error(j->m, &j->to, &e);
        if (c) {
            c->job = NULL;
        }
    }
    job_free(j);
}

static int remove_dead(struct ctr *c, const struct reply_to *to, struct err *e)
{
    struct control what = { .ctr = c, .what = MON_REMOVE };
    if (c->job && c->job->to.type == MON_REMOVE) {
        return err_set(e, EBUSY, ERR_BUSY, "container %s is being removed", c->id);
    }
    if (c->job) { /* a builder that has not noticed yet */
        job_kill(c->job);
        c->job->owner = NULL;
        c->job = NULL;
    }
    return job_start(c->m, c->spec.runtime ? foreign_control : builtin_control, &what, NULL, 0, 60000, removed, c, to, &c->job, e);
}

int ctr_remove(struct ctr *c, bool force, const struct reply_to *to, struct err *e)
{
    if (c->finished) {
        return remove_dead(c, to, e);
    }
    bool started_once = c->status.state != MON_STATE_CREATED && c->status.state != MON_STATE_CREATING;
    if (!force && (started_once || c->status.pid <= 0)) {
        return err_set(e, EBUSY, ERR_BUSY, "container %s is %s", c->id, mon_state_name(c->status.state));
    }
    if (c->removing) {
        return err_set(e, EBUSY, ERR_BUSY, "container %s is being removed", c->id);
    }
    c->removing = true;
    c->remove_to = *to;
    if (c->job && (c->status.pid <= 0 || c->status.state == MON_STATE_CREATED)) {
        job_kill(c->job);
    }
    if (c->status.pid > 0 && !c->reaped) {
        int r = ctr_kill(c, SIGKILL, true, NULL);
        (void)r;
        kill(c->status.pid, SIGKILL);
    }
    return 0;
}
