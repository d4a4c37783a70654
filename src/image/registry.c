/* image/registry.c: the client object, opening repositories, and the explanation of what would be asked. */
#include "image/registry-internal.h"

#include <errno.h>

static void share_lock(CURL *c, curl_lock_data data, curl_lock_access access, void *user)
{
    (void)c;
    (void)access;
    struct registry *g = user;
    pthread_mutex_lock(&g->share_locks[data]);
}

static void share_unlock(CURL *c, curl_lock_data data, void *user)
{
    (void)c;
    struct registry *g = user;
    pthread_mutex_unlock(&g->share_locks[data]);
}

static int copy_text(const char *from, const char **to, struct err *e)
{
    *to = from ? strdup(from) : NULL;
    return from && !*to ? err_oom(e) : 0;
}

static int copy_paths(const struct auth_paths *from, struct auth_paths *to, struct err *e)
{
    int r = copy_text(from->file, &to->file, e);
    r = r < 0 ? r : copy_text(from->runtime_dir, &to->runtime_dir, e);
    r = r < 0 ? r : copy_text(from->config_home, &to->config_home, e);
    r = r < 0 ? r : copy_text(from->home, &to->home, e);
    r = r < 0 ? r : copy_text(from->docker_config, &to->docker_config, e);
    to->helper_timeout_ms = from->helper_timeout_ms;
    return r;
}

static void free_const(const char *s)
{
    free((char *)(uintptr_t)s);
}

/* Name look-ups and TLS sessions are shared; connections are not, libcurl 7.88 cannot share them between threads. */
static int open_share(struct registry *g, struct err *e)
{
    g->share = curl_share_init();
    if (!g->share || curl_share_setopt(g->share, CURLSHOPT_LOCKFUNC, share_lock) != CURLSHE_OK ||
        curl_share_setopt(g->share, CURLSHOPT_UNLOCKFUNC, share_unlock) != CURLSHE_OK ||
        curl_share_setopt(g->share, CURLSHOPT_USERDATA, g) != CURLSHE_OK ||
        curl_share_setopt(g->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK ||
        curl_share_setopt(g->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK) {
        return err_set(e, EIO, ERR_INTERNAL, "libcurl cannot be set up");
    }
    return 0;
}

int registry_new(const struct registry_options *o, struct registry **ret, struct err *e)
{
    CLEANUP_REGISTRY struct registry *g = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return err_set(e, EIO, ERR_INTERNAL, "libcurl cannot be set up");
    }
    g = calloc(1, sizeof(*g));
    if (!g) {
        curl_global_cleanup();
        return err_oom(e);
    }
    pthread_mutex_init(&g->lock, NULL);
    for (size_t i = 0; i < ARRAY_LEN(g->share_locks); i++) {
        pthread_mutex_init(&g->share_locks[i], NULL);
    }
    g->insecure = o->insecure;
    g->retries = o->retries < 0 ? 0 : o->retries > 0 ? o->retries : 5;
    g->stall_seconds = o->stall_seconds > 0 ? o->stall_seconds : 30;
    g->connect_timeout_ms = o->connect_timeout_ms > 0 ? o->connect_timeout_ms : 15000;
    g->user_agent = strdup(o->user_agent ? o->user_agent : "tare/" TARE_VERSION);
    int r = g->user_agent ? open_share(g, e) : err_oom(e);
    r = r < 0 ? r : copy_paths(&o->auth_paths, &g->auth_paths, e);
    r = r < 0 ? r : hosts_open(&o->hosts, &g->hosts, e);
    if (r == 0 && o->auth) {
        r = auth_given(o->auth, &g->given, e);
        g->given_server = r == 0 && o->auth->server ? strdup(o->auth->server) : NULL;
    }
    if (r == 0) {
        *ret = PTR_STEAL(g);
    }
    return r;
}

void registry_free(struct registry *g)
{
    if (!g) {
        return;
    }
    for (size_t i = 0; i < g->n_idle; i++) {
        curl_easy_cleanup(g->idle[i]);
    }
    for (size_t i = 0; i < g->n_tokens; i++) {
        free(g->tokens[i].key);
        free(g->tokens[i].header);
    }
    curl_share_cleanup(g->share);
    for (size_t i = 0; i < ARRAY_LEN(g->share_locks); i++) {
        pthread_mutex_destroy(&g->share_locks[i]);
    }
    pthread_mutex_destroy(&g->lock);
    hosts_free(g->hosts);
    credential_done(&g->given);
    free_const(g->auth_paths.file);
    free_const(g->auth_paths.runtime_dir);
    free_const(g->auth_paths.config_home);
    free_const(g->auth_paths.home);
    free_const(g->auth_paths.docker_config);
    free(g->given_server);
    free(g->user_agent);
    free(g);
    curl_global_cleanup();
}

const struct hosts *registry_hosts(const struct registry *g)
{
    return g->hosts;
}

void registry_cancel(struct registry *g)
{
    atomic_store(&g->cancelled, true);
}

int repo_open(struct registry *g, const struct reference *r, bool push, struct repo **ret, struct err *e)
{
    CLEANUP_REPO struct repo *p = calloc(1, sizeof(*p));
    if (!p) {
        return err_oom(e);
    }
    p->registry = g;
    p->ref = *r;
    p->push = push;
    int f = hosts_resolve(g->hosts, r, push ? ENDPOINT_PUSH : ENDPOINT_PULL | ENDPOINT_RESOLVE, g->insecure, &p->endpoints, e);
    if (f < 0) {
        return f;
    }
    p->plain = calloc(p->endpoints.n, sizeof(*p->plain));
    if (!p->plain) {
        return err_oom(e);
    }
    *ret = PTR_STEAL(p);
    return 0;
}

void repo_free(struct repo *p)
{
    if (p) {
        endpoints_done(&p->endpoints);
        free(p->plain);
        free(p);
    }
}

int registry_check(struct registry *g, const char *domain, const struct credential *c, struct err *e)
{
    CLEANUP_REPO struct repo *p = NULL;
    CLEANUP_RESPONSE struct response r = { 0 };
    CLEANUP_FREE char *name = str_printf("%s/check", domain);
    struct reference ref;
    const struct registry_auth a = { .username = c->username, .password = c->password, .identity_token = c->identity_token,
                                     .registry_token = c->registry_token };
    int f = name ? reference_parse(name, &ref, e) : err_oom(e);
    credential_done(&g->given);
    f = f < 0 ? f : auth_given(&a, &g->given, e);
    f = f < 0 ? f : repo_open(g, &ref, true, &p, e);
    if (f < 0) {
        return f;
    }
    const struct request q = { .method = "GET", .max = LIST_BODY_MAX };
    f = repo_request(p, p->endpoints.n - 1, NULL, &q, &r, e);
    return f < 0 || r.status == 200 ? f : response_error(p, p->endpoints.n - 1, &q, &r, "this login", e);
}

void registry_explanation_done(struct registry_explanation *x)
{
    free(x->reference);
    endpoints_done(&x->endpoints);
    strv_free(x->credentials);
    *x = (struct registry_explanation){ 0 };
}

int registry_explain(struct registry *g, const struct reference *r, struct registry_explanation *ret, struct err *e)
{
    struct registry_explanation x = { .reference = reference_string(r) };
    int f = hosts_resolve(g->hosts, r, ENDPOINT_PULL | ENDPOINT_RESOLVE | ENDPOINT_PUSH, g->insecure, &x.endpoints, e);
    for (size_t i = 0; f == 0 && i < x.endpoints.n; i++) {
        CLEANUP_CREDENTIAL struct credential c = { 0 };
        f = endpoint_credential(g, &x.endpoints.v[i], r, &c, e);
        if (f == 0 && strv_push(&x.credentials, c.source ? c.source : "anonymous") < 0) {
            f = err_oom(e);
        }
    }
    if (f < 0) {
        registry_explanation_done(&x);
        return f;
    }
    *ret = x;
    return 0;
}
