/* http/test-grpc.c: codecs of gRPC, and a server on a thread of its own, driven by the real client and by raw bytes. */
#include "base/test.h"

#include "base/fd.h"
#include "http/grpc-client.h"
#include "http/grpc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void test_timeout(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int r;
        uint64_t ns;
    } t[] = {
        { "1S", 0, 1000000000 }, { "100m", 0, 100000000 }, { "5u", 0, 5000 },        { "7n", 0, 7 },
        { "2M", 0, 120000000000 }, { "1H", 0, 3600000000000 }, { "99999999H", 0, INT64_MAX }, { "", -EINVAL, 0 },
        { "S", -EINVAL, 0 }, { "1", -EINVAL, 0 }, { "123456789S", -EINVAL, 0 }, { "-1S", -EINVAL, 0 }, { "1s", -EINVAL, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        uint64_t ns = 0;
        CHECK_EQ(grpc_timeout_parse(t[i].in, strlen(t[i].in), &ns), t[i].r);
        CHECK_EQ(ns, t[i].ns);
    }
}

static void test_percent(void **state)
{
    (void)state;
    static const char *const t[][2] = {
        { "plain text", "plain text" }, { "100%", "100%25" }, { "a\nb", "a%0Ab" }, { "\xc3\xa4", "%C3%A4" }, { "", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        CLEANUP_BUF struct buf enc = { 0 };
        CLEANUP_BUF struct buf dec = { 0 };
        grpc_percent_encode(&enc, t[i][0], 100);
        assert_string_equal(buf_str(&enc), t[i][1]);
        grpc_percent_decode(&dec, buf_str(&enc), enc.len);
        assert_string_equal(buf_str(&dec), t[i][0]);
    }
    CLEANUP_BUF struct buf odd = { 0 };
    grpc_percent_decode(&odd, "%zz%4", 5);
    assert_string_equal(buf_str(&odd), "%zz%4");
    CLEANUP_BUF struct buf cut = { 0 };
    grpc_percent_encode(&cut, "aaaaaaaaaaaaaaaaaaaa", 8);
    assert_true(cut.len <= 8);
}

static void test_status(void **state)
{
    (void)state;
    CHECK_EQ(grpc_status_of(ERR_NOT_FOUND), GRPC_NOT_FOUND);
    CHECK_EQ(grpc_status_of(ERR_EXHAUSTED), GRPC_RESOURCE_EXHAUSTED);
    CHECK_EQ(grpc_status_of((enum err_kind)99), GRPC_UNKNOWN);
    assert_string_equal(grpc_status_name(GRPC_DEADLINE_EXCEEDED), "DeadlineExceeded");
}

/* ---- a server to call ----------------------------------------------------------------------- */

static int fn_echo(struct grpc_call *c, const uint8_t *msg, size_t len, void *data, struct err *e)
{
    (void)data;
    return grpc_send(c, msg, len, e);
}

static int fn_fail(struct grpc_call *c, const uint8_t *msg, size_t len, void *data, struct err *e)
{
    (void)c;
    (void)msg;
    (void)len;
    (void)data;
    return err_set(e, ENOENT, ERR_NOT_FOUND, "no such \"thing\": 100%%\n");
}

static int fn_slow(struct grpc_call *c, const uint8_t *msg, size_t len, void *data, struct err *e)
{
    (void)data;
    struct timespec t = { 0, 400000000 };
    nanosleep(&t, NULL);
    return grpc_send(c, msg, len, e);
}

static int fn_count(struct grpc_call *c, const uint8_t *msg, size_t len, void *data, struct err *e)
{
    (void)msg;
    (void)len;
    (void)data;
    char big[1000] = "x";
    int r = 0;
    for (int i = 0; i < 3000 && r == 0; i++) {
        r = grpc_send(c, big, sizeof(big), e);
    }
    return r;
}

static const struct grpc_method methods[] = {
    { "/t.S/Echo", fn_echo, false },
    { "/t.S/Fail", fn_fail, false },
    { "/t.S/Slow", fn_slow, false },
    { "/t.S/Count", fn_count, true },
};

struct fixture {
    struct loop *loop;
    struct grpc_server *server;
    pthread_t thread;
    int stop[2];
};

static void on_stop(struct loop_source *s, int fd, uint32_t events, void *data)
{
    (void)s;
    (void)fd;
    (void)events;
    loop_stop(data);
}

static void *serve(void *data)
{
    struct fixture *f = data;
    CHECK_EQ(loop_run(f->loop, NULL), 0);
    return NULL;
}

static void fixture_start(struct fixture *f, const struct grpc_limits *limits, int *fds, size_t n)
{
    struct err e = { 0 };
    struct loop_source *s = NULL;
    struct grpc_options o = { .methods = methods, .n_methods = ARRAY_LEN(methods) };
    if (limits) {
        o.limits = *limits;
    }
    CHECK_EQ(loop_new(&f->loop, &e), 0);
    CHECK_EQ(grpc_server_new(f->loop, &o, &f->server, &e), 0);
    CHECK_EQ(pipe2(f->stop, O_CLOEXEC), 0);
    CHECK_EQ(loop_add_fd(f->loop, f->stop[0], EPOLLIN, on_stop, f->loop, &s, &e), 0);
    for (size_t i = 0; i < n; i++) {
        int pair[2];
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        CHECK_EQ(grpc_server_add(f->server, pair[0], &e), 0);
        fds[i] = pair[1];
    }
    CHECK_EQ(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void fixture_end(struct fixture *f)
{
    fd_close(&f->stop[1]);
    pthread_join(f->thread, NULL);
    CHECK_EQ(grpc_server_stop(f->server, 5000), 0);
    grpc_server_free(f->server);
    loop_free(f->loop);
    fd_close(&f->stop[0]);
}

static int call(struct grpc_client *c, struct grpc_request q, struct grpc_reply *r)
{
    struct err e = { 0 };
    grpc_reply_done(r);
    int n = grpc_client_call(c, &q, r, &e);
    if (n < 0) {
        print_message("%s\n", e.text);
    }
    return n;
}

static void test_calls(void **state)
{
    (void)state;
    struct fixture f;
    int fd;
    struct grpc_client *c = NULL;
    struct grpc_reply r = { 0 };
    static const struct {
        struct grpc_request q;
        int status;
        const char *message;
    } t[] = {
        { { .path = "/t.S/Echo", .msg = "hello", .len = 5 }, GRPC_OK, NULL },
        { { .path = "/t.S/Echo" }, GRPC_OK, NULL },
        { { .path = "/t.S/Fail" }, GRPC_NOT_FOUND, "no such \"thing\": 100%\n" },
        { { .path = "/t.S/None" }, GRPC_UNIMPLEMENTED, "unknown service or method" },
        { { .path = "/t.S/Slow", .timeout_ms = 50 }, GRPC_DEADLINE_EXCEEDED, "deadline exceeded" },
        { { .path = "/t.S/Echo", .raw = "\1\0\0\0\0", .raw_len = 5 }, GRPC_UNIMPLEMENTED, NULL },
        { { .path = "/t.S/Echo", .raw = "\0\0\0\0\5ab", .raw_len = 7 }, GRPC_INTERNAL, "request ends within its message" },
        { { .path = "/t.S/Echo", .raw = "\0\0\0\0\1abc", .raw_len = 8 }, GRPC_INTERNAL, NULL },
        { { .path = "/t.S/Echo", .raw = "\0\xff\0\0\0", .raw_len = 5 }, GRPC_RESOURCE_EXHAUSTED, NULL },
        { { .path = "/t.S/Echo", .content_type = "text/html" }, GRPC_INTERNAL, NULL },
        { { .path = "/t.S/Count" }, GRPC_OK, NULL },
        { { .path = "/t.S/Echo", .msg = "again", .len = 5 }, GRPC_OK, NULL },
    };
    fixture_start(&f, NULL, &fd, 1);
    CHECK_EQ(grpc_client_new(fd, &c, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        CHECK_EQ(call(c, t[i].q, &r), 0);
        CHECK_EQ(r.status, t[i].status);
        if (t[i].message) {
            assert_string_equal(r.message, t[i].message);
        }
    }
    CHECK_EQ(r.body.len, 5);
    CHECK_EQ(call(c, (struct grpc_request){ .path = "/t.S/Count" }, &r), 0);
    CHECK_EQ(r.n_messages, 3000);
    grpc_reply_done(&r);
    grpc_client_free(c);
    fixture_end(&f);
}

static void test_big_message(void **state)
{
    (void)state;
    struct fixture f;
    int fd;
    struct grpc_client *c = NULL;
    struct grpc_reply r = { 0 };
    size_t len = 12 << 20;
    char *big = calloc(1, len);
    assert_non_null(big);
    fixture_start(&f, NULL, &fd, 1);
    CHECK_EQ(grpc_client_new(fd, &c, NULL), 0);
    CHECK_EQ(call(c, (struct grpc_request){ .path = "/t.S/Echo", .msg = big, .len = len }, &r), 0);
    CHECK_EQ(r.status, 0);
    CHECK_EQ(r.body.len, len);
    grpc_reply_done(&r);
    grpc_client_free(c);
    fixture_end(&f);
    free(big);
}

static void *slow_call(void *data)
{
    struct grpc_reply r = { 0 };
    CHECK_EQ(call(data, (struct grpc_request){ .path = "/t.S/Slow" }, &r), 0);
    CHECK_EQ(r.status, 0);
    grpc_reply_done(&r);
    return NULL;
}

/* With two threads: two slow calls, a third is refused, later all is well again. */
static void test_pool_limit(void **state)
{
    (void)state;
    struct fixture f;
    int fds[3];
    struct grpc_client *c[3];
    pthread_t t[2];
    struct grpc_reply r = { 0 };
    fixture_start(&f, &(struct grpc_limits){ .threads = 2 }, fds, 3);
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(grpc_client_new(fds[i], &c[i], NULL), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&t[i], NULL, slow_call, c[i]), 0);
    }
    struct timespec wait = { 0, 150000000 };
    nanosleep(&wait, NULL);
    CHECK_EQ(call(c[2], (struct grpc_request){ .path = "/t.S/Echo" }, &r), 0);
    CHECK_EQ(r.status, GRPC_RESOURCE_EXHAUSTED);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    CHECK_EQ(call(c[2], (struct grpc_request){ .path = "/t.S/Echo" }, &r), 0);
    CHECK_EQ(r.status, GRPC_OK);
    grpc_reply_done(&r);
    for (size_t i = 0; i < 3; i++) {
        grpc_client_free(c[i]);
    }
    fixture_end(&f);
}

/* Nonsense on one connection closes that one; another one is served on. */
static void test_nonsense(void **state)
{
    (void)state;
    struct fixture f;
    int fds[2];
    struct grpc_client *c = NULL;
    struct grpc_reply r = { 0 };
    char bytes[256];
    fixture_start(&f, NULL, fds, 2);
    CHECK_EQ(fd_write_all(fds[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27), 0);
    while (read(fds[0], bytes, sizeof(bytes)) > 0) {
    }
    fd_close(&fds[0]);
    CHECK_EQ(grpc_client_new(fds[1], &c, NULL), 0);
    CHECK_EQ(call(c, (struct grpc_request){ .path = "/t.S/Echo" }, &r), 0);
    CHECK_EQ(r.status, 0);
    grpc_reply_done(&r);
    grpc_client_free(c);
    fixture_end(&f);
}

static int end_it(void *data, const uint8_t *msg, size_t len)
{
    (void)msg;
    (void)len;
    struct timespec t = { 1, 800000000 };
    if (!*(bool *)data) {
        nanosleep(&t, NULL); /* takes nothing meanwhile */
    }
    *(bool *)data = true;
    return 0;
}

/* A reader that stops reading loses its stream; its thread is free again. */
static void test_slow_reader(void **state)
{
    (void)state;
    struct fixture f;
    int fds[2];
    bool slept = false;
    struct grpc_client *c[2];
    struct grpc_reply r = { 0 };
    fixture_start(&f, &(struct grpc_limits){ .stall_ms = 300, .unread = 64 << 10, .threads = 1 }, fds, 2);
    CHECK_EQ(setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int)), 0);
    CHECK_EQ(grpc_client_new(fds[0], &c[0], NULL), 0);
    CHECK_EQ(grpc_client_new(fds[1], &c[1], NULL), 0);
    (void)!grpc_client_call(c[0], &(struct grpc_request){ .path = "/t.S/Count", .fn = end_it, .data = &slept }, &r, NULL);
    assert_true(slept);
    assert_int_not_equal(r.status, 0);
    assert_true(r.n_messages < 3000);
    CHECK_EQ(call(c[1], (struct grpc_request){ .path = "/t.S/Echo" }, &r), 0);
    CHECK_EQ(r.status, 0);
    grpc_reply_done(&r);
    grpc_client_free(c[0]);
    grpc_client_free(c[1]);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeout),    cmocka_unit_test(test_percent),    cmocka_unit_test(test_status),
        cmocka_unit_test(test_calls),      cmocka_unit_test(test_big_message), cmocka_unit_test(test_pool_limit),
        cmocka_unit_test(test_nonsense),    cmocka_unit_test(test_slow_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
