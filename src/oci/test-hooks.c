/* oci/test-hooks.c: what a hook gets on standard input, and how failures and time-outs are told. */
#include "base/test.h"

#include "oci/oci.h"

#include <errno.h>

static int run(const char *script, int32_t *timeout, struct err *e)
{
    char sh[] = "/bin/sh", c[] = "-c";
    char *args[] = { sh, c, (char *)(uintptr_t)script, NULL };
    struct oci_hook h = { .path = sh, .args = args, .timeout = timeout };
    struct oci_hook_list l = { &h, 1 };
    struct oci_hook_state s = { .id = "abc", .status = "creating", .bundle = "/b", .pid = 42 };
    return oci_hooks_run(&l, "createRuntime", &s, e);
}

static void test_hooks(void **state)
{
    (void)state;
    struct err e = { 0 };
    int32_t one = 1;
    CHECK_EQ(run("read -r x; case \"$x\" in *'\"id\":\"abc\"'*'\"pid\":42'*'\"status\":\"creating\"'*) exit 0;; esac; exit 1", NULL, &e), 0);
    CHECK_EQ(run("echo first >&2; echo no luck >&2; exit 3", NULL, &e), -EIO);
    assert_string_equal(e.text, "hooks.createRuntime[0]: /bin/sh ended with 3: no luck");
    err_clear(&e);
    CHECK_EQ(run("sleep 20", &one, &e), -ETIMEDOUT);
    err_clear(&e);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(run("exec <&-; exit 0", NULL, &e), 0); /* one that does not read: no SIGPIPE for us */
    }
    CHECK_EQ(run("sleep 1 & exit 0", NULL, &e), 0); /* what a hook leaves running is not waited for */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_hooks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
