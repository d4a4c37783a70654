/* engine/pull.c: images from and to registries. */
#include "engine/internal.h"

#include "image/pull.h"

#include <errno.h>

struct progress {
    engine_progress_fn *fn;
    void *data;
    bool push;
};

static void pass_on(void *data, const struct pull_progress *p)
{
    const struct progress *to = data;
    const char *status = to->push && p->status == PULL_DOWNLOADING ? "uploading" : pull_status_name(p->status);
    struct engine_progress o = { .kind = p->status == PULL_RESOLVING ? ENGINE_PROGRESS_RESOLVING : p->status == PULL_DONE ? ENGINE_PROGRESS_DONE : ENGINE_PROGRESS_LAYER,
                                 .id = p->id, .status = status, .done = p->done, .total = p->total };
    to->fn(to->data, &o);
}

static struct registry_auth auth_of(const struct engine_auth *a)
{
    return (struct registry_auth){ .username = a->username, .password = a->password, .auth = a->auth, .identity_token = a->identity_token,
                                   .registry_token = a->registry_token, .server = a->server };
}

static void registry_of(const struct engine *g, const struct engine_pull_options *o, struct registry_options *ret)
{
    ret->insecure = !o->tls_verify;
    ret->stall_seconds = (int)(g->stall_seconds < 86400 ? g->stall_seconds : 86400);
    if (g->hosts_dir) {
        ret->hosts.hosts_dir = g->hosts_dir;
    }
}

int engine_image_pull(struct engine *g, const char *ref, const struct engine_pull_options *o, char **ret_id, struct err *e)
{
    struct progress to = { o->progress, o->data, false };
    struct registry_auth auth = o->auth ? auth_of(o->auth) : (struct registry_auth){ 0 };
    struct pull_options p = { .ns = g->ns, .platform = o->platform, .if_missing = o->if_missing,
                              .progress = o->progress ? pass_on : NULL, .data = &to };
    registry_of(g, o, &p.registry);
    p.registry.auth = o->auth ? &auth : NULL;
    int r = image_pull(g->store, ref, &p, ret_id, NULL, e);
    engine_wake(g);
    return r;
}

int engine_image_push(struct engine *g, const char *ref, const char *destination, const struct engine_pull_options *o, char **ret_digest,
                      struct err *e)
{
    struct progress to = { o->progress, o->data, true };
    struct registry_auth auth = o->auth ? auth_of(o->auth) : (struct registry_auth){ 0 };
    struct push_options p = { .ns = g->ns, .destination = destination, .progress = o->progress ? pass_on : NULL, .data = &to };
    registry_of(g, o, &p.registry);
    p.registry.auth = o->auth ? &auth : NULL;
    return image_push(g->store, ref, &p, ret_digest, e);
}
