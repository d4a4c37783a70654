/* http/stream-server.c: accepting, reading, writing and ending connections. See stream-server.h and stream-internal.h. */
#include "http/stream-internal.h"

#include "base/fd.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const uint64_t second = 1000000000;

uint64_t stream_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * second + (uint64_t)t.tv_nsec;
}

/* ---- ends ---------------------------------------------------------------------------------------- */

static void conn_free(struct conn *c)
{
    struct stream_server *s = c->server;
    while (c->links) {
        link_gone(c->links);
    }
    if (c->prev) {
        c->prev->next = c->next;
    } else {
        s->conns = c->next;
    }
    if (c->next) {
        c->next->prev = c->prev;
    }
    s->n_conns--;
    loop_remove(c->source);
    loop_remove(c->timer);
    fd_close(&c->fd);
    spdy_free(c->spdy);
    ws_free(c->ws);
    if (c->has_target) {
        s->ops->target_free(s->data, c->target.data);
    }
    buf_done(&c->in);
    buf_done(&c->out);
    buf_done(&c->tunnel);
    free(c);
}

void conn_fail(struct conn *c)
{
    if (!c->failed) {
        c->failed = true;
        loop_set_timer(c->timer, 1);
    }
}

void conn_set_timer(struct conn *c)
{
    const struct stream_limits *l = &c->server->limits;
    if (c->failed) {
        return;
    }
    switch (c->state) {
    case CONN_REQUEST:
        loop_set_timer(c->timer, l->request_ms * (uint64_t)1000000);
        break;
    case CONN_OPENING:
        loop_set_timer(c->timer, l->streams_ms * (uint64_t)1000000);
        break;
    case CONN_OPEN:
    case CONN_CLOSING: /* a slow reader gets all of it */
        loop_set_timer(c->timer, l->idle_ns);
        break;
    default:
        loop_set_timer(c->timer, STREAM_LINGER_S * second);
    }
}

static void on_timer(struct loop_source *s, void *data)
{
    (void)s;
    struct conn *c = data;
    if (!c->failed && c->state == CONN_REQUEST) {
        http1_refuse(&c->out, 408, "no request came");
        (void)!send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    conn_free(c);
}

void conn_close(struct conn *c)
{
    if (c->state < CONN_CLOSING) {
        c->state = CONN_CLOSING;
        conn_set_timer(c);
    }
    conn_flush(c);
}

/* ---- bytes --------------------------------------------------------------------------------------- */

static bool all_sent(const struct conn *c)
{
    return c->out.len == 0 && (!c->spdy || spdy_waiting_all(c->spdy) == 0);
}

static void watch(struct conn *c)
{
    bool read = c->state == CONN_LINGER || c->state == CONN_CLOSING || (c->n_held == 0 && c->out.len < STREAM_OUT_HIGH);
    uint32_t events = EPOLLRDHUP | (read ? (uint32_t)EPOLLIN : 0) | (c->out.len > 0 ? (uint32_t)EPOLLOUT : 0);
    if (events != c->events) {
        c->events = events;
        if (loop_set_events(c->source, events, NULL) < 0) {
            conn_fail(c);
        }
    }
}

static void tell_drained(struct conn *c)
{
    if (c->out.len > STREAM_OUT_LOW) {
        return;
    }
    /* drained() only asks to be called again later: it does not write. */
    for (struct link *l = c->links; l; l = l->next) {
        if (l->full && l->peer && !link_full(l)) {
            l->full = false;
            c->server->ops->drained(l->peer);
        }
    }
}

void conn_flush(struct conn *c)
{
    if (c->failed) {
        return;
    }
    stream_spdy_flush(c);
    while (c->out.len > 0) {
        ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            conn_fail(c);
            return;
        }
        buf_consume(&c->out, (size_t)n);
        if (c->state == CONN_OPEN || c->state == CONN_CLOSING) {
            conn_set_timer(c);
        }
    }
    if (buf_failed(&c->out) || buf_failed(&c->tunnel)) {
        conn_fail(c);
        return;
    }
    if (c->out.len == 0) {
        buf_done(&c->out); /* a connection that is idle keeps no buffer */
    }
    if (c->state == CONN_CLOSING && all_sent(c)) {
        c->state = CONN_LINGER;
        (void)shutdown(c->fd, SHUT_WR);
        conn_set_timer(c);
    }
    watch(c);
    tell_drained(c);
}

static void on_request_bytes(struct conn *c, const char *data, size_t len)
{
    struct http1_request q;
    struct err e = { 0 };
    buf_add(&c->in, data, len);
    ssize_t n = buf_failed(&c->in) ? err_oom(&e) : http1_parse(c->in.data, c->in.len, &q, &e);
    if (n == 0) {
        return;
    }
    if (n < 0) {
        http1_refuse(&c->out, n == -EMSGSIZE ? 431 : 400, e.text);
        conn_close(c);
        return;
    }
    upgrade(c, &q);
    http1_request_done(&q);
    CLEANUP_BUF struct buf rest = c->in;
    c->in = (struct buf){ 0 };
    if (rest.len > (size_t)n) {
        conn_input(c, rest.data + n, rest.len - (size_t)n);
    }
}

void conn_input(struct conn *c, const char *data, size_t len)
{
    int r = 0;
    if (c->state == CONN_REQUEST) {
        on_request_bytes(c, data, len);
    } else if (c->ws) {
        r = ws_input(c->ws, data, len, NULL);
    } else if (c->spdy) {
        r = spdy_input(c->spdy, data, len, NULL);
    }
    if (r < 0 || (c->ws && ws_closed(c->ws))) {
        while (c->links) {
            link_gone(c->links);
        }
        conn_close(c);
    }
    if (c->spdy && c->n_held == 0) {
        spdy_acknowledge(c->spdy);
    }
}

static void on_readable(struct conn *c)
{
    struct stream_server *s = c->server;
    ssize_t n = recv(c->fd, s->read, sizeof(s->read), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        conn_fail(c);
        return;
    }
    if (c->state == CONN_OPEN) {
        conn_set_timer(c);
    }
    if (c->state != CONN_LINGER) {
        conn_input(c, s->read, (size_t)n);
    }
}

static void on_event(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source;
    (void)fd;
    struct conn *c = data;
    if (c->failed) {
        return;
    }
    if (events & EPOLLIN) {
        on_readable(c);
    } else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        /* Nobody reads, or there is nothing to read: the client has gone. */
        conn_fail(c);
    }
    conn_flush(c);
}

/* ---- beginnings ---------------------------------------------------------------------------------- */

int stream_server_add(struct stream_server *s, int fd, struct err *e)
{
    CLEANUP_FD int own = fd;
    int on = 1;
    if (s->n_conns >= s->limits.conns) {
        CLEANUP_BUF struct buf out = { 0 };
        http1_refuse(&out, 503, "too many connections");
        (void)!send(fd, buf_str(&out), out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        return err_set(e, EMFILE, ERR_EXHAUSTED, "more than %u connections", s->limits.conns);
    }
    struct conn *c = calloc(1, sizeof(*c));
    if (!c) {
        return err_oom(e);
    }
    *c = (struct conn){ .server = s, .fd = fd, .events = EPOLLIN | EPOLLRDHUP };
    int r = loop_add_fd(s->loop, fd, c->events, on_event, c, &c->source, e);
    if (r == 0) {
        r = loop_add_timer(s->loop, 0, on_timer, c, &c->timer, e);
    }
    if (r < 0) {
        loop_remove(c->source);
        free(c);
        return r;
    }
    /* Neither is there on a socket pair. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    fd_steal(&own);
    c->next = s->conns;
    if (s->conns) {
        s->conns->prev = c;
    }
    s->conns = c;
    s->n_conns++;
    conn_set_timer(c);
    return 0;
}

/* Without descriptors a waiting connection would wake us for ever. */
static void on_accept_again(struct loop_source *source, void *data)
{
    (void)source;
    struct stream_server *s = data;
    (void)!loop_set_events(s->accept, EPOLLIN, NULL);
}

static void on_accept(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source;
    (void)events;
    struct stream_server *s = data;
    for (int i = 0; i < 64; i++) {
        int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (conn < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                (void)!loop_set_events(s->accept, 0, NULL);
                loop_set_timer(s->again, second);
            }
            return;
        }
        (void)!stream_server_add(s, conn, NULL);
    }
}

int stream_server_new(struct loop *l, const struct stream_server_options *o, struct stream_server **ret, struct err *e)
{
    struct stream_server *s = calloc(1, sizeof(*s));
    if (!s) {
        return err_oom(e);
    }
    *s = (struct stream_server){ .loop = l, .ops = o->ops, .data = o->data, .limits = o->limits, .listen = -1 };
    struct stream_limits *m = &s->limits;
    m->conns = m->conns ? m->conns : 2048;
    m->streams = m->streams ? m->streams : 2048;
    m->request_ms = m->request_ms ? m->request_ms : 10000;
    m->streams_ms = m->streams_ms ? m->streams_ms : 30000;
    m->idle_ns = m->idle_ns ? m->idle_ns : 4 * 3600 * second;
    *ret = s;
    return 0;
}

int stream_server_listen(struct stream_server *s, int fd, struct err *e)
{
    int r = loop_add_fd(s->loop, fd, EPOLLIN, on_accept, s, &s->accept, e);
    return r < 0 ? r : loop_add_timer(s->loop, 0, on_accept_again, s, &s->again, e);
}

void stream_server_free(struct stream_server *s)
{
    if (s) {
        while (s->conns) {
            conn_free(s->conns);
        }
        loop_remove(s->accept);
        loop_remove(s->again);
        free(s);
    }
}

size_t stream_server_conns(const struct stream_server *s)
{
    return s->n_conns;
}
