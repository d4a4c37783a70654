/* image/hosts-registries.c: registries.conf (version 2) and its drop-ins: prefixes, mirrors, blocked and insecure ones, short names. */
#include "base/fd.h"
#include "image/hosts-internal.h"
#include "image/toml.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

enum { ENTRIES_MAX = 4096, MIRRORS_MAX = 64 };

void hosts_entry_done(struct hosts_entry *n)
{
    for (size_t i = 0; i < n->mirrors.n; i++) {
        free(n->mirrors.v[i].location);
        free(n->mirrors.v[i].when);
    }
    free(n->mirrors.v);
    free(n->prefix);
    free(n->location);
    free(n->file);
    *n = (struct hosts_entry){ 0 };
}

static int get_text(const json_t *t, const char *field, char **ret, struct err *e)
{
    const json_t *v = json_object_get(t, field);
    if (!v) {
        return 0;
    }
    if (!json_is_string(v)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s: text expected", field);
    }
    size_t n = strlen(json_string_value(v));
    *ret = strndup(json_string_value(v), n > 0 && json_string_value(v)[n - 1] == '/' ? n - 1 : n);
    return *ret ? 0 : err_oom(e);
}

static int get_flag(const json_t *t, const char *field, bool *ret, struct err *e)
{
    const json_t *v = json_object_get(t, field);
    if (v && !json_is_boolean(v)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s: true or false expected", field);
    }
    *ret = json_is_true(v);
    return 0;
}

static int read_mirror(const json_t *t, struct hosts_mirror *m, struct err *e)
{
    int r = get_text(t, "location", &m->location, e);
    r = r < 0 ? r : get_flag(t, "insecure", &m->insecure, e);
    r = r < 0 ? r : get_text(t, "pull-from-mirror", &m->when, e);
    if (r == 0 && str_empty(m->location)) {
        r = err_set(e, EINVAL, ERR_INVALID, "mirror: location is missing");
    }
    if (r == 0 && m->when && !str_eq(m->when, "all") && !str_eq(m->when, "digest-only") && !str_eq(m->when, "tag-only")) {
        r = err_set(e, EINVAL, ERR_INVALID, "pull-from-mirror: \"%s\" is none of all, digest-only, tag-only", m->when);
    }
    return r;
}

static int read_entry(const json_t *t, const char *file, struct hosts_entry *n, struct err *e)
{
    n->file = strdup(file);
    int r = n->file ? get_text(t, "prefix", &n->prefix, e) : err_oom(e);
    r = r < 0 ? r : get_text(t, "location", &n->location, e);
    r = r < 0 ? r : get_flag(t, "insecure", &n->insecure, e);
    r = r < 0 ? r : get_flag(t, "blocked", &n->blocked, e);
    r = r < 0 ? r : get_flag(t, "mirror-by-digest-only", &n->digest_only, e);
    if (r == 0 && !n->prefix) {
        n->prefix = n->location ? strdup(n->location) : NULL;
    }
    if (r == 0 && !n->location && n->prefix && !str_starts(n->prefix, "*.")) {
        n->location = strdup(n->prefix);
    }
    if (r == 0 && str_empty(n->prefix)) {
        return err_set(e, EINVAL, ERR_INVALID, "registry: prefix and location are missing");
    }
    const json_t *list = json_object_get(t, "mirror");
    size_t count = json_array_size(list);
    if (r == 0 && count > MIRRORS_MAX) {
        return err_set(e, E2BIG, ERR_INVALID, "registry %s: more than %d mirrors", n->prefix, MIRRORS_MAX);
    }
    n->mirrors.v = calloc(count + 1, sizeof(*n->mirrors.v));
    for (size_t i = 0; r == 0 && i < count; i++) {
        n->mirrors.n++;
        r = read_mirror(json_array_get(list, i), &n->mirrors.v[i], e);
    }
    return r;
}

/* A later file's entry replaces an earlier one with the same prefix. */
static int put_entry(struct hosts *h, struct hosts_entry *n, struct err *e)
{
    for (size_t i = 0; i < h->entries.n; i++) {
        if (str_eq(h->entries.v[i].prefix, n->prefix)) {
            hosts_entry_done(&h->entries.v[i]);
            h->entries.v[i] = *n;
            return 0;
        }
    }
    struct hosts_entry *v = h->entries.n < ENTRIES_MAX ? realloc(h->entries.v, (h->entries.n + 1) * sizeof(*v)) : NULL;
    if (!v) {
        return err_set(e, E2BIG, ERR_INVALID, "more than %d registries", ENTRIES_MAX);
    }
    h->entries.v = v;
    v[h->entries.n++] = *n;
    return 0;
}

static int load_search(struct hosts *h, const char *file, const json_t *v, struct err *e)
{
    if (!v) {
        return 0;
    }
    if (!json_is_array(v)) {
        return err_set(e, EINVAL, ERR_INVALID, "unqualified-search-registries: list of texts expected");
    }
    strv_free(h->search);
    h->search = NULL;
    free(h->search_from);
    h->search_from = strdup(file);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *s = json_string_value(json_array_get(v, i));
        if (!s || !reference_domain_valid(s)) {
            return err_set(e, EINVAL, ERR_INVALID, "unqualified-search-registries[%zu]: host expected", i);
        }
        if (strv_push(&h->search, s) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int load_tables(struct hosts *h, const char *file, const json_t *t, struct err *e)
{
    if (json_object_get(t, "registries")) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "version 1 of the format ([registries.…]) is not supported");
    }
    int r = load_search(h, file, json_object_get(t, "unqualified-search-registries"), e);
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(t, "aliases"), key, v) {
        if (r == 0 && json_is_string(v) && str_map_set(&h->aliases, key, json_string_value(v)) < 0) {
            r = err_oom(e);
        }
    }
    const json_t *list = json_object_get(t, "registry");
    if (r == 0 && list && !json_is_array(list)) {
        r = err_set(e, EINVAL, ERR_INVALID, "registry: [[registry]] tables expected");
    }
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        struct hosts_entry n = { 0 };
        r = read_entry(json_array_get(list, i), file, &n, e);
        r = r < 0 ? r : put_entry(h, &n, e);
        if (r < 0) {
            hosts_entry_done(&n);
        }
    }
    return r;
}

static int load_file(struct hosts *h, const char *path, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    struct err why = { 0 };
    json_t *t = NULL;
    int r = file_read(AT_FDCWD, path, TOML_TEXT_MAX, &text, &why);
    if (r < 0) {
        return r == -ENOENT ? 0 : err_set(e, -r, why.kind, "%s", why.text);
    }
    r = toml_parse(path, buf_str(&text), text.len, &t, e);
    if (r < 0) {
        return r;
    }
    r = load_tables(h, path, t, e);
    json_decref(t);
    return r < 0 ? err_wrap(e, "%s", path) : 0;
}

static int is_conf(const struct dirent *d)
{
    return d->d_name[0] != '.' && str_ends(d->d_name, ".conf");
}

static int load_dir(struct hosts *h, const char *dir, struct err *e)
{
    struct dirent **list = NULL;
    int n = scandir(dir, &list, is_conf, alphasort), r = 0;
    for (int i = 0; i < n; i++) {
        CLEANUP_FREE char *path = str_printf("%s/%s", dir, list[i]->d_name);
        r = r < 0 ? r : path ? load_file(h, path, e) : err_oom(e);
        free(list[i]);
    }
    free(list);
    return r;
}

int hosts_load_registries(struct hosts *h, const struct hosts_paths *p, struct err *e)
{
    const char *env = getenv("CONTAINERS_REGISTRIES_CONF");
    const char *file = p->registries_conf ? p->registries_conf : !str_empty(env) ? env : "/etc/containers/registries.conf";
    const char *dir = p->registries_conf_d ? p->registries_conf_d
                      : p->registries_conf || !str_empty(env) ? "" : "/etc/containers/registries.conf.d";
    int r = str_empty(file) ? 0 : load_file(h, file, e);
    return r < 0 || str_empty(dir) ? r : load_dir(h, dir, e);
}

/* Length of the part of name that the prefix stands for; 0: no match. */
static size_t prefix_len(const char *prefix, const char *name, size_t domain_len)
{
    if (str_starts(prefix, "*.")) {
        size_t n = strlen(prefix + 1);
        return n < domain_len && memcmp(name + domain_len - n, prefix + 1, n) == 0 ? domain_len : 0;
    }
    size_t n = strlen(prefix);
    return str_starts(name, prefix) && (name[n] == '\0' || strchr("/:@", name[n])) ? n : 0;
}

const struct hosts_entry *hosts_entry_match(const struct hosts *h, const struct reference *r)
{
    const struct hosts_entry *best = NULL;
    CLEANUP_FREE char *name = reference_string(r);
    for (size_t i = 0; name && i < h->entries.n; i++) {
        const struct hosts_entry *n = &h->entries.v[i];
        if (prefix_len(n->prefix, name, strlen(r->domain)) > 0 && (!best || strlen(n->prefix) > strlen(best->prefix))) {
            best = n;
        }
    }
    return best;
}

static int add_location(const struct hosts *h, const struct hosts_entry *n, const char *location, bool insecure, bool mirror,
                        const struct reference *r, struct endpoints *ret, struct err *e)
{
    CLEANUP_FREE char *name = reference_name(r);
    if (!name) {
        return err_oom(e);
    }
    size_t cut = prefix_len(n->prefix, name, strlen(r->domain));
    CLEANUP_FREE char *whole = location ? str_printf("%s%s", location, name + cut) : strdup(name);
    struct reference to;
    struct endpoint *ep = endpoints_add(ret);
    if (!whole || !ep) {
        return err_oom(e);
    }
    int q = reference_parse(whole, &to, e);
    q = q < 0 ? q : endpoint_set_url(ep, reference_host(to.domain), false, e);
    if (q < 0) {
        return err_wrap(e, "%s: location \"%s\"", n->file, location ? location : "");
    }
    ep->path = strdup(to.path);
    ep->is_mirror = mirror || !str_eq(to.domain, r->domain);
    ep->skip_verify = insecure;
    ep->try_http = ep->try_http || insecure;
    ep->capabilities = ENDPOINT_PULL | ENDPOINT_RESOLVE | (mirror ? 0u : (unsigned)ENDPOINT_PUSH);
    ep->why = str_printf("%s, [[registry]] \"%s\"%s", n->file, n->prefix, mirror ? ", mirror" : "");
    CLEANUP_FREE char *certs = str_printf("%s/%s", str_empty(h->docker_dir) ? "/nonexistent" : h->docker_dir, to.domain);
    return !ep->path || !ep->why || !certs ? err_oom(e) : endpoint_add_cert_dir(ep, certs, e);
}

int hosts_entry_resolve(const struct hosts *h, const struct hosts_entry *n, const struct reference *r, struct endpoints *ret,
                        struct err *e)
{
    int q = 0;
    bool by_digest = r->digest[0] != '\0';
    if (n->blocked) {
        return err_set(e, EACCES, ERR_DENIED, "registry %s is blocked by %s", n->prefix, n->file);
    }
    for (size_t i = 0; q == 0 && i < n->mirrors.n; i++) {
        const struct hosts_mirror *m = &n->mirrors.v[i];
        const char *when = m->when ? m->when : n->digest_only ? "digest-only" : "all";
        if (str_eq(when, "all") || str_eq(when, by_digest ? "digest-only" : "tag-only")) {
            q = add_location(h, n, m->location, m->insecure, true, r, ret, e);
        }
    }
    return q < 0 ? q : add_location(h, n, n->location, n->insecure, false, r, ret, e);
}
