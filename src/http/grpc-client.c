/* http/grpc-client.c: see grpc-client.h. */
#include "http/grpc-client.h"

#include "base/fd.h"
#include "base/num.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct grpc_client {
    int fd;
    nghttp2_session *session;
    /* the call that runs */
    const struct grpc_request *q;
    struct grpc_reply *reply;
    struct buf in, body;
    size_t sent;
    int32_t stream_id;
    bool over;
};

void grpc_reply_done(struct grpc_reply *r)
{
    buf_done(&r->body);
    free(r->message);
    *r = (struct grpc_reply){ 0 };
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t len, int flags, void *user)
{
    (void)session;
    (void)flags;
    struct grpc_client *c = user;
    ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return n;
}

static ssize_t on_read_body(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t len, uint32_t *flags,
                            nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream_id;
    (void)source;
    struct grpc_client *c = user;
    size_t n = c->body.len - c->sent < len ? c->body.len - c->sent : len;
    if (n > 0) {
        memcpy(to, c->body.data + c->sent, n);
    }
    c->sent += n;
    if (c->sent == c->body.len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len, void *user)
{
    (void)flags;
    struct grpc_client *c = user;
    if (stream_id != c->stream_id || !c->reply) {
        return 0;
    }
    buf_add(&c->in, data, len);
    while (c->in.len >= GRPC_PREFIX) {
        bool compressed = false;
        size_t n = grpc_prefix_get((const uint8_t *)c->in.data, &compressed);
        if (c->in.len - GRPC_PREFIX < n) {
            break;
        }
        buf_reset(&c->reply->body);
        buf_add(&c->reply->body, c->in.data + GRPC_PREFIX, n);
        c->reply->n_messages++;
        buf_consume(&c->in, GRPC_PREFIX + n);
        if (c->q->fn && c->q->fn(c->q->data, (const uint8_t *)c->reply->body.data, c->reply->body.len) < 0) {
            (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL);
            break;
        }
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t n_name, const uint8_t *value,
                     size_t n_value, uint8_t flags, void *user)
{
    (void)session;
    (void)flags;
    struct grpc_client *c = user;
    if (frame->hd.stream_id != c->stream_id || !c->reply) {
        return 0;
    }
    uint32_t status = 0;
    if (n_name == 11 && memcmp(name, "grpc-status", 11) == 0 && num_u32((const char *)value, &status) == 0) {
        c->reply->status = (int)status;
    } else if (n_name == 12 && memcmp(name, "grpc-message", 12) == 0) {
        CLEANUP_BUF struct buf text = { 0 };
        grpc_percent_decode(&text, (const char *)value, n_value);
        free(c->reply->message);
        c->reply->message = buf_steal(&text);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user)
{
    (void)session;
    (void)code;
    struct grpc_client *c = user;
    c->over = c->over || stream_id == c->stream_id;
    return 0;
}

int grpc_client_new(int fd, struct grpc_client **ret, struct err *e)
{
    struct grpc_client *c = calloc(1, sizeof(*c));
    nghttp2_session_callbacks *cb = NULL;
    if (!c || nghttp2_session_callbacks_new(&cb) != 0) {
        fd_close(&fd);
        free(c);
        return err_oom(e);
    }
    c->fd = fd;
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    int r = nghttp2_session_client_new(&c->session, cb, c);
    nghttp2_session_callbacks_del(cb);
    nghttp2_settings_entry settings[] = { { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 }, { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20 } };
    if (r != 0 || nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) != 0 ||
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, 4 << 20) != 0) {
        grpc_client_free(c);
        return err_oom(e);
    }
    *ret = c;
    return 0;
}

int grpc_client_open(const char *path, struct grpc_client **ret, struct err *e)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(sa.sun_path)) {
        return err_set(e, ENAMETOOLONG, ERR_INVALID, "socket path is too long: %s", path);
    }
    memcpy(sa.sun_path, path, strlen(path) + 1);
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        return err_sys(e, errno, "connect to %s", path);
    }
    return grpc_client_new(fd_steal(&fd), ret, e);
}

void grpc_client_free(struct grpc_client *c)
{
    if (c) {
        nghttp2_session_del(c->session);
        fd_close(&c->fd);
        buf_done(&c->in);
        buf_done(&c->body);
        free(c);
    }
}

static int client_turn(struct grpc_client *c, struct err *e)
{
    if (nghttp2_session_send(c->session) != 0) {
        return err_set(e, EPIPE, ERR_UNAVAILABLE, "connection lost while sending");
    }
    if (c->over) {
        return 0;
    }
    short want = nghttp2_session_want_write(c->session) ? POLLIN | POLLOUT : POLLIN;
    struct pollfd p = { .fd = c->fd, .events = want };
    if (poll(&p, 1, -1) < 0 && errno != EINTR) {
        return err_sys(e, errno, "poll");
    }
    if (!(p.revents & (POLLIN | POLLHUP | POLLERR))) {
        return 0;
    }
    uint8_t bytes[16384];
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
    if (n <= 0) {
        return err_set(e, ECONNRESET, ERR_UNAVAILABLE, "connection closed by the server");
    }
    if (nghttp2_session_mem_recv(c->session, bytes, (size_t)n) < 0) {
        return err_set(e, EPROTO, ERR_UNAVAILABLE, "server broke the protocol");
    }
    return 0;
}

#define NV(n, v)                                                                                                                   \
    {                                                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), sizeof(n) - 1, strlen(v), NGHTTP2_NV_FLAG_NONE                         \
    }

int grpc_client_call(struct grpc_client *c, const struct grpc_request *q, struct grpc_reply *ret, struct err *e)
{
    uint8_t prefix[GRPC_PREFIX];
    char timeout[16];
    grpc_prefix_put(prefix, (uint32_t)q->len);
    *ret = (struct grpc_reply){ .status = -1 };
    c->q = q;
    c->reply = ret;
    c->over = false;
    c->sent = 0;
    buf_reset(&c->in);
    buf_reset(&c->body);
    buf_add(&c->body, q->raw ? q->raw : prefix, q->raw ? q->raw_len : sizeof(prefix));
    if (!q->raw && q->len > 0) {
        buf_add(&c->body, q->msg, q->len);
    }
    (void)snprintf(timeout, sizeof(timeout), "%um", q->timeout_ms);
    nghttp2_nv nv[] = {
        NV(":method", "POST"), NV(":scheme", "http"), NV(":path", q->path), NV(":authority", "localhost"),
        NV("content-type", q->content_type ? q->content_type : "application/grpc"), NV("te", "trailers"),
        NV("grpc-timeout", timeout),
    };
    nghttp2_data_provider body = { .read_callback = on_read_body };
    size_t n = q->timeout_ms ? ARRAY_LEN(nv) : ARRAY_LEN(nv) - 1;
    c->stream_id = nghttp2_submit_request(c->session, NULL, nv, n, &body, NULL);
    int r = c->stream_id < 0 ? err_set(e, EPROTO, ERR_INTERNAL, "submit request") : 0;
    while (r == 0 && !c->over) {
        r = client_turn(c, e);
    }
    c->reply = NULL;
    return r;
}
