/* http/stream-ws.c: messages of a WebSocket connection become the channels of links, or SPDY's bytes. */
#include "http/stream-internal.h"

enum { WS_SIGNAL_CLOSE = 255 };

void stream_ws_write(struct conn *c, unsigned channel, const void *data, size_t len)
{
    CLEANUP_BUF struct buf b = { 0 };
    buf_addc(&b, (char)(c->base64 ? channel + '0' : channel));
    if (c->base64) {
        ws_base64(&b, data, len);
    } else {
        buf_add(&b, data, len);
    }
    if (buf_failed(&b)) {
        conn_fail(c);
        return;
    }
    ws_send(c->ws, c->base64, b.data, b.len);
}

static void start_ports(struct conn *c)
{
    for (unsigned i = 0; i < c->target.n_ports; i++) {
        uint16_t port = c->target.ports[i];
        const unsigned char bytes[2] = { (unsigned char)(port & 0xff), (unsigned char)(port >> 8) };
        struct link *l = link_new(c);
        if (!l) {
            conn_fail(c);
            return;
        }
        l->first = 2 * i;
        l->port = port;
        stream_ws_write(c, 2 * i, bytes, sizeof(bytes));
        stream_ws_write(c, 2 * i + 1, bytes, sizeof(bytes));
    }
    for (struct link *l = c->links, *next; l && !c->failed; l = next) {
        next = l->next;
        link_start(l);
    }
}

void stream_ws_start(struct conn *c)
{
    const struct stream_target *t = &c->target;
    if (t->kind == STREAM_FORWARD) {
        if (t->n_ports == 0) {
            ws_close(c->ws, 1008);
            conn_close(c);
            return;
        }
        start_ports(c);
        return;
    }
    /* An empty message on the first channel tells the client that it is connected. */
    stream_ws_write(c, t->has_stdout ? LINK_STDOUT : t->has_stderr ? LINK_STDERR : LINK_ERROR, "", 0);
    struct link *l = link_new(c);
    if (l) {
        link_start(l);
    } else {
        conn_fail(c);
    }
}

static void session_message(struct conn *c, unsigned channel, const char *data, size_t len)
{
    struct link *l = c->links;
    if (channel == WS_SIGNAL_CLOSE && c->version >= 5) {
        if (len == 1 && data[0] == LINK_STDIN) {
            link_input(l, LINK_STDIN, NULL, 0, true);
        }
    } else if ((channel == LINK_STDIN || channel == LINK_RESIZE) && len > 0) {
        link_input(l, (enum link_channel)channel, data, len, false);
    }
}

static void forward_message(struct conn *c, unsigned channel, const char *data, size_t len)
{
    struct link *l = c->links;
    while (l && l->first != channel) {
        l = l->next;
    }
    if (l && len > 0) {
        link_input(l, LINK_STDIN, data, len, false);
    }
}

static void channel_message(struct conn *c, unsigned channel, const char *data, size_t len)
{
    if (c->target.kind == STREAM_FORWARD) {
        forward_message(c, channel, data, len);
    } else {
        session_message(c, channel, data, len);
    }
}

void stream_ws_message(void *data, const uint8_t *bytes, size_t len)
{
    struct conn *c = data;
    if (c->failed || c->state != CONN_OPEN) {
        return;
    }
    if (c->proto == PROTO_WS_SPDY) {
        if (spdy_input(c->spdy, bytes, len, NULL) < 0) {
            conn_fail(c);
        }
        return;
    }
    if (len == 0 || !c->links) {
        return;
    }
    if (!c->base64) {
        channel_message(c, bytes[0], (const char *)bytes + 1, len - 1);
        return;
    }
    CLEANUP_BUF struct buf b = { 0 };
    if (bytes[0] < '0' || ws_unbase64(&b, bytes + 1, len - 1) < 0) {
        conn_fail(c);
        return;
    }
    channel_message(c, bytes[0] - '0', buf_str(&b), b.len);
}
