/*
 * tests/tools/pull-client.c: drives image/pull.h and image/registry.h from tests, without an engine. Not installed.
 *
 *     pull-client [options] pull|push|explain|tags|check IMAGE
 *     --root DIR --run DIR --hosts-dir DIR --registries-conf FILE --authfile FILE --insecure --drop-blobs --if-missing
 *     --platform P --stall SECONDS --retries N --creds USER:PASSWORD --to DESTINATION
 */
#include "image/pull.h"

#include "base/num.h"

#include <getopt.h>
#include <stdio.h>

struct args {
    const char *root, *run, *to;
    char *user;
    struct pull_options o;
    struct registry_auth auth;
};

static void on_progress(void *data, const struct pull_progress *p)
{
    (void)data;
    printf("%s %s %llu/%llu\n", pull_status_name(p->status), p->id, (unsigned long long)p->done, (unsigned long long)p->total);
}

static int do_pull(struct store *s, const char *image, struct args *a, struct err *e)
{
    CLEANUP_FREE char *id = NULL;
    CLEANUP_FREE char *name = NULL;
    int r = image_pull(s, image, &a->o, &id, &name, e);
    if (r == 0) {
        printf("pulled %s %s\n", id, name);
    }
    return r;
}

static int do_push(struct store *s, const char *image, struct args *a, struct err *e)
{
    CLEANUP_FREE char *digest = NULL;
    const struct push_options o = { .registry = a->o.registry, .destination = a->to, .progress = a->o.progress };
    int r = image_push(s, image, &o, &digest, e);
    if (r == 0) {
        printf("pushed %s\n", digest);
    }
    return r;
}

static int do_explain(struct store *s, const char *image, struct args *a, struct err *e)
{
    (void)s;
    CLEANUP_REGISTRY struct registry *g = NULL;
    struct registry_explanation x = { 0 };
    struct reference ref;
    int r = reference_parse_tagged(image, &ref, e);
    r = r < 0 ? r : registry_new(&a->o.registry, &g, e);
    r = r < 0 ? r : registry_explain(g, &ref, &x, e);
    for (size_t i = 0; r == 0 && i < x.endpoints.n; i++) {
        const struct endpoint *p = &x.endpoints.v[i];
        printf("%s://%s%s/%s ca=%s credentials=%s why=%s\n", p->scheme, p->host, p->prefix, p->path, p->ca ? p->ca[0] : "system",
               x.credentials[i], p->why);
    }
    registry_explanation_done(&x);
    return r;
}

static int do_tags(struct store *s, const char *image, struct args *a, struct err *e)
{
    (void)s;
    CLEANUP_REGISTRY struct registry *g = NULL;
    CLEANUP_REPO struct repo *p = NULL;
    CLEANUP_STRV char **tags = NULL;
    struct reference ref;
    int r = reference_parse_tagged(image, &ref, e);
    r = r < 0 ? r : registry_new(&a->o.registry, &g, e);
    r = r < 0 ? r : repo_open(g, &ref, false, &p, e);
    r = r < 0 ? r : repo_tags(p, &tags, e);
    for (char **t = tags; r == 0 && t && *t; t++) {
        printf("%s\n", *t);
    }
    return r;
}

static int do_check(struct store *s, const char *image, struct args *a, struct err *e)
{
    (void)s;
    CLEANUP_REGISTRY struct registry *g = NULL;
    CLEANUP_CREDENTIAL struct credential c = { 0 };
    int r = auth_given(&a->auth, &c, e);
    r = r < 0 ? r : registry_new(&a->o.registry, &g, e);
    return r < 0 ? r : registry_check(g, image, &c, e);
}

static const struct command {
    const char *name;
    int (*run)(struct store *s, const char *image, struct args *a, struct err *e);
} commands[] = { { "pull", do_pull }, { "push", do_push }, { "explain", do_explain }, { "tags", do_tags }, { "check", do_check } };

static const struct option options[] = {
    { "root", 1, NULL, 'r' },       { "run", 1, NULL, 'R' },        { "hosts-dir", 1, NULL, 'h' }, { "registries-conf", 1, NULL, 'c' },
    { "authfile", 1, NULL, 'a' },   { "insecure", 0, NULL, 'i' },   { "drop-blobs", 0, NULL, 'd' }, { "if-missing", 0, NULL, 'm' },
    { "platform", 1, NULL, 'p' },   { "stall", 1, NULL, 's' },      { "retries", 1, NULL, 'n' },   { "creds", 1, NULL, 'u' },
    { "to", 1, NULL, 't' },         { "identity-token", 1, NULL, 'I' }, { NULL, 0, NULL, 0 },
};

static void set_creds(struct args *a, const char *pair)
{
    a->user = strdup(pair);
    char *colon = a->user ? strchr(a->user, ':') : NULL;
    if (colon) {
        *colon = '\0';
        a->auth.username = a->user;
        a->auth.password = colon + 1;
        a->o.registry.auth = &a->auth;
    }
}

static bool set_option(struct args *a, int c, const char *value)
{
    struct registry_options *g = &a->o.registry;
    uint32_t n = 0;
    if ((c == 's' || c == 'n') && num_u32(value, &n) < 0) {
        return false;
    }
    switch (c) {
    case 'r': a->root = value; break;
    case 'R': a->run = value; break;
    case 'h': g->hosts.hosts_dir = value; break;
    case 'c': g->hosts.registries_conf = value; break;
    case 'a': g->auth_paths.file = value; break;
    case 'i': g->insecure = true; break;
    case 'd': a->o.drop_blobs = true; break;
    case 'm': a->o.if_missing = true; break;
    case 'p': a->o.platform = value; break;
    case 's': g->stall_seconds = (int)n; break;
    case 'n': g->retries = n ? (int)n : -1; break;
    case 'u': set_creds(a, value); break;
    case 'I': a->auth.identity_token = value; g->auth = &a->auth; break;
    case 't': a->to = value; break;
    default: return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct args a = { .o = { .progress = on_progress, .registry = { .hosts = { .hosts_dir = "", .docker_dir = "", .registries_conf = "" },
                                                                    .auth_paths = { .file = "/dev/null/none" } } } };
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (!set_option(&a, c, optarg)) {
            return 2;
        }
    }
    if (argc - optind != 2 || !a.root || !a.run) {
        return 2;
    }
    struct err e = { 0 };
    struct store *s = NULL;
    int r = store_open(a.root, a.run, &s, &e);
    size_t k = 0;
    while (k < ARRAY_LEN(commands) && strcmp(commands[k].name, argv[optind]) != 0) {
        k++;
    }
    if (r == 0 && k < ARRAY_LEN(commands)) {
        r = commands[k].run(s, argv[optind + 1], &a, &e);
    }
    store_close(s);
    free(a.user);
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", err_kind_name(e.kind), e.text);
    }
    return r < 0 || k == ARRAY_LEN(commands);
}
