/* engine/test-parts.c: log lines and tails, users of an image, network figures, seccomp profiles. */
#include "base/fd.h"
#include "base/test.h"
#include "engine/logs.h"
#include "engine/seccomp-default.h"
#include "engine/stats.h"
#include "engine/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static int folder_make(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/tare-test-parts-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    return dir_remove_all(AT_FDCWD, dir, NULL);
}

static void put(const char *name, const char *text)
{
    CLEANUP_FREE char *path = str_printf("%s/%s", dir, name);
    struct err e;
    CHECK_EQ(file_replace(AT_FDCWD, path, text, strlen(text), 0644, false, &e), 0);
}

static void test_time(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int ret;
        int64_t want;
    } t[] = {
        { "1970-01-01T00:00:00Z", 0, 0 },
        { "2026-11-23T13:34:44.754403896Z", 0, 1795440884754403896 },
        { "2026-11-23T15:34:44.5+02:00", 0, 1795440884500000000 },
        { "2000-02-29T00:00:00Z", 0, 951782400000000000 },
        { "2026-11-23 13:34:44Z", -EINVAL, 0 },
        { "2026-13-23T13:34:44Z", -EINVAL, 0 },
        { "2026-11-23T13:34:44", -EINVAL, 0 },
        { "", -EINVAL, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        int64_t v = 0;
        size_t n;
        CHECK_EQ(rfc3339_parse(t[i].in, strlen(t[i].in), &v, &n), t[i].ret);
        CHECK_EQ(v, t[i].want);
    }
}

static int collect(void *data, int64_t time, int stream, const char *line, size_t len, bool partial)
{
    (void)time;
    buf_addf(data, "%d%s%.*s|", stream, partial ? "~" : "", (int)len, line);
    return 0;
}

static void check_log(enum engine_log_format format, int64_t since, int64_t until, int64_t tail, const char *want)
{
    CLEANUP_FREE char *path = str_printf("%s/log", dir);
    struct logs_source src = { .path = path, .format = format };
    struct engine_log_query q = { .since = since, .until = until, .tail = tail, .want_stdout = true, .want_stderr = true };
    CLEANUP_BUF struct buf b = { 0 };
    struct err e = { 0 };
    CHECK_EQ(logs_read(&src, &q, collect, &b, &e), 0);
    assert_string_equal(buf_str(&b), want);
}

static void test_logs(void **state)
{
    (void)state;
    check_log(ENGINE_LOG_CRI, 0, 0, -1, "");
    put("log.1", "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n");
    put("log", "2026-01-01T00:00:03Z stdout P thr\n2026-01-01T00:00:03Z stdout F ee\ndamaged\n2026-01-01T00:00:04Z stdout F \n");
    check_log(ENGINE_LOG_CRI, 0, 0, -1, "1one|2two|1~thr|1ee|1|");
    check_log(ENGINE_LOG_CRI, 0, 0, 0, "");
    check_log(ENGINE_LOG_CRI, 0, 0, 1, "1|");
    check_log(ENGINE_LOG_CRI, 0, 0, 4, "1~thr|1ee|1|");
    check_log(ENGINE_LOG_CRI, 0, 0, 5, "2two|1~thr|1ee|1|");
    check_log(ENGINE_LOG_CRI, 0, 0, 500, "1one|2two|1~thr|1ee|1|");
    check_log(ENGINE_LOG_CRI, 1767225602000000000, 1767225603000000000, -1, "2two|1~thr|1ee|");
    put("log.1", "");
    put("log", "{\"log\":\"a\\u00e4\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:01Z\"}\n{\"log\":\"b\",\"stream\":\"stderr\",\"time\":\"2026-01-01T00:00:01Z\"}\n");
    check_log(ENGINE_LOG_JSON, 0, 0, -1, "1a\303\244|2~b|");
    check_log(ENGINE_LOG_JSON, 0, 0, 1, "2~b|");
}

static void check_user(int root, const char *spec, int ret, uint32_t uid, uint32_t gid, size_t groups, const char *home)
{
    CLEANUP_USER struct user u = { 0 };
    struct err e = { 0 };
    CHECK_EQ(user_lookup(root, spec, true, &u, &e), ret);
    if (ret == 0) {
        CHECK_EQ(u.uid, uid);
        CHECK_EQ(u.gid, gid);
        CHECK_EQ(u.groups.n, groups);
        assert_string_equal(u.home, home);
    }
}

static void test_users(void **state)
{
    (void)state;
    CLEANUP_FREE char *etc = str_printf("%s/etc", dir);
    CHECK_EQ(mkdir(etc, 0755), 0);
    put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nbad line\nwww:x:33:34::/var/www:/bin/sh\n\n");
    put("etc/group", "root:x:0:\nwww:x:34:\nadm:x:4:syslog,www\nhuge:x:99999999999:www\nvideo:x:44:www\n");
    CLEANUP_FD int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    check_user(root, NULL, 0, 0, 0, 0, "/root");
    check_user(root, "www", 0, 33, 34, 2, "/var/www");
    check_user(root, "33", 0, 33, 34, 2, "/var/www");
    check_user(root, "33:adm", 0, 33, 4, 2, "/var/www");
    check_user(root, "1002", 0, 1002, 0, 0, "/");
    check_user(root, "1003:1004", 0, 1003, 1004, 0, "/");
    check_user(root, "nobody", -ENOENT, 0, 0, 0, NULL);
    check_user(root, "www:nogroup", -ENOENT, 0, 0, 0, NULL);
    /* A link out of the image does not reach the host's users. */
    CLEANUP_FREE char *passwd = str_printf("%s/etc/passwd", dir);
    CHECK_EQ(unlink(passwd), 0);
    CHECK_EQ(symlink("/../../../../../../etc/passwd", passwd), 0);
    struct err e = { 0 };
    CLEANUP_USER struct user u = { 0 };
    assert_true(user_lookup(root, "daemon", true, &u, &e) < 0);
    /* What is no regular file is not even opened. */
    CHECK_EQ(unlink(passwd), 0);
    CHECK_EQ(mkfifo(passwd, 0644), 0);
    CHECK_EQ(user_lookup(root, "0", true, &u, &e), -EINVAL);
}

static void test_net(void **state)
{
    (void)state;
    char text[] = "Inter-|   Receive |  Transmit\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
                  "  eth0:100 2 3 0 0 0 0 0 200 5 6 0 0 0 0 0\n broken: 1 2\n";
    struct engine_stats s = { 0 };
    CHECK_EQ(stats_net_parse(text, &s), 0);
    CHECK_EQ(s.net.n, 1);
    assert_string_equal(s.net.v[0].name, "eth0");
    CHECK_EQ(s.net.v[0].rx_bytes, 100);
    CHECK_EQ(s.net.v[0].tx_bytes, 200);
    CHECK_EQ(s.net.v[0].tx_errors, 6);
    engine_stats_done(&s);
}

static bool rule_allows(const struct oci_seccomp *s, const char *name)
{
    for (size_t i = 0; i < s->syscalls.n; i++) {
        for (char **n = s->syscalls.v[i].names; *n; n++) {
            if (str_eq(*n, name) && str_eq(s->syscalls.v[i].action, "SCMP_ACT_ALLOW") && s->syscalls.v[i].args.n == 0) {
                return true;
            }
        }
    }
    return false;
}

static void test_seccomp(void **state)
{
    (void)state;
    char admin[] = "CAP_SYS_ADMIN";
    char *caps[] = { admin, NULL };
    struct oci_seccomp *s = NULL;
    struct err e = { 0 };
    CHECK_EQ(seccomp_default(NULL, &s, &e), 0);
    assert_true(rule_allows(s, "openat"));
    assert_false(rule_allows(s, "mount"));
    assert_false(rule_allows(s, "clone3"));
    assert_false(rule_allows(s, "keyctl"));
    json_free(&oci_seccomp_type, s);
    free(s);
    CHECK_EQ(seccomp_default(caps, &s, &e), 0);
    assert_true(rule_allows(s, "mount"));
    assert_true(rule_allows(s, "clone3"));
    json_free(&oci_seccomp_type, s);
    free(s);
    static const char profile[] =
            "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86_64\",\"subArchitectures\":[\"SCMP_ARCH_X86\"]}],"
            "\"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\"},"
            "{\"names\":[\"mount\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}},"
            "{\"names\":[\"bpf\"],\"action\":\"SCMP_ACT_ALLOW\",\"excludes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}},"
            "{\"name\":\"write\",\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"minKernel\":\"4.8\"}}]}";
    CHECK_EQ(seccomp_profile_resolve(profile, strlen(profile), caps, &s, &e), 0);
    assert_true(rule_allows(s, "read"));
    assert_true(rule_allows(s, "mount"));
    assert_false(rule_allows(s, "bpf"));
    assert_true(rule_allows(s, "write"));
    json_free(&oci_seccomp_type, s);
    free(s);
    CHECK_EQ(seccomp_profile_resolve("{\"syscalls\":[]}", 15, NULL, &s, &e), -EINVAL);
    assert_non_null(strstr(e.text, "defaultAction"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time),    cmocka_unit_test_setup_teardown(test_logs, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(test_users, folder_make, folder_remove),
        cmocka_unit_test(test_net),     cmocka_unit_test(test_seccomp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
