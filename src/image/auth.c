/* image/auth.c: finding credentials: which files, which entry, which helper. Writing them is auth-store.c's. */
#include "image/auth-internal.h"

#include "base/fd.h"
#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

enum { AUTH_FILE_MAX = 4 << 20, HELPER_OUTPUT_MAX = 1 << 20, HELPER_TIMEOUT_MS = 20000 };

/* Secrets are wiped before their memory goes back. */
static void free_secret(char *s)
{
    if (s) {
        explicit_bzero(s, strlen(s));
    }
    free(s);
}

void credential_done(struct credential *c)
{
    free(c->username);
    free_secret(c->password);
    free_secret(c->identity_token);
    free_secret(c->registry_token);
    free(c->source);
    *c = (struct credential){ 0 };
}

bool credential_empty(const struct credential *c)
{
    return str_empty(c->username) && str_empty(c->identity_token) && str_empty(c->registry_token);
}

/* "dXNlcjpwYXNz" → user, pass. */
static int decode_pair(const char *text, struct credential *c, struct err *e)
{
    size_t len = strlen(text);
    if (len == 0 || len % 4 != 0 || len > 64 * 1024) {
        return err_set(e, EINVAL, ERR_INVALID, "auth is not base64 of \"user:password\"");
    }
    CLEANUP_FREE char *out = calloc(1, len + 1);
    if (!out) {
        return err_oom(e);
    }
    int n = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text, (int)len);
    /* EVP_DecodeBlock() counts the padding as zero bytes. */
    for (size_t i = len; n > 0 && i > len - 2 && text[i - 1] == '='; i--) {
        n--;
    }
    char *colon = n > 0 ? memchr(out, ':', (size_t)n) : NULL;
    if (!colon || memchr(out, '\0', (size_t)n)) {
        explicit_bzero(out, len);
        return err_set(e, EINVAL, ERR_INVALID, "auth is not base64 of \"user:password\"");
    }
    out[n] = '\0';
    *colon = '\0';
    c->username = strdup(out);
    c->password = strdup(colon + 1);
    explicit_bzero(out, len);
    return c->username && c->password ? 0 : err_oom(e);
}

static int copy_text(const char *s, char **ret, struct err *e)
{
    if (str_empty(s)) {
        return 0;
    }
    *ret = strdup(s);
    return *ret ? 0 : err_oom(e);
}

int auth_given(const struct registry_auth *a, struct credential *ret, struct err *e)
{
    struct credential c = { 0 };
    int r = copy_text(a->username, &c.username, e);
    r = r < 0 ? r : copy_text(a->password, &c.password, e);
    r = r < 0 ? r : copy_text(a->identity_token, &c.identity_token, e);
    r = r < 0 ? r : copy_text(a->registry_token, &c.registry_token, e);
    if (r == 0 && !c.username && !str_empty(a->auth)) {
        r = decode_pair(a->auth, &c, e);
    }
    if (r == 0 && !credential_empty(&c)) {
        r = copy_text("given by the caller", &c.source, e);
    }
    if (r < 0) {
        credential_done(&c);
        return r;
    }
    *ret = c;
    return 0;
}

static const char *env_or(const char *given, const char *name)
{
    const char *env = given ? given : getenv(name);
    return str_empty(env) ? NULL : env;
}

static int add_file(struct auth_files *f, enum auth_file_kind kind, char *path, struct err *e)
{
    if (!path) {
        return err_oom(e);
    }
    f->v[f->n++] = (struct auth_file){ path, kind };
    return 0;
}

void auth_files_done(struct auth_files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->v[i].path);
    }
    *f = (struct auth_files){ 0 };
}

int auth_files_get(const struct auth_paths *p, struct auth_files *f, struct err *e)
{
    const char *file = env_or(p->file, "REGISTRY_AUTH_FILE");
    if (file) {
        return add_file(f, AUTH_FILE_GIVEN, strdup(file), e);
    }
    const char *runtime = env_or(p->runtime_dir, "XDG_RUNTIME_DIR"), *home = env_or(p->home, "HOME");
    const char *config = env_or(p->config_home, "XDG_CONFIG_HOME"), *docker = env_or(p->docker_config, "DOCKER_CONFIG");
    home = home ? home : "/root";
    int r = add_file(f, AUTH_FILE_RUNTIME,
                     runtime ? str_printf("%s/containers/auth.json", runtime)
                             : str_printf("/run/containers/%u/auth.json", (unsigned)getuid()),
                     e);
    r = r < 0 ? r
              : add_file(f, AUTH_FILE_CONFIG,
                         config ? str_printf("%s/containers/auth.json", config)
                                : str_printf("%s/.config/containers/auth.json", home),
                         e);
    return r < 0 ? r
                 : add_file(f, AUTH_FILE_DOCKER,
                            docker ? str_printf("%s/config.json", docker) : str_printf("%s/.docker/config.json", home), e);
}

int auth_file_load(const char *path, json_t **ret, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    struct err why = { 0 };
    json_error_t je;
    int r = file_read(AT_FDCWD, path, AUTH_FILE_MAX, &text, &why);
    if (r < 0) {
        return r == -ENOENT || r == -ENOTDIR ? -ENOENT : err_set(e, -r, why.kind, "%s", why.text);
    }
    json_t *t = json_loadb(buf_str(&text), text.len, JSON_REJECT_DUPLICATES, &je);
    if (text.data) {
        explicit_bzero(text.data, text.len);
    }
    if (!json_is_object(t)) {
        bool parsed = t != NULL;
        json_decref(t);
        return parsed ? err_set(e, EINVAL, ERR_INVALID, "%s: an object is expected", path)
                      : err_set(e, EINVAL, ERR_INVALID, "%s:%d: %s", path, je.line, je.text);
    }
    *ret = t;
    return 0;
}

/* Entries are written "host", "https://host", "https://index.docker.io/v1/", or "host/path". */
char *auth_key_normal(const char *key)
{
    const char *s = str_starts(key, "https://") ? key + 8 : str_starts(key, "http://") ? key + 7 : key;
    size_t n = strlen(s);
    while (n > 0 && s[n - 1] == '/') {
        n--;
    }
    if (s != key || str_starts(s, "index.docker.io/")) {
        size_t host = strcspn(s, "/");
        if (n > host && (strncmp(s + host, "/v1", n - host) == 0 || strncmp(s + host, "/v2", n - host) == 0)) {
            n = host;
        }
    }
    char *out = strndup(s, n);
    if (out && (str_eq(out, "index.docker.io") || str_eq(out, "registry-1.docker.io"))) {
        free(out);
        out = strdup("docker.io");
    }
    return out;
}

bool auth_helper_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
    return n > 0 && n < 128 && name[n] == '\0';
}

int auth_helper_run(const struct auth_paths *p, const char *helper, const char *verb, const char *input, struct buf *out,
                    struct err *e)
{
    if (!auth_helper_valid(helper)) {
        return err_set(e, EINVAL, ERR_INVALID, "credential helper \"%s\" is not a plain name", helper);
    }
    CLEANUP_FREE char *program = str_printf("docker-credential-%s", helper);
    CLEANUP_BUF struct buf why = { 0 };
    if (!program) {
        return err_oom(e);
    }
    char *argv[] = { program, (char *)(uintptr_t)verb, NULL };
    const struct spawn_options o = { .path = program, .argv = argv };
    int code = 0, ms = p->helper_timeout_ms > 0 ? p->helper_timeout_ms : HELPER_TIMEOUT_MS;
    int r = spawn_run(&o, input, strlen(input), HELPER_OUTPUT_MAX, ms, out, &why, &code, e);
    if (r < 0) {
        return err_wrap(e, "%s %s", program, verb);
    }
    /* Helpers say on standard output that there is nothing. */
    if (code != 0 && strstr(buf_str(out), "credentials not found")) {
        return -ENOENT;
    }
    return code == 0 ? 0
                     : err_set(e, EIO, ERR_UNAVAILABLE, "%s %s: exit code %d: %.200s%.200s", program, verb, code, buf_str(out),
                               buf_str(&why));
}

/* "get" with the host on standard input. -ENOENT without an error: it has none. */
static int ask_helper(const struct auth_paths *p, const char *helper, const char *server, struct credential *c, struct err *e)
{
    CLEANUP_BUF struct buf out = { 0 };
    int r = auth_helper_run(p, helper, "get", server, &out, e);
    if (r < 0) {
        return r;
    }
    json_t *t = json_loadb(buf_str(&out), out.len, 0, NULL);
    if (out.data) {
        explicit_bzero(out.data, out.len);
    }
    const char *user = json_string_value(json_object_get(t, "Username"));
    const char *secret = json_string_value(json_object_get(t, "Secret"));
    if (!user || !secret) {
        json_decref(t);
        return err_set(e, EINVAL, ERR_INVALID, "docker-credential-%s get: answer has no Username and Secret", helper);
    }
    bool token = str_eq(user, "<token>");
    c->username = token ? NULL : strdup(user);
    *(token ? &c->identity_token : &c->password) = strdup(secret);
    json_decref(t);
    c->source = str_printf("docker-credential-%s", helper);
    return c->source ? 0 : err_oom(e);
}

static int read_entry(const char *path, const char *key, const json_t *v, struct credential *c, struct err *e)
{
    const char *pair = json_string_value(json_object_get(v, "auth"));
    const struct registry_auth a = {
        .username = json_string_value(json_object_get(v, "username")),
        .password = json_string_value(json_object_get(v, "password")),
        .auth = pair,
        .identity_token = json_string_value(json_object_get(v, "identitytoken")),
        .registry_token = json_string_value(json_object_get(v, "registrytoken")),
    };
    int r = auth_given(&a, c, e);
    if (r < 0) {
        return err_wrap(e, "%s: auths.\"%s\"", path, key);
    }
    free(c->source);
    c->source = str_printf("%s, auths.\"%s\"", path, key);
    return c->source ? 0 : err_oom(e);
}

/* The entry of auths that fits `name` exactly. */
static int find_entry(const char *path, const json_t *auths, const char *name, struct credential *c, struct err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)auths, key, v) {
        CLEANUP_FREE char *normal = auth_key_normal(key);
        if (!normal) {
            return err_oom(e);
        }
        if (str_eq(normal, name) && json_is_object(v)) {
            int r = read_entry(path, key, v, c, e);
            if (r < 0 || !credential_empty(c)) {
                return r;
            }
            credential_done(c);
        }
    }
    return 0;
}

/* What helpers know a registry by. */
static const char *server_name(const char *host)
{
    return str_eq(host, "docker.io") ? "https://index.docker.io/v1/" : host;
}

static int helper_of_host(const struct auth_paths *p, const json_t *t, const char *host, struct credential *c, struct err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(t, "credHelpers"), key, v) {
        CLEANUP_FREE char *normal = auth_key_normal(key);
        if (normal && str_eq(normal, host) && json_is_string(v)) {
            int r = ask_helper(p, json_string_value(v), server_name(host), c, e);
            return r == -ENOENT ? 0 : r;
        }
    }
    return 0;
}

/* One file: a helper of the host, entries from the most specific one, the store of all credentials. */
static int find_in(const struct auth_paths *p, const char *path, const char *host, const char *repository, struct credential *c,
                   struct err *e)
{
    json_t *t = NULL;
    int r = auth_file_load(path, &t, e);
    if (r < 0) {
        return r == -ENOENT ? 0 : r;
    }
    r = helper_of_host(p, t, host, c, e);
    CLEANUP_FREE char *name = str_printf("%s%s%s", host, repository ? "/" : "", repository ? repository : "");
    while (r == 0 && name && credential_empty(c)) {
        r = find_entry(path, json_object_get(t, "auths"), name, c, e);
        char *slash = strrchr(name, '/');
        if (!slash) {
            break;
        }
        *slash = '\0';
    }
    const char *store = json_string_value(json_object_get(t, "credsStore"));
    if (r == 0 && credential_empty(c) && !str_empty(store)) {
        r = ask_helper(p, store, server_name(host), c, e);
        r = r == -ENOENT ? 0 : r;
    }
    json_decref(t);
    return r;
}

int auth_find(const struct auth_paths *p, const char *host, const char *path, struct credential *ret, struct err *e)
{
    static const struct auth_paths usual = { 0 };
    CLEANUP(auth_files_done) struct auth_files f = { 0 };
    CLEANUP_CREDENTIAL struct credential c = { 0 };
    CLEANUP_FREE char *name = auth_key_normal(host);
    p = p ? p : &usual;
    int r = name ? auth_files_get(p, &f, e) : err_oom(e);
    for (size_t i = 0; r == 0 && i < f.n && credential_empty(&c); i++) {
        credential_done(&c);
        r = find_in(p, f.v[i].path, name, path, &c, e);
    }
    if (r == 0) {
        *ret = c;
        c = (struct credential){ 0 };
    }
    return r;
}
