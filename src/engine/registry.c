/* engine/registry.c: logging in, and which way a pull would go. */
#include "engine/internal.h"

#include "image/registry.h"

int engine_registry_login(struct engine *g, const char *server, const struct engine_auth *auth, bool tls_verify, struct err *e)
{
    CLEANUP_CREDENTIAL struct credential c = { 0 };
    CLEANUP_REGISTRY struct registry *r = NULL;
    struct registry_options o = { .insecure = !tls_verify, .hosts.hosts_dir = g->hosts_dir };
    struct registry_auth a = { .username = auth->username, .password = auth->password, .auth = auth->auth,
                               .identity_token = auth->identity_token, .registry_token = auth->registry_token, .server = auth->server };
    int rc = auth_given(&a, &c, e);
    if (rc == 0) {
        rc = registry_new(&o, &r, e);
    }
    return rc < 0 ? rc : registry_check(r, server, &c, e);
}

int engine_registry_explain(struct engine *g, const char *ref, struct buf *out, struct err *e)
{
    CLEANUP_REGISTRY struct registry *r = NULL;
    struct registry_options o = { .hosts.hosts_dir = g->hosts_dir };
    struct registry_explanation x = { 0 };
    struct reference name;
    int rc = reference_parse_tagged(ref, &name, e);
    if (rc == 0) {
        rc = registry_new(&o, &r, e);
    }
    if (rc == 0) {
        rc = registry_explain(r, &name, &x, e);
    }
    if (rc < 0) {
        return rc;
    }
    buf_addf(out, "%s\n", x.reference);
    for (size_t i = 0; i < x.endpoints.n; i++) {
        const struct endpoint *p = &x.endpoints.v[i];
        const char *who = i < strv_len(x.credentials) ? x.credentials[i] : "anonymous";
        buf_addf(out, "%zu. %s://%s%s/%s%s\n   because of: %s\n   credentials: %s\n", i + 1, p->scheme, p->host, p->prefix, p->path,
                 p->skip_verify ? " (certificate not verified)" : "", p->why ? p->why : "the reference", who);
        for (char **ca = p->ca; ca && *ca; ca++) {
            buf_addf(out, "   CA: %s\n", *ca);
        }
    }
    registry_explanation_done(&x);
    return buf_failed(out) ? err_oom(e) : 0;
}
