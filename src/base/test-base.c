/* base/test-base.c: buffers, errors, numbers, files. */
#include "base/fd.h"
#include "base/log.h"
#include "base/num.h"
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_size(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int ret;
        uint64_t want;
    } t[] = {
        { "0", 0, 0 },           { "512", 0, 512 },        { "64k", 0, 65536 },  { "10M", 0, 10 << 20 },
        { "2gb", 0, 2ull << 30 }, { "1.5GiB", 0, 3ull << 29 }, { "1Ki", 0, 1024 },   { "7b", 0, 7 },
        { "", -EINVAL, 0 },      { "-1", -EINVAL, 0 },     { "1x", -EINVAL, 0 }, { "1kk", -EINVAL, 0 },
        { "k", -EINVAL, 0 },     { "1 k", 0, 1024 },       { "99999999999999999999", -ERANGE, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        uint64_t v = 0;
        CHECK_EQ(num_size(t[i].in, &v), t[i].ret);
        CHECK_EQ(v, t[i].want);
    }
}

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int ret;
        int64_t want;
    } t[] = {
        { "10", 0, 10000000000 },   { "1m30s", 0, 90000000000 }, { "250ms", 0, 250000000 },
        { "1.5h", 0, 5400000000000 }, { "-2s", 0, -2000000000 },   { "", -EINVAL, 0 },
        { "s", -EINVAL, 0 },        { "5x", -EINVAL, 0 },        { "1s5", -EINVAL, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        int64_t v = 0;
        CHECK_EQ(num_duration(t[i].in, &v), t[i].ret);
        CHECK_EQ(v, t[i].want);
    }
}

static void test_integers(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    uint32_t w = 7;
    CHECK_EQ(num_u64("18446744073709551615", &u), 0);
    CHECK_EQ(u, UINT64_MAX);
    CHECK_EQ(num_u64("18446744073709551616", &u), -ERANGE);
    CHECK_EQ(num_u64("+1", &u), -EINVAL);
    CHECK_EQ(num_u64(" 1", &u), -EINVAL);
    CHECK_EQ(num_i64("-9223372036854775808", &i), 0);
    CHECK_EQ(i, INT64_MIN);
    CHECK_EQ(num_i64("9223372036854775808", &i), -ERANGE);
    CHECK_EQ(num_u32("4294967296", &w), -ERANGE);
    CHECK_EQ(w, 7);
}

static void test_err(void **state)
{
    (void)state;
    struct err e = { 0 };
    CHECK_EQ(err_sys(&e, ENOENT, "open %s", "a"), -ENOENT);
    CHECK_EQ(err_wrap(&e, "layer %d", 3), -ENOENT);
    assert_string_equal(e.text, "layer 3: open a: No such file or directory");
    CHECK_EQ(e.kind, ERR_NOT_FOUND);
    char big[3000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    err_wrap(&e, "%s", big);
    CHECK_EQ(strlen(e.text), sizeof(e.text) - 1);
    assert_string_equal(err_name(EBUSY), "EBUSY");
}

static void test_buf(void **state)
{
    (void)state;
    CLEANUP_BUF struct buf b = { .max = 100 };
    buf_adds(&b, "abc");
    buf_addf(&b, "-%d", 42);
    assert_string_equal(buf_str(&b), "abc-42");
    buf_consume(&b, 4);
    assert_string_equal(buf_str(&b), "42");
    for (int i = 0; i < 100; i++) {
        buf_addc(&b, 'x');
    }
    assert_true(buf_failed(&b));
    assert_null(buf_steal(&b));
}

static void test_files(void **state)
{
    (void)state;
    struct err e = { 0 };
    char dir[] = "/tmp/tare-test-base-XXXXXX";
    assert_non_null(mkdtemp(dir));
    CLEANUP_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(dir_make_all(fd, "a/b/c", 0755, &e), 0);
    CHECK_EQ(dir_make_all(fd, "a/b/c", 0755, &e), 0);
    CHECK_EQ(file_replace(fd, "a/b/f", "hello", 5, 0600, true, &e), 0);
    CHECK_EQ(file_replace(fd, "a/b/f", "world", 5, 0640, false, &e), 0);
    CLEANUP_BUF struct buf b = { 0 };
    CHECK_EQ(file_read(fd, "a/b/f", 5, &b, &e), 0);
    assert_string_equal(buf_str(&b), "world");
    CHECK_EQ(file_read(fd, "a/b/f", 4, &b, &e), -EFBIG);
    assert_non_null(strstr(e.text, "a/b/f is larger than 4 bytes"));
    CHECK_EQ(file_read(fd, "nothing", 4, &b, &e), -ENOENT);
    /* A symlink is removed, never followed. */
    CHECK_EQ(symlinkat("/etc", fd, "a/link"), 0);
    CHECK_EQ(dir_remove_all(fd, "a", &e), 0);
    CHECK_EQ(dir_remove_all(fd, "a", &e), 0);
    CHECK_EQ(faccessat(fd, "a", F_OK, 0), -1);
    CHECK_EQ(access("/etc/passwd", F_OK), 0);
    CHECK_EQ(rmdir(dir), 0);
}

/* Deeper than descriptors, stack or PATH_MAX go: whoever made it must not get it to stay. */
static void test_remove_deep(void **state)
{
    (void)state;
    struct err e = { 0 };
    char dir[] = "/tmp/tare-test-base-XXXXXX";
    assert_non_null(mkdtemp(dir));
    CLEANUP_FD int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 5000; i++) {
        CHECK_EQ(mkdirat(at, "d", 0755), 0);
        CHECK_EQ(symlinkat("/etc", at, "link"), 0);
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        fd_close(&at);
        at = next;
    }
    CHECK_EQ(dir_remove_all(AT_FDCWD, dir, &e), 0);
    CHECK_EQ(access(dir, F_OK), -1);
    CHECK_EQ(access("/etc/passwd", F_OK), 0);
}

static void test_log(void **state)
{
    (void)state;
    int p[2];
    CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
    struct log l = { .fd = p[1], .level = LOG_INFO, .format = LOG_JSON };
    log_event(&l, LOG_DEBUG, "hidden", NULL);
    log_event(&l, LOG_WARN, "pod.failed", "pod", "a b", "cause", "say \"no\"\n", NULL);
    l.format = LOG_TEXT;
    log_event(&l, LOG_INFO, "up", "addr", "x=y", "n", "3", NULL);
    close(p[1]);
    CLEANUP_BUF struct buf b = { 0 };
    CHECK_EQ(fd_read_all(p[0], &b, 4096), 0);
    close(p[0]);
    assert_null(strstr(buf_str(&b), "hidden"));
    assert_non_null(strstr(buf_str(&b), "\"msg\":\"pod.failed\",\"pod\":\"a b\",\"cause\":\"say \\\"no\\\"\\n\"}\n"));
    assert_non_null(strstr(buf_str(&b), "level=info msg=up addr=\"x=y\" n=3\n"));
}

static void test_vectors(void **state)
{
    (void)state;
    CLEANUP_STRV char **v = NULL;
    CHECK_EQ(strv_len(v), 0);
    CHECK_EQ(strv_push(&v, "a"), 0);
    CHECK_EQ(strv_push(&v, "b"), 0);
    CLEANUP_STRV char **c = strv_copy(v);
    CHECK_EQ(strv_len(c), 2);
    assert_string_equal(c[1], "b");
    int *a = NULL;
    size_t cap = 0;
    CHECK_EQ(array_grow(&a, &cap, 9, sizeof(*a)), 0);
    assert_true(cap >= 9);
    CHECK_EQ(a[8], 0);
    CHECK_EQ(array_grow(&a, &cap, SIZE_MAX / 2, sizeof(*a)), -ENOMEM);
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size), cmocka_unit_test(test_duration), cmocka_unit_test(test_integers),
        cmocka_unit_test(test_err),  cmocka_unit_test(test_buf),      cmocka_unit_test(test_files),
        cmocka_unit_test(test_remove_deep), cmocka_unit_test(test_log),  cmocka_unit_test(test_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
