/*
 * http/grpc-conn.c: HTTP/2 of one connection by nghttp2: headers and data of requests become calls; nonsense is answered or
 * ends the stream or the connection.
 */
#include "http/grpc-conn.h"

#include <errno.h>
#include <stdio.h>

enum {
    COLLECT_MAX = 64 << 10,
    STREAM_WINDOW = 256 << 10,
    CONN_WINDOW = 1 << 20,
    RESET_BURST = 1000, /* streams that a client may reset at once, and then a second */
    RESET_RATE = 50,
};

static const struct grpc_method *method_find(const struct grpc_server *s, const uint8_t *path, size_t len)
{
    for (size_t i = 0; i < s->n_methods; i++) {
        if (strlen(s->methods[i].path) == len && memcmp(s->methods[i].path, path, len) == 0) {
            return &s->methods[i];
        }
    }
    return NULL;
}

/* False: the client has made more streams end early than a sane one does. */
static bool reset_allowed(struct grpc_conn *conn)
{
    uint64_t now = grpc_now(), gained = (now - conn->reset_at) / (1000000000u / RESET_RATE);
    if (gained > 0) {
        conn->reset_at = now;
        conn->reset_tokens = gained > RESET_BURST - conn->reset_tokens ? RESET_BURST : conn->reset_tokens + (unsigned)gained;
    }
    if (conn->reset_tokens == 0) {
        return false;
    }
    conn->reset_tokens--;
    return true;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct grpc_conn *conn = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    if (conn->n_calls >= conn->server->limits.streams) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    struct grpc_call *c = call_new(conn, frame->hd.stream_id);
    if (!c) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    (void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, c);
    return 0;
}

static bool is(const uint8_t *s, size_t len, const char *want)
{
    return len == strlen(want) && memcmp(s, want, len) == 0;
}

static void header_take(struct grpc_call *c, const uint8_t *name, size_t n_name, const uint8_t *value, size_t n_value)
{
    uint64_t ns = 0;
    if (is(name, n_name, ":path")) {
        c->method = method_find(c->server, value, n_value);
    } else if (is(name, n_name, ":method")) {
        c->is_post = is(value, n_value, "POST");
    } else if (is(name, n_name, "content-type")) {
        c->is_grpc = n_value >= 16 && memcmp(value, "application/grpc", 16) == 0;
    } else if (is(name, n_name, "grpc-encoding")) {
        c->is_compressed = !is(value, n_value, "identity");
    } else if (is(name, n_name, "grpc-timeout")) {
        if (grpc_timeout_parse((const char *)value, n_value, &ns) < 0) {
            c->bad_timeout = true;
        } else {
            uint64_t now = grpc_now();
            c->deadline = ns > INT64_MAX - now ? 0 : now + ns;
        }
    }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t n_name, const uint8_t *value,
                     size_t n_value, uint8_t flags, void *user)
{
    (void)flags;
    struct grpc_conn *conn = user;
    struct grpc_call *c = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!c) {
        return 0;
    }
    c->header_bytes += n_name + n_value + 32;
    if (c->header_bytes > conn->server->limits.headers) {
        /* Resets the stream; the decoder's own memory is bounded. */
        return reset_allowed(conn) ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        header_take(c, name, n_name, value, n_value);
    }
    return 0;
}

/* What the headers alone can tell. */
static void call_check_headers(struct grpc_call *c)
{
    if (!c->is_post || !c->is_grpc) {
        call_fail(c, GRPC_INTERNAL, "%s: gRPC is POST with content-type application/grpc", c->is_post ? "content-type" : "method");
    } else if (!c->method) {
        call_fail(c, GRPC_UNIMPLEMENTED, "unknown service or method");
    } else if (c->bad_timeout) {
        call_fail(c, GRPC_INTERNAL, "malformed grpc-timeout");
    } else if (c->deadline > 0 && c->deadline <= grpc_now()) {
        call_fail(c, GRPC_DEADLINE_EXCEEDED, "deadline exceeded");
    }
}

/* The prefix is checked as soon as it is there, so that nothing is kept of what will be refused. */
static void call_check_prefix(struct grpc_call *c)
{
    bool compressed = false;
    uint32_t len = grpc_prefix_get((const uint8_t *)c->body.data, &compressed);
    if (compressed) {
        call_fail(c, GRPC_UNIMPLEMENTED, "compressed messages are not supported%s",
                  c->is_compressed ? "" : " (and no grpc-encoding was named)");
    } else if (len > c->server->limits.message) {
        call_fail(c, GRPC_RESOURCE_EXHAUSTED, "message of %u bytes is larger than the limit of %zu", len, c->server->limits.message);
    } else if (c->body.len > (size_t)len + GRPC_PREFIX) {
        call_fail(c, GRPC_INTERNAL, "more than one message in a request that has one");
    }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len, void *user)
{
    (void)flags;
    struct grpc_conn *conn = user;
    struct grpc_server *s = conn->server;
    struct grpc_call *c = nghttp2_session_get_stream_user_data(session, stream_id);
    if (!c || c->ended || c->dispatched) {
        return 0;
    }
    if (s->request_bytes + len > s->limits.requests) {
        call_fail(c, GRPC_RESOURCE_EXHAUSTED, "too many bytes of requests are arriving at once");
        return 0;
    }
    buf_add(&c->body, data, len);
    if (buf_failed(&c->body)) {
        call_fail(c, GRPC_RESOURCE_EXHAUSTED, "out of memory");
        return 0;
    }
    s->request_bytes += len;
    if (c->body.len >= GRPC_PREFIX) {
        call_check_prefix(c);
    }
    return 0;
}

static void call_dispatch(struct grpc_call *c)
{
    bool compressed = false;
    struct grpc_server *s = c->server;
    c->remote_done = true;
    if (c->ended || c->dispatched) {
        return;
    }
    if (c->body.len < GRPC_PREFIX ||
        c->body.len != (size_t)GRPC_PREFIX + grpc_prefix_get((const uint8_t *)c->body.data, &compressed)) {
        call_fail(c, GRPC_INTERNAL, "request ends within its message");
        return;
    }
    c->dispatched = true;
    s->request_bytes -= c->body.len;
    if (s->in_loop) {
        call_run(c);
    } else if (pool_submit(s, c) < 0) {
        call_fail(c, GRPC_RESOURCE_EXHAUSTED, "%u calls are running, which is the limit", s->limits.threads);
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct grpc_conn *conn = user;
    struct grpc_call *c = frame->hd.stream_id > 0 ? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) : NULL;
    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        conn->greeted = true;
        break;
    case NGHTTP2_RST_STREAM:
        if (!reset_allowed(conn)) {
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        }
        break;
    case NGHTTP2_HEADERS:
        if (c && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
            call_check_headers(c);
        }
        __attribute__((fallthrough));
    case NGHTTP2_DATA:
        if (c && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
            call_dispatch(c);
        }
        break;
    default:
        break;
    }
    return 0;
}

/* A response that ended before its request: the client need not send the rest. */
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)user;
    if (frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        struct grpc_call *c = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (c && !c->remote_done) {
            (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
        }
    }
    return 0;
}

void conn_call_closed(struct grpc_call *c)
{
    struct grpc_conn *conn = c->conn;
    if (c->prev) {
        c->prev->next = c->next;
    } else {
        conn->calls = c->next;
    }
    if (c->next) {
        c->next->prev = c->prev;
    }
    c->prev = c->next = NULL;
    conn->n_calls--;
    if (!c->dispatched) {
        conn->server->request_bytes -= c->body.len;
    }
    c->conn = NULL;
    call_abandon(c);
    call_unref(c);
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user)
{
    (void)code;
    (void)user;
    struct grpc_call *c = nghttp2_session_get_stream_user_data(session, stream_id);
    if (c) {
        (void)nghttp2_session_set_stream_user_data(session, stream_id, NULL);
        conn_call_closed(c);
    }
    return 0;
}

int conn_callbacks_new(struct grpc_server *s, struct err *e)
{
    if (nghttp2_session_callbacks_new(&s->callbacks) != 0 || nghttp2_option_new(&s->option) != 0) {
        return err_oom(e);
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(s->callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(s->callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(s->callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(s->callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(s->callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(s->callbacks, on_stream_close);
    nghttp2_option_set_no_closed_streams(s->option, 1);
    nghttp2_option_set_max_outbound_ack(s->option, 256);
    return 0;
}

int conn_session_new(struct grpc_conn *conn, struct err *e)
{
    const struct grpc_limits *l = &conn->server->limits;
    if (nghttp2_session_server_new2(&conn->session, conn->server->callbacks, conn, conn->server->option) != 0) {
        return err_oom(e);
    }
    nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, l->streams },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)l->headers },
    };
    if (nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) != 0 ||
        nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW) != 0) {
        return err_oom(e);
    }
    conn->reset_at = grpc_now();
    conn->reset_tokens = RESET_BURST;
    return 0;
}

int conn_feed(struct grpc_conn *conn, const uint8_t *data, size_t len)
{
    conn->in_recv = true;
    ssize_t n = nghttp2_session_mem_recv(conn->session, data, len);
    conn->in_recv = false;
    if (n == NGHTTP2_ERR_CALLBACK_FAILURE) {
        (void)nghttp2_session_terminate_session(conn->session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
    return n < 0 ? -EPROTO : 0;
}

bool conn_collect(struct grpc_conn *conn)
{
    while (conn->out.len < COLLECT_MAX) {
        const uint8_t *data = NULL;
        ssize_t n = nghttp2_session_mem_send(conn->session, &data);
        if (n <= 0) {
            conn->dead = conn->dead || n < 0;
            break;
        }
        buf_add(&conn->out, data, (size_t)n);
    }
    conn->dead = conn->dead || buf_failed(&conn->out);
    return conn->out.len > 0;
}
