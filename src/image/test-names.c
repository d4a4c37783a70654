/* image/test-names.c: references, TOML, hosts.toml and registries.conf, challenges, credentials. */
#include "base/fd.h"
#include "base/test.h"
#include "image/auth.h"
#include "image/challenge.h"
#include "image/hosts.h"
#include "image/toml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define D64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_reference(void **state)
{
    (void)state;
    static const struct {
        const char *in, *whole, *familiar;
    } good[] = {
        { "busybox", "docker.io/library/busybox", "busybox" },
        { "busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36" },
        { "me/app", "docker.io/me/app", "me/app" },
        { "docker.io/busybox", "docker.io/library/busybox", "busybox" },
        { "index.docker.io/a/b", "docker.io/a/b", "a/b" },
        { "localhost/x", "localhost/x", "localhost/x" },
        { "localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y" },
        { "Host/x", "Host/x", "Host/x" },
        { "[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x" },
        { "quay.io/a/b-c__d.e/f:T_1.2-3", "quay.io/a/b-c__d.e/f:T_1.2-3", "quay.io/a/b-c__d.e/f:T_1.2-3" },
        { "a@sha256:" D64, "docker.io/library/a@sha256:" D64, "a@sha256:" D64 },
        { "a:t@sha512:" D64 D64, "docker.io/library/a:t@sha512:" D64 D64, "a:t@sha512:" D64 D64 },
        { "a---b", "docker.io/library/a---b", "a---b" },
        { "library/library/x", "docker.io/library/library/x", "library/library/x" },
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct reference r;
        struct err e = { 0 };
        CHECK_EQ(reference_parse(good[i].in, &r, &e), 0);
        CLEANUP_FREE char *whole = reference_string(&r);
        CLEANUP_FREE char *familiar = reference_familiar(&r);
        assert_string_equal(whole, good[i].whole);
        assert_string_equal(familiar, good[i].familiar);
        struct reference again;
        CHECK_EQ(reference_parse(whole, &again, &e), 0);
        assert_string_equal(again.path, r.path);
    }
    static const char *const bad[] = {
        "", ":", "a:", "a@", "/a", "a/", "a//b", "A", "docker.io/A", "a__", "a___b", "a..b", "-a", "a-", "a:-t", "a:.t", "a b",
        "a@sha256:00", "a@md5:" D64, "a@sha256:" D64 "0", "a@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        D64, "h.:1/a", "-h.x/a", "h.x:0/a", "h.x:65536/a", "h.x:/a", "[::1/a", "[g::]/a", "a:t:u", "http://a.b/c", "a\nb", "a?b",
        "a%41", "h.x/../b",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reference r;
        struct err e = { 0 };
        if (reference_parse(bad[i], &r, &e) != -EINVAL) {
            fail_msg("\"%s\" is taken", bad[i]);
        }
        CHECK_EQ(e.kind, ERR_INVALID);
    }
}

static void test_reference_length(void **state)
{
    (void)state;
    char name[700];
    struct reference r;
    struct err e = { 0 };
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    CHECK_EQ(reference_parse(name, &r, &e), -EINVAL);
    name[255 - strlen("docker.io/library/")] = '\0';
    CHECK_EQ(reference_parse(name, &r, &e), 0);
    name[255 - strlen("docker.io/library/")] = 'a';
    name[256 - strlen("docker.io/library/")] = '\0';
    CHECK_EQ(reference_parse(name, &r, &e), -EINVAL);
    CHECK_EQ(reference_parse_tagged("x", &r, &e), 0);
    assert_string_equal(r.tag, "latest");
    assert_true(r.is_short);
    CHECK_EQ(reference_parse_tagged("x@sha256:" D64, &r, &e), 0);
    assert_string_equal(r.tag, "");
    CHECK_EQ(reference_parse_at("quay.io", "a/b:1", &r, &e), 0);
    assert_string_equal(r.domain, "quay.io");
}

static void test_loopback(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool want;
    } t[] = {
        { "localhost", true },       { "localhost:1", true },  { "127.0.0.1:5000", true }, { "127.1.2.3", true },
        { "[::1]:5000", true },      { "128.0.0.1", false },   { "127.evil.com", false },  { "127.0.0.1.evil.com", false },
        { "localhost.evil", false }, { "[::2]", false },       { "1270.0.0.1", false },    { "127.0.0", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        if (reference_is_loopback(t[i].host) != t[i].want) {
            fail_msg("%s", t[i].host);
        }
    }
}

static void test_toml(void **state)
{
    (void)state;
    static const char text[] = "a = 1 # c\n"
                               "'lit\\x' = 'no \\n'\n"
                               "b.c = \"x\\u00e9\\n\"\n"
                               "l = [ 1, # one\n  2,\n]\n"
                               "m = \"\"\"\nline\\\n   joined\"\"\"\n"
                               "i = { x = true, \"y z\" = -3 }\n"
                               "[host.\"https://m\"]\n  skip_verify = false\n"
                               "[[r]]\nn = 1\n[[r.m]]\nl = 'x'\n[[r]]\nn = 2\r\n";
    struct err e = { 0 };
    json_t *t = NULL;
    CHECK_EQ(toml_parse("f", text, strlen(text), &t, &e), 0);
    CLEANUP_FREE char *out = json_dumps(t, JSON_COMPACT);
    json_decref(t);
    assert_string_equal(out, "{\"a\":1,\"lit\\\\x\":\"no \\\\n\",\"b\":{\"c\":\"x\xc3\xa9\\n\"},\"l\":[1,2],\"m\":\"linejoined\","
                             "\"i\":{\"x\":true,\"y z\":-3},\"host\":{\"https://m\":{\"skip_verify\":false}},"
                             "\"r\":[{\"n\":1,\"m\":[{\"l\":\"x\"}]},{\"n\":2}]}");
    static const struct {
        const char *text, *error;
    } bad[] = {
        { "a = 1\nb", "f:2: b: = expected" },        { "a = \"x", "f:1: string is not ended" },
        { "a = 1\na = 2", "f:2: a is set twice" },   { "[t]\n[t]\n", "f:2: table is there twice" },
        { "a = 1.5", "f:1: value 1.5 is neither" },  { "a = 1 2", "f:1: unexpected characters" },
        { "a = [1", "f:1: array needs" },            { "a = 1\n[a.b]", "f:2: a is not a table" },
        { "a = \"\\q\"", "f:1: unknown escape" },    { "= 1", "f:1: key expected" },
        { "a = 01", "f:1: value 01" },               { "[a", "f:1: table header needs ]" },
        { "a =", "f:1: value is missing" },          { "a = \"\xff\"", "f:1: string is not UTF-8" },
        { "a = \"\\ud800\"", "f:1: escape is not a character" }, { "a = {x=1,}", "f:1: inline table ends" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *none = NULL;
        CHECK_EQ(toml_parse("f", bad[i].text, strlen(bad[i].text), &none, &e), -EINVAL);
        if (!str_starts(e.text, bad[i].error)) {
            fail_msg("%s: %s", bad[i].text, e.text);
        }
    }
}

struct dir {
    char path[64];
};
static void dir_done(struct dir *d)
{
    struct err e = { 0 };
    (void)!dir_remove_all(AT_FDCWD, d->path, &e);
}

static void put(const struct dir *d, const char *name, const char *text)
{
    struct err e = { 0 };
    CLEANUP_FREE char *path = str_printf("%s/%s", d->path, name);
    CLEANUP_FREE char *folder = strndup(path, (size_t)(strrchr(path, '/') - path));
    CHECK_EQ(dir_make_all(AT_FDCWD, folder, 0755, &e), 0);
    CHECK_EQ(file_replace(AT_FDCWD, path, text, strlen(text), 0600, false, &e), 0);
}

static int resolve(const struct dir *d, const char *ref, struct endpoints *l, struct err *e)
{
    CLEANUP_FREE char *certs = str_printf("%s/certs.d", d->path);
    CLEANUP_FREE char *conf = str_printf("%s/registries.conf", d->path);
    CLEANUP_FREE char *conf_d = str_printf("%s/registries.conf.d", d->path);
    const struct hosts_paths p = { certs, "", conf, conf_d };
    struct hosts *h = NULL;
    struct reference r;
    int q = reference_parse(ref, &r, e);
    q = q < 0 ? q : hosts_open(&p, &h, e);
    q = q < 0 ? q : hosts_resolve(h, &r, ENDPOINT_PULL, false, l, e);
    hosts_free(h);
    return q;
}

/* "scheme://host/prefix/path" of each, joined by blanks. */
static void check_endpoints(const struct dir *d, const char *ref, const char *want)
{
    CLEANUP_ENDPOINTS struct endpoints l = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    struct err e = { 0 };
    if (resolve(d, ref, &l, &e) < 0) {
        fail_msg("%s: %s", ref, e.text);
    }
    for (size_t i = 0; i < l.n; i++) {
        buf_addf(&b, "%s%s://%s%s/%s", i ? " " : "", l.v[i].scheme, l.v[i].host, l.v[i].prefix, l.v[i].path);
    }
    assert_string_equal(buf_str(&b), want);
}

static void test_hosts(void **state)
{
    (void)state;
    CLEANUP(dir_done) struct dir d = { "/tmp/tare-test-hosts-XXXXXX" };
    assert_non_null(mkdtemp(d.path));
    put(&d, "certs.d/docker.io/hosts.toml",
        "[host.\"http://m1:5000\"]\n capabilities = [\"pull\"]\n ca = \"m.crt\"\n"
        "[host.\"https://m2/proxy\"]\n override_path = true\n client = [[\"a.cert\", \"a.key\"]]\n"
        " [host.\"https://m2/proxy\".header]\n  X-A = [\"1\", \"2\"]\n"
        "[host.\"https://pushonly\"]\n capabilities = [\"push\"]\n");
    put(&d, "certs.d/h_5000_/hosts.toml", "server = \"https://real.example\"\n");
    put(&d, "certs.d/_default/hosts.toml", "[host.\"https://all\"]\n");
    check_endpoints(&d, "busybox",
                    "http://m1:5000/v2/library/busybox https://m2/proxy/library/busybox https://registry-1.docker.io/v2/library/busybox");
    check_endpoints(&d, "h:5000/x", "https://real.example/v2/x");
    check_endpoints(&d, "other.io/x", "https://all/v2/x https://other.io/v2/x");
    CLEANUP_ENDPOINTS struct endpoints l = { 0 };
    struct err e = { 0 };
    CHECK_EQ(resolve(&d, "busybox", &l, &e), 0);
    assert_true(str_ends(l.v[0].ca[0], "/certs.d/docker.io/m.crt"));
    assert_string_equal(l.v[0].ns, "docker.io");
    assert_string_equal(str_map_get(&l.v[1].headers, "X-A"), "1, 2");
    assert_true(str_ends(l.v[1].clients.v[0].key, "/a.key"));
    assert_false(l.v[2].is_mirror);
    put(&d, "certs.d/bad.io/hosts.toml", "[host.\"https://x\"]\n skip_verify = \"yes\"\n");
    endpoints_done(&l);
    CHECK_EQ(resolve(&d, "bad.io/x", &l, &e), -EINVAL);
    assert_non_null(strstr(e.text, "bad.io/hosts.toml: host.\"https://x\": skip_verify: true or false expected"));
    put(&d, "certs.d/bad.io/hosts.toml", "[host.\"https://x\"]\n[host.\"https://x\"]\n");
    CHECK_EQ(resolve(&d, "bad.io/x", &l, &e), -EINVAL);
    assert_non_null(strstr(e.text, "bad.io/hosts.toml:2: table is there twice"));
    put(&d, "certs.d/bad.io/hosts.toml", "[host.\"https://x\"]\nheader = { \"A\" = \"b\\r\\nEvil: 1\" }\n");
    CHECK_EQ(resolve(&d, "bad.io/x", &l, &e), -EINVAL);
}

static void test_registries_conf(void **state)
{
    (void)state;
    CLEANUP(dir_done) struct dir d = { "/tmp/tare-test-hosts-XXXXXX" };
    assert_non_null(mkdtemp(d.path));
    put(&d, "registries.conf",
        "unqualified-search-registries = [\"one.io\", \"docker.io\"]\n[aliases]\n\"al\" = \"al.io/x/al\"\n"
        "[[registry]]\nprefix = \"a.io/team\"\nlocation = \"b.io/mirrored\"\n[[registry.mirror]]\nlocation = \"m.io/x\"\ninsecure = true\n"
        "[[registry.mirror]]\nlocation = \"dig.io\"\npull-from-mirror = \"digest-only\"\n"
        "[[registry]]\nprefix = \"*.wild.io\"\nlocation = \"w.io\"\n[[registry]]\nlocation = \"blocked.io\"\nblocked = true\n");
    put(&d, "registries.conf.d/10.conf", "[[registry]]\nprefix = \"*.wild.io\"\nlocation = \"v.io\"\n");
    check_endpoints(&d, "a.io/team/app", "https://m.io/v2/x/app https://b.io/v2/mirrored/app");
    check_endpoints(&d, "a.io/team/app@sha256:" D64, "https://m.io/v2/x/app https://dig.io/v2/app https://b.io/v2/mirrored/app");
    check_endpoints(&d, "a.io/teammate/app", "https://a.io/v2/teammate/app");
    check_endpoints(&d, "x.wild.io/app", "https://v.io/v2/app");
    check_endpoints(&d, "wild.io/app", "https://wild.io/v2/app");
    check_endpoints(&d, "localhost:5000/app", "https://localhost:5000/v2/app");
    CLEANUP_ENDPOINTS struct endpoints l = { 0 };
    struct err e = { 0 };
    CHECK_EQ(resolve(&d, "blocked.io/x", &l, &e), -EACCES);
    CHECK_EQ(resolve(&d, "a.io/team/app", &l, &e), 0);
    assert_true(l.v[0].skip_verify && l.v[0].try_http && !l.v[1].try_http);

    CLEANUP_FREE char *conf = str_printf("%s/registries.conf", d.path);
    const struct hosts_paths p = { "", "", conf, "" };
    struct hosts *h = NULL;
    CLEANUP_STRV char **names = NULL;
    CHECK_EQ(hosts_open(&p, &h, &e), 0);
    CHECK_EQ(hosts_candidates(h, "al:2", &names, &e), 0);
    CHECK_EQ(hosts_candidates(h, "bb", &names, &e), 0);
    CHECK_EQ(hosts_candidates(h, "q.io/z", &names, &e), 0);
    hosts_free(h);
    static const char *const want[] = { "al.io/x/al:2", "one.io/bb:latest", "docker.io/library/bb:latest", "q.io/z:latest" };
    CHECK_EQ(strv_len(names), ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_string_equal(names[i], want[i]);
    }
}

static void test_challenge(void **state)
{
    (void)state;
    CLEANUP_CHALLENGES struct challenges c = { 0 };
    struct err e = { 0 };
    CHECK_EQ(challenge_parse("Negotiate, bearer realm=\"https://a/t?x=1,2\" , Service=reg,scope=\"repository:a/b:pull,push\", BASIC realm=\"q\\\"x\"",
                             &c, &e), 0);
    CHECK_EQ(c.n, 3);
    const struct challenge *b = challenge_get(&c, CHALLENGE_BEARER);
    assert_string_equal(str_map_get(&b->params, "realm"), "https://a/t?x=1,2");
    assert_string_equal(str_map_get(&b->params, "service"), "reg");
    assert_string_equal(str_map_get(&b->params, "scope"), "repository:a/b:pull,push");
    assert_string_equal(str_map_get(&challenge_get(&c, CHALLENGE_BASIC)->params, "realm"), "q\"x");
    static const char *const bad[] = { "Bearer realm=\"x", "Bearer realm=", "Bearer realm=\"a\" realm=\"b\"", "Bearer a=1,a=2",
                                       "Bea(rer", "Bearer a=\"\x01\"" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP_CHALLENGES struct challenges x = { 0 };
        if (challenge_parse(bad[i], &x, &e) != -EINVAL) {
            fail_msg("%s is taken", bad[i]);
        }
    }
}

static void check_auth(const struct auth_paths *p, const char *host, const char *path, const char *user, const char *secret)
{
    CLEANUP_CREDENTIAL struct credential c = { 0 };
    struct err e = { 0 };
    if (auth_find(p, host, path, &c, &e) < 0) {
        fail_msg("%s", e.text);
    }
    if (!str_eq(c.username, user) || !str_eq(c.password, secret)) {
        fail_msg("%s/%s: got %s:%s", host, path ? path : "", c.username ? c.username : "-", c.password ? c.password : "-");
    }
}

static void test_auth_find(void **state)
{
    (void)state;
    CLEANUP(dir_done) struct dir d = { "/tmp/tare-test-auth-XXXXXX" };
    assert_non_null(mkdtemp(d.path));
    CLEANUP_FREE char *run = str_printf("%s/run", d.path);
    const struct auth_paths p = { .runtime_dir = run, .config_home = d.path, .home = d.path, .docker_config = d.path, .file = "" };
    put(&d, "run/containers/auth.json",
        "{\"auths\":{\"q.io/a/b\":{\"auth\":\"YTox\"},\"q.io/a\":{\"auth\":\"YToy\"},\"q.io\":{\"auth\":\"YTpzOm0=\"}}}");
    put(&d, "config.json", "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"aHViOjk=\"},\"https://q.io\":{\"auth\":\"YTp4\"},"
                           "\"only.io\":{\"username\":\"u\",\"password\":\"p\"},\"empty.io\":{}}}");
    check_auth(&p, "q.io", "a/b", "a", "1");
    check_auth(&p, "q.io", "a/b/c", "a", "1");
    check_auth(&p, "q.io", "a/bc", "a", "2");
    check_auth(&p, "q.io", "z", "a", "s:m");
    check_auth(&p, "q.io:5000", "z", NULL, NULL);
    check_auth(&p, "registry-1.docker.io", "library/x", "hub", "9");
    check_auth(&p, "docker.io", NULL, "hub", "9");
    check_auth(&p, "only.io", NULL, "u", "p");
    check_auth(&p, "empty.io", NULL, NULL, NULL);
    put(&d, "config.json", "{\"auths\":{\"x.io\":{\"auth\":\"!!!!\"}}}");
    CLEANUP_CREDENTIAL struct credential c = { 0 };
    struct err e = { 0 };
    CHECK_EQ(auth_find(&p, "x.io", NULL, &c, &e), -EINVAL);
    assert_non_null(strstr(e.text, "config.json: auths.\"x.io\""));
    put(&d, "config.json", "{");
    CHECK_EQ(auth_find(&p, "x.io", NULL, &c, &e), -EINVAL);
    assert_non_null(strstr(e.text, "config.json:1:"));
}

static void test_auth_helper(void **state)
{
    (void)state;
    CLEANUP(dir_done) struct dir d = { "/tmp/tare-test-auth-XXXXXX" };
    assert_non_null(mkdtemp(d.path));
    put(&d, "docker-credential-tt",
        "#!/bin/sh\nread host\ncase $1-$host in get-q.io) echo '{\"Username\":\"u\",\"Secret\":\"s\"}';;"
        " get-slow.io) exec sleep 60;; get-t.io) echo '{\"Username\":\"<token>\",\"Secret\":\"s\"}';;"
        " *) echo 'credentials not found in native keychain'; exit 1;; esac\n");
    CLEANUP_FREE char *program = str_printf("%s/docker-credential-tt", d.path);
    CHECK_EQ(chmod(program, 0755), 0);
    CLEANUP_FREE char *old = strdup(getenv("PATH"));
    CLEANUP_FREE char *search = str_printf("%s:%s", d.path, old);
    setenv("PATH", search, 1);
    CLEANUP_FREE char *file = str_printf("%s/auth.json", d.path);
    const struct auth_paths p = { .file = file, .helper_timeout_ms = 300 };
    put(&d, "auth.json", "{\"credsStore\":\"tt\",\"auths\":{\"own.io\":{\"auth\":\"YTox\"}}}");
    check_auth(&p, "q.io", "x", "u", "s");
    check_auth(&p, "none.io", "x", NULL, NULL);
    check_auth(&p, "own.io", "x", "a", "1");
    CLEANUP_CREDENTIAL struct credential c = { 0 };
    struct err e = { 0 };
    CHECK_EQ(auth_find(&p, "t.io", NULL, &c, &e), 0);
    assert_string_equal(c.identity_token, "s");
    credential_done(&c);
    CHECK_EQ(auth_find(&p, "slow.io", NULL, &c, &e), -ETIMEDOUT);
    put(&d, "auth.json", "{\"credHelpers\":{\"q.io\":\"../evil\"}}");
    CHECK_EQ(auth_find(&p, "q.io", NULL, &c, &e), -EINVAL);
    setenv("PATH", old, 1);
}

static void test_auth_store(void **state)
{
    (void)state;
    CLEANUP(dir_done) struct dir d = { "/tmp/tare-test-auth-XXXXXX" };
    assert_non_null(mkdtemp(d.path));
    CLEANUP_FREE char *file = str_printf("%s/new/auth.json", d.path);
    const struct auth_paths p = { .file = file };
    struct credential c = { .username = (char *)(uintptr_t)"me", .password = (char *)(uintptr_t)"pa:ss" };
    CLEANUP_FREE char *where = NULL;
    CLEANUP_STRV char **erased = NULL;
    struct err e = { 0 };
    struct stat st;
    CHECK_EQ(auth_store(&p, "q.io", &c, &where, &e), 0);
    assert_string_equal(where, file);
    CHECK_EQ(auth_store(&p, "docker.io", &c, NULL, &e), 0);
    CHECK_EQ(stat(file, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0600);
    check_auth(&p, "q.io", "x", "me", "pa:ss");
    check_auth(&p, "registry-1.docker.io", "library/x", "me", "pa:ss");
    CHECK_EQ(auth_erase(&p, "q.io", &erased, &e), 0);
    CHECK_EQ(strv_len(erased), 1);
    check_auth(&p, "q.io", "x", NULL, NULL);
    CHECK_EQ(auth_erase(&p, "q.io", NULL, &e), -ENOENT);
    CHECK_EQ(auth_erase(&p, NULL, NULL, &e), 0);
}

int main(void)
{
    unsetenv("REGISTRY_AUTH_FILE");
    unsetenv("CONTAINERS_REGISTRIES_CONF");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_reference_length), cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_toml),      cmocka_unit_test(test_hosts),            cmocka_unit_test(test_registries_conf),
        cmocka_unit_test(test_challenge), cmocka_unit_test(test_auth_find),        cmocka_unit_test(test_auth_helper),
        cmocka_unit_test(test_auth_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
