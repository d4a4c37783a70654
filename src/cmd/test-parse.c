/* cmd/test-parse.c: docker's notations: what they mean, and what is refused. */
#include "cmd/human.h"
#include "cmd/parse.h"

#include "base/test.h"

#include <errno.h>
#include <signal.h>

static void test_volume(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int ret;
        enum engine_mount_kind kind;
        const char *source, *target;
        bool ro;
        const char *error;
    } t[] = {
        { "/data", 0, ENGINE_MOUNT_VOLUME, NULL, "/data", false, NULL },
        { "vol:/data", 0, ENGINE_MOUNT_VOLUME, "vol", "/data", false, NULL },
        { "/h:/c", 0, ENGINE_MOUNT_BIND, "/h", "/c", false, NULL },
        { "/h:/c:ro", 0, ENGINE_MOUNT_BIND, "/h", "/c", true, NULL },
        { "/h:/c:rslave,ro,z", 0, ENGINE_MOUNT_BIND, "/h", "/c", true, NULL },
        { "/h:/c:rw,cached", 0, ENGINE_MOUNT_BIND, "/h", "/c", false, NULL },
        { "", -EINVAL, 0, NULL, NULL, false, "invalid volume specification: ''" },
        { ":/c", -EINVAL, 0, NULL, NULL, false, "invalid volume specification" },
        { "/h:", -EINVAL, 0, NULL, NULL, false, "invalid volume specification" },
        { "/h:c", -EINVAL, 0, NULL, NULL, false, "must be absolute" },
        { "data", -EINVAL, 0, NULL, NULL, false, "must be absolute" },
        { "/h:/", -EINVAL, 0, NULL, NULL, false, "destination can't be '/'" },
        { "a/b:/c", -EINVAL, 0, NULL, NULL, false, "is no volume name" },
        { "/h:/c:loud", -EINVAL, 0, NULL, NULL, false, "invalid mode: loud" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct engine_mount m = { 0 };
        struct err e = { 0 };
        CHECK_EQ(parse_volume(t[i].in, &m, &e), t[i].ret);
        if (t[i].ret == 0) {
            CHECK_EQ(m.kind, t[i].kind);
            assert_true(str_eq(m.source, t[i].source));
            assert_true(str_eq(m.target, t[i].target));
            CHECK_EQ(m.readonly, t[i].ro);
        } else {
            assert_non_null(strstr(e.text, t[i].error));
        }
        parse_mount_done(&m);
    }
}

static void test_mount(void **state)
{
    (void)state;
    static const struct {
        const char *in, *error; /* error NULL: taken */
    } t[] = {
        { "type=bind,src=/a,dst=/b,ro", NULL },
        { "type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1777", NULL },
        { "src=vol,dst=/v,volume-nocopy", NULL },
        { "type=bind,\"source=/a,b\",target=/c", NULL },
        { "type=image,src=busybox,dst=/i,image-subpath=bin", NULL },
        { "type=bind,source=/a,target=/b,bind-propagation=rshared,readonly=false", NULL },
        { "", "value is empty" },
        { "type=disk,dst=/a", "unknown mount type 'disk'" },
        { "type=bind,src=/a", "target is required" },
        { "type=bind,src=a,dst=/b", "needs source=ABSOLUTE-PATH" },
        { "type=bind,src=/a,dst=/b,ro=maybe", "invalid value for ro: maybe" },
        { "type=bind,source", "invalid field 'source' must be a key=value pair" },
        { "colour=red", "unexpected key 'colour'" },
        { "type=tmpfs,dst=/a,tmpfs-mode=9", "invalid value for tmpfs-mode" },
        { "type=tmpfs,src=x,dst=/a", "a tmpfs has no source" },
        { "type=bind,\"src=/a", "is no list" },
        { "type=bind,src=/a,dst=b", "must be absolute" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct engine_mount m = { 0 };
        struct err e = { 0 };
        CHECK_EQ(parse_mount(t[i].in, &m, &e), t[i].error ? -EINVAL : 0);
        if (t[i].error) {
            assert_non_null(strstr(e.text, t[i].error));
        }
        parse_mount_done(&m);
    }
}

static void test_publish(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t n;
        const char *ip, *proto;
        uint16_t host, ctr;
        const char *error;
    } t[] = {
        { "80", 1, NULL, "tcp", 0, 80, NULL },
        { "8080:80", 1, NULL, "tcp", 8080, 80, NULL },
        { "127.0.0.1:8080:80/udp", 1, "127.0.0.1", "udp", 8080, 80, NULL },
        { "[::1]:8080:80", 1, "::1", "tcp", 8080, 80, NULL },
        { "127.0.0.1::80", 1, "127.0.0.1", "tcp", 0, 80, NULL },
        { "8000-8002:80-82", 3, NULL, "tcp", 8000, 80, NULL },
        { "", 0, NULL, NULL, 0, 0, "no port specified" },
        { "80/icmp", 0, NULL, NULL, 0, 0, "invalid proto: icmp" },
        { "x:80", 0, NULL, NULL, 0, 0, "invalid hostPort: x" },
        { "80:x", 0, NULL, NULL, 0, 0, "invalid containerPort: x" },
        { "80:70000", 0, NULL, NULL, 0, 0, "invalid containerPort: 70000" },
        { "1.2.3:80:80", 0, NULL, NULL, 0, 0, "invalid IP address: 1.2.3" },
        { "80-81:80-82", 0, NULL, NULL, 0, 0, "invalid ranges" },
        { "9-8:9-8", 0, NULL, NULL, 0, 0, "invalid containerPort: 9-8" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct engine_port *v = NULL;
        size_t n = 0;
        struct err e = { 0 };
        CHECK_EQ(parse_publish(t[i].in, &v, &n, &e), t[i].error ? -EINVAL : 0);
        CHECK_EQ(n, t[i].n);
        if (t[i].error) {
            assert_non_null(strstr(e.text, t[i].error));
        } else {
            assert_true(str_eq(v[0].host_ip, t[i].ip));
            assert_string_equal(v[0].protocol, t[i].proto);
            CHECK_EQ(v[0].host_port, t[i].host);
            CHECK_EQ(v[0].container_port, t[i].ctr);
        }
        for (size_t k = 0; k < n; k++) {
            parse_port_done(&v[k]);
        }
        free(v);
    }
}

static void test_small(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct engine_device d = { 0 };
    CHECK_EQ(parse_device("/dev/a:/dev/b:r", &d, &e), 0);
    assert_string_equal(d.container_path, "/dev/b");
    assert_string_equal(d.permissions, "r");
    free(d.host_path), free(d.container_path), free(d.permissions);
    CHECK_EQ(parse_device("dev", &d, &e), -EINVAL);
    CHECK_EQ(parse_device("/dev/a:x", &d, &e), -EINVAL);
    struct engine_rlimit l = { 0 };
    CHECK_EQ(parse_ulimit("nofile=10:20", &l, &e), 0);
    CHECK_EQ(l.hard, 20);
    free(l.name);
    CHECK_EQ(parse_ulimit("nofile=20:10", &l, &e), -EINVAL);
    CHECK_EQ(parse_ulimit("files=20", &l, &e), -EINVAL);
    static const struct {
        const char *in;
        int want;
    } sigs[] = { { "KILL", SIGKILL }, { "sigterm", SIGTERM }, { "9", 9 }, { "0", 0 }, { "SIGX", 0 }, { "RTMIN+1", 35 }, { "99", 0 } };
    for (size_t i = 0; i < ARRAY_LEN(sigs); i++) {
        int sig = 0;
        CHECK_EQ(parse_signal(sigs[i].in, &sig, &e), sigs[i].want ? 0 : -EINVAL);
        CHECK_EQ(sig, sigs[i].want);
    }
    uint8_t keys[8];
    size_t n = 0;
    CHECK_EQ(parse_detach_keys("ctrl-p,ctrl-q", keys, 8, &n, &e), 0);
    CHECK_EQ(n, 2);
    CHECK_EQ(keys[0], 16);
    CHECK_EQ(parse_detach_keys("alt-x", keys, 8, &n, &e), -EINVAL);
    int64_t q = 0;
    CHECK_EQ(parse_cpus("1.5", &q, &e), 0);
    CHECK_EQ(q, 150000);
    CHECK_EQ(parse_cpus("nan", &q, &e), -EINVAL);
    CHECK_EQ(parse_cpus("-1", &q, &e), -EINVAL);
}

static void test_human(void **state)
{
    (void)state;
    static const struct {
        uint64_t in;
        const char *want;
    } sizes[] = { { 0, "0B" }, { 999, "999B" }, { 4261234, "4.26MB" }, { 1000, "1kB" } };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        CLEANUP_BUF struct buf b = { 0 };
        human_size(sizes[i].in, &b);
        assert_string_equal(buf_str(&b), sizes[i].want);
    }
    static const struct {
        int64_t seconds;
        const char *want;
    } spans[] = { { 0, "Less than a second" }, { 1, "1 second" },    { 59, "59 seconds" },   { 61, "About a minute" },
                  { 120, "2 minutes" },        { 3600, "About an hour" }, { 7200, "2 hours" }, { 86400 * 3, "3 days" },
                  { 86400 * 21, "3 weeks" },   { 86400 * 90, "3 months" } };
    for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
        CLEANUP_BUF struct buf b = { 0 };
        human_duration(spans[i].seconds * 1000000000, &b);
        assert_string_equal(buf_str(&b), spans[i].want);
    }
    static const struct {
        const char *in;
        int64_t want; /* 0: refused */
    } when[] = { { "1700000000", 1700000000000000000 },
                 { "1700000000.5", 1700000000500000000 },
                 { "2023-11-14T22:13:20Z", 1700000000000000000 },
                 { "2023-11-14T23:13:20.25+01:00", 1700000000250000000 },
                 { "10s", 990000000000 },
                 { "yesterday", 0 } };
    for (size_t i = 0; i < ARRAY_LEN(when); i++) {
        int64_t v = 0;
        CHECK_EQ(human_when(when[i].in, 1000000000000, &v), when[i].want ? 0 : -EINVAL);
        CHECK_EQ(v, when[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_volume),  cmocka_unit_test(test_mount), cmocka_unit_test(test_publish),
        cmocka_unit_test(test_small), cmocka_unit_test(test_human),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
