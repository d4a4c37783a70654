/* image/token.c: credentials of an endpoint, the cache of Authorization values, and the token services that challenges name. */
#include "image/registry-internal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <time.h>

enum { TOKEN_SECONDS_DEFAULT = 60, TOKEN_SECONDS_MAX = 3600 * 12, TOKEN_MARGIN = 5 };

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Under the lock. */
static struct registry_token *find(struct registry *g, const char *key)
{
    for (size_t i = 0; i < g->n_tokens; i++) {
        if (str_eq(g->tokens[i].key, key)) {
            return &g->tokens[i];
        }
    }
    return NULL;
}

char *token_cached(struct registry *g, const char *key)
{
    pthread_mutex_lock(&g->lock);
    const struct registry_token *t = find(g, key);
    bool good = t && t->header && (t->expires == 0 || t->expires > now_ns());
    char *out = good ? strdup(t->header) : NULL;
    pthread_mutex_unlock(&g->lock);
    return out;
}

void token_put(struct registry *g, const char *key, const char *header, int64_t seconds)
{
    pthread_mutex_lock(&g->lock);
    struct registry_token *t = find(g, key);
    if (!t) {
        bool full = g->n_tokens == REGISTRY_TOKENS_MAX;
        t = &g->tokens[full ? g->next_token++ % REGISTRY_TOKENS_MAX : g->n_tokens++];
        free(t->key);
        t->key = strdup(key);
    }
    free(t->header);
    t->header = header ? strdup(header) : NULL;
    t->expires = seconds > 0 ? now_ns() + seconds * 1000000000 : 0;
    pthread_mutex_unlock(&g->lock);
}

void token_forget(struct registry *g, const char *key)
{
    pthread_mutex_lock(&g->lock);
    struct registry_token *t = find(g, key);
    if (t) {
        free(t->header);
        t->header = NULL;
    }
    pthread_mutex_unlock(&g->lock);
}

static bool given_is_for(const struct registry *g, const struct endpoint *ep)
{
    if (credential_empty(&g->given)) {
        return false;
    }
    if (str_empty(g->given_server)) {
        return !ep->is_mirror;
    }
    const char *s = strstr(g->given_server, "://") ? strstr(g->given_server, "://") + 3 : g->given_server;
    CLEANUP_FREE char *host = strndup(s, strcspn(s, "/"));
    return host && str_eq(reference_host(host), ep->host);
}

int endpoint_credential(struct registry *g, const struct endpoint *ep, const struct reference *r, struct credential *ret,
                        struct err *e)
{
    (void)r;
    if (given_is_for(g, ep)) {
        const struct registry_auth a = { .username = g->given.username, .password = g->given.password,
                                         .identity_token = g->given.identity_token, .registry_token = g->given.registry_token };
        return auth_given(&a, ret, e);
    }
    return auth_find(&g->auth_paths, ep->host, ep->path, ret, e);
}

static char *basic_header(const struct credential *c)
{
    CLEANUP_FREE char *pair = str_printf("%s:%s", c->username, c->password ? c->password : "");
    size_t n = pair ? strlen(pair) : 0;
    char *out = pair && n < 48 * 1024 ? calloc(1, 6 + (n + 2) / 3 * 4 + 1) : NULL;
    if (out) {
        memcpy(out, "Basic ", 6);
        EVP_EncodeBlock((unsigned char *)out + 6, (const unsigned char *)pair, (int)n);
    }
    return out;
}

static int answer_basic(struct registry *g, const struct endpoint *ep, const struct credential *cred, const char *key, char **ret,
                        struct err *e)
{
    if (str_empty(cred->username)) {
        return err_set(e, EACCES, ERR_DENIED, "registry %s wants a user name and password: run tare login %s", ep->host, ep->host);
    }
    *ret = basic_header(cred);
    if (!*ret) {
        return err_oom(e);
    }
    token_put(g, key, *ret, 0);
    return 0;
}

/* What a token is asked for: as the challenge says, else made from the request. */
static void put_scopes(struct buf *b, const struct endpoint *ep, const struct challenge *c, const struct request *q, const char *sep)
{
    const char *scope = str_map_get(&c->params, "scope");
    CLEANUP_FREE char *own = q->actions ? str_printf("repository:%s:%s", ep->path, q->actions) : NULL;
    CLEANUP_FREE char *from = q->mount_from ? str_printf("repository:%s:pull", q->mount_from) : NULL;
    const char *all[] = { own ? own : scope, from };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (!str_empty(all[i])) {
            buf_addf(b, "%sscope=", sep);
            url_escape(b, all[i]);
        }
    }
}

/* A credential goes to a token service only over TLS, unless the registry itself is spoken to without. */
static int check_realm(const struct endpoint *ep, const char *registry_url_scheme, const char *realm, struct err *e)
{
    const char *host = strstr(realm, "://") ? strstr(realm, "://") + 3 : "";
    bool https = str_starts(realm, "https://");
    bool plain = str_starts(realm, "http://") && (str_eq(registry_url_scheme, "http") || reference_is_loopback(host) || ep->skip_verify);
    return https || plain ? 0
                          : err_set(e, EACCES, ERR_DENIED, "registry %s names \"%.200s\" as its token service, which is not HTTPS",
                                    ep->host, realm);
}

static int read_token(const struct response *r, const char *realm, char **ret_header, int64_t *ret_seconds, struct err *e)
{
    json_t *t = json_loadb(buf_str(&r->body), r->body.len, 0, NULL);
    const char *token = json_string_value(json_object_get(t, "token"));
    token = str_empty(token) ? json_string_value(json_object_get(t, "access_token")) : token;
    json_int_t seconds = json_integer_value(json_object_get(t, "expires_in"));
    bool clean = !str_empty(token) && strlen(token) < (64 << 10);
    for (const char *p = clean ? token : ""; *p; p++) {
        clean = clean && (unsigned char)*p > 0x20 && (unsigned char)*p < 0x7f;
    }
    *ret_header = clean ? str_printf("Bearer %s", token) : NULL;
    json_decref(t);
    seconds = seconds <= 0 ? TOKEN_SECONDS_DEFAULT : seconds > TOKEN_SECONDS_MAX ? TOKEN_SECONDS_MAX : seconds;
    *ret_seconds = seconds > 2 * TOKEN_MARGIN ? seconds - TOKEN_MARGIN : seconds;
    return *ret_header ? 0 : err_set(e, EPROTO, ERR_UNAVAILABLE, "token service %.200s answered without a usable token", realm);
}

static void put_param(struct buf *b, const char *sep, const char *name, const char *value)
{
    if (!str_empty(value)) {
        buf_addf(b, "%s%s=", sep, name);
        url_escape(b, value);
    }
}

struct token_call {
    struct buf url, form;
    char *auth;
};
static void token_call_done(struct token_call *t)
{
    buf_done(&t->url);
    buf_done(&t->form);
    free(t->auth);
}

/* OAuth2 with an identity token, else a GET with or without a password. */
static int build_call(const struct endpoint *ep, const struct challenge *c, const struct request *q, const struct credential *cred,
                      struct token_call *t, struct err *e)
{
    const char *realm = str_map_get(&c->params, "realm"), *service = str_map_get(&c->params, "service");
    buf_adds(&t->url, realm);
    if (!str_empty(cred->identity_token)) {
        buf_adds(&t->form, "grant_type=refresh_token&client_id=tare");
        put_param(&t->form, "&", "service", service);
        put_scopes(&t->form, ep, c, q, "&");
        put_param(&t->form, "&", "refresh_token", cred->identity_token);
    } else {
        buf_adds(&t->url, strchr(realm, '?') ? "&client_id=tare" : "?client_id=tare");
        put_param(&t->url, "&", "service", service);
        put_scopes(&t->url, ep, c, q, "&");
        put_param(&t->url, "&", "account", cred->username);
        t->auth = !str_empty(cred->username) ? basic_header(cred) : NULL;
    }
    return buf_failed(&t->url) || buf_failed(&t->form) ? err_oom(e) : 0;
}

static int fetch_token(struct registry *g, const struct endpoint *ep, const char *scheme, const struct challenge *c,
                       const struct request *q, const struct credential *cred, char **ret_header, int64_t *ret_seconds, struct err *e)
{
    CLEANUP(token_call_done) struct token_call t = { 0 };
    CLEANUP_RESPONSE struct response r = { 0 };
    const char *realm = str_map_get(&c->params, "realm");
    if (str_empty(realm)) {
        return err_set(e, EPROTO, ERR_UNAVAILABLE, "registry %s wants a token but does not say from where", ep->host);
    }
    int f = check_realm(ep, scheme, realm, e);
    f = f < 0 ? f : build_call(ep, c, q, cred, &t, e);
    if (f < 0) {
        return f;
    }
    /* The service is another host: the registry's headers and client certificate are not for it, its CAs may be. */
    struct endpoint at = { .host = ep->host, .ca = ep->ca, .skip_verify = ep->skip_verify, .why = ep->why,
                           .connect_timeout_ms = ep->connect_timeout_ms };
    const struct request get = { .method = t.form.len > 0 ? "POST" : "GET", .max = TOKEN_BODY_MAX, .text = buf_str(&t.form),
                                 .text_len = t.form.len,
                                 .content_type = t.form.len > 0 ? "application/x-www-form-urlencoded" : NULL };
    for (int attempt = 0;; attempt++) {
        response_done(&r);
        f = transfer(g, &at, buf_str(&t.url), t.auth, &get, &r, e);
        bool again = f < 0 ? transfer_retryable(r.curl) : r.status == 429 || r.status >= 500;
        if (!again || attempt >= g->retries) {
            break;
        }
        f = registry_sleep(g, r.retry_after > 0 && r.retry_after < RETRY_AFTER_MAX_S ? r.retry_after * 1000 : 250 << attempt, e);
        if (f < 0) {
            break;
        }
    }
    if (f < 0) {
        return err_wrap(e, "get a token for %s", ep->host);
    }
    if (r.status == 401 || r.status == 403 || r.status == 400) {
        return err_set(e, EACCES, ERR_DENIED, "token service of registry %s answered %ld: %s; run tare login %s", ep->host, r.status,
                       credential_empty(cred) ? "it gives no anonymous access to this repository"
                                              : "the credential is refused",
                       ep->host);
    }
    return r.status != 200 ? err_set(e, EPROTO, ERR_UNAVAILABLE, "token service %.200s answered %ld", realm, r.status)
                           : read_token(&r, realm, ret_header, ret_seconds, e);
}

int token_answer(struct registry *g, const struct endpoint *ep, const struct challenges *c, const struct request *q,
                 const struct credential *cred, const char *key, char **ret_header, struct err *e)
{
    const struct challenge *bearer = challenge_get(c, CHALLENGE_BEARER), *basic = challenge_get(c, CHALLENGE_BASIC);
    if (!str_empty(cred->registry_token)) {
        *ret_header = str_printf("Bearer %s", cred->registry_token);
        if (!*ret_header) {
            return err_oom(e);
        }
        token_put(g, key, *ret_header, 0);
        return 0;
    }
    if (bearer) {
        int64_t seconds = 0;
        int r = fetch_token(g, ep, ep->scheme, bearer, q, cred, ret_header, &seconds, e);
        if (r == 0) {
            token_put(g, key, *ret_header, seconds);
        }
        return r;
    }
    if (basic) {
        return answer_basic(g, ep, cred, key, ret_header, e);
    }
    return err_set(e, EACCES, ERR_DENIED, "registry %s answered 401 without a way to authenticate that is known (Bearer, Basic)",
                   ep->host);
}
