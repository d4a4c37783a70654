/* http/websocket.c: see websocket.h. */
#include "http/websocket.h"

#include <errno.h>
#include <openssl/evp.h>
#include <wslay/wslay.h>

struct ws {
    wslay_event_context_ptr ctx;
    ws_message_fn *fn;
    void *data;
    struct buf *out;
    const uint8_t *in; /* while ws_input() runs */
    size_t in_len;
};

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *to, size_t len, int flags, void *data)
{
    (void)flags;
    struct ws *w = data;
    size_t n = len < w->in_len ? len : w->in_len;
    if (n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(to, w->in, n);
    w->in += n;
    w->in_len -= n;
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *from, size_t len, int flags, void *data)
{
    (void)ctx;
    (void)flags;
    struct ws *w = data;
    buf_add(w->out, from, len);
    return (ssize_t)len;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *data)
{
    (void)ctx;
    struct ws *w = data;
    if (m->opcode == WSLAY_TEXT_FRAME || m->opcode == WSLAY_BINARY_FRAME) {
        w->fn(w->data, m->msg, m->msg_length);
    }
}

int ws_new(ws_message_fn *fn, void *data, struct buf *out, struct ws **ret, struct err *e)
{
    static const struct wslay_event_callbacks callbacks = { .recv_callback = on_recv, .send_callback = on_send,
                                                            .on_msg_recv_callback = on_message };
    struct ws *w = calloc(1, sizeof(*w));
    if (!w) {
        return err_oom(e);
    }
    *w = (struct ws){ .fn = fn, .data = data, .out = out };
    if (wslay_event_context_server_init(&w->ctx, &callbacks, w) != 0) {
        free(w);
        return err_oom(e);
    }
    wslay_event_config_set_max_recv_msg_length(w->ctx, WS_MESSAGE_MAX);
    *ret = w;
    return 0;
}

void ws_free(struct ws *w)
{
    if (w) {
        wslay_event_context_free(w->ctx);
        free(w);
    }
}

static void send_queued(struct ws *w)
{
    if (wslay_event_want_write(w->ctx)) {
        (void)wslay_event_send(w->ctx);
    }
}

int ws_input(struct ws *w, const void *data, size_t len, struct err *e)
{
    w->in = data;
    w->in_len = len;
    int r = 0;
    while (r == 0 && w->in_len > 0 && wslay_event_want_read(w->ctx)) {
        r = wslay_event_recv(w->ctx);
    }
    send_queued(w);
    /* When it breaks the protocol the library sends a close frame and wants no more. */
    bool broken = r != 0 || (!wslay_event_want_read(w->ctx) && !wslay_event_get_close_received(w->ctx));
    return broken ? err_set(e, EPROTO, ERR_INVALID, "malformed WebSocket frame") : 0;
}

void ws_send(struct ws *w, bool text, const void *data, size_t len)
{
    struct wslay_event_msg m = { .opcode = text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME, .msg = data, .msg_length = len };
    if (wslay_event_queue_msg(w->ctx, &m) == 0) {
        send_queued(w);
    }
}

void ws_close(struct ws *w, uint16_t status)
{
    if (wslay_event_queue_close(w->ctx, status, NULL, 0) == 0) {
        send_queued(w);
    }
}

bool ws_closed(const struct ws *w)
{
    return wslay_event_get_close_received(w->ctx);
}

int ws_accept(const char *key, char ret[static WS_ACCEPT_LEN + 1], struct err *e)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    CLEANUP_BUF struct buf b = { 0 };
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (!key || strlen(key) != 24 || ws_unbase64(&b, key, 24) < 0 || b.len != 16) {
        return err_set(e, EINVAL, ERR_INVALID, "Sec-WebSocket-Key: is no key");
    }
    b.len = 0;
    buf_adds(&b, key);
    buf_adds(&b, guid);
    if (buf_failed(&b) || EVP_Digest(b.data, b.len, digest, NULL, EVP_sha1(), NULL) != 1) {
        return err_oom(e);
    }
    (void)EVP_EncodeBlock((unsigned char *)ret, digest, 20);
    return 0;
}

void ws_base64(struct buf *out, const void *data, size_t len)
{
    char *to = buf_reserve(out, (len + 2) / 3 * 4 + 1);
    if (to) {
        out->len += (size_t)EVP_EncodeBlock((unsigned char *)to, data, (int)len);
    }
}

int ws_unbase64(struct buf *out, const void *data, size_t len)
{
    const char *s = data;
    size_t pad = len > 0 && s[len - 1] == '=' ? (len > 1 && s[len - 2] == '=' ? 2u : 1u) : 0;
    if (len % 4 != 0 || len > WS_MESSAGE_MAX || memchr(s, '=', len - pad)) {
        return -EINVAL;
    }
    char *to = len ? buf_reserve(out, len / 4 * 3 + 1) : NULL;
    if (!to) {
        return len ? -ENOMEM : 0;
    }
    int n = EVP_DecodeBlock((unsigned char *)to, data, (int)len);
    if (n < (int)pad) {
        return -EINVAL;
    }
    out->len += (size_t)n - pad;
    return 0;
}
