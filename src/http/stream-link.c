/* http/stream-link.c: links: what the owner writes goes to the right stream or channel, and its end ends those. */
#include "http/stream-internal.h"

struct link *link_new(struct conn *c)
{
    struct link *l = c->n_links < c->server->limits.streams ? calloc(1, sizeof(*l)) : NULL;
    if (l) {
        l->conn = c;
        l->next = c->links;
        c->links = l;
        c->n_links++;
        l->since = stream_now_ns();
    }
    return l;
}

void link_free(struct link *l)
{
    struct conn *c = l->conn;
    struct link **at = &c->links;
    while (*at != l) {
        at = &(*at)->next;
    }
    *at = l->next;
    c->n_links--;
    c->n_held -= l->held;
    free(l->request_id);
    free(l);
}

void link_start(struct link *l)
{
    struct conn *c = l->conn;
    l->peer = c->server->ops->start(c->server->data, c->target.data, l, l->port);
    if (!l->peer) {
        conn_fail(c);
    } else if (l->ended_early) {
        link_input(l, LINK_STDIN, NULL, 0, true);
    }
}

void link_input(struct link *l, enum link_channel channel, const char *data, size_t len, bool end)
{
    if (!l->peer) {
        /* Closing a half before the other streams are there is fine; data has nowhere to go yet. */
        l->ended_early |= channel == LINK_STDIN && end;
        if (len > 0) {
            conn_fail(l->conn);
        }
    } else if (!(channel == LINK_STDIN && l->in_ended)) {
        l->in_ended |= channel == LINK_STDIN && end;
        l->conn->server->ops->input(l->peer, channel, data, len, end);
    }
}

void link_gone(struct link *l)
{
    struct stream_server *s = l->conn->server;
    void *peer = l->peer;
    link_free(l);
    if (peer) {
        s->ops->gone(peer);
    }
}

static void put(struct link *l, enum link_channel channel, const void *data, size_t len, bool end)
{
    struct conn *c = l->conn;
    if (c->spdy) {
        if (l->ids[channel]) {
            spdy_send(c->spdy, l->ids[channel], data, len, end);
        }
    } else if (c->ws && len > 0) {
        /* A forwarded port has two channels: its data and its errors. */
        bool forward = c->target.kind == STREAM_FORWARD;
        stream_ws_write(c, forward ? l->first + (channel == LINK_ERROR) : (unsigned)channel, data, len);
    }
}

void link_write(struct link *l, enum link_channel channel, const void *data, size_t len)
{
    const struct stream_target *t = &l->conn->target;
    bool wanted = t->kind == STREAM_FORWARD || (channel == LINK_STDOUT ? t->has_stdout : t->has_stderr);
    if (wanted && len > 0) {
        put(l, channel, data, len, false);
        conn_flush(l->conn);
    }
}

bool link_end(struct link *l, enum link_channel channel)
{
    put(l, channel, NULL, 0, true);
    conn_flush(l->conn);
    return l->conn->spdy;
}

bool link_full(struct link *l)
{
    struct conn *c = l->conn;
    size_t waiting = 0;
    if (c->spdy) {
        waiting = spdy_waiting(c->spdy, l->ids[LINK_STDOUT]);
        size_t errors = spdy_waiting(c->spdy, l->ids[LINK_STDERR]);
        waiting = waiting > errors ? waiting : errors;
    }
    l->full = c->out.len > (l->full ? STREAM_OUT_LOW : STREAM_OUT_HIGH) || waiting > STREAM_OUT_HIGH;
    return l->full;
}

void link_hold(struct link *l, bool hold)
{
    struct conn *c = l->conn;
    if (l->held != hold) {
        l->held = hold;
        c->n_held += hold ? 1 : (size_t)-1;
        if (!hold && c->n_held == 0 && c->spdy) {
            spdy_acknowledge(c->spdy);
        }
        conn_flush(c);
    }
}

void link_finish(struct link *l, const struct link_status *status)
{
    struct conn *c = l->conn;
    bool json = c->version >= 4 && c->target.kind == STREAM_SESSION;
    const char *text = json ? status->json : status->text;
    put(l, LINK_STDOUT, NULL, 0, true);
    put(l, LINK_STDERR, NULL, 0, true);
    put(l, LINK_ERROR, text, text ? strlen(text) : 0, true);
    link_free(l);
    if (c->target.kind == STREAM_SESSION) {
        if (c->spdy) {
            spdy_goaway(c->spdy, 0);
        } else {
            ws_close(c->ws, 1000);
        }
        conn_close(c);
    } else if (!c->spdy && !c->links) {
        ws_close(c->ws, 1000);
        conn_close(c);
    }
    conn_flush(c);
}
