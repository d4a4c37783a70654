/* ipc/test-ipc.c: messages, framing and the status file: there and back, and refused when malformed. */
#include "base/test.h"

#include "base/fd.h"
#include "ipc/proto.h"
#include "ipc/status.h"
#include "ipc/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static char *str(const char *s)
{
    return (char *)(uintptr_t)s;
}

static void test_round_trip(void **state)
{
    (void)state;
    char *lower[] = { str("/a"), str(""), str("/c"), NULL };
    struct mon_create c = { .id = str("abc"), .bundle = str("/b"), .lower = lower, .tty = true, .rows = 24,
                            .log_max_size = UINT64_MAX, .log_format = MON_LOG_JSON }, d;
    struct mon_header h = { .major = 1, .minor = 0, .type = MON_CREATE, .flags = 0, .seq = 77 }, g;
    struct err e = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    int fds[MON_FDS_MAX];
    size_t n_fds = 9;
    CHECK_EQ(mon_encode(&h, &mon_create_type, &c, &b, fds, &n_fds, &e), 0);
    CHECK_EQ(n_fds, 0);
    CHECK_EQ(mon_decode_header(b.data, b.len, &g, &e), 0);
    CHECK_EQ(g.type, MON_CREATE);
    CHECK_EQ(g.seq, 77);
    CHECK_EQ(mon_decode(&mon_create_type, b.data, b.len, NULL, 0, &d, &e), 0);
    assert_string_equal(d.id, "abc");
    CHECK_EQ(strv_len(d.lower), 3);
    assert_string_equal(d.lower[1], "");
    assert_string_equal(d.lower[2], "/c");
    CHECK_EQ(d.tty, true);
    CHECK_EQ(d.stdin_open, false);
    CHECK_EQ(d.log_max_size, UINT64_MAX);
    assert_null(d.upper);
    mon_struct_done(&mon_create_type, &d);
    /* Cut anywhere it is refused, and nothing leaks. */
    for (size_t n = 0; n < b.len; n++) {
        CHECK_EQ(mon_decode_header(b.data, n, &g, &e), -EPROTO);
        int r = mon_decode(&mon_create_type, b.data, n, NULL, 0, &d, &e);
        mon_struct_done(&mon_create_type, &d);
        (void)r;
    }
}

static void test_negative_and_fds(void **state)
{
    (void)state;
    struct mon_exec_reply x, y;
    struct mon_header h = { .major = 1, .type = MON_EXEC, .flags = MON_REPLY };
    struct err e = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    int fds[MON_FDS_MAX];
    size_t n_fds;
    mon_struct_init(&mon_exec_reply_type, &x);
    CHECK_EQ(x.stream_fd, -1);
    x.exit_code = -1;
    x.out = (struct mon_bytes){ str("a\0b"), 3 };
    x.out_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(mon_encode(&h, &mon_exec_reply_type, &x, &b, fds, &n_fds, &e), 0);
    CHECK_EQ(n_fds, 1);
    CHECK_EQ(mon_decode(&mon_exec_reply_type, b.data, b.len, fds, n_fds, &y, &e), 0);
    CHECK_EQ(y.exit_code, -1);
    CHECK_EQ(y.out.len, 3);
    CHECK_EQ(y.out_fd, x.out_fd);
    CHECK_EQ(y.stream_fd, -1);
    CHECK_EQ(fds[0], -1);
    mon_struct_done(&mon_exec_reply_type, &y);
    /* A field that names a descriptor that did not come. */
    CHECK_EQ(mon_decode(&mon_exec_reply_type, b.data, b.len, fds, 0, &y, &e), -EPROTO);
}

/* Appends one field by hand. */
static void field(struct buf *b, uint16_t tag, const void *v, uint32_t len)
{
    uint16_t head[2] = { tag, 0 };
    buf_add(b, head, 4);
    buf_add(b, &len, 4);
    buf_add(b, v, len);
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        uint16_t tag;
        const char *v;
        uint32_t len;
        int want;
    } t[] = {
        { MON_T_ID, "x", 1, -EPROTO },                                    /* signal is missing */
        { MON_T_SIGNAL, "\1\0\0\0", 4, -EPROTO },                         /* a number has 8 bytes */
        { MON_T_SIGNAL, "\0\0\0\0\1\0\0\0", 8, -EPROTO },                 /* beyond 32 bits */
        { MON_T_ID, "a\0b", 3, -EPROTO },                                 /* NUL in a string */
        { MON_T_ALL, "\2\0\0\0\0\0\0\0", 8, -EPROTO },                    /* neither true nor false */
        { 60000, "whatever", 8, -EPROTO },                                /* unknown: skipped, but then all is missing */
    };
    struct err e = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        CLEANUP_BUF struct buf b = { 0 };
        struct mon_kill k;
        buf_add(&b, "01234567890123456789", MON_HEADER_LEN);
        field(&b, t[i].tag, t[i].v, t[i].len);
        CHECK_EQ(mon_decode(&mon_kill_type, b.data, b.len, NULL, 0, &k, &e), t[i].want);
    }
    CLEANUP_BUF struct buf b = { 0 };
    struct mon_kill k;
    buf_add(&b, "01234567890123456789", MON_HEADER_LEN);
    field(&b, 60000, "new", 3);
    field(&b, MON_T_ID, "x", 1);
    field(&b, MON_T_SIGNAL, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    CHECK_EQ(mon_decode(&mon_kill_type, b.data, b.len, NULL, 0, &k, &e), 0);
    CHECK_EQ(k.signal, -1);
    mon_struct_done(&mon_kill_type, &k);
}

static void test_header(void **state)
{
    (void)state;
    struct mon_header h = { .major = 2, .type = MON_HELLO }, g;
    struct err e = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    int fds[MON_FDS_MAX];
    size_t n;
    CHECK_EQ(mon_encode(&h, NULL, NULL, &b, fds, &n, &e), 0);
    CHECK_EQ(mon_decode_header(b.data, b.len, &g, &e), -EPROTO);
    CHECK_EQ(e.kind, ERR_UNSUPPORTED);
    b.data[0] = 'x';
    CHECK_EQ(mon_decode_header(b.data, b.len, &g, &e), -EPROTO);
    CHECK_EQ(e.kind, ERR_INVALID);
    /* A required number is told even if it is 0. */
    CLEANUP_BUF struct buf hello = { 0 };
    struct mon_hello say = { .major = 1, .minor = 0 }, heard;
    h.major = 1;
    CHECK_EQ(mon_encode(&h, &mon_hello_type, &say, &hello, fds, &n, &e), 0);
    CHECK_EQ(mon_decode(&mon_hello_type, hello.data, hello.len, NULL, 0, &heard, &e), 0);
    mon_struct_done(&mon_hello_type, &heard);
    /* Too long to be sent. */
    CLEANUP_BUF struct buf big = { 0 }, out = { 0 };
    buf_reserve(&big, MON_MESSAGE_MAX);
    memset(big.data, 'x', MON_MESSAGE_MAX);
    struct mon_update u = { .id = str("a"), .resources = { big.data, MON_MESSAGE_MAX } };
    CHECK_EQ(mon_encode(&h, &mon_update_type, &u, &out, fds, &n, &e), -EMSGSIZE);
}

static void test_stream(void **state)
{
    (void)state;
    int s[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    CLEANUP_BUF struct buf big = { 0 };
    buf_reserve(&big, 100000);
    memset(big.data, 'y', 100000);
    CHECK_EQ(stream_write(s[0], STREAM_STDOUT, "hello", 5), 0);
    CHECK_EQ(stream_write(s[0], STREAM_STDERR, big.data, 100000), 0);
    CHECK_EQ(stream_write_resize(s[0], 24, 80), 0);
    CHECK_EQ(stream_write(s[0], STREAM_EXIT, "\7\0\0\0", 4), 0);
    close(s[0]);
    struct stream_reader r = { 0 };
    struct stream_frame f;
    CHECK_EQ(stream_read(&r, s[1], &f), 1);
    CHECK_EQ(f.type, STREAM_STDOUT);
    CHECK_EQ(f.len, 5);
    CHECK_EQ(stream_read(&r, s[1], &f), 1);
    CHECK_EQ(f.len, STREAM_PAYLOAD_MAX);
    CHECK_EQ(stream_read(&r, s[1], &f), 1);
    CHECK_EQ(f.len, 100000 - STREAM_PAYLOAD_MAX);
    CHECK_EQ(f.data[f.len - 1], 'y');
    CHECK_EQ(stream_read(&r, s[1], &f), 1);
    CHECK_EQ(f.type, STREAM_RESIZE);
    int32_t code = 0;
    CHECK_EQ(stream_exit_code(&f, &code), -EPROTO);
    CHECK_EQ(stream_read(&r, s[1], &f), 1);
    CHECK_EQ(stream_exit_code(&f, &code), 0);
    CHECK_EQ(code, 7);
    CHECK_EQ(stream_read(&r, s[1], &f), 0);
    stream_reader_done(&r);
    close(s[1]);
    buf_add(&r.in, "\1\0\0\0\xff\xff\xff\x7f", 8);
    CHECK_EQ(stream_next(&r, &f), -EPROTO);
    stream_reader_done(&r);
}

static void test_status(void **state)
{
    (void)state;
    struct mon_status s = { .state = MON_STATE_EXITED, .pid = 42, .start_time = 1234567890123, .created_ns = 1, .started_ns = 2,
                            .exited_ns = INT64_MAX, .exit_code = 137, .exit_signal = 9, .oom_killed = true, .lost_lines = 5,
                            .reason = "a\nb" }, t;
    struct err e = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    mon_status_format(&s, &b);
    CHECK_EQ(mon_status_parse(b.data, b.len, &t, &e), 0);
    CHECK_EQ(t.state, MON_STATE_EXITED);
    CHECK_EQ(t.start_time, s.start_time);
    CHECK_EQ(t.exited_ns, INT64_MAX);
    CHECK_EQ(t.oom_killed, true);
    assert_string_equal(t.reason, "a");
    CHECK_EQ(mon_status_alive(&t), false);
    for (size_t n = 0; n + 1 < b.len; n++) { /* cut: never taken for whole lines */
        if (n == 0 || b.data[n - 1] != '\n') {
            CHECK_EQ(mon_status_parse(b.data, n, &t, &e), -EPROTO);
        }
    }
    static const char *const bad[] = { "pid=1\n", "state=odd\n", "state=created\npid=x\n", "state=created\noom_killed=2\n",
                                       "state=created\npid=99999999999\n", "state\n" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_EQ(mon_status_parse(bad[i], strlen(bad[i]), &t, &e), -EPROTO);
    }
    const char *later = "state=running\nsomething_new=1\n";
    CHECK_EQ(mon_status_parse(later, strlen(later), &t, &e), 0);
    CHECK_EQ(mon_status_read("/nonexistent", &t, &e), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_negative_and_fds), cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_header),     cmocka_unit_test(test_stream),           cmocka_unit_test(test_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
