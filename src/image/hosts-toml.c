/* image/hosts-toml.c: one registry's folder in a certs.d tree: its hosts.toml, or certificates alone. */
#include "base/fd.h"
#include "base/num.h"
#include "image/hosts-internal.h"
#include "image/toml.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { HOSTS_MAX = 64 };

static int wrong(const char *field, const char *want, struct err *e)
{
    return err_set(e, EINVAL, ERR_INVALID, "%s: %s expected", field, want);
}

static int set_capabilities(struct endpoint *ep, const json_t *v, struct err *e)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = { { "pull", ENDPOINT_PULL }, { "resolve", ENDPOINT_RESOLVE }, { "push", ENDPOINT_PUSH }, { "referrers", 0 } };
    ep->capabilities = ENDPOINT_PULL | ENDPOINT_RESOLVE | ENDPOINT_PUSH;
    if (!v) {
        return 0;
    }
    if (!json_is_array(v)) {
        return wrong("capabilities", "list of strings", e);
    }
    ep->capabilities = 0;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *s = json_string_value(json_array_get(v, i));
        size_t k = 0;
        while (k < ARRAY_LEN(names) && !str_eq(s, names[k].name)) {
            k++;
        }
        if (k == ARRAY_LEN(names)) {
            return err_set(e, EINVAL, ERR_INVALID, "capabilities: \"%s\" is none of pull, resolve, push", s ? s : "?");
        }
        ep->capabilities |= names[k].bit;
    }
    return 0;
}

/* A path of the file, relative to its folder. */
static char *file_of(const char *dir, const json_t *v)
{
    const char *s = json_string_value(v);
    return !s ? NULL : s[0] == '/' ? strdup(s) : str_printf("%s/%s", dir, s);
}

static int add_ca(struct endpoint *ep, const char *dir, const json_t *v, struct err *e)
{
    CLEANUP_FREE char *path = file_of(dir, v);
    if (!path) {
        return wrong("ca", "path or list of paths", e);
    }
    return strv_push(&ep->ca, path) < 0 ? err_oom(e) : 0;
}

static int set_ca(struct endpoint *ep, const char *dir, const json_t *v, struct err *e)
{
    int r = 0;
    if (!json_is_array(v)) {
        return v ? add_ca(ep, dir, v, e) : 0;
    }
    for (size_t i = 0; r == 0 && i < json_array_size(v); i++) {
        r = add_ca(ep, dir, json_array_get(v, i), e);
    }
    return r;
}

static int add_client(struct endpoint *ep, const char *dir, const json_t *v, struct err *e)
{
    bool pair = json_is_array(v) && json_array_size(v) == 2;
    CLEANUP_FREE char *cert = file_of(dir, pair ? json_array_get(v, 0) : v);
    const json_t *k = pair ? json_array_get(v, 1) : NULL;
    CLEANUP_FREE char *key = k && !str_empty(json_string_value(k)) ? file_of(dir, k) : NULL;
    if (!cert || (k && !json_is_string(k))) {
        return wrong("client", "path, list of paths, or list of [certificate, key]", e);
    }
    return endpoint_add_client(ep, cert, key) < 0 ? err_oom(e) : 0;
}

static int set_clients(struct endpoint *ep, const char *dir, const json_t *v, struct err *e)
{
    int r = 0;
    if (!json_is_array(v)) {
        return v ? add_client(ep, dir, v, e) : 0;
    }
    for (size_t i = 0; r == 0 && i < json_array_size(v); i++) {
        r = add_client(ep, dir, json_array_get(v, i), e);
    }
    return r;
}

static bool header_text_valid(const char *s)
{
    for (; *s; s++) {
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f) {
            return false;
        }
    }
    return true;
}

static int set_header(struct endpoint *ep, const char *key, const json_t *v, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        if (!s || !header_text_valid(s) || !header_text_valid(key) || strchr(key, ':')) {
            return err_set(e, EINVAL, ERR_INVALID, "header.%s: text or list of texts without control characters expected", key);
        }
        buf_addf(&b, "%s%s", i > 0 ? ", " : "", s);
    }
    return buf_failed(&b) || str_map_set(&ep->headers, key, buf_str(&b)) < 0 ? err_oom(e) : 0;
}

static int set_flag(const json_t *t, const char *field, bool *ret, struct err *e)
{
    const json_t *v = json_object_get(t, field);
    if (v && !json_is_boolean(v)) {
        return wrong(field, "true or false", e);
    }
    *ret = json_is_true(v);
    return 0;
}

static int set_dial_timeout(struct endpoint *ep, const json_t *v, struct err *e)
{
    int64_t ns = 0;
    if (v && (!json_is_string(v) || num_duration(json_string_value(v), &ns) < 0 || ns <= 0)) {
        return wrong("dial_timeout", "duration such as \"1s\"", e);
    }
    ep->connect_timeout_ms = ns / 1000000;
    return 0;
}

/* What stands at the top of the file (for the server) and below [host."…"] alike. */
static int fill(struct endpoint *ep, const char *dir, const char *url, json_t *t, struct err *e)
{
    bool override_path = false;
    int r = set_flag(t, "override_path", &override_path, e);
    r = r < 0 ? r : set_flag(t, "skip_verify", &ep->skip_verify, e);
    r = r < 0 ? r : endpoint_set_url(ep, url, override_path, e);
    r = r < 0 ? r : set_capabilities(ep, json_object_get(t, "capabilities"), e);
    r = r < 0 ? r : set_ca(ep, dir, json_object_get(t, "ca"), e);
    r = r < 0 ? r : set_clients(ep, dir, json_object_get(t, "client"), e);
    r = r < 0 ? r : set_dial_timeout(ep, json_object_get(t, "dial_timeout"), e);
    json_t *header = json_object_get(t, "header");
    if (r == 0 && header && !json_is_object(header)) {
        return wrong("header", "table", e);
    }
    const char *key;
    json_t *v;
    json_object_foreach(header, key, v) {
        r = r < 0 ? r : set_header(ep, key, v, e);
    }
    return r;
}

static int add_host(const char *dir, const char *url, json_t *t, const struct reference *r, struct endpoints *ret, struct err *e)
{
    if (!json_is_object(t)) {
        return wrong("host", "table", e);
    }
    struct endpoint *ep = ret->n < HOSTS_MAX ? endpoints_add(ret) : NULL;
    if (!ep) {
        return err_set(e, E2BIG, ERR_INVALID, "more than %d hosts", HOSTS_MAX);
    }
    int q = fill(ep, dir, url, t, e);
    if (q < 0) {
        return err_wrap(e, "host.\"%s\"", url);
    }
    ep->is_mirror = !str_eq(ep->host, r->domain) && !str_eq(ep->host, reference_host(r->domain));
    ep->path = strdup(r->path);
    ep->ns = ep->is_mirror ? strdup(r->domain) : NULL;
    ep->why = str_printf("%s/hosts.toml, host.\"%s\"", dir, url);
    return ep->path && ep->why && (ep->ns || !ep->is_mirror) ? 0 : err_oom(e);
}

/* The registry itself, last of all. */
static int add_server(const char *dir, json_t *t, const struct reference *r, struct endpoints *ret, struct err *e)
{
    json_t *server = json_object_get(t, "server");
    if (server && !json_is_string(server)) {
        return wrong("server", "text", e);
    }
    struct endpoint *ep = endpoints_add(ret);
    if (!ep) {
        return err_oom(e);
    }
    const char *given = json_string_value(server);
    int q = fill(ep, dir, str_empty(given) ? reference_host(r->domain) : given, t, e);
    if (q < 0) {
        return err_wrap(e, "server");
    }
    if (str_eq(ep->host, "docker.io")) {
        free(ep->host);
        ep->host = strdup(reference_host("docker.io"));
    }
    ep->path = strdup(r->path);
    ep->is_mirror = !str_eq(ep->host, r->domain) && !str_eq(ep->host, reference_host(r->domain));
    ep->ns = ep->is_mirror ? strdup(r->domain) : NULL;
    ep->why = str_printf("%s/hosts.toml, %s", dir, str_empty(given) ? "the registry itself" : "server");
    return ep->path && ep->why && ep->host ? 0 : err_oom(e);
}

static int resolve_file(const char *dir, const char *path, const struct buf *text, const struct reference *r, struct endpoints *ret,
                        struct err *e)
{
    json_t *t = NULL;
    int q = toml_parse(path, buf_str(text), text->len, &t, e);
    if (q < 0) {
        return q;
    }
    json_t *hosts = json_object_get(t, "host");
    if (hosts && !json_is_object(hosts)) {
        q = wrong("host", "table", e);
    }
    const char *url;
    json_t *v;
    json_object_foreach(hosts, url, v) {
        q = q < 0 ? q : add_host(dir, url, v, r, ret, e);
    }
    q = q < 0 ? q : add_server(dir, t, r, ret, e);
    json_decref(t);
    return q < 0 ? err_wrap(e, "%s", path) : 1;
}

/* A folder without hosts.toml, as Docker has them: certificates of the registry itself. */
static int resolve_certs(const char *dir, const struct reference *r, struct endpoints *ret, struct err *e)
{
    struct endpoint *ep = endpoints_add(ret);
    if (!ep) {
        return err_oom(e);
    }
    ep->capabilities = ENDPOINT_PULL | ENDPOINT_RESOLVE | ENDPOINT_PUSH;
    int q = endpoint_set_url(ep, reference_host(r->domain), false, e);
    q = q < 0 ? q : endpoint_add_cert_dir(ep, dir, e);
    ep->path = strdup(r->path);
    ep->why = str_printf("certificates of %s", dir);
    return q < 0 ? q : ep->path && ep->why ? 1 : err_oom(e);
}

static int resolve_dir(const char *dir, bool is_default, const struct reference *r, struct endpoints *ret, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    CLEANUP_FREE char *path = str_printf("%s/hosts.toml", dir);
    struct err why = { 0 };
    if (!path) {
        return err_oom(e);
    }
    if (access(dir, F_OK) < 0) {
        return 0;
    }
    int q = file_read(AT_FDCWD, path, TOML_TEXT_MAX, &text, &why);
    if (q == -ENOENT) {
        return is_default ? 0 : resolve_certs(dir, r, ret, e);
    }
    if (q < 0) {
        return err_set(e, -q, why.kind, "%s", why.text);
    }
    return resolve_file(dir, path, &text, r, ret, e);
}

int hosts_toml_resolve(const struct hosts *h, const struct reference *r, struct endpoints *ret, struct err *e)
{
    if (str_empty(h->hosts_dir)) {
        return 0;
    }
    const char *port = strrchr(r->domain, ':');
    port = port && strchr(port, ']') ? NULL : port;
    CLEANUP_FREE char *with_port =
            port ? str_printf("%s/%.*s_%s_", h->hosts_dir, (int)(port - r->domain), r->domain, port + 1) : NULL;
    CLEANUP_FREE char *plain = str_printf("%s/%s", h->hosts_dir, r->domain);
    CLEANUP_FREE char *fallback = str_printf("%s/_default", h->hosts_dir);
    if (!plain || !fallback) {
        return err_oom(e);
    }
    int q = with_port ? resolve_dir(with_port, false, r, ret, e) : 0;
    q = q != 0 ? q : resolve_dir(plain, false, r, ret, e);
    return q != 0 ? q : resolve_dir(fallback, true, r, ret, e);
}
