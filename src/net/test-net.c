/* net/test-net.c: CNI documents, and attaching with plugins that are shell scripts. */
#include "base/test.h"

#include "base/fd.h"
#include "net/net.h"
#include "net/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_list(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int want;
    } t[] = {
        { "{\"cniVersion\":\"0.4.0\",\"name\":\"a\",\"type\":\"bridge\"}", 0 },
        { "{\"cniVersion\":\"1.1.0\",\"name\":\"a\",\"plugins\":[{\"type\":\"bridge\"}]}", 0 },
        { "{\"cniVersion\":\"9.0.0\",\"cniVersions\":[\"1.0.0\"],\"name\":\"a\",\"plugins\":[{\"type\":\"x\"}]}", 0 },
        { "{\"cniVersion\":\"9.0.0\",\"name\":\"a\",\"type\":\"x\"}", -EINVAL },
        { "{\"cniVersion\":\"1.0.0\",\"name\":\"../a\",\"type\":\"x\"}", -EINVAL },
        { "{\"cniVersion\":\"1.0.0\",\"name\":\"a\",\"type\":\"../x\"}", -EINVAL },
        { "{\"cniVersion\":\"1.0.0\",\"name\":\"a\",\"plugins\":[]}", -EINVAL },
        { "[]", -EINVAL },
        { "{", -EINVAL },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct err e = { 0 };
        CLEANUP_CNI_LIST struct cni_list *l = NULL;
        CHECK_EQ(cni_list_parse(t[i].in, strlen(t[i].in), &l, &e), t[i].want);
    }
}

static void test_result(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct cni_result res = { 0 };
    json_t *o = json_loads("{\"cniVersion\":\"1.1.0\",\"interfaces\":[{\"name\":\"eth0\",\"mtu\":1500}],"
                           "\"ips\":[{\"address\":\"10.1.0.2/16\",\"interface\":0}]}", 0, NULL), *old = NULL;
    CHECK_EQ(cni_result_decode(o, &res, &e), 0);
    assert_string_equal(res.ips.v[0].address, "10.1.0.2/16");
    cni_result_done(&res);
    CHECK_EQ(cni_result_convert(o, "0.4.0", &old, &e), 0);
    const json_t *ip = json_array_get(json_object_get(old, "ips"), 0);
    assert_string_equal(json_string_value(json_object_get(ip, "version")), "4");
    assert_null(json_object_get(json_array_get(json_object_get(old, "interfaces"), 0), "mtu"));
    json_decref(old);
    json_decref(o);
    o = json_loads("{\"ips\":[{\"address\":\"10.1.0.2\"}]}", 0, NULL);
    CHECK_EQ(cni_result_decode(o, &res, &e), -EINVAL);
    json_decref(o);
}

/* ---- attaching ------------------------------------------------------------------------------------------- */

struct place {
    char dir[64];
    struct net *net;
};

static void put(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[160];
    struct err e = { 0 };
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    CHECK_EQ(file_replace(AT_FDCWD, path, text, strlen(text), mode, false, &e), 0);
}

static int setup(void **state)
{
    static struct place p;
    static char conf[96], cache[96], data[96];
    char *bins[] = { p.dir, NULL };
    struct err e = { 0 };
    snprintf(p.dir, sizeof(p.dir), "/tmp/tare-net-XXXXXX");
    assert_non_null(mkdtemp(p.dir));
    snprintf(conf, sizeof(conf), "%s/net.d", p.dir);
    snprintf(cache, sizeof(cache), "%s/cache", p.dir);
    snprintf(data, sizeof(data), "%s/data", p.dir);
    CHECK_EQ(mkdir(conf, 0755), 0);
    struct net_options o = { .conf_dir = conf, .bin_dirs = bins, .cache_dir = cache, .data_dir = data, .timeout_ms = 2000 };
    CHECK_EQ(net_open(&o, &p.net, &e), 0);
    *state = &p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    struct err e = { 0 };
    net_close(p->net);
    return dir_remove_all(AT_FDCWD, p->dir, &e);
}

static const char plugin[] = "#!/bin/sh\nd=$(dirname $0)\necho \"$CNI_COMMAND ${0##*/} $CNI_IFNAME\" >>$d/calls\n"
                             "cat >$d/stdin.${0##*/}.$CNI_COMMAND\n"
                             "if [ -e $d/fail.${0##*/}.$CNI_COMMAND ]; then echo '{\"code\":11,\"msg\":\"no luck\"}'; exit 1; fi\n"
                             "[ $CNI_COMMAND = ADD ] && echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.2.0.9/24\"}]}'\nexit 0\n";

static void read_text(const char *dir, const char *name, struct buf *b)
{
    char path[160];
    struct err e = { 0 };
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    buf_reset(b);
    CHECK_EQ(file_read(AT_FDCWD, path, 65536, b, &e), 0);
}

static void test_attach(void **state)
{
    struct place *p = *state;
    struct err e = { 0 };
    struct cni_result res = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    struct net_port port = { .host_port = 8080, .container_port = 80 };
    struct net_attach a = { .id = "abc", .netns = "/proc/self/ns/net", .ifname = "eth0", .ports = &port, .n_ports = 1 };
    CHECK_EQ(net_add(p->net, &a, &res, &e), -ENOENT);
    assert_non_null(strstr(e.text, "no network configuration"));
    put(p->dir, "one", plugin, 0755);
    put(p->dir, "two", plugin, 0755);
    put(p->dir, "net.d/10-x.conflist",
        "{\"cniVersion\":\"1.0.0\",\"name\":\"x\",\"plugins\":[{\"type\":\"one\"},{\"type\":\"two\",\"capabilities\":{\"portMappings\":true}}]}",
        0644);
    put(p->dir, "net.d/05-bad.conf", "{", 0644);
    CHECK_EQ(net_status(p->net, &e), 0);
    CHECK_EQ(net_add(p->net, &a, &res, &e), 0);
    assert_string_equal(res.ips.v[0].address, "10.2.0.9/24");
    cni_result_done(&res);
    read_text(p->dir, "stdin.two.ADD", &b);
    assert_non_null(strstr(b.data, "\"prevResult\""));
    assert_non_null(strstr(b.data, "\"hostPort\":8080"));
    CHECK_EQ(net_cached(p->net, "abc", &res, &e), 0);
    cni_result_done(&res);
    /* The configuration goes: detaching works all the same, in reverse order. */
    put(p->dir, "net.d/10-x.conflist", "{}", 0644);
    CHECK_EQ(net_del(p->net, "abc", NULL, &e), 0);
    read_text(p->dir, "calls", &b);
    assert_string_equal(b.data, "ADD one eth0\nADD two eth0\nDEL two eth0\nDEL one eth0\n");
    CHECK_EQ(net_cached(p->net, "abc", &res, &e), -ENOENT);
    CHECK_EQ(net_del(p->net, "abc", NULL, &e), 0);
}

static void test_attach_fails(void **state)
{
    struct place *p = *state;
    struct err e = { 0 };
    struct cni_result res = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    struct net_attach a = { .id = "abc", .netns = "/proc/self/ns/net", .ifname = "eth0" };
    put(p->dir, "one", plugin, 0755);
    put(p->dir, "two", plugin, 0755);
    put(p->dir, "fail.two.ADD", "", 0644);
    put(p->dir, "net.d/10-x.conflist", "{\"cniVersion\":\"1.0.0\",\"name\":\"x\",\"plugins\":[{\"type\":\"one\"},{\"type\":\"two\"}]}", 0644);
    CHECK_EQ(net_add(p->net, &a, &res, &e), -EIO);
    assert_non_null(strstr(e.text, "code 11: no luck"));
    read_text(p->dir, "calls", &b);
    assert_string_equal(b.data, "ADD one eth0\nADD two eth0\nDEL two eth0\nDEL one eth0\n");
}

static int see_links(void *data, struct err *e)
{
    (void)e;
    CLEANUP_BUF struct buf b = { 0 };
    int r = file_read(AT_FDCWD, "/proc/thread-self/net/dev", 65536, &b, NULL);
    *(bool *)data = r == 0 && strstr(b.data, "lo:") && !strstr(b.data, "eth");
    return r;
}

static void test_netns(void **state)
{
    struct place *p = *state;
    struct err e = { 0 };
    char path[96];
    bool seen = false;
    snprintf(path, sizeof(path), "%s/netns", p->dir);
    if (geteuid() != 0) {
        skip();
    }
    CHECK_EQ(netns_create(path, &e), 0);
    assert_true(netns_is(path));
    CHECK_EQ(netns_create(path, &e), 0);
    CHECK_EQ(netns_run(path, see_links, &seen, &e), 0);
    assert_true(seen);
    CHECK_EQ(netns_remove(path, &e), 0);
    CHECK_EQ(netns_remove(path, &e), 0);
    assert_false(netns_is(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_result),
        cmocka_unit_test_setup_teardown(test_attach, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attach_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_netns, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
