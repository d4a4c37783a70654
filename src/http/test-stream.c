/* http/test-stream.c: requests, SPDY, WebSocket and the stream server over socket pairs. */
#include "base/test.h"

#include "base/fd.h"
#include "http/http1.h"
#include "http/spdy-dictionary.h"
#include "http/spdy.h"
#include "http/stream-server.h"
#include "http/websocket.h"

#include <endian.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

/* ---- requests ------------------------------------------------------------------------------------ */

static void test_http1(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want; /* 1: good, 0: more is needed */
    } t[] = {
        { "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", 1 },
        { "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX:  y \r\n\r\nrest", 1 },
        { "GET /a HTTP/1.1\r\nHost: x\r\n", 0 },
        { "GET /a HTTP/1.1\r\n\r\n", -EINVAL },
        { "GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", -EINVAL },
        { "GET /a HTTP/1.0\r\nHost: x\r\n\r\n", -EINVAL },
        { "GET a HTTP/1.1\r\nHost: x\r\n\r\n", -EINVAL },
        { "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", -EINVAL },
        { "GET /a HTTP/1.1\r\nHost : x\r\n\r\n", -EINVAL },
        { "GET /a HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", -EINVAL },
        { "GET /a HTTP/1.1\r\nHost: x\nY: z\r\n\r\n", -EINVAL },
        { "GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", -EINVAL },
        { "GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", -EINVAL },
        { "GET /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", -EINVAL },
        { "\r\n\r\n", -EINVAL },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct http1_request q = { 0 };
        ssize_t r = http1_parse(t[i].text, strlen(t[i].text), &q, NULL);
        CHECK_EQ(r > 0 ? 1 : r, t[i].want);
        if (r > 0) {
            assert_string_equal(q.path, "/a");
            http1_request_done(&q);
        }
    }
    CLEANUP_BUF struct buf big = { 0 };
    buf_adds(&big, "GET / HTTP/1.1\r\n");
    while (big.len < HTTP1_HEAD_MAX) {
        buf_adds(&big, "a: b\r\n");
    }
    struct http1_request q;
    CHECK_EQ(http1_parse(big.data, big.len, &q, NULL), -EMSGSIZE);
    buf_adds(&big, "\r\n");
    CHECK_EQ(http1_parse(big.data, big.len, &q, NULL), -EMSGSIZE);
}

static void test_http1_tokens(void **state)
{
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive , Upgrade\r\nP: a\r\nP: b,, c\r\n\r\n";
    struct http1_request q = { 0 };
    char token[HTTP1_TOKEN_MAX];
    CLEANUP_BUF struct buf all = { 0 };
    assert_true(http1_parse(text, sizeof(text) - 1, &q, NULL) > 0);
    assert_true(http1_has(&q, "connection", "upgrade"));
    assert_false(http1_has(&q, "connection", "close"));
    assert_null(http1_get(&q, "p"));
    for (size_t at = 0; http1_next(&q, "p", &at, token);) {
        buf_addf(&all, "[%s]", token);
    }
    assert_string_equal(buf_str(&all), "[a][b][][c]");
    http1_request_done(&q);
}

static void test_websocket(void **state)
{
    (void)state;
    char accept[WS_ACCEPT_LEN + 1];
    CLEANUP_BUF struct buf b = { 0 };
    CHECK_EQ(ws_accept("dGhlIHNhbXBsZSBub25jZQ==", accept, NULL), 0);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    CHECK_EQ(ws_accept("dGhlIHNhbXBsZSBub25jZQ", accept, NULL), -EINVAL);
    CHECK_EQ(ws_accept(NULL, accept, NULL), -EINVAL);
    CHECK_EQ(ws_unbase64(&b, "aGk=", 4), 0);
    assert_string_equal(buf_str(&b), "hi");
    CHECK_EQ(ws_unbase64(&b, "aG", 2), -EINVAL);
    CHECK_EQ(ws_unbase64(&b, "a===", 4), -EINVAL);
    CHECK_EQ(ws_unbase64(&b, "!!!!", 4), -EINVAL);
}

/* ---- a client of SPDY ---------------------------------------------------------------------------- */

struct client {
    z_stream z;
    struct buf out;
};

static void client_init(struct client *c)
{
    *c = (struct client){ 0 };
    CHECK_EQ(deflateInit(&c->z, 6), Z_OK);
    CHECK_EQ(deflateSetDictionary(&c->z, (const Bytef *)spdy_dictionary, SPDY_DICTIONARY_LEN), Z_OK);
}

static void client_done(struct client *c)
{
    (void)deflateEnd(&c->z);
    buf_done(&c->out);
}

static void put32(struct buf *b, uint32_t v)
{
    v = htobe32(v);
    buf_add(b, &v, sizeof(v));
}

/* pairs: name, value, ..., NULL */
static void syn(struct client *c, uint32_t id, const char *const *pairs)
{
    CLEANUP_BUF struct buf plain = { 0 };
    char packed[1024];
    uint32_t n = 0;
    while (pairs[2 * n]) {
        n++;
    }
    put32(&plain, n);
    for (uint32_t i = 0; i < 2 * n; i++) {
        put32(&plain, (uint32_t)strlen(pairs[i]));
        buf_adds(&plain, pairs[i]);
    }
    c->z.next_in = (Bytef *)plain.data;
    c->z.avail_in = (uInt)plain.len;
    c->z.next_out = (Bytef *)packed;
    c->z.avail_out = sizeof(packed);
    CHECK_EQ(deflate(&c->z, Z_SYNC_FLUSH), Z_OK);
    size_t len = sizeof(packed) - c->z.avail_out;
    put32(&c->out, 0x80030001);
    put32(&c->out, (uint32_t)len + 10);
    put32(&c->out, id);
    put32(&c->out, 0);
    buf_add(&c->out, "\0\0", 2);
    buf_add(&c->out, packed, len);
}

static void put_data(struct buf *b, uint32_t id, const char *data, size_t len, bool fin)
{
    put32(b, id);
    put32(b, (fin ? 0x01000000u : 0) | (uint32_t)len);
    buf_add(b, data, len);
}

static void put_pair(struct buf *b, uint32_t type, uint32_t one, uint32_t two)
{
    put32(b, 0x80030000 | type);
    put32(b, 8);
    put32(b, one);
    put32(b, two);
}

/* What the session told. */
struct seen {
    struct buf text;
    unsigned refuse;
};

static unsigned on_open(void *data, uint32_t id, const struct spdy_header *h, size_t n)
{
    struct seen *s = data;
    buf_addf(&s->text, "open %u", id);
    for (size_t i = 0; i < n; i++) {
        buf_addf(&s->text, " %s=%s", h[i].name, h[i].value);
    }
    buf_adds(&s->text, ";");
    return s->refuse;
}

static void on_data(void *data, uint32_t id, const void *bytes, size_t len, bool fin)
{
    (void)bytes;
    buf_addf(&((struct seen *)data)->text, "data %u %zu%s;", id, len, fin ? " fin" : "");
}

static void on_reset(void *data, uint32_t id)
{
    buf_addf(&((struct seen *)data)->text, "reset %u;", id);
}

static const struct spdy_ops spdy_test_ops = { on_open, on_data, on_reset };

static void test_spdy(void **state)
{
    (void)state;
    static const char *const one[] = { "streamtype", "stdin", "port", "", NULL };
    struct seen seen = { 0 };
    struct client c;
    struct spdy *s = NULL;
    CLEANUP_BUF struct buf out = { 0 };
    client_init(&c);
    CHECK_EQ(spdy_new(&spdy_test_ops, &seen, &out, 2, &s, NULL), 0);
    syn(&c, 1, one);
    syn(&c, 3, one);
    syn(&c, 5, one); /* one too many */
    put_data(&c.out, 3, "hello", 5, false);
    put_data(&c.out, 3, "", 0, true);
    put_pair(&c.out, 3, 1, SPDY_CANCEL);
    /* Byte by byte: no frame may depend on how it is cut. */
    for (size_t i = 0; i < c.out.len; i++) {
        CHECK_EQ(spdy_input(s, c.out.data + i, 1, NULL), 0);
    }
    assert_string_equal(buf_str(&seen.text), "open 1 streamtype=stdin port=;open 3 streamtype=stdin port=;data 3 1;data 3 1;"
                                             "data 3 1;data 3 1;data 3 1;data 3 0 fin;reset 1;");
    buf_reset(&out);
    spdy_send(s, 3, "x", 1, true);
    assert_memory_equal(out.data, "\0\0\0\3\1\0\0\1x", 9);
    CHECK_EQ(out.len, 9);
    spdy_send(s, 3, "x", 1, false); /* it is closed */
    CHECK_EQ(out.len, 9);
    spdy_free(s);
    client_done(&c);
    buf_done(&seen.text);
}

static void test_spdy_windows(void **state)
{
    (void)state;
    static const char *const one[] = { "streamtype", "stdout", NULL };
    struct seen seen = { 0 };
    struct client c;
    struct spdy *s = NULL;
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_FREE char *big = calloc(1, 200000);
    client_init(&c);
    CHECK_EQ(spdy_new(&spdy_test_ops, &seen, &out, 8, &s, NULL), 0);
    syn(&c, 1, one);
    CHECK_EQ(spdy_input(s, c.out.data, c.out.len, NULL), 0);
    /* A peer that keeps no windows gets everything. */
    spdy_send(s, 1, big, 100000, false);
    CHECK_EQ(spdy_waiting(s, 1), 0);
    /* From its first update on it is taken at its word: of 64 KiB and this, 100000 are gone. */
    c.out.len = 0;
    put_pair(&c.out, 9, 1, 50000);
    put_pair(&c.out, 9, 0, 100000);
    CHECK_EQ(spdy_input(s, c.out.data, c.out.len, NULL), 0);
    spdy_send(s, 1, big, 20000, true);
    CHECK_EQ(spdy_waiting(s, 1), 100000 + 20000 - 65536 - 50000);
    CHECK_EQ(spdy_waiting_all(s), spdy_waiting(s, 1));
    c.out.len = 0;
    put_pair(&c.out, 9, 1, 5000);
    CHECK_EQ(spdy_input(s, c.out.data, c.out.len, NULL), 0);
    CHECK_EQ(spdy_waiting_all(s), 0);
    /* What it sends is acknowledged. */
    buf_reset(&out);
    c.out.len = 0;
    put_data(&c.out, 1, big, 40000, false);
    CHECK_EQ(spdy_input(s, c.out.data, c.out.len, NULL), 0);
    spdy_acknowledge(s);
    CHECK_EQ(out.len, 32);
    c.out.len = 0;
    put_pair(&c.out, 9, 0, 0x7fffffff);
    CHECK_EQ(spdy_input(s, c.out.data, c.out.len, NULL), -EPROTO);
    spdy_free(s);
    client_done(&c);
    buf_done(&seen.text);
}

static void test_spdy_broken(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } t[] = {
        { "\x80\x02\0\1\0\0\0\0", 8 },                 /* version */
        { "\x80\x03\0\1\0\xff\xff\xff", 8 },           /* too long */
        { "\x80\x03\0\1\0\0\0\4abcd", 12 },            /* short */
        { "\x80\x03\0\1\0\0\0\14\0\0\0\1\0\0\0\0\0\0xx", 20 }, /* not zlib */
        { "\0\0\0\7\0\0\0\1x", 9 },                    /* of no stream */
        { "\x80\x03\0\4\0\0\0\4\0\0\0\1", 12 },        /* SETTINGS without settings */
        { "\x80\x03\0\6\0\0\0\1x", 9 },                /* PING */
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct seen seen = { 0 };
        struct spdy *s = NULL;
        CLEANUP_BUF struct buf out = { 0 };
        CHECK_EQ(spdy_new(&spdy_test_ops, &seen, &out, 8, &s, NULL), 0);
        CHECK_EQ(spdy_input(s, t[i].bytes, t[i].len, NULL), -EPROTO);
        CHECK_EQ(out.len, 16); /* GOAWAY */
        CHECK_EQ(spdy_input(s, "x", 1, NULL), -EPROTO);
        spdy_free(s);
        buf_done(&seen.text);
    }
}

/* ---- the server ---------------------------------------------------------------------------------- */

struct owner {
    struct buf text;
    struct link *link;
    int targets, gone;
};

static int own_request(void *data, const char *path, struct stream_target *ret, struct err *e)
{
    struct owner *o = data;
    if (!str_eq(path, "/exec/1")) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "nothing there");
    }
    o->targets++;
    *ret = (struct stream_target){ .kind = STREAM_SESSION, .has_stdin = true, .has_stdout = true, .data = o };
    return 0;
}

static void own_target_free(void *data, void *target)
{
    (void)target;
    ((struct owner *)data)->targets--;
}

static void *own_start(void *data, void *target, struct link *l, uint16_t port)
{
    (void)target;
    (void)port;
    ((struct owner *)data)->link = l;
    return data;
}

static void own_input(void *peer, enum link_channel channel, const char *bytes, size_t len, bool end)
{
    buf_addf(&((struct owner *)peer)->text, "%d:%.*s%s;", channel, (int)len, bytes ? bytes : "", end ? "|" : "");
}

static void own_drained(void *peer)
{
    (void)peer;
}

static void own_gone(void *peer)
{
    ((struct owner *)peer)->gone++;
    ((struct owner *)peer)->link = NULL;
}

static const struct stream_ops own_ops = { own_request, own_target_free, own_start, own_input, own_drained, own_gone };

struct rig {
    struct owner owner;
    struct loop *loop;
    struct stream_server *server;
    int fd;
};

static void rig_init(struct rig *g, const char *request, size_t len)
{
    int pair[2];
    *g = (struct rig){ 0 };
    struct stream_server_options o = { .ops = &own_ops, .data = &g->owner };
    CHECK_EQ(loop_new(&g->loop, NULL), 0);
    CHECK_EQ(stream_server_new(g->loop, &o, &g->server, NULL), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    CHECK_EQ(stream_server_add(g->server, pair[0], NULL), 0);
    g->fd = pair[1];
    CHECK_EQ(fd_write_all(g->fd, request, len), 0);
}

static void rig_turn(struct rig *g)
{
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(loop_once(g->loop, 2, NULL), 0);
    }
}

static size_t rig_read(struct rig *g, char *to, size_t len)
{
    rig_turn(g);
    ssize_t n = recv(g->fd, to, len - 1, MSG_DONTWAIT);
    to[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static void rig_done(struct rig *g)
{
    fd_close(&g->fd);
    rig_turn(g);
    CHECK_EQ(stream_server_conns(g->server), 0);
    CHECK_EQ(g->owner.targets, 0);
    stream_server_free(g->server);
    loop_free(g->loop);
    buf_done(&g->owner.text);
}

static void test_refused(void **state)
{
    (void)state;
    static const char head[] = " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n";
    static const struct {
        const char *method, *headers, *want;
    } t[] = {
        { "GET /exec/1", "", "HTTP/1.1 400" },
        { "GET /exec/1", "Upgrade: h2c\r\n", "HTTP/1.1 400" },
        { "PUT /exec/1", "Upgrade: SPDY/3.1\r\n", "HTTP/1.1 405" },
        { "GET /exec/2", "Upgrade: SPDY/3.1\r\n", "HTTP/1.1 404" },
        { "GET /exec/1", "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9.channel.k8s.io\r\n", "HTTP/1.1 403" },
        { "GET /exec/1", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", "HTTP/1.1 400" },
        { "GET /exec/1", "Upgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
          "HTTP/1.1 400" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct rig g;
        char got[1024];
        CLEANUP_BUF struct buf b = { 0 };
        buf_addf(&b, "%s%s%s\r\n", t[i].method, head, t[i].headers);
        rig_init(&g, b.data, b.len);
        (void)rig_read(&g, got, sizeof(got));
        assert_memory_equal(got, t[i].want, strlen(t[i].want));
        rig_done(&g);
    }
}

static void test_spdy_session(void **state)
{
    (void)state;
    static const char request[] = "POST /exec/1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                                  "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
    static const char *const types[] = { "error", "stdin", "stdout" };
    struct rig g;
    struct client c;
    char got[2048];
    client_init(&c);
    rig_init(&g, request, sizeof(request) - 1);
    for (uint32_t i = 0; i < 3; i++) {
        syn(&c, 2 * i + 1, (const char *const[]){ "streamtype", types[i], NULL });
    }
    put_data(&c.out, 3, "abc", 3, true);
    CHECK_EQ(fd_write_all(g.fd, c.out.data, c.out.len), 0);
    assert_true(rig_read(&g, got, sizeof(got)) > 0);
    assert_non_null(strstr(got, "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"));
    assert_string_equal(buf_str(&g.owner.text), "0:abc|;");
    link_write(g.owner.link, LINK_STDOUT, "out", 3);
    link_write(g.owner.link, LINK_STDERR, "not asked for", 13);
    link_finish(g.owner.link, &(struct link_status){ "{}", NULL });
    size_t n = rig_read(&g, got, sizeof(got));
    static const char want[] = "\0\0\0\5\0\0\0\3out\0\0\0\5\1\0\0\0\0\0\0\1\1\0\0\2{}\x80\3\0\7\0\0\0\10\0\0\0\5\0\0\0\0";
    CHECK_EQ(n, sizeof(want) - 1);
    assert_memory_equal(got, want, sizeof(want) - 1);
    CHECK_EQ(recv(g.fd, got, 1, MSG_DONTWAIT), 0);
    CHECK_EQ(g.owner.gone, 0);
    rig_done(&g);
    client_done(&c);
}

static void test_ws_session(void **state)
{
    (void)state;
    static const char request[] = "GET /exec/1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                  "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
                                  "\x82\x83\0\0\0\0\0hi"          /* stdin */
                                  "\x89\x81\0\0\0\0p"              /* ping */
                                  "\x82\x82\0\0\0\0\xff\0";        /* stdin is closed */
    struct rig g;
    char got[2048];
    rig_init(&g, request, sizeof(request) - 1);
    size_t n = rig_read(&g, got, sizeof(got));
    assert_non_null(strstr(got, "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n"));
    assert_memory_equal(got + n - 6, "\x82\1\1\x8a\1p", 6);
    assert_string_equal(buf_str(&g.owner.text), "0:hi;0:|;");
    link_write(g.owner.link, LINK_STDOUT, "o", 1);
    link_finish(g.owner.link, &(struct link_status){ "{}", NULL });
    n = rig_read(&g, got, sizeof(got));
    CHECK_EQ(n, 4 + 5 + 4);
    assert_memory_equal(got, "\x82\2\1o\x82\3\3{}\x88\2\3\xe8", n);
    rig_done(&g);
}

static void test_client_gone(void **state)
{
    (void)state;
    static const char request[] = "GET /exec/1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    struct rig g;
    char got[1024];
    rig_init(&g, request, sizeof(request) - 1);
    (void)rig_read(&g, got, sizeof(got));
    assert_non_null(g.owner.link);
    link_hold(g.owner.link, true); /* nothing is read, and yet its end is seen */
    fd_close(&g.fd);
    rig_turn(&g);
    CHECK_EQ(g.owner.gone, 1);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http1),        cmocka_unit_test(test_http1_tokens), cmocka_unit_test(test_websocket),
        cmocka_unit_test(test_spdy),         cmocka_unit_test(test_spdy_windows), cmocka_unit_test(test_spdy_broken),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_spdy_session), cmocka_unit_test(test_ws_session),
        cmocka_unit_test(test_client_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
