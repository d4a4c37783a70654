/* image/request.c: one request to one endpoint until it has an answer: authentication, plain HTTP where allowed, back-off. */
#include "image/registry-internal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

const char *endpoint_scheme(const struct repo *p, size_t i)
{
    return atomic_load(&p->plain[i]) ? "http" : p->endpoints.v[i].scheme;
}

void url_escape(struct buf *out, const char *s)
{
    for (; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || strchr("-._~/:", *s);
        if (plain) {
            buf_addc(out, *s);
        } else {
            buf_addf(out, "%%%02X", (unsigned)(unsigned char)*s);
        }
    }
}

bool response_is_html(const struct response *r)
{
    return r->content_type && strncasecmp(r->content_type, "text/html", 9) == 0;
}

int text_digest(const void *text, size_t len, const char *like, char **ret, struct err *e)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    bool wide = like && str_starts(like, "sha512:");
    if (EVP_Digest(text, len, raw, &n, wide ? EVP_sha512() : EVP_sha256(), NULL) != 1) {
        return err_set(e, EIO, ERR_INTERNAL, "hashing failed");
    }
    CLEANUP_BUF struct buf b = { 0 };
    buf_adds(&b, wide ? "sha512:" : "sha256:");
    for (unsigned i = 0; i < n; i++) {
        buf_addf(&b, "%02x", raw[i]);
    }
    *ret = buf_steal(&b);
    return *ret ? 0 : err_oom(e);
}

static int make_url(const struct repo *p, size_t i, const char *path, const struct request *q, char **ret, struct err *e)
{
    const struct endpoint *ep = &p->endpoints.v[i];
    if (q->url) {
        *ret = strdup(q->url);
        return *ret ? 0 : err_oom(e);
    }
    CLEANUP_BUF struct buf b = { 0 };
    buf_addf(&b, "%s://%s%s/", endpoint_scheme(p, i), ep->host, ep->prefix);
    if (path) {
        url_escape(&b, ep->path);
        buf_adds(&b, path);
        if (ep->ns && (str_eq(q->method, "GET") || str_eq(q->method, "HEAD"))) {
            buf_addf(&b, "%sns=", strchr(path, '?') ? "&" : "?");
            url_escape(&b, ep->ns);
        }
    }
    *ret = buf_steal(&b);
    return *ret ? 0 : err_oom(e);
}

/* Does this failure mean that the server speaks no TLS, where plain HTTP is allowed? */
static bool fall_to_http(struct repo *p, size_t i, const char *url, const struct response *r)
{
    const struct endpoint *ep = &p->endpoints.v[i];
    bool no_tls = r->curl == CURLE_SSL_CONNECT_ERROR || (r->curl == CURLE_COULDNT_CONNECT && !strrchr(ep->host, ':'));
    /* Another thread may have found it out at the same time. */
    if (!ep->try_http || !no_tls || !str_starts(url, "https:")) {
        return false;
    }
    atomic_store(&p->plain[i], true);
    return true;
}

struct attempt {
    struct repo *p;
    size_t i;
    const char *path;
    const struct request *q;
    struct response *r;
    char *auth, *key;
    unsigned challenged;
};
static void attempt_done(struct attempt *a)
{
    free(a->auth);
    free(a->key);
}

/* One exchange, and a second one with the answer to its challenge. 1: has to be asked again. */
static int try_once(struct attempt *a, struct err *e)
{
    struct registry *g = a->p->registry;
    const struct endpoint *ep = &a->p->endpoints.v[a->i];
    CLEANUP_FREE char *url = NULL;
    int f = make_url(a->p, a->i, a->path, a->q, &url, e);
    if (f < 0) {
        return f;
    }
    free(a->auth);
    a->auth = token_cached(g, a->key);
    response_done(a->r);
    f = transfer(g, ep, url, a->auth, a->q, a->r, e);
    if (f < 0) {
        return fall_to_http(a->p, a->i, url, a->r) ? 1 : f;
    }
    if (a->r->status != 401 || a->challenged >= 2) {
        return 0;
    }
    /* With a token that has expired the first answer is 401 too: ask for a new one, once. */
    a->challenged += a->auth && a->challenged == 0 ? 1 : 2;
    token_forget(g, a->key);
    CLEANUP_CREDENTIAL struct credential cred = { 0 };
    CLEANUP_FREE char *header = NULL;
    f = endpoint_credential(g, ep, &a->p->ref, &cred, e);
    if (f == 0) {
        struct endpoint now = *ep;
        now.scheme = (char *)(uintptr_t)endpoint_scheme(a->p, a->i);
        f = token_answer(g, &now, &a->r->challenges, a->q, &cred, a->key, &header, e);
    }
    return f < 0 ? f : 1;
}

static int64_t wait_ms(const struct response *r, int attempt)
{
    if (r->retry_after >= 0) {
        return r->retry_after * 1000;
    }
    return attempt < 6 ? 200 << attempt : 12800;
}

int repo_request(struct repo *p, size_t endpoint, const char *path, const struct request *q, struct response *ret, struct err *e)
{
    struct registry *g = p->registry;
    const struct endpoint *ep = &p->endpoints.v[endpoint];
    CLEANUP(attempt_done) struct attempt a = { .p = p, .i = endpoint, .path = path, .q = q, .r = ret };
    a.key = str_printf("%s %s %s %s", ep->host, ep->path, q->actions ? q->actions : "", q->mount_from ? q->mount_from : "");
    if (!a.key) {
        return err_oom(e);
    }
    for (int tries = 0;;) {
        int f = try_once(&a, e);
        if (f == 1) {
            continue;
        }
        bool answered = f == 0;
        bool again = answered ? ret->status == 429 || ret->status >= 500 : ret->sink_error == 0 && transfer_retryable(ret->curl);
        /* What the sink has got cannot be asked for again here: the caller goes on by range. */
        if (!again || (ret->sank && !answered) || tries >= g->retries ||
            (answered && ret->retry_after > RETRY_AFTER_MAX_S)) {
            return f;
        }
        f = registry_sleep(g, wait_ms(ret, tries++), e);
        if (f < 0) {
            return f;
        }
    }
}

/* The first of the errors that the registry tells. */
static void put_told(struct buf *out, const struct response *r)
{
    if (response_is_html(r)) {
        buf_adds(out, " (with an HTML page: is this a registry?)");
        return;
    }
    json_t *t = r->body.len > 0 ? json_loadb(buf_str(&r->body), r->body.len, 0, NULL) : NULL;
    const json_t *first = json_array_get(json_object_get(t, "errors"), 0);
    const char *code = json_string_value(json_object_get(first, "code"));
    const char *message = json_string_value(json_object_get(first, "message"));
    if (code || message) {
        buf_addf(out, " (%.60s%s%.200s)", code ? code : "", code && message ? ": " : "", message ? message : "");
    }
    json_decref(t);
}

int response_error(const struct repo *p, size_t endpoint, const struct request *q, const struct response *r, const char *what,
                   struct err *e)
{
    const struct endpoint *ep = &p->endpoints.v[endpoint];
    CLEANUP_BUF struct buf told = { 0 };
    put_told(&told, r);
    const char *host = r->host[0] ? r->host : ep->host, *more = buf_str(&told);
    bool own = str_eq(host, ep->host);
    switch (r->status) {
    case 401:
        return err_set(e, EACCES, ERR_DENIED, "registry %s answered 401 for %s%s: the credential is missing or refused; run tare login %s",
                       host, what, more, ep->is_mirror || !own ? ep->host : p->ref.domain);
    case 403:
        return err_set(e, EACCES, ERR_DENIED, "registry %s answered 403 for %s%s: access is denied; check the rights of the login", host,
                       what, more);
    case 404:
        return err_set(e, ENOENT, ERR_NOT_FOUND, "registry %s has no %s%s", host, what, more);
    case 405:
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "registry %s does not allow %s of %s%s", host, q->method, what, more);
    case 429:
        return err_set(e, EBUSY, ERR_EXHAUSTED, "registry %s answered 429 for %s%s: too many requests; try later, or log in", host, what,
                       more);
    default:
        return err_set(e, EPROTO, r->status >= 500 ? ERR_UNAVAILABLE : ERR_INVALID, "registry %s answered %ld for %s%s", host, r->status,
                       what, more);
    }
}
