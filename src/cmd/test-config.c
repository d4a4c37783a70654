/* cmd/test-config.c: keys, warnings with file and line, broken documents. */
#include "cmd/config.h"

#include "base/test.h"

#include <errno.h>

struct seen {
    int n;
    char last[256];
};

static void note(void *data, const char *text)
{
    struct seen *s = data;
    s->n++;
    snprintf(s->last, sizeof(s->last), "%s", text);
}

static void test_keys(void **state)
{
    (void)state;
    static const char text[] = "root: /srv/tare\nengine:\n  runtime: crun\n  cgroup_manager: systemd\n"
                               "network: {cni_conf_dir: /a, cni_bin_dirs: [/b, /c]}\ndaemon:\n  threads: 7\n";
    CLEANUP_CONFIG struct config c = { 0 };
    struct seen s = { 0 };
    struct err e = { 0 };
    CHECK_EQ(config_parse("t.yaml", text, sizeof(text) - 1, note, &s, &c, &e), 0);
    CHECK_EQ(s.n, 0);
    assert_string_equal(c.root, "/srv/tare");
    assert_string_equal(c.cni_conf_dirs[0], "/a");
    assert_string_equal(c.cni_bin_dirs[1], "/c");
    CHECK_EQ(c.threads, 7);
    struct engine_options o = { 0 };
    config_engine_options(&c, &o);
    assert_string_equal(o.default_runtime, "crun");
    assert_true(o.systemd_cgroup);
}

static void test_warnings(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } t[] = {
        { "root: /a\nengine:\n  colour: red\n", "t.yaml:3: unknown key engine.colour" },
        { "\nshape: round\n", "t.yaml:2: unknown key shape" },
        { "log_level: loud\n", "t.yaml:1: bad value for log_level" },
        { "daemon: {threads: many}\n", "t.yaml:1: bad value for daemon.threads" },
        { "root: [a]\n", "t.yaml:1: bad value for root" },
        { "network: {cni_bin_dirs: [[a]]}\n", "t.yaml:1: bad value for network.cni_bin_dirs" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        CLEANUP_CONFIG struct config c = { 0 };
        struct seen s = { 0 };
        struct err e = { 0 };
        CHECK_EQ(config_parse("t.yaml", t[i].text, strlen(t[i].text), note, &s, &c, &e), 0);
        CHECK_EQ(s.n, 1);
        assert_string_equal(s.last, t[i].want);
    }
}

static void test_broken(void **state)
{
    (void)state;
    static const char *const t[] = { "root: [", "- a\n", "a: b: c", "\t" };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        CLEANUP_CONFIG struct config c = { 0 };
        struct err e = { 0 };
        CHECK_EQ(config_parse("t.yaml", t[i], strlen(t[i]), NULL, NULL, &c, &e), -EINVAL);
        assert_non_null(strstr(e.text, "t.yaml:"));
    }
    CLEANUP_CONFIG struct config c = { 0 };
    struct err e = { 0 };
    CHECK_EQ(config_parse("t.yaml", "", 0, NULL, NULL, &c, &e), 0);
    CHECK_EQ(config_load("/nonexistent/tare.yaml", NULL, NULL, &c, &e), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
