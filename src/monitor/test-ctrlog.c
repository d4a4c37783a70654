/* monitor/test-ctrlog.c: what the log files hold, for given pieces of output, and that no line is lost or doubled by reopening. */
#include "base/test.h"

#include "base/fd.h"
#include "monitor/ctrlog-json.h"
#include "monitor/ctrlog.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct fixture {
    char dir[32];
    char path[64];
    struct ctrlog_scratch scratch;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    memcpy(f->dir, "/tmp/tare-log-XXXXXX", 21);
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/log", f->dir);
    f->scratch = (struct ctrlog_scratch){ .data = malloc(128 << 10), .cap = 128 << 10 };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };
    int r = dir_remove_all(AT_FDCWD, f->dir, &e);
    free(f->scratch.data);
    free(f);
    return r;
}

/* Appends the text of a CRI log's records, "TAG:text|" each, without their times. */
static void read_records(const char *path, struct buf *out)
{
    CLEANUP_BUF struct buf b = { 0 };
    struct err e = { 0 };
    CHECK_EQ(file_read(AT_FDCWD, path, 64 << 20, &b, &e), 0);
    for (char *p = b.data, *end; p && p < b.data + b.len; p = end + 1) {
        end = memchr(p, '\n', (size_t)(b.data + b.len - p));
        assert_non_null(end);
        assert_true(end - p >= CTRLOG_TIME_LEN + 10);
        buf_add(out, p + CTRLOG_TIME_LEN + 8, 1);
        buf_addc(out, ':');
        buf_add(out, p + CTRLOG_TIME_LEN + 10, (size_t)(end - p) - CTRLOG_TIME_LEN - 10);
        buf_addc(out, '|');
    }
}

static void test_records(void **state)
{
    static const struct {
        const char *pieces[6];
        const char *want;
    } t[] = {
        { { "a\nb\n" }, "F:a|F:b|" },
        { { "a", "b\nc", "\n" }, "F:ab|F:c|" },
        { { "\n\n" }, "F:|F:|" },
        { { "no end" }, "P:no end|" },
        { { "x\ny" }, "F:x|P:y|" },
        { { "a", "b", "c" }, "P:abc|" },
    };
    struct fixture *f = *state;
    struct err e = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct ctrlog *l = NULL;
        CLEANUP_BUF struct buf got = { 0 };
        CHECK_EQ(ctrlog_open(f->path, CTRLOG_CRI, 0, 0, &f->scratch, &l, &e), 0);
        for (const char *const *p = t[i].pieces; *p; p++) {
            ctrlog_write(l, 1, *p, strlen(*p));
        }
        ctrlog_free(l);
        read_records(f->path, &got);
        assert_string_equal(buf_str(&got), t[i].want);
        unlink(f->path);
    }
}

static void test_time(void **state)
{
    (void)state;
    static const struct {
        int64_t sec;
        const char *want;
    } t[] = {
        { 0, "1970-01-01T00:00:00.000000007Z" },          { 951782400, "2000-02-29T00:00:00.000000007Z" },
        { 1735689599, "2024-12-31T23:59:59.000000007Z" }, { 4107542399, "2100-02-28T23:59:59.000000007Z" },
        { 4107542400, "2100-03-01T00:00:00.000000007Z" },
    };
    char got[CTRLOG_TIME_LEN + 1];
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        ctrlog_format_time(t[i].sec, 7, got);
        assert_string_equal(got, t[i].want);
    }
}

static void test_json(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *want;
    } t[] = {
        { "plain", "plain" },          { "q\"b\\", "q\\\"b\\\\" },     { "\t\r\x01\x7f", "\\t\\r\\u0001\\u007f" },
        { "\xc3\xa4", "\xc3\xa4" },    { "\xff", "\\ufffd" },          { "\xc3", "\\ufffd" },
        { "\xc0\xaf", "\\ufffd\\ufffd" }, { "\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd" }, { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
    };
    char got[512], want[512];
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        size_t n = ctrlog_json_record(got, t[i].in, strlen(t[i].in), true, "stdout", "T");
        assert_true(n <= ctrlog_json_max(strlen(t[i].in)));
        got[n] = '\0';
        snprintf(want, sizeof(want), "{\"log\":\"%s\\n\",\"stream\":\"stdout\",\"time\":\"T\"}\n", t[i].want);
        assert_string_equal(got, want);
    }
}

/* Joins the records of a CRI log back to the bytes that were written. */
static void join(const char *path, struct buf *out)
{
    CLEANUP_BUF struct buf b = { 0 };
    struct err e = { 0 };
    CHECK_EQ(file_read(AT_FDCWD, path, 64 << 20, &b, &e), 0);
    for (char *p = b.data, *end; p && p < b.data + b.len; p = end + 1) {
        end = memchr(p, '\n', (size_t)(b.data + b.len - p));
        buf_add(out, p + CTRLOG_TIME_LEN + 10, (size_t)(end - p) - CTRLOG_TIME_LEN - 10);
        if (p[CTRLOG_TIME_LEN + 8] == 'F') {
            buf_addc(out, '\n');
        }
    }
}

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* Lines of random length in random pieces, files moved away at random: the bytes come out as they went in. */
static void test_reopen(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };
    uint64_t seed = 42;
    struct ctrlog *l = NULL;
    CLEANUP_BUF struct buf in = { 0 }, out = { 0 };
    int moved = 0;
    CHECK_EQ(ctrlog_open(f->path, CTRLOG_CRI, 0, 0, &f->scratch, &l, &e), 0);
    for (int i = 0; i < 3000; i++) {
        buf_addf(&in, "%d:\n", i);
        for (uint64_t n = next_random(&seed) % (i % 50 == 0 ? 40000 : 80); n > 0; n--) {
            buf_addc(&in, (char)('a' + n % 26));
        }
    }
    for (size_t at = 0; at < in.len;) {
        size_t n = (size_t)(next_random(&seed) % 5000) + 1;
        n = n > in.len - at ? in.len - at : n;
        ctrlog_write(l, 1, in.data + at, n);
        at += n;
        if (next_random(&seed) % 4 == 0) {
            char to[96];
            snprintf(to, sizeof(to), "%s.%d", f->path, moved++);
            CHECK_EQ(rename(f->path, to), 0);
            CHECK_EQ(ctrlog_reopen(l, &e), 0);
        }
    }
    ctrlog_free(l);
    for (int i = 0; i < moved; i++) {
        char from[96];
        snprintf(from, sizeof(from), "%s.%d", f->path, i);
        join(from, &out);
    }
    join(f->path, &out);
    assert_true(moved > 10);
    CHECK_EQ(out.len, in.len);
    assert_memory_equal(out.data, in.data, in.len);
}

static void test_rotation(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };
    struct ctrlog *l = NULL;
    CHECK_EQ(ctrlog_open(f->path, CTRLOG_CRI, 1000, 3, &f->scratch, &l, &e), 0);
    for (int i = 0; i < 200; i++) {
        char line[64];
        ctrlog_write(l, 1 + i % 2, line, (size_t)snprintf(line, sizeof(line), "line %d\n", i));
    }
    ctrlog_free(l);
    for (int i = 0; i < 4; i++) {
        char path[96];
        snprintf(path, sizeof(path), i ? "%s.%d" : "%s", f->path, i);
        CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK_EQ(fd >= 0, i < 3);
        CHECK_EQ(fd < 0 || lseek(fd, 0, SEEK_END) <= 1000, true);
    }
}

static void test_lost(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };
    struct ctrlog *l = NULL;
    CHECK_EQ(ctrlog_open("/dev/full", CTRLOG_CRI, 0, 0, &f->scratch, &l, &e), 0);
    ctrlog_write(l, 1, "a\nb\nc", 5);
    CHECK_EQ(ctrlog_lost(l), 2);
    ctrlog_write(l, 1, "\n", 1);
    CHECK_EQ(ctrlog_lost(l), 3);
    ctrlog_free(l);
    assert_true(ctrlog_open("/nonexistent/log", CTRLOG_CRI, 0, 0, &f->scratch, &l, &e) < 0);
    assert_true(ctrlog_open(f->dir, CTRLOG_CRI, 0, 0, &f->scratch, &l, &e) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records, setup, teardown),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_json),
        cmocka_unit_test_setup_teardown(test_reopen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rotation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
