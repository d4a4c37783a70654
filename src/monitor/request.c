/* monitor/request.c: what clients ask for: one function a message, chosen by a table. */
#include "monitor/mon.h"

#include "base/fd.h"

#include <errno.h>

struct request {
    struct monitor *m;
    struct client *client;
    struct reply_to to;
    void *in; /* the message's struct; released by the caller */
};

/* 0: answered already, or will be; < 0: the error is the answer. */
typedef int request_fn(struct request *q, struct err *e);

static int need_ctr(struct request *q, const char *id, struct ctr **ret, struct err *e)
{
    struct ctr *c = id ? ctr_find(q->m, id) : NULL;
    if (!c) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "container %s is not known to the monitor", id ? id : "(none)");
    }
    *ret = c;
    return 0;
}

static int need_exec(struct ctr *c, const char *id, struct exec **ret, struct err *e)
{
    struct exec *x = exec_find(c, id);
    if (!x) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "container %s has no exec %s", c->id, id);
    }
    *ret = x;
    return 0;
}

/* The streams of a container, or of one of its execs. */
static int need_io(struct request *q, const char *id, const char *exec_id, struct io **ret, struct err *e)
{
    struct ctr *c = NULL;
    struct exec *x = NULL;
    int r = need_ctr(q, id, &c, e);
    if (r < 0) {
        return r;
    }
    if (!exec_id) {
        *ret = &c->io;
        return 0;
    }
    r = need_exec(c, exec_id, &x, e);
    if (r == 0) {
        *ret = &x->io;
    }
    return r;
}

static int do_hello(struct request *q, struct err *e)
{
    const struct mon_hello *h = q->in;
    struct mon_hello mine = { .major = MON_MAJOR, .minor = MON_MINOR, .version = (char *)(uintptr_t)TARE_VERSION,
                              .pid = (int32_t)getpid() };
    if (h->major != MON_MAJOR) {
        return err_set(e, EPROTO, ERR_UNSUPPORTED, "protocol version %u is not supported, only %d", h->major, MON_MAJOR);
    }
    q->client->greeted = true;
    q->client->minor = (uint8_t)(h->minor > (uint32_t)MON_MINOR ? (uint32_t)MON_MINOR : h->minor);
    reply_ok(q->m, &q->to, &mon_hello_type, &mine);
    return 0;
}

static int do_create(struct request *q, struct err *e)
{
    return ctr_create(q->m, q->in, &q->to, e);
}

static int do_start(struct request *q, struct err *e)
{
    const struct mon_target *t = q->in;
    struct ctr *c = NULL;
    int r = need_ctr(q, t->id, &c, e);
    return r < 0 ? r : ctr_start(c, &q->to, e);
}

static int kill_exec(struct exec *x, const struct mon_kill *k, struct err *e)
{
    if (x->pid <= 0) {
        return err_set(e, ESRCH, ERR_NOT_FOUND, "exec %s does not run", x->id);
    }
    if (k->all) {
        exec_kill_tree(x);
        return 0;
    }
    return kill(x->pid, k->signal) < 0 ? err_sys(e, errno, "kill exec %s", x->id) : 0;
}

static int do_kill(struct request *q, struct err *e)
{
    const struct mon_kill *k = q->in;
    struct ctr *c = NULL;
    struct exec *x = NULL;
    int r = need_ctr(q, k->id, &c, e);
    if (r == 0 && (k->signal < 0 || k->signal > SIGRTMAX)) {
        r = err_set(e, EINVAL, ERR_INVALID, "signal %d does not exist", k->signal);
    }
    if (r == 0 && k->exec_id) {
        r = need_exec(c, k->exec_id, &x, e);
        if (r == 0) {
            r = kill_exec(x, k, e);
        }
    } else if (r == 0) {
        r = ctr_kill(c, k->signal, k->all, e);
    }
    if (r == 0) {
        reply_ok(q->m, &q->to, NULL, NULL);
    }
    return r;
}

static int do_exec(struct request *q, struct err *e)
{
    struct mon_exec *x = q->in;
    struct ctr *c = NULL;
    int r = need_ctr(q, x->id, &c, e);
    return r < 0 ? r : exec_start(c, x, &q->to, e);
}

static int do_attach(struct request *q, struct err *e)
{
    const struct mon_attach *a = q->in;
    struct mon_exec_reply reply;
    struct ctr *c = NULL;
    struct io *io = NULL;
    int r = need_ctr(q, a->id, &c, e);
    if (r == 0) {
        r = need_io(q, a->id, a->exec_id, &io, e);
    }
    if (r == 0 && (a->exec_id ? io->told : c->finished)) {
        r = err_set(e, ESRCH, ERR_NOT_FOUND, "container %s has ended", a->id);
    }
    if (r < 0) {
        return r;
    }
    mon_struct_init(&mon_exec_reply_type, &reply);
    /* Whoever attaches before the start is the one for whom it runs. */
    r = io_attach(io, a->stdin_open, !a->exec_id && c->status.state == MON_STATE_CREATED, &reply.stream_fd, e);
    if (r == 0) {
        reply_ok(q->m, &q->to, &mon_exec_reply_type, &reply);
    }
    mon_struct_done(&mon_exec_reply_type, &reply);
    return r;
}

static int do_resize(struct request *q, struct err *e)
{
    const struct mon_resize *z = q->in;
    struct io *io = NULL;
    int r = need_io(q, z->id, z->exec_id, &io, e);
    if (r == 0) {
        r = io_resize(io, z->rows, z->cols, e);
    }
    if (r == 0) {
        reply_ok(q->m, &q->to, NULL, NULL);
    }
    return r;
}

static int do_close_stdin(struct request *q, struct err *e)
{
    const struct mon_target *t = q->in;
    struct io *io = NULL;
    int r = need_io(q, t->id, t->exec_id, &io, e);
    if (r == 0) {
        io_close_stdin(io);
        reply_ok(q->m, &q->to, NULL, NULL);
    }
    return r;
}

static int do_reopen_log(struct request *q, struct err *e)
{
    const struct mon_target *t = q->in;
    struct ctr *c = NULL;
    int r = need_ctr(q, t->id, &c, e);
    if (r == 0 && c->io.log) {
        r = ctrlog_reopen(c->io.log, e);
    }
    if (r == 0) {
        reply_ok(q->m, &q->to, NULL, NULL);
    }
    return r;
}

/* PAUSE, RESUME and UPDATE: a job each, whose result is the answer. */
static void controlled(struct job *j, const struct job_result *r, int *fd)
{
    (void)fd;
    struct ctr *c = j->owner;
    if (!r || r->code) {
        struct err e = { 0 };
        err_set(&e, r ? r->code : ETIMEDOUT, r ? (enum err_kind)r->kind : ERR_TIMEOUT, "%s",
                r ? r->text : "the work in the container's cgroup did not end");
        reply_error(j->m, &j->to, &e);
    } else {
        if (c && r->pid != 0 && !c->reaped) {
            c->status.state = r->pid == MON_PAUSE ? MON_STATE_PAUSED : MON_STATE_RUNNING;
            (void)!ctr_write_status(c, NULL);
        }
        reply_ok(j->m, &j->to, NULL, NULL);
    }
    job_free(j);
}

static int start_control(struct request *q, struct ctr *c, const struct mon_bytes *resources, struct err *e)
{
    struct control what = { .ctr = c, .what = q->to.type, .resources = resources };
    struct job *j;
    if (c->reaped || (c->status.state != MON_STATE_RUNNING && c->status.state != MON_STATE_PAUSED &&
                      q->to.type != MON_UPDATE)) {
        return err_set(e, EINVAL, ERR_INVALID, "container %s does not run", c->id);
    }
    return job_start(q->m, c->spec.runtime ? foreign_control : builtin_control, &what, NULL, 0, 30000, controlled, c, &q->to, &j,
                     e);
}

static int do_control(struct request *q, struct err *e)
{
    const struct mon_target *t = q->in;
    struct ctr *c = NULL;
    int r = need_ctr(q, t->id, &c, e);
    return r < 0 ? r : start_control(q, c, NULL, e);
}

static int do_update(struct request *q, struct err *e)
{
    const struct mon_update *u = q->in;
    struct ctr *c = NULL;
    int r = need_ctr(q, u->id, &c, e);
    return r < 0 ? r : start_control(q, c, &u->resources, e);
}

static int do_wait(struct request *q, struct err *e)
{
    const struct mon_target *t = q->in;
    struct ctr *c = NULL;
    struct exec *x = NULL;
    int r = need_ctr(q, t->id, &c, e);
    if (r == 0 && t->exec_id) {
        r = need_exec(c, t->exec_id, &x, e);
        return r < 0 ? r : exec_wait(x, &q->to, e);
    }
    if (r < 0) {
        return r;
    }
    if (c->finished) {
        struct mon_ctr_state s = { 0 };
        ctr_fill_state(c, &s);
        reply_ok(q->m, &q->to, &mon_ctr_state_type, &s);
        return 0;
    }
    struct waiter *w = calloc(1, sizeof(*w));
    if (!w) {
        return err_oom(e);
    }
    *w = (struct waiter){ .to = q->to, .next = c->waiters };
    c->waiters = w;
    return 0;
}

static int reply_pod_state(struct request *q, struct err *e)
{
    struct mon_pod_state s = { 0 };
    int r = 0;
    pod_fill_state(q->m, &s);
    for (struct ctr *c = q->m->ctrs; c && r == 0; c = c->next) {
        r = strv_push(&s.containers, c->id) < 0 ? err_oom(e) : 0;
    }
    if (r == 0) {
        reply_ok(q->m, &q->to, &mon_pod_state_type, &s);
    }
    mon_struct_done(&mon_pod_state_type, &s);
    return r;
}

static int do_state(struct request *q, struct err *e)
{
    const struct mon_target *t = q->in;
    struct mon_ctr_state s = { 0 };
    struct ctr *c = NULL;
    struct exec *x = NULL;
    if (!t->id) {
        return reply_pod_state(q, e);
    }
    int r = need_ctr(q, t->id, &c, e);
    if (r == 0 && t->exec_id) {
        r = need_exec(c, t->exec_id, &x, e);
        if (r == 0) {
            exec_fill_state(x, &s);
        }
    } else if (r == 0) {
        ctr_fill_state(c, &s);
    }
    if (r == 0) {
        reply_ok(q->m, &q->to, &mon_ctr_state_type, &s);
    }
    return r;
}

static int do_remove(struct request *q, struct err *e)
{
    const struct mon_target *t = q->in;
    struct ctr *c = t->id ? ctr_find(q->m, t->id) : NULL;
    if (!c) {
        reply_ok(q->m, &q->to, NULL, NULL);
        return 0;
    }
    return ctr_remove(c, t->force, &q->to, e);
}

static int do_shutdown(struct request *q, struct err *e)
{
    for (const struct ctr *c = q->m->ctrs; c; c = c->next) {
        if (ctr_alive(c)) {
            return err_set(e, EBUSY, ERR_BUSY, "container %s still lives", c->id);
        }
    }
    unlinkat(q->m->dirfd, "mon.sock", 0);
    unlinkat(q->m->dirfd, "mon.pid", 0);
    reply_ok(q->m, &q->to, NULL, NULL);
    loop_stop(q->m->loop);
    return 0;
}

static int do_subscribe(struct request *q, struct err *e)
{
    int r = reply_pod_state(q, e);
    struct client *c = r == 0 ? client_find(q->m, q->to.client) : NULL;
    if (c) {
        c->subscribed = true;
    }
    return r;
}

static const struct {
    uint16_t type;
    request_fn *fn;
} handlers[] = {
    { MON_HELLO, do_hello },           { MON_CREATE, do_create },         { MON_START, do_start },
    { MON_KILL, do_kill },             { MON_EXEC, do_exec },             { MON_ATTACH, do_attach },
    { MON_RESIZE, do_resize },         { MON_CLOSE_STDIN, do_close_stdin }, { MON_REOPEN_LOG, do_reopen_log },
    { MON_PAUSE, do_control },         { MON_RESUME, do_control },        { MON_UPDATE, do_update },
    { MON_WAIT, do_wait },             { MON_STATE, do_state },           { MON_REMOVE, do_remove },
    { MON_SHUTDOWN, do_shutdown },     { MON_SUBSCRIBE, do_subscribe },
};

static request_fn *find_handler(uint16_t type)
{
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        if (handlers[i].type == type) {
            return handlers[i].fn;
        }
    }
    return NULL;
}

static int dispatch(struct request *q, const char *packet, size_t len, int *fds, size_t n_fds, struct err *e)
{
    request_fn *fn = find_handler(q->to.type);
    const struct mon_type *type = mon_request_type(q->to.type);
    if (!fn || !type) {
        return err_set(e, EOPNOTSUPP, ERR_UNSUPPORTED, "request %u is not supported by this monitor", q->to.type);
    }
    if (!q->client->greeted && q->to.type != MON_HELLO) {
        return err_set(e, EPROTO, ERR_INVALID, "%s came before hello", mon_message_name(q->to.type));
    }
    CLEANUP_FREE void *in = malloc(type->size);
    if (!in) {
        return err_oom(e);
    }
    int r = mon_decode(type, packet, len, fds, n_fds, in, e);
    if (r == 0) {
        q->in = in;
        r = fn(q, e);
        mon_struct_done(type, in);
    }
    return r;
}

void request_handle(struct client *c, const char *packet, size_t len, int *fds, size_t n_fds)
{
    struct mon_header h;
    struct err e;
    struct monitor *m = c->m;
    e.code = 0;
    if (mon_decode_header(packet, len, &h, &e) < 0) {
        uint16_t type = 0;
        if (e.kind == ERR_UNSUPPORTED && len >= MON_HEADER_LEN) { /* another major: can be told so */
            memcpy(&type, packet + 6, sizeof(type));
            reply_error(m, &(struct reply_to){ .client = c->id, .type = type }, &e);
        } else {
            client_free(c);
        }
        return;
    }
    struct request q = { .m = m, .client = c, .to = { .client = c->id, .seq = h.seq, .type = h.type } };
    if (dispatch(&q, packet, len, fds, n_fds, &e) < 0) {
        reply_error(m, &q.to, &e);
    }
}
