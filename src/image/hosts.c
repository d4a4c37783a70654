/* image/hosts.c: see hosts.h: which of the sources decides, and the registry itself when none does. */
#include "image/hosts-internal.h"

#include <errno.h>

int hosts_open(const struct hosts_paths *p, struct hosts **ret, struct err *e)
{
    static const struct hosts_paths usual = { 0 };
    p = p ? p : &usual;
    struct hosts *h = calloc(1, sizeof(*h));
    if (!h) {
        return err_oom(e);
    }
    h->hosts_dir = strdup(p->hosts_dir ? p->hosts_dir : "/etc/containerd/certs.d");
    h->docker_dir = strdup(p->docker_dir ? p->docker_dir : "/etc/docker/certs.d");
    int r = h->hosts_dir && h->docker_dir ? hosts_load_registries(h, p, e) : err_oom(e);
    if (r < 0) {
        hosts_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

void hosts_free(struct hosts *h)
{
    if (!h) {
        return;
    }
    for (size_t i = 0; i < h->entries.n; i++) {
        hosts_entry_done(&h->entries.v[i]);
    }
    free(h->entries.v);
    free(h->hosts_dir);
    free(h->docker_dir);
    free(h->search_from);
    strv_free(h->search);
    str_map_done(&h->aliases);
    free(h);
}

static int resolve_itself(const struct hosts *h, const struct reference *r, struct endpoints *ret, struct err *e)
{
    struct endpoint *ep = endpoints_add(ret);
    if (!ep) {
        return err_oom(e);
    }
    int q = endpoint_set_url(ep, reference_host(r->domain), false, e);
    if (q < 0) {
        return q;
    }
    ep->capabilities = ENDPOINT_PULL | ENDPOINT_RESOLVE | ENDPOINT_PUSH;
    ep->path = strdup(r->path);
    ep->why = strdup(ep->try_http ? "the registry itself; plain HTTP is allowed on a loopback address" : "the registry itself");
    CLEANUP_FREE char *certs = str_printf("%s/%s", h->docker_dir, r->domain);
    if (!ep->path || !ep->why || !certs) {
        return err_oom(e);
    }
    return str_empty(h->docker_dir) ? 0 : endpoint_add_cert_dir(ep, certs, e);
}

/* Drops what cannot do what is asked, and loosens TLS where the caller says so. */
static void filter(struct endpoints *l, unsigned capabilities, bool insecure)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!(l->v[i].capabilities & capabilities)) {
            endpoint_done(&l->v[i]);
            continue;
        }
        if (insecure) {
            l->v[i].skip_verify = true;
            l->v[i].try_http = true;
        }
        l->v[n++] = l->v[i];
    }
    l->n = n;
}

int hosts_resolve(const struct hosts *h, const struct reference *r, unsigned capabilities, bool insecure, struct endpoints *ret,
                  struct err *e)
{
    CLEANUP_ENDPOINTS struct endpoints l = { 0 };
    int q = hosts_toml_resolve(h, r, &l, e);
    const struct hosts_entry *n = q == 0 ? hosts_entry_match(h, r) : NULL;
    if (n) {
        q = hosts_entry_resolve(h, n, r, &l, e);
    } else if (q == 0) {
        q = resolve_itself(h, r, &l, e);
    }
    if (q < 0) {
        return q;
    }
    filter(&l, capabilities, insecure);
    if (l.n == 0) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "no server configured for %s can %s", r->domain,
                       capabilities & ENDPOINT_PUSH ? "be pushed to" : "be pulled from");
    }
    *ret = l;
    l = (struct endpoints){ 0 };
    return 0;
}

static int push_candidate(const struct reference *given, char ***ret, struct err *e)
{
    struct reference r = *given;
    if (!r.tag[0] && !r.digest[0]) {
        memcpy(r.tag, "latest", 7);
    }
    CLEANUP_FREE char *s = reference_string(&r);
    return !s || strv_push(ret, s) < 0 ? err_oom(e) : 0;
}

int hosts_candidates(const struct hosts *h, const char *text, char ***ret, struct err *e)
{
    struct reference r, to;
    int q = reference_parse(text, &r, e);
    if (q < 0 || !r.is_short) {
        return q < 0 ? q : push_candidate(&r, ret, e);
    }
    size_t n = strcspn(text, ":@");
    CLEANUP_FREE char *bare = strndup(text, n);
    const char *alias = bare ? str_map_get(&h->aliases, bare) : NULL;
    if (alias) {
        CLEANUP_FREE char *whole = str_printf("%s%s", alias, text + n);
        q = whole ? reference_parse(whole, &to, e) : err_oom(e);
        return q < 0 ? err_wrap(e, "alias of \"%s\"", bare) : push_candidate(&to, ret, e);
    }
    if (strv_len(h->search) == 0) {
        return push_candidate(&r, ret, e);
    }
    for (char **s = h->search; q == 0 && *s; s++) {
        q = reference_parse_at(*s, text, &to, e);
        q = q < 0 ? q : push_candidate(&to, ret, e);
    }
    return q;
}
