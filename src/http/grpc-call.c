/*
 * http/grpc-call.c: one call: its output on the way from a pool thread to HTTP/2, its status, its end.
 */
#include "http/grpc-internal.h"

#include "base/fd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_MAX = 4096 };

uint64_t grpc_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct grpc_call *call_new(struct grpc_conn *conn, int32_t stream_id)
{
    struct grpc_call *c = calloc(1, sizeof(*c));
    if (!c) {
        return NULL;
    }
    *c = (struct grpc_call){ .server = conn->server, .conn = conn, .stream_id = stream_id, .refs = 1, .progress = grpc_now() };
    pthread_cond_init(&c->cond, NULL);
    c->next = conn->calls;
    if (c->next) {
        c->next->prev = c;
    }
    conn->calls = c;
    conn->n_calls++;
    return c;
}

void call_ref(struct grpc_call *c)
{
    c->refs++;
}

void call_unref(struct grpc_call *c)
{
    pthread_mutex_lock(&c->server->lock);
    unsigned left = --c->refs;
    pthread_mutex_unlock(&c->server->lock);
    if (left > 0) {
        return;
    }
    buf_done(&c->body);
    buf_done(&c->out);
    free(c->message);
    pthread_cond_destroy(&c->cond);
    free(c);
}

void call_abandon(struct grpc_call *c)
{
    struct grpc_server *s = c->server;
    pthread_mutex_lock(&s->lock);
    if (!c->gone) {
        c->gone = true;
        if (c->cancel_fn && !c->done) {
            c->cancel_fn(c->cancel_data);
        }
        c->cancel_fn = NULL;
        pthread_cond_broadcast(&c->cond);
    }
    pthread_mutex_unlock(&s->lock);
}

const struct grpc_method *grpc_call_method(const struct grpc_call *c)
{
    return c->method;
}

bool grpc_cancelled(struct grpc_call *c)
{
    pthread_mutex_lock(&c->server->lock);
    bool gone = c->gone;
    pthread_mutex_unlock(&c->server->lock);
    return gone;
}

void grpc_on_cancel(struct grpc_call *c, void (*fn)(void *data), void *data)
{
    pthread_mutex_lock(&c->server->lock);
    c->cancel_fn = fn;
    c->cancel_data = data;
    if (c->gone && fn) {
        c->cancel_fn = NULL;
        fn(data);
    }
    pthread_mutex_unlock(&c->server->lock);
}

/* Lock held. Tells the loop that the call has something for it. */
static void call_ready(struct grpc_call *c)
{
    struct grpc_server *s = c->server;
    if (c->in_ready) {
        return;
    }
    bool wake = !s->ready;
    c->in_ready = true;
    c->next_ready = s->ready;
    s->ready = c;
    call_ref(c);
    if (wake) {
        (void)eventfd_write(s->wake_fd, 1);
    }
}

/* Lock held. */
static size_t call_unread(const struct grpc_call *c)
{
    return c->out.len - c->out_pos;
}

/* Lock held. Frees what has been taken. */
static void call_trim(struct grpc_call *c)
{
    if (c->out_pos == c->out.len) {
        buf_done(&c->out);
        c->out = (struct buf){ 0 };
        c->out_pos = 0;
    } else if (c->out_pos > c->out.len / 2) {
        buf_consume(&c->out, c->out_pos);
        c->out_pos = 0;
    }
}

/* Lock held. Waits until the reader is near enough. */
static int call_room(struct grpc_call *c, struct err *e)
{
    struct grpc_server *s = c->server;
    while (c->method->streaming && !s->in_loop && !c->gone && call_unread(c) > s->limits.unread) {
        pthread_cond_wait(&c->cond, &s->lock);
    }
    return c->gone ? err_set(e, ECANCELED, ERR_UNAVAILABLE, "client has gone") : 0;
}

static int call_too_big(struct grpc_call *c, size_t len, struct err *e)
{
    return len <= c->server->limits.message ? 0 :
                                              err_set(e, EMSGSIZE, ERR_EXHAUSTED,
                                                      "answer of %zu bytes is larger than the limit of %zu; take the Stream call", len,
                                                      c->server->limits.message);
}

int grpc_send(struct grpc_call *c, const void *msg, size_t len, struct err *e)
{
    uint8_t prefix[GRPC_PREFIX];
    int r = call_too_big(c, len, e);
    if (r < 0) {
        return r;
    }
    grpc_prefix_put(prefix, (uint32_t)len);
    pthread_mutex_lock(&c->server->lock);
    r = call_room(c, e);
    if (r == 0) {
        buf_add(&c->out, prefix, sizeof(prefix));
        buf_add(&c->out, msg, len);
        r = buf_failed(&c->out) ? err_oom(e) : 0;
        if (c->method->streaming) {
            call_ready(c);
        }
    }
    pthread_mutex_unlock(&c->server->lock);
    return r;
}

int grpc_send_buf(struct grpc_call *c, struct buf *b, struct err *e)
{
    if (buf_failed(b) || b->len < GRPC_PREFIX) {
        return err_oom(e);
    }
    int r = call_too_big(c, b->len - GRPC_PREFIX, e);
    if (r < 0) {
        return r;
    }
    grpc_prefix_put((uint8_t *)b->data, (uint32_t)(b->len - GRPC_PREFIX));
    pthread_mutex_lock(&c->server->lock);
    r = call_room(c, e);
    if (r == 0) {
        if (c->out.len == 0) {
            buf_done(&c->out);
            c->out = *b;
            *b = (struct buf){ 0 };
        } else {
            buf_add(&c->out, b->data, b->len);
        }
        r = buf_failed(&c->out) ? err_oom(e) : 0;
        if (c->method->streaming) {
            call_ready(c);
        }
    }
    pthread_mutex_unlock(&c->server->lock);
    return r;
}

void call_run(struct grpc_call *c)
{
    struct grpc_server *s = c->server;
    struct err e = { 0 };
    uint64_t from = grpc_now();
    enum grpc_status status = GRPC_CANCELLED;
    if (!grpc_cancelled(c)) {
        int r = c->method->fn(c, (const uint8_t *)c->body.data + GRPC_PREFIX, c->body.len - GRPC_PREFIX, s->data, &e);
        status = r == 0 ? GRPC_OK : r == -ECANCELED ? GRPC_CANCELLED : grpc_status_of(e.kind);
    }
    if (s->observe) {
        s->observe(s->observe_data, c->method->path, status, grpc_now() - from, e.text);
    }
    pthread_mutex_lock(&s->lock);
    c->cancel_fn = NULL;
    if (!c->done) { /* else it has been answered without us */
        c->done = true;
        c->status = status;
        if (status != GRPC_OK) {
            c->message = strdup(e.text);
            if (!c->method->streaming) {
                buf_reset(&c->out);
            }
        }
    }
    call_ready(c);
    pthread_mutex_unlock(&s->lock);
}

#define HEADER(n, v)                                                                                                               \
    {                                                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), sizeof(n) - 1, strlen(v), NGHTTP2_NV_FLAG_NONE                         \
    }

/* The status and its message as headers; text holds what they point to. */
static size_t status_headers(nghttp2_nv *nv, enum grpc_status status, const char *message, char code[4], struct buf *text)
{
    (void)snprintf(code, 4, "%u", (unsigned)status & 31u);
    nv[0] = (nghttp2_nv)HEADER("grpc-status", code);
    if (status == GRPC_OK || str_empty(message)) {
        return 1;
    }
    grpc_percent_encode(text, message, MESSAGE_MAX);
    nv[1] = (nghttp2_nv)HEADER("grpc-message", buf_str(text));
    return 2;
}

static void answer_status_only(struct grpc_call *c, enum grpc_status status, const char *message)
{
    char code[4];
    CLEANUP_BUF struct buf text = { 0 };
    nghttp2_nv nv[4] = { HEADER(":status", "200"), HEADER("content-type", "application/grpc") };
    size_t n = 2 + status_headers(nv + 2, status, message, code, &text);
    c->answered = c->ended = true;
    (void)nghttp2_submit_response(c->conn->session, c->stream_id, nv, n, NULL);
}

static void answer_trailers(struct grpc_call *c, enum grpc_status status, const char *message)
{
    char code[4];
    CLEANUP_BUF struct buf text = { 0 };
    nghttp2_nv nv[2];
    size_t n = status_headers(nv, status, message, code, &text);
    c->ended = true;
    (void)nghttp2_submit_trailer(c->conn->session, c->stream_id, nv, n);
}

/* nghttp2 takes output; its end are the trailers. */
static ssize_t call_read(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream_id;
    (void)user;
    struct grpc_call *c = source->ptr;
    pthread_mutex_lock(&c->server->lock);
    size_t n = call_unread(c) < len ? call_unread(c) : len;
    bool over = c->done && n == call_unread(c);
    if (n > 0) {
        memcpy(to, c->out.data + c->out_pos, n);
        c->out_pos += n;
        c->progress = grpc_now();
        call_trim(c);
        if (call_unread(c) <= c->server->limits.unread / 2) {
            pthread_cond_signal(&c->cond);
        }
    }
    pthread_mutex_unlock(&c->server->lock);
    if (over) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        answer_trailers(c, c->status, c->message);
    } else if (n == 0) {
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

void call_progress(struct grpc_call *c)
{
    pthread_mutex_lock(&c->server->lock);
    bool done = c->done, empty = call_unread(c) == 0;
    pthread_mutex_unlock(&c->server->lock);
    if (c->ended || (empty && !done)) {
        return;
    }
    if (c->answered) {
        (void)nghttp2_session_resume_data(c->conn->session, c->stream_id);
    } else if (done && empty) {
        answer_status_only(c, c->status, c->message);
    } else {
        nghttp2_nv nv[] = { HEADER(":status", "200"), HEADER("content-type", "application/grpc") };
        nghttp2_data_provider provider = { .source.ptr = c, .read_callback = call_read };
        c->answered = true;
        c->progress = grpc_now();
        (void)nghttp2_submit_response(c->conn->session, c->stream_id, nv, ARRAY_LEN(nv), &provider);
    }
}

void call_fail(struct grpc_call *c, enum grpc_status status, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (c->ended) {
        return;
    }
    if (!c->answered) {
        answer_status_only(c, status, text);
        call_abandon(c);
        return;
    }
    /* Its own data may be waiting for the reader: what has not left is dropped, so that the status comes at once. */
    call_abandon(c);
    pthread_mutex_lock(&c->server->lock);
    c->out_pos = c->out.len;
    call_trim(c);
    if (!c->done) {
        c->done = true;
        c->status = status;
        c->message = strdup(text);
    }
    pthread_mutex_unlock(&c->server->lock);
    (void)nghttp2_session_resume_data(c->conn->session, c->stream_id);
}
