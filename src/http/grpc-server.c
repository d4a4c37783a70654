/*
 * http/grpc-server.c: the loop thread's side: listening sockets, connections with their limits and time-outs, and the way back
 * from the pool (an eventfd and a list of calls that have something to send).
 */
#include "base/fd.h"
#include "http/grpc-conn.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 16 << 10, SWEEP_NS = 1000000000 };

static void arm_timer(struct grpc_server *s);

static void conn_unlink(struct grpc_conn *conn)
{
    struct grpc_server *s = conn->server;
    *(conn->prev ? &conn->prev->next : &s->first) = conn->next;
    *(conn->next ? &conn->next->prev : &s->last) = conn->prev;
    conn->prev = conn->next = NULL;
}

static void conn_append(struct grpc_conn *conn)
{
    struct grpc_server *s = conn->server;
    conn->prev = s->last;
    conn->next = NULL;
    *(s->last ? &s->last->next : &s->first) = conn;
    s->last = conn;
}

static void conn_free(struct grpc_conn *conn)
{
    while (conn->calls) {
        conn_call_closed(conn->calls);
    }
    nghttp2_session_del(conn->session);
    loop_remove(conn->source);
    fd_close(&conn->fd);
    buf_done(&conn->out);
    conn_unlink(conn);
    conn->server->n_conns--;
    free(conn);
}

/* Writes what it can. False: the connection is gone. */
static bool conn_flush(struct grpc_conn *conn)
{
    bool blocked = false;
    while (!blocked && conn_collect(conn)) {
        ssize_t n = send(conn->fd, conn->out.data, conn->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno != EAGAIN) {
            conn->dead = true;
            break;
        }
        blocked = n < 0;
        if (n > 0) {
            buf_consume(&conn->out, (size_t)n);
            conn->write_since = 0;
        }
    }
    if (conn->out.len == 0) {
        buf_done(&conn->out);
        conn->out = (struct buf){ 0 };
    }
    if (blocked && conn->write_since == 0) {
        conn->write_since = grpc_now();
    }
    if (!conn->dead && blocked != conn->want_write) {
        conn->want_write = blocked;
        conn->dead = loop_set_events(conn->source, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, NULL) < 0;
    }
    if (conn->dead || (!blocked && !nghttp2_session_want_read(conn->session) && !nghttp2_session_want_write(conn->session))) {
        conn_free(conn);
        return false;
    }
    return true;
}

static void on_conn(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source;
    struct grpc_conn *conn = data;
    struct grpc_server *s = conn->server;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        uint8_t bytes[READ_SIZE];
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            conn_free(conn);
            return;
        }
        if (n > 0 && conn_feed(conn, bytes, (size_t)n) < 0) {
            (void)conn_collect(conn);
            conn->dead = true; /* the reason is sent if the socket takes it */
            (void)!send(fd, buf_str(&conn->out), conn->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        conn_unlink(conn);
        conn_append(conn);
    }
    if (conn_flush(conn)) {
        arm_timer(s);
    }
}

/* Has something that its reader has not taken? */
static bool call_waiting(const struct grpc_call *c)
{
    pthread_mutex_lock(&c->server->lock);
    bool waiting = c->answered && (c->out.len > c->out_pos || c->done);
    pthread_mutex_unlock(&c->server->lock);
    return waiting;
}

/* A call stays marked until it is its turn, so that its thread does not link it anew while it is on our list. */
static struct grpc_call *next_ready(struct grpc_server *s, struct grpc_call **list)
{
    pthread_mutex_lock(&s->lock);
    struct grpc_call *c = *list;
    if (c) {
        *list = c->next_ready;
        c->in_ready = false;
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

/* Calls that have something to send or have ended. */
static void run_ready(struct grpc_server *s)
{
    pthread_mutex_lock(&s->lock);
    struct grpc_call *list = s->ready;
    bool behind = false;
    s->ready = NULL;
    pthread_mutex_unlock(&s->lock);
    for (struct grpc_call *c; (c = next_ready(s, &list));) {
        if (c->conn) {
            struct grpc_conn *conn = c->conn;
            call_progress(c);
            behind |= conn_flush(conn) && (conn->want_write || (c->conn && call_waiting(c)));
        }
        call_unref(c);
    }
    if (behind) {
        arm_timer(s); /* a reader that never takes the rest shall be noticed */
    }
}

static void on_wake(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source;
    (void)events;
    eventfd_t n;
    (void)eventfd_read(fd, &n);
    run_ready(data);
}

/* The oldest connection that is no loss: first one that has not even greeted, then one without calls. */
static struct grpc_conn *conn_to_drop(struct grpc_server *s)
{
    for (struct grpc_conn *c = s->first; c; c = c->next) {
        if (!c->greeted) {
            return c;
        }
    }
    for (struct grpc_conn *c = s->first; c; c = c->next) {
        if (c->n_calls == 0) {
            return c;
        }
    }
    return NULL;
}

int grpc_server_add(struct grpc_server *s, int fd, struct err *e)
{
    CLEANUP_FD int own = fd;
    if (s->n_conns >= s->limits.conns) {
        struct grpc_conn *old = conn_to_drop(s);
        if (!old) {
            return err_set(e, EMFILE, ERR_EXHAUSTED, "%u connections are all in use", s->n_conns);
        }
        conn_free(old);
    }
    struct grpc_conn *conn = calloc(1, sizeof(*conn));
    if (!conn) {
        return err_oom(e);
    }
    *conn = (struct grpc_conn){ .server = s, .fd = fd_steal(&own), .since = grpc_now() };
    conn_append(conn);
    s->n_conns++;
    int r = loop_add_fd(s->loop, conn->fd, EPOLLIN, on_conn, conn, &conn->source, e);
    if (r == 0) {
        r = conn_session_new(conn, e);
    }
    if (r < 0) {
        conn_free(conn);
        return r;
    }
    if (conn_flush(conn)) {
        arm_timer(s);
    }
    return 0;
}

static void on_listener(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source;
    (void)events;
    struct grpc_server *s = data;
    for (int i = 0; i < 32; i++) {
        int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (c < 0) {
            /* Out of descriptors: make room, else the loop would spin on a socket that stays readable. */
            struct grpc_conn *old = errno == EMFILE || errno == ENFILE ? conn_to_drop(s) : NULL;
            if (!old) {
                return;
            }
            conn_free(old);
            continue;
        }
        if (grpc_server_add(s, c, NULL) < 0) {
            continue; /* closed: the client sees that it is refused */
        }
    }
}

/* When the connection next needs a look: deadlines of calls exactly, all the rest within a second. */
static uint64_t conn_next(const struct grpc_conn *conn, uint64_t now)
{
    uint64_t at = conn->greeted && conn->write_since == 0 ? UINT64_MAX : now + SWEEP_NS;
    for (const struct grpc_call *c = conn->calls; c; c = c->next) {
        if (c->deadline > 0 && !c->ended && c->deadline < at) {
            at = c->deadline;
        }
        if (at > now + SWEEP_NS && call_waiting(c)) {
            at = now + SWEEP_NS;
        }
    }
    return at;
}

static void arm_timer(struct grpc_server *s)
{
    uint64_t now = grpc_now(), at = UINT64_MAX;
    for (const struct grpc_conn *c = s->first; c; c = c->next) {
        uint64_t n = conn_next(c, now);
        at = n < at ? n : at;
    }
    loop_set_timer(s->timer, at == UINT64_MAX ? 0 : at > now ? at - now : 1);
}

static bool call_stalled(const struct grpc_call *c, uint64_t now)
{
    return now - c->progress > (uint64_t)c->server->limits.stall_ms * 1000000u && call_waiting(c);
}

static bool conn_sweep(struct grpc_conn *conn, uint64_t now)
{
    const struct grpc_limits *l = &conn->server->limits;
    if ((!conn->greeted && now - conn->since > (uint64_t)l->handshake_ms * 1000000u) ||
        (conn->write_since > 0 && now - conn->write_since > (uint64_t)l->stall_ms * 1000000u)) {
        conn_free(conn);
        return false;
    }
    for (struct grpc_call *c = conn->calls, *next; c; c = next) {
        next = c->next;
        if (c->deadline > 0 && c->deadline <= now && !c->ended) {
            c->deadline = 0;
            call_fail(c, GRPC_DEADLINE_EXCEEDED, "deadline exceeded");
        } else if (call_stalled(c, now)) {
            (void)nghttp2_submit_rst_stream(conn->session, NGHTTP2_FLAG_NONE, c->stream_id, NGHTTP2_CANCEL);
            call_abandon(c);
        }
    }
    return conn_flush(conn);
}

static void on_timer(struct loop_source *source, void *data)
{
    (void)source;
    struct grpc_server *s = data;
    uint64_t now = grpc_now();
    for (struct grpc_conn *c = s->first, *next; c; c = next) {
        next = c->next;
        (void)conn_sweep(c, now);
    }
    arm_timer(s);
}

static void limits_default(struct grpc_limits *l)
{
    static const struct grpc_limits d = {
        .conns = 256, .streams = 1024, .threads = 512, .thread_stack = 256 << 10, .message = 16 << 20, .requests = 64 << 20,
        .headers = 16 << 10, .unread = 1 << 20, .handshake_ms = 10000, .stall_ms = 60000,
    };
#define DEFAULT(f) l->f = l->f ? l->f : d.f
    DEFAULT(conns);
    DEFAULT(streams);
    DEFAULT(threads);
    DEFAULT(thread_stack);
    DEFAULT(message);
    DEFAULT(requests);
    DEFAULT(headers);
    DEFAULT(unread);
    DEFAULT(handshake_ms);
    DEFAULT(stall_ms);
#undef DEFAULT
}

int grpc_server_new(struct loop *l, const struct grpc_options *o, struct grpc_server **ret, struct err *e)
{
    struct grpc_server *s = calloc(1, sizeof(*s));
    if (!s) {
        return err_oom(e);
    }
    *s = (struct grpc_server){ .loop = l, .methods = o->methods, .n_methods = o->n_methods, .data = o->data, .limits = o->limits,
                               .in_loop = o->in_loop, .observe = o->observe, .observe_data = o->observe_data, .wake_fd = -1 };
    limits_default(&s->limits);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, &attr);
    pthread_cond_init(&s->idle, &attr);
    pthread_condattr_destroy(&attr);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = s->wake_fd < 0 ? err_sys(e, errno, "eventfd") : 0;
    if (r == 0) {
        r = loop_add_fd(l, s->wake_fd, EPOLLIN, on_wake, s, &s->wake, e);
    }
    if (r == 0) {
        r = loop_add_timer(l, 0, on_timer, s, &s->timer, e);
    }
    if (r == 0) {
        r = conn_callbacks_new(s, e);
    }
    if (r < 0) {
        grpc_server_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

int grpc_server_listen(struct grpc_server *s, int fd, struct err *e)
{
    if (s->n_listeners == ARRAY_LEN(s->listeners)) {
        return err_set(e, E2BIG, ERR_EXHAUSTED, "more than %zu listening sockets", s->n_listeners);
    }
    int r = loop_add_fd(s->loop, fd, EPOLLIN, on_listener, s, &s->listeners[s->n_listeners], e);
    if (r == 0) {
        s->n_listeners++;
    }
    return r;
}

void grpc_server_set_threads(struct grpc_server *s, unsigned threads)
{
    pthread_mutex_lock(&s->lock);
    s->limits.threads = threads > 0 ? threads : s->limits.threads;
    pthread_mutex_unlock(&s->lock);
}

unsigned grpc_server_running(struct grpc_server *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned n = s->n_running + s->n_jobs;
    pthread_mutex_unlock(&s->lock);
    return n;
}

unsigned grpc_server_stop(struct grpc_server *s, int timeout_ms)
{
    while (s->n_listeners > 0) {
        loop_remove(s->listeners[--s->n_listeners]);
    }
    while (s->first) {
        conn_free(s->first);
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    while (s->n_threads > 0 && pthread_cond_timedwait(&s->idle, &s->lock, &until) == 0) {
    }
    unsigned left = s->n_threads;
    pthread_mutex_unlock(&s->lock);
    run_ready(s);
    return left;
}

void grpc_server_free(struct grpc_server *s)
{
    if (!s) {
        return;
    }
    loop_remove(s->wake);
    loop_remove(s->timer);
    fd_close(&s->wake_fd);
    nghttp2_session_callbacks_del(s->callbacks);
    nghttp2_option_del(s->option);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
