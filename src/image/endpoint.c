/* image/endpoint.c: one server that may be asked: its parts, URL and certificate folders. */
#include "image/hosts-internal.h"

#include <dirent.h>
#include <errno.h>

void endpoint_done(struct endpoint *ep)
{
    free(ep->scheme);
    free(ep->host);
    free(ep->prefix);
    free(ep->path);
    free(ep->ns);
    strv_free(ep->ca);
    for (size_t i = 0; i < ep->clients.n; i++) {
        free(ep->clients.v[i].cert);
        free(ep->clients.v[i].key);
    }
    free(ep->clients.v);
    str_map_done(&ep->headers);
    free(ep->why);
    *ep = (struct endpoint){ 0 };
}

void endpoints_done(struct endpoints *l)
{
    for (size_t i = 0; i < l->n; i++) {
        endpoint_done(&l->v[i]);
    }
    free(l->v);
    *l = (struct endpoints){ 0 };
}

struct endpoint *endpoints_add(struct endpoints *l)
{
    struct endpoint *v = realloc(l->v, (l->n + 1) * sizeof(*v));
    if (!v) {
        return NULL;
    }
    l->v = v;
    v[l->n] = (struct endpoint){ 0 };
    return &v[l->n++];
}

/* Bytes that may not stand in a URL that we make: they would let a configuration smuggle another request in. */
static bool url_text_valid(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f || strchr("?#@\\\"<>", *s)) {
            return false;
        }
    }
    return true;
}

int endpoint_set_url(struct endpoint *ep, const char *url, bool override_path, struct err *e)
{
    const char *scheme = str_starts(url, "http://") ? "http" : "https";
    const char *sep = strstr(url, "://");
    if (sep && !str_starts(url, "http://") && !str_starts(url, "https://")) {
        return err_set(e, EINVAL, ERR_INVALID, "\"%s\": neither http nor https", url);
    }
    const char *rest = sep ? sep + 3 : url;
    size_t n = strcspn(rest, "/");
    CLEANUP_FREE char *host = strndup(rest, n);
    CLEANUP_FREE char *path = strdup(rest + n);
    if (!host || !path) {
        return err_oom(e);
    }
    if (!reference_domain_valid(host) || !url_text_valid(path)) {
        return err_set(e, EINVAL, ERR_INVALID, "\"%s\" is not the address of a registry", url);
    }
    for (size_t k = strlen(path); k > 0 && path[k - 1] == '/'; k--) {
        path[k - 1] = '\0';
    }
    bool whole = override_path || str_ends(path, "/v2");
    ep->try_http = !sep && reference_is_loopback(host);
    ep->scheme = strdup(scheme);
    ep->prefix = str_printf("%s%s", path, whole ? "" : "/v2");
    ep->host = PTR_STEAL(host);
    return ep->scheme && ep->prefix ? 0 : err_oom(e);
}

int endpoint_add_client(struct endpoint *ep, const char *cert, const char *key)
{
    struct endpoint_client *v = realloc(ep->clients.v, (ep->clients.n + 1) * sizeof(*v));
    if (!v) {
        return -ENOMEM;
    }
    ep->clients.v = v;
    struct endpoint_client *c = &v[ep->clients.n];
    *c = (struct endpoint_client){ strdup(cert), key ? strdup(key) : NULL };
    ep->clients.n++;
    return c->cert && (!key || c->key) ? 0 : -ENOMEM;
}

static int cert_file(struct endpoint *ep, const char *dir, const char *name)
{
    CLEANUP_FREE char *path = str_printf("%s/%s", dir, name);
    if (!path) {
        return -ENOMEM;
    }
    if (str_ends(name, ".crt")) {
        return strv_push(&ep->ca, path);
    }
    if (str_ends(name, ".cert")) {
        CLEANUP_FREE char *key = str_printf("%.*s.key", (int)(strlen(path) - 5), path);
        return key ? endpoint_add_client(ep, path, key) : -ENOMEM;
    }
    return 0;
}

int endpoint_add_cert_dir(struct endpoint *ep, const char *dir, struct err *e)
{
    DIR *d = opendir(dir);
    if (!d) {
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, errno, "open %s", dir);
    }
    int r = 0;
    for (struct dirent *en; r == 0 && (en = readdir(d));) {
        r = cert_file(ep, dir, en->d_name);
    }
    closedir(d);
    return r < 0 ? err_oom(e) : 0;
}
