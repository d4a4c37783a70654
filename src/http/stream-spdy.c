/* http/stream-spdy.c: streams of a SPDY connection become the channels of links. */
#include "http/stream-internal.h"

#include "base/num.h"

static const char *header(const struct spdy_header *h, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(h[i].name, name)) {
            return h[i].value;
        }
    }
    return NULL;
}

static struct link *find_id(struct conn *c, uint32_t id, enum link_channel *ret)
{
    for (struct link *l = c->links; l; l = l->next) {
        for (unsigned i = 0; i < LINK_CHANNELS; i++) {
            if (l->ids[i] == id) {
                *ret = (enum link_channel)i;
                return l;
            }
        }
    }
    return NULL;
}

/* ---- a session: all of its streams are one link ------------------------------------------------- */

/* The versions before 3 have no stream for resizes; one is expected of a terminal's client after that. */
static bool wanted(const struct conn *c, unsigned channel)
{
    const struct stream_target *t = &c->target;
    const bool w[LINK_CHANNELS] = { t->has_stdin, t->has_stdout, t->has_stderr, true, t->tty && c->version >= 3 };
    return w[channel];
}

static unsigned open_session(struct conn *c, uint32_t id, const char *type)
{
    static const char *const names[LINK_CHANNELS] = { "stdin", "stdout", "stderr", "error", "resize" };
    bool all = true;
    struct link *l = c->links ? c->links : c->state == CONN_OPENING ? link_new(c) : NULL;
    if (!l) {
        return SPDY_REFUSED_STREAM;
    }
    unsigned k = 0;
    while (k < LINK_CHANNELS && !str_eq(names[k], type)) {
        k++;
    }
    if (k == LINK_CHANNELS || l->ids[k] || c->state != CONN_OPENING) {
        return SPDY_REFUSED_STREAM;
    }
    l->ids[k] = id;
    for (unsigned i = 0; i < LINK_CHANNELS; i++) {
        all = all && (l->ids[i] || !wanted(c, i));
    }
    if (all) {
        c->state = CONN_OPEN;
        conn_set_timer(c);
        link_start(l);
    }
    return 0;
}

/* ---- forwarded ports: a link is a pair of streams ------------------------------------------------ */

static struct link *find_pair(struct conn *c, const char *request_id)
{
    for (struct link *l = c->links; l; l = l->next) {
        if (!l->peer && str_eq(l->request_id, request_id)) {
            return l;
        }
    }
    return NULL;
}

static void reset_pair(struct link *l)
{
    spdy_reset(l->conn->spdy, l->ids[LINK_STDOUT], SPDY_CANCEL);
    spdy_reset(l->conn->spdy, l->ids[LINK_ERROR], SPDY_CANCEL);
}

/* A stream whose other half never comes is given up when the next one comes. */
static void drop_old_pairs(struct conn *c)
{
    uint64_t now = stream_now_ns(), age = c->server->limits.streams_ms * (uint64_t)1000000;
    for (struct link *l = c->links, *next; l; l = next) {
        next = l->next;
        if (!l->peer && now - l->since > age) {
            reset_pair(l);
            link_free(l);
        }
    }
}

static unsigned open_forward(struct conn *c, uint32_t id, const char *type, const char *port, const char *request_id)
{
    uint32_t number = 0;
    bool error = str_eq(type, "error");
    if ((!error && !str_eq(type, "data")) || !port || num_u32(port, &number) < 0 || number == 0 || number > UINT16_MAX) {
        return SPDY_PROTOCOL_ERROR;
    }
    drop_old_pairs(c);
    /* Old clients send no id, and open the error stream first. */
    CLEANUP_FREE char *own = request_id ? strdup(request_id) : str_printf("%u", error ? id : id - 2);
    if (!own) {
        return SPDY_INTERNAL;
    }
    struct link *l = find_pair(c, own);
    if (!l) {
        l = link_new(c);
        if (!l) {
            return SPDY_REFUSED_STREAM;
        }
        l->request_id = PTR_STEAL(own);
        l->port = (uint16_t)number;
    }
    if (l->ids[error ? LINK_ERROR : LINK_STDOUT] || l->port != number) {
        return SPDY_PROTOCOL_ERROR;
    }
    l->ids[error ? LINK_ERROR : LINK_STDOUT] = id;
    if (l->ids[LINK_ERROR] && l->ids[LINK_STDOUT]) {
        link_start(l);
    }
    return 0;
}

/* ---- what SPDY tells ----------------------------------------------------------------------------- */

static unsigned on_open(void *data, uint32_t id, const struct spdy_header *h, size_t n)
{
    struct conn *c = data;
    const char *type = header(h, n, "streamtype");
    if (c->failed || c->state >= CONN_CLOSING || !type) {
        return type ? SPDY_REFUSED_STREAM : SPDY_PROTOCOL_ERROR;
    }
    if (c->target.kind == STREAM_SESSION) {
        return open_session(c, id, type);
    }
    return open_forward(c, id, type, header(h, n, "port"), header(h, n, "requestid"));
}

static void on_data(void *data, uint32_t id, const void *bytes, size_t len, bool fin)
{
    struct conn *c = data;
    enum link_channel k;
    struct link *l = c->failed ? NULL : find_id(c, id, &k);
    if (!l) {
        return;
    }
    if (c->target.kind == STREAM_FORWARD) {
        if (k != LINK_ERROR) {
            link_input(l, LINK_STDIN, bytes, len, fin);
        }
    } else if (k == LINK_STDIN || (k == LINK_RESIZE && len > 0)) {
        link_input(l, k, bytes, len, fin);
    }
}

static void on_reset(void *data, uint32_t id)
{
    struct conn *c = data;
    enum link_channel k;
    struct link *l = c->failed ? NULL : find_id(c, id, &k);
    if (!l) {
        return;
    }
    l->ids[k] = 0;
    if (c->target.kind == STREAM_FORWARD) {
        /* A client that resets its data waits for the end of the errors. */
        spdy_send(c->spdy, l->ids[LINK_ERROR], NULL, 0, true);
        spdy_reset(c->spdy, l->ids[LINK_STDOUT], SPDY_CANCEL);
        link_gone(l);
    } else if (k == LINK_STDIN) {
        link_input(l, k, NULL, 0, true);
    }
}

const struct spdy_ops stream_spdy_ops = { on_open, on_data, on_reset };

void stream_spdy_flush(struct conn *c)
{
    if (c->proto == PROTO_WS_SPDY && c->tunnel.len > 0) {
        for (size_t at = 0; at < c->tunnel.len; at += STREAM_READ) {
            size_t n = c->tunnel.len - at < STREAM_READ ? c->tunnel.len - at : STREAM_READ;
            ws_send(c->ws, false, c->tunnel.data + at, n);
        }
        buf_done(&c->tunnel);
    }
}
