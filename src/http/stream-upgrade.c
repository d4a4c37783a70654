/* http/stream-upgrade.c: the request of a connection: which protocol, which version of it, and what its URL leads to. */
#include "http/stream-internal.h"

#include <strings.h>

struct version {
    const char *name;
    int version;
    bool base64, tunnel;
};

static const struct version spdy_session[] = {
    { "v4.channel.k8s.io", 4, false, false },
    { "v3.channel.k8s.io", 3, false, false },
    { "v2.channel.k8s.io", 2, false, false },
    { "channel.k8s.io", 1, false, false },
};
static const struct version spdy_forward[] = { { "portforward.k8s.io", 1, false, false } };
static const struct version ws_session[] = {
    { "v5.channel.k8s.io", 5, false, false },      { "v4.channel.k8s.io", 4, false, false },
    { "v4.base64.channel.k8s.io", 4, true, false }, { "channel.k8s.io", 1, false, false },
    { "base64.channel.k8s.io", 1, true, false },
};
static const struct version ws_forward[] = {
    { "SPDY/3.1+portforward.k8s.io", 1, false, true },
    { "v4.channel.k8s.io", 4, false, false },
    { "v4.base64.channel.k8s.io", 4, true, false },
};

static const struct versions {
    const char *header; /* names in it, in the client's order of preference */
    const struct version *v;
    size_t n;
} tables[2][2] = {
    { { "x-stream-protocol-version", spdy_session, ARRAY_LEN(spdy_session) },
      { "x-stream-protocol-version", spdy_forward, ARRAY_LEN(spdy_forward) } },
    { { "sec-websocket-protocol", ws_session, ARRAY_LEN(ws_session) },
      { "sec-websocket-protocol", ws_forward, ARRAY_LEN(ws_forward) } },
};

static void refuse(struct conn *c, unsigned status, const char *text)
{
    http1_refuse(&c->out, status, text);
    conn_close(c);
}

/* False: nothing of what the client knows. *ret is NULL when it named nothing, which means the oldest version. */
static bool negotiate(const struct http1_request *q, const struct versions *t, const struct version **ret)
{
    char name[HTTP1_TOKEN_MAX];
    size_t at = 0;
    *ret = NULL;
    while (http1_next(q, t->header, &at, name)) {
        for (size_t i = 0; i < t->n; i++) {
            if (strcasecmp(t->v[i].name, name) == 0) {
                *ret = &t->v[i];
                return true;
            }
        }
    }
    return at == 0;
}

static void answer(struct conn *c, const char *upgrade_to, const char *header, const char *value, const char *protocol_header,
                   const struct version *v)
{
    buf_addf(&c->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n", upgrade_to);
    if (header) {
        buf_addf(&c->out, "%s: %s\r\n", header, value);
    }
    if (v) {
        buf_addf(&c->out, "%s: %s\r\n", protocol_header, v->name);
    }
    buf_adds(&c->out, "\r\n");
}

static int find_target(struct conn *c, const struct http1_request *q)
{
    struct err e = { 0 };
    struct stream_server *s = c->server;
    int r = s->ops->request(s->data, q->path, &c->target, &e);
    if (r < 0) {
        refuse(c, e.kind == ERR_NOT_FOUND ? 404 : e.kind == ERR_INVALID ? 400 : 500, e.text);
        return r;
    }
    c->has_target = true;
    return 0;
}

static void open_spdy(struct conn *c, const struct version *v)
{
    answer(c, "SPDY/3.1", NULL, NULL, "X-Stream-Protocol-Version", v);
    if (spdy_new(&stream_spdy_ops, c, &c->out, c->server->limits.streams, &c->spdy, NULL) < 0) {
        conn_fail(c);
        return;
    }
    c->state = c->target.kind == STREAM_FORWARD ? CONN_OPEN : CONN_OPENING;
}

static void open_ws(struct conn *c, const char *accept, const struct version *v)
{
    answer(c, "websocket", "Sec-WebSocket-Accept", accept, "Sec-WebSocket-Protocol", v);
    bool tunnel = v && v->tunnel;
    c->proto = tunnel ? PROTO_WS_SPDY : PROTO_WS;
    c->state = CONN_OPEN;
    if (ws_new(stream_ws_message, c, &c->out, &c->ws, NULL) < 0 ||
        (tunnel && spdy_new(&stream_spdy_ops, c, &c->tunnel, c->server->limits.streams, &c->spdy, NULL) < 0)) {
        conn_fail(c);
        return;
    }
    if (!tunnel) {
        stream_ws_start(c);
    }
}

void upgrade(struct conn *c, const struct http1_request *q)
{
    char accept[WS_ACCEPT_LEN + 1];
    const struct version *v = NULL;
    struct err e = { 0 };
    bool ws = http1_has(q, "upgrade", "websocket");
    if (!str_eq(q->method, "GET") && !str_eq(q->method, "POST")) {
        refuse(c, 405, "GET or POST is required");
        return;
    }
    if (!http1_has(q, "connection", "upgrade") || (!ws && !http1_has(q, "upgrade", "SPDY/3.1"))) {
        refuse(c, 400, "an upgrade to SPDY/3.1 or websocket is required");
        return;
    }
    if (ws && (!str_eq(http1_get(q, "sec-websocket-version"), "13") || ws_accept(http1_get(q, "sec-websocket-key"), accept, &e) < 0)) {
        refuse(c, 400, "version 13 of WebSocket and a Sec-WebSocket-Key are required");
        return;
    }
    if (find_target(c, q) < 0) {
        return;
    }
    const struct versions *t = &tables[ws][c->target.kind == STREAM_FORWARD];
    if (!negotiate(q, t, &v)) {
        refuse(c, 403, "none of the stream protocols is known");
        return;
    }
    c->version = v ? v->version : 1;
    c->base64 = v && v->base64;
    if (ws) {
        open_ws(c, accept, v);
    } else {
        open_spdy(c, v);
    }
    conn_set_timer(c);
    conn_flush(c);
}
