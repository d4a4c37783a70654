/* cri/test-convert.c: what requests become; signals, users and UTF-8. Refusals are in tests/run/test_cri_calls.py. */
#include "base/test.h"

#include "cri/convert.h"

#include <errno.h>

/* The engine's own functions release these; here the few members that tests fill. */
static void pod_done(struct engine_pod_spec *s)
{
    char *strings[] = { s->name, s->uid, s->k8s_namespace, s->hostname, s->log_directory, s->cgroup_parent, s->runtime_handler,
                        s->cri_config };
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        free(strings[i]);
    }
    for (size_t i = 0; i < s->ports.n; i++) {
        free(s->ports.v[i].protocol);
        free(s->ports.v[i].host_ip);
    }
    free(s->ports.v);
    free(s->uid_map.v);
    free(s->gid_map.v);
    str_map_done(&s->sysctls);
    strv_free(s->dns_servers);
}

static void ctr_done(struct engine_ctr_spec *s)
{
    char *strings[] = { s->name, s->image, s->cri_config, s->log_path, s->stop_signal, s->seccomp_profile, s->selinux_label };
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        free(strings[i]);
    }
    strv_free(s->entrypoint);
    strv_free(s->command);
    strv_free(s->env);
    free(s->groups.v);
}

static void test_signals(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        V1(Signal) want;
    } t[] = {
        { "SIGTERM", RUNTIME__V1__SIGNAL__SIGTERM }, { "TERM", RUNTIME__V1__SIGNAL__SIGTERM }, { "sigterm", RUNTIME__V1__SIGNAL__SIGTERM },
        { "15", RUNTIME__V1__SIGNAL__SIGTERM }, { "9", RUNTIME__V1__SIGNAL__SIGKILL }, { "SIGRTMIN+3", RUNTIME__V1__SIGNAL__SIGRTMINPLUS3 },
        { "RTMAX-14", RUNTIME__V1__SIGNAL__SIGRTMAXMINUS14 }, { "nonsense", RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT },
        { "", RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT }, { NULL, RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT },
        { "SIGABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOP", RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        CHECK_EQ(convert_signal(t[i].in), t[i].want);
    }
    for (int s = 1; s <= (int)RUNTIME__V1__SIGNAL__SIGRTMAX; s++) {
        CLEANUP_FREE char *name = convert_signal_name((V1(Signal))s);
        assert_non_null(name);
        CHECK_EQ(convert_signal(name), s);
    }
}

static void test_image_user(void **state)
{
    (void)state;
    static const struct {
        const char *user, *name;
        int64_t uid; /* -1: none */
    } t[] = { { "1002", "", 1002 }, { "www-data", "www-data", -1 }, { "1003:1004", "", 1003 }, { "www-data:1004", "www-data", -1 },
              { "", "", 0 }, { NULL, "", 0 } };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        V1(Image) m;
        V1(Int64Value) uid;
        CLEANUP_FREE char *user = t[i].user ? strdup(t[i].user) : NULL;
        V1_INIT(image, &m);
        convert_image_user(user, &m, &uid);
        assert_string_equal(m.username, t[i].name);
        CHECK_EQ(m.uid ? m.uid->value : -1, t[i].uid);
    }
}

static void test_pod(void **state)
{
    (void)state;
    struct err e = { 0 };
    V1(PodSandboxMetadata) meta;
    V1(PodSandboxConfig) config;
    V1(PortMapping) informative, mapped;
    V1(PortMapping) *ports[] = { &informative, &mapped };
    V1(DNSConfig) dns;
    char *servers[] = { (char[]){ "10.0.0.1" } };
    CLEANUP(pod_done) struct engine_pod_spec spec = { 0 };
    V1_INIT(pod_sandbox_metadata, &meta);
    V1_INIT(pod_sandbox_config, &config);
    V1_INIT(port_mapping, &informative);
    V1_INIT(port_mapping, &mapped);
    V1_INIT(dnsconfig, &dns);
    meta.name = (char[]){ "n" };
    meta.uid = (char[]){ "u" };
    meta.namespace_ = (char[]){ "ns" };
    meta.attempt = 3;
    informative.container_port = 80;
    mapped.container_port = 53;
    mapped.host_port = 5353;
    mapped.protocol = RUNTIME__V1__PROTOCOL__UDP;
    dns.servers = servers;
    dns.n_servers = 1;
    config.metadata = &meta;
    config.port_mappings = ports;
    config.n_port_mappings = 2;
    config.dns_config = &dns;
    CHECK_EQ(convert_pod(&config, "kata", &spec, &e), 0);
    CHECK_EQ(spec.ports.n, 1); /* without a host port there is nothing to do */
    assert_string_equal(spec.ports.v[0].protocol, "udp");
    CHECK_EQ(spec.pid, ENGINE_NS_CONTAINER);
    CHECK_EQ(spec.net, ENGINE_NS_POD);
    CHECK_EQ(spec.attempt, 3);
    assert_true(spec.has_dns);
    assert_string_equal(spec.runtime_handler, "kata");
    CLEANUP_PB V1(PodSandboxConfig) *echo = V1_UNPACK(pod_sandbox_config, spec.cri_config, spec.cri_config_len);
    assert_non_null(echo);
    CHECK_EQ(echo->port_mappings[1]->host_port, 5353);
}

static void ctr_base(V1(ContainerConfig) *config, V1(ContainerMetadata) *meta, V1(ImageSpec) *image)
{
    V1_INIT(container_config, config);
    V1_INIT(container_metadata, meta);
    V1_INIT(image_spec, image);
    meta->name = (char *)(uintptr_t) "c";
    image->image = (char *)(uintptr_t) "i";
    config->metadata = meta;
    config->image = image;
}

/* Seccomp: nil is unconfined, an empty profile the default one, privileged ignores all. */
static void test_seccomp(void **state)
{
    (void)state;
    static const struct {
        bool profile, privileged;
        V1(ProfileType) type;
        const char *ref;
        enum engine_seccomp want;
    } t[] = {
        { false, false, 0, "", ENGINE_SECCOMP_UNCONFINED },
        { true, false, RUNTIME__V1__PROFILE_TYPE__RuntimeDefault, "", ENGINE_SECCOMP_DEFAULT },
        { true, false, RUNTIME__V1__PROFILE_TYPE__Unconfined, "", ENGINE_SECCOMP_UNCONFINED },
        { true, false, RUNTIME__V1__PROFILE_TYPE__Localhost, "/p.json", ENGINE_SECCOMP_PROFILE },
        { true, true, RUNTIME__V1__PROFILE_TYPE__Localhost, "/p.json", ENGINE_SECCOMP_UNCONFINED },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct err e = { 0 };
        V1(ContainerConfig) config;
        V1(ContainerMetadata) meta;
        V1(ImageSpec) image;
        V1(LinuxContainerConfig) lin;
        V1(LinuxContainerSecurityContext) sec;
        V1(SecurityProfile) p;
        CLEANUP(ctr_done) struct engine_ctr_spec spec = { 0 };
        ctr_base(&config, &meta, &image);
        V1_INIT(linux_container_config, &lin);
        V1_INIT(linux_container_security_context, &sec);
        V1_INIT(security_profile, &p);
        p.profile_type = t[i].type;
        p.localhost_ref = (char *)(uintptr_t)t[i].ref;
        sec.seccomp = t[i].profile ? &p : NULL;
        sec.privileged = t[i].privileged;
        lin.security_context = &sec;
        config.linux = &lin;
        CHECK_EQ(convert_ctr(&config, NULL, &spec, &e), 0);
        CHECK_EQ(spec.seccomp, t[i].want);
        assert_true(spec.has_paths);
    }
}

static void test_ctr(void **state)
{
    (void)state;
    struct err e = { 0 };
    V1(ContainerConfig) config;
    V1(ContainerMetadata) meta;
    V1(ImageSpec) image;
    V1(PodSandboxConfig) pod;
    V1(KeyValue) env;
    V1(KeyValue) *envs[] = { &env };
    char *args[] = { (char[]){ "-c" } };
    CLEANUP(ctr_done) struct engine_ctr_spec spec = { 0 };
    ctr_base(&config, &meta, &image);
    V1_INIT(pod_sandbox_config, &pod);
    V1_INIT(key_value, &env);
    env.key = (char[]){ "K" };
    env.value = (char[]){ "a=b" };
    config.envs = envs;
    config.n_envs = 1;
    config.args = args;
    config.n_args = 1;
    config.log_path = (char[]){ "c/0.log" };
    pod.log_directory = (char[]){ "/var/log/p" };
    CHECK_EQ(convert_ctr(&config, &pod, &spec, &e), 0);
    assert_false(spec.has_entrypoint);
    assert_string_equal(spec.command[0], "-c");
    assert_string_equal(spec.env[0], "K=a=b");
    assert_string_equal(spec.log_path, "/var/log/p/c/0.log");
    CHECK_EQ(spec.stop_timeout, -1);
    CHECK_EQ(spec.log_format, ENGINE_LOG_CRI);
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } t[] = {
        { "", true }, { "plain", true }, { "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb3", true }, { "\xff", false }, { "\xc3", false },
        { "\xc0\x80", false }, { "\xed\xa0\x80", false }, { "\xf4\x90\x80\x80", false }, { "\xe2\x82", false }, { "\x80", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct err e = { 0 };
        V1(RunPodSandboxRequest) q;
        V1(PodSandboxConfig) config;
        V1_INIT(run_pod_sandbox_request, &q);
        V1_INIT(pod_sandbox_config, &config);
        config.hostname = (char *)(uintptr_t)t[i].text;
        q.config = &config;
        CHECK_EQ(pb_check_utf8(&q.base, &e), t[i].ok ? 0 : -EILSEQ);
        if (!t[i].ok) {
            assert_string_equal(e.text, "config.hostname: is not UTF-8");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals), cmocka_unit_test(test_image_user), cmocka_unit_test(test_pod),
        cmocka_unit_test(test_seccomp), cmocka_unit_test(test_ctr),        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
