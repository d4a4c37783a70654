/*
 * http/spdy.c: see spdy.h. Control frames are collected whole (they are short), data frames are passed on as they come. Streams are
 * in order of their ids, which only grow.
 */
#include "http/spdy.h"

#include "http/spdy-headers.h"

#include <endian.h>
#include <errno.h>

enum { HEAD = 8, FLAG_FIN = 1, VERSION = 3, ACK_AT = SPDY_WINDOW / 2, DATA_MAX = 16 << 10 };
enum frame { SYN_STREAM = 1, SYN_REPLY, RST_STREAM, SETTINGS, PING = 6, GOAWAY, HEADERS, WINDOW_UPDATE };
enum { SETTINGS_INITIAL_WINDOW = 7 };

static const uint32_t id_mask = 0x7fffffff;

struct stream {
    uint32_t id;
    int64_t window;  /* what the peer takes; may be negative after SETTINGS */
    size_t unacked;  /* received, and no room given back yet */
    bool in_closed, out_closed, fin_waits;
    struct buf waiting;
};

struct spdy {
    const struct spdy_ops *ops;
    void *data;
    struct buf *out;
    struct spdy_headers headers;
    struct stream **streams;
    size_t n, cap, max;
    uint32_t last_id; /* highest that the peer has opened */
    bool windows;     /* the peer keeps them */
    int64_t window, initial;
    size_t unacked, waiting;
    bool broken;
    /* the frame that is arriving */
    struct buf in;
    uint32_t data_id;
    size_t data_left;
    bool in_data, data_fin;
};

int spdy_new(const struct spdy_ops *ops, void *data, struct buf *out, unsigned max_streams, struct spdy **ret, struct err *e)
{
    struct spdy *s = calloc(1, sizeof(*s));
    if (!s) {
        return err_oom(e);
    }
    *s = (struct spdy){ .ops = ops, .data = data, .out = out, .max = max_streams, .window = SPDY_WINDOW, .initial = SPDY_WINDOW };
    int r = spdy_headers_init(&s->headers, e);
    if (r < 0) {
        free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void spdy_free(struct spdy *s)
{
    if (s) {
        for (size_t i = 0; i < s->n; i++) {
            buf_done(&s->streams[i]->waiting);
            free(s->streams[i]);
        }
        free(s->streams);
        spdy_headers_done(&s->headers);
        buf_done(&s->in);
        free(s);
    }
}

/* ---- streams ---------------------------------------------------------------------------------- */

static size_t find_index(const struct spdy *s, uint32_t id)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->streams[mid]->id < id) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static struct stream *find(const struct spdy *s, uint32_t id)
{
    size_t i = find_index(s, id);
    return i < s->n && s->streams[i]->id == id ? s->streams[i] : NULL;
}

static void forget(struct spdy *s, uint32_t id)
{
    size_t i = find_index(s, id);
    if (i < s->n && s->streams[i]->id == id) {
        struct stream *st = s->streams[i];
        s->waiting -= st->waiting.len;
        buf_done(&st->waiting);
        free(st);
        memmove(&s->streams[i], &s->streams[i + 1], (s->n - i - 1) * sizeof(*s->streams));
        s->n--;
    }
}

static void forget_closed(struct spdy *s, struct stream *st)
{
    if (st->in_closed && st->out_closed) {
        forget(s, st->id);
    }
}

static struct stream *add(struct spdy *s, uint32_t id, bool in_closed)
{
    struct stream *st = calloc(1, sizeof(*st));
    if (!st || array_grow(&s->streams, &s->cap, s->n + 1, sizeof(*s->streams)) < 0) {
        free(st);
        return NULL;
    }
    *st = (struct stream){ .id = id, .window = s->initial, .in_closed = in_closed };
    s->streams[s->n++] = st;
    return st;
}

/* ---- sending ---------------------------------------------------------------------------------- */

static void put_u32(struct buf *out, uint32_t v)
{
    v = htobe32(v);
    buf_add(out, &v, sizeof(v));
}

static void put_control(struct buf *out, enum frame type, size_t len)
{
    put_u32(out, 0x80000000u | (uint32_t)VERSION << 16 | (uint32_t)type);
    put_u32(out, (uint32_t)len);
}

static void put_pair(struct spdy *s, enum frame type, uint32_t a, uint32_t b)
{
    put_control(s->out, type, 8);
    put_u32(s->out, a);
    put_u32(s->out, b);
}

static void put_data(struct spdy *s, uint32_t id, const void *data, size_t len, bool fin)
{
    put_u32(s->out, id);
    put_u32(s->out, (fin ? (uint32_t)FLAG_FIN << 24 : 0) | (uint32_t)len);
    buf_add(s->out, data, len);
}

static void put_reply(struct spdy *s, uint32_t id)
{
    CLEANUP_BUF struct buf block = { 0 };
    spdy_headers_write_none(&s->headers, &block);
    put_control(s->out, SYN_REPLY, 4 + block.len);
    put_u32(s->out, id);
    buf_add(s->out, block.data, block.len);
}

/* Sends what the windows allow. Returns how much. */
static size_t send_some(struct spdy *s, struct stream *st, const char *data, size_t len, bool fin)
{
    size_t sent = 0;
    do {
        int64_t room = st->window < s->window ? st->window : s->window;
        size_t n = len - sent < DATA_MAX ? len - sent : DATA_MAX;
        if (s->windows && n > 0 && room <= 0) {
            return sent;
        }
        if (s->windows && (int64_t)n > room) {
            n = (size_t)room;
        }
        put_data(s, st->id, data ? data + sent : NULL, n, fin && sent + n == len);
        st->window -= (int64_t)n;
        s->window -= (int64_t)n;
        sent += n;
    } while (sent < len);
    st->out_closed |= fin;
    return sent;
}

void spdy_send(struct spdy *s, uint32_t id, const void *data, size_t len, bool fin)
{
    struct stream *st = find(s, id);
    if (!st || st->out_closed || st->fin_waits || s->broken || (len == 0 && !fin)) {
        return;
    }
    size_t sent = 0;
    if (st->waiting.len == 0) {
        sent = send_some(s, st, data, len, fin);
    }
    if (!st->out_closed && (sent < len || fin)) {
        buf_add(&st->waiting, (const char *)data + sent, len - sent);
        if (buf_failed(&st->waiting)) {
            s->out->failed = true;
            return;
        }
        s->waiting += len - sent;
        st->fin_waits = fin;
    }
    forget_closed(s, st);
}

static void send_waiting(struct spdy *s)
{
    /* From the end: a stream that is done leaves the list. */
    for (size_t i = s->n; i-- > 0 && s->waiting > 0;) {
        struct stream *st = s->streams[i];
        if (st->waiting.len == 0) {
            continue;
        }
        size_t sent = send_some(s, st, st->waiting.data, st->waiting.len, st->fin_waits);
        st->out_closed = st->fin_waits && sent == st->waiting.len;
        buf_consume(&st->waiting, sent);
        s->waiting -= sent;
        forget_closed(s, st);
    }
}

size_t spdy_waiting(const struct spdy *s, uint32_t id)
{
    const struct stream *st = find(s, id);
    return st ? st->waiting.len : 0;
}

size_t spdy_waiting_all(const struct spdy *s)
{
    return s->waiting;
}

void spdy_acknowledge(struct spdy *s)
{
    for (size_t i = 0; i < s->n && s->unacked > 0; i++) {
        struct stream *st = s->streams[i];
        if (st->unacked >= ACK_AT && !st->in_closed) {
            put_pair(s, WINDOW_UPDATE, st->id, (uint32_t)st->unacked);
            st->unacked = 0;
        }
    }
    if (s->unacked >= ACK_AT) {
        put_pair(s, WINDOW_UPDATE, 0, (uint32_t)s->unacked);
        s->unacked = 0;
    }
}

void spdy_reset(struct spdy *s, uint32_t id, enum spdy_reset why)
{
    if (find(s, id)) {
        put_pair(s, RST_STREAM, id, why);
        forget(s, id);
    }
}

void spdy_goaway(struct spdy *s, uint32_t status)
{
    put_pair(s, GOAWAY, s->last_id, status);
}

/* ---- receiving -------------------------------------------------------------------------------- */

static uint32_t get_u32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

static int broken(struct spdy *s, struct err *e, const char *what)
{
    s->broken = true;
    spdy_goaway(s, 1);
    return err_set(e, EPROTO, ERR_INVALID, "SPDY: %s", what);
}

/* p: behind the frame's head. */
static int on_syn_stream(struct spdy *s, const char *p, size_t len, bool fin, struct err *e)
{
    struct spdy_header h[SPDY_HEADERS_MAX];
    if (len < 10) {
        return broken(s, e, "short SYN_STREAM");
    }
    uint32_t id = get_u32(p) & id_mask;
    ssize_t n = spdy_headers_read(&s->headers, p + 10, len - 10, h, e);
    if (n < 0) {
        return broken(s, NULL, "headers");
    }
    if (id % 2 == 0 || id <= s->last_id) {
        return broken(s, e, "a stream's number is out of order");
    }
    s->last_id = id;
    struct stream *st = s->n < s->max ? add(s, id, fin) : NULL;
    if (!st) {
        put_pair(s, RST_STREAM, id, SPDY_REFUSED_STREAM);
        return 0;
    }
    /* The reply goes first: accepting may send data at once. */
    put_reply(s, id);
    unsigned why = s->ops->open(s->data, id, h, (size_t)n);
    if (why) {
        spdy_reset(s, id, (enum spdy_reset)why);
    } else if (fin) {
        s->ops->data(s->data, id, NULL, 0, true);
    }
    return 0;
}

static int on_settings(struct spdy *s, const char *p, size_t len, struct err *e)
{
    uint32_t n = len >= 4 ? get_u32(p) : 0;
    if (len < 4 || (len - 4) / 8 != n || (len - 4) % 8 != 0) {
        return broken(s, e, "malformed SETTINGS");
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t key = get_u32(p + 4 + 8 * i) & 0xffffff, value = get_u32(p + 8 + 8 * i);
        if (key != SETTINGS_INITIAL_WINDOW || value > id_mask) {
            continue;
        }
        s->windows = true;
        for (size_t k = 0; k < s->n; k++) {
            s->streams[k]->window += (int64_t)value - s->initial;
        }
        s->initial = value;
    }
    send_waiting(s);
    return 0;
}

static int on_window(struct spdy *s, const char *p, struct err *e)
{
    uint32_t id = get_u32(p) & id_mask, delta = get_u32(p + 4) & id_mask;
    struct stream *st = id ? find(s, id) : NULL;
    int64_t *window = id == 0 ? &s->window : st ? &st->window : NULL;
    s->windows = true;
    if (!window) {
        return 0;
    }
    *window += delta;
    if (*window > (int64_t)id_mask) {
        return broken(s, e, "a window grows beyond its limit");
    }
    send_waiting(s);
    return 0;
}

static void on_reset(struct spdy *s, uint32_t id)
{
    if (find(s, id)) {
        forget(s, id);
        s->ops->reset(s->data, id);
    }
}

/* SYN_REPLY and HEADERS say nothing that matters here, but belong to the compressed stream. */
static int on_other_headers(struct spdy *s, const char *p, size_t len, struct err *e)
{
    struct spdy_header h[SPDY_HEADERS_MAX];
    if (len < 4 || spdy_headers_read(&s->headers, p + 4, len - 4, h, e) < 0) {
        return broken(s, len < 4 ? e : NULL, "short headers");
    }
    return 0;
}

static int on_control(struct spdy *s, const char *frame, size_t len, struct err *e)
{
    const char *p = frame + HEAD;
    uint16_t type = (uint16_t)((uint8_t)frame[2] << 8 | (uint8_t)frame[3]);
    size_t fixed = type == PING ? 4 : type == RST_STREAM || type == GOAWAY || type == WINDOW_UPDATE ? 8 : len;
    if (((uint8_t)frame[0] << 8 | (uint8_t)frame[1]) != (0x8000 | VERSION)) {
        return broken(s, e, "another version");
    }
    if (len != fixed) {
        return broken(s, e, "a frame of wrong length");
    }
    switch (type) {
    case SYN_STREAM:
        return on_syn_stream(s, p, len, (uint8_t)frame[4] & FLAG_FIN, e);
    case SYN_REPLY:
    case HEADERS:
        return on_other_headers(s, p, len, e);
    case RST_STREAM:
        on_reset(s, get_u32(p) & id_mask);
        return 0;
    case SETTINGS:
        return on_settings(s, p, len, e);
    case PING:
        /* Ours would be even; we send none. */
        if (get_u32(p) % 2 == 1) {
            put_control(s->out, PING, 4);
            put_u32(s->out, get_u32(p));
        }
        return 0;
    case WINDOW_UPDATE:
        return on_window(s, p, e);
    default:
        return 0;
    }
}

static void on_data(struct spdy *s, const char *p, size_t len, bool fin)
{
    struct stream *st = find(s, s->data_id);
    s->unacked += len;
    if (!st || st->in_closed) {
        return;
    }
    st->unacked += len;
    st->in_closed = fin;
    s->ops->data(s->data, s->data_id, p, len, fin);
    st = fin ? find(s, s->data_id) : NULL;
    if (st) {
        forget_closed(s, st);
    }
}

/* Takes bytes of the data frame that is arriving. Returns how many. */
static size_t take_data(struct spdy *s, const char *p, size_t len)
{
    size_t n = len < s->data_left ? len : s->data_left;
    s->data_left -= n;
    s->in_data = s->data_left > 0;
    if (n > 0 || s->data_fin) {
        on_data(s, p, n, s->data_fin && s->data_left == 0);
    }
    return n;
}

/* A whole head is there: a data frame begins, or a control frame's length is known. Returns that length. */
static int on_head(struct spdy *s, size_t *ret_len, struct err *e)
{
    size_t len = get_u32(s->in.data + 4) & 0xffffff;
    if (!((uint8_t)s->in.data[0] & 0x80)) {
        s->data_id = get_u32(s->in.data);
        s->data_left = len;
        s->data_fin = (uint8_t)s->in.data[4] & FLAG_FIN;
        s->in_data = true;
        if (s->data_id == 0 || s->data_id > s->last_id) {
            return broken(s, e, "data of a stream that was never opened");
        }
        *ret_len = 0;
        return 0;
    }
    *ret_len = len;
    return len > SPDY_CONTROL_MAX ? broken(s, e, "a control frame is too long") : 0;
}

/* Collects a head or a control frame. Returns how much was taken, or < 0. */
static ssize_t take_frame(struct spdy *s, const char *p, size_t len, struct err *e)
{
    size_t want = HEAD, body = 0, n;
    if (s->in.len >= HEAD) {
        want = HEAD + (get_u32(s->in.data + 4) & 0xffffff);
    }
    n = len < want - s->in.len ? len : want - s->in.len;
    buf_add(&s->in, p, n);
    if (buf_failed(&s->in)) {
        return err_oom(e);
    }
    if (s->in.len < want) {
        return (ssize_t)n;
    }
    int r = want == HEAD ? on_head(s, &body, e) : 0;
    if (r < 0) {
        return r;
    }
    if (s->in_data) {
        buf_reset(&s->in);
        return (ssize_t)n;
    }
    if (s->in.len < HEAD + (want == HEAD ? body : want - HEAD)) {
        return (ssize_t)n;
    }
    r = on_control(s, s->in.data, s->in.len - HEAD, e);
    buf_reset(&s->in);
    return r < 0 ? r : (ssize_t)n;
}

int spdy_input(struct spdy *s, const void *data, size_t len, struct err *e)
{
    const char *p = data, *end = p + len;
    while (p < end && !s->broken) {
        ssize_t n = s->in_data ? (ssize_t)take_data(s, p, (size_t)(end - p)) : take_frame(s, p, (size_t)(end - p), e);
        if (n < 0) {
            s->broken = true;
            return (int)n;
        }
        p += n;
        if (s->in_data && s->data_left == 0) {
            (void)take_data(s, p, 0);
        }
    }
    return s->broken ? err_set(e, EPROTO, ERR_INVALID, "SPDY: the session has ended") : 0;
}
