/* cri/pod.c: calls about pods. */
#include "cri/convert.h"
#include "cri/cri-internal.h"
#include "cri/list.h"

#include <errno.h>

int cri_pod_run(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(RunPodSandboxRequest) *q = request;
    CLEANUP(engine_pod_spec_done) struct engine_pod_spec spec = { 0 };
    CLEANUP_FREE char *id = NULL;
    V1(RunPodSandboxResponse) m;
    const struct cri_handler *h = cri_handler_find(c, q->runtime_handler);
    if (!h) {
        return err_set(e, EINVAL, ERR_INVALID, "runtime_handler: no handler %.64s is configured", q->runtime_handler);
    }
    int r = convert_pod(q->config, q->runtime_handler, &spec, e);
    if (r == 0 && spec.userns && !h->user_namespaces) {
        r = err_set(e, ENOTSUP, ERR_INVALID, "runtime_handler: %.64s has no user namespaces", q->runtime_handler);
    }
    if (r == 0) {
        r = engine_pod_run(c->engine, &spec, &id, e);
    }
    if (r == 0) {
        r = cache_refresh_pod(c->cache, id, e);
    }
    if (r < 0) {
        return r;
    }
    V1_INIT(run_pod_sandbox_response, &m);
    m.pod_sandbox_id = id;
    return cri_reply(call, &m, e);
}

/* The full id; one that nobody knows is as it should be after a stop or a removal: *ret is NULL. */
static int pod_id_if_any(struct cri *c, const char *ref, char **ret, struct err *e)
{
    struct err why = { 0 };
    int r = cri_require(ref, "pod_sandbox_id", e);
    if (r < 0) {
        return r;
    }
    r = cache_pod_id(c->cache, ref, ret, &why);
    return r < 0 && why.kind != ERR_NOT_FOUND ? err_set(e, -r, why.kind, "%s", why.text) : 0;
}

int cri_pod_stop(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(StopPodSandboxRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    V1(StopPodSandboxResponse) m;
    int r = pod_id_if_any(c, q->pod_sandbox_id, &id, e);
    if (r == 0 && id) {
        struct err why = { 0 };
        r = engine_pod_stop(c->engine, id, &why);
        int done = cache_refresh_pod(c->cache, id, e);
        r = r < 0 && why.kind != ERR_NOT_FOUND ? err_set(e, -r, why.kind, "%s", why.text) : done;
    }
    V1_INIT(stop_pod_sandbox_response, &m);
    return r < 0 ? r : cri_reply(call, &m, e);
}

int cri_pod_remove(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(RemovePodSandboxRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    V1(RemovePodSandboxResponse) m;
    int r = pod_id_if_any(c, q->pod_sandbox_id, &id, e);
    if (r == 0 && id) {
        struct err why = { 0 };
        r = engine_pod_remove(c->engine, id, &why);
        int done = cache_refresh_pod(c->cache, id, e);
        r = r < 0 && why.kind != ERR_NOT_FOUND ? err_set(e, -r, why.kind, "%s", why.text) : done;
    }
    V1_INIT(remove_pod_sandbox_response, &m);
    return r < 0 ? r : cri_reply(call, &m, e);
}

/* "info" of a verbose answer: what the engine knows. */
static int pod_info(struct cri *c, const char *id, struct buf *out, struct err *e)
{
    struct engine_pod *p = NULL;
    int r = engine_pod_get(c->engine, id, &p, e);
    if (r < 0) {
        return r;
    }
    json_t *o = json_pack("{s:s, s:s*, s:s*, s:s*, s:s*}", "id", p->id, "netns", p->netns_path, "cgroupParent", p->spec.cgroup_parent,
                          "runtimeHandler", p->spec.runtime_handler, "logDirectory", p->spec.log_directory);
    r = list_put_info(out, 2, "info", o, e);
    engine_pod_free(p);
    return r;
}

int cri_pod_status(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(PodSandboxStatusRequest) *q = request;
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_FREE char *id = NULL;
    int r = cri_require(q->pod_sandbox_id, "pod_sandbox_id", e);
    if (r == 0) {
        r = cache_pod_id(c->cache, q->pod_sandbox_id, &id, e);
    }
    list_begin(&out);
    if (r == 0) {
        r = cache_pod_status(c->cache, id, 1, 3, &out, e);
    }
    if (r == 0 && q->verbose) {
        r = pod_info(c, id, &out, e);
    }
    if (r == 0) {
        pb_put_u64(&out, 4, (uint64_t)list_now());
        r = grpc_send_buf(call, &out, e);
    }
    return r;
}

static void pod_filter(const V1(PodSandboxFilter) *f, struct cache_filter *ret)
{
    *ret = (struct cache_filter){ .state = -1 };
    if (f) {
        ret->id = f->id;
        ret->state = f->state ? (int)f->state->state : -1;
        ret->n_labels = f->n_label_selector;
        ret->labels = f->label_selector;
    }
}

int cri_pod_list(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ListPodSandboxRequest) *q = request;
    struct cache_filter f;
    pod_filter(q->filter, &f);
    return list_reply(call, c->cache, cache_pods, &f, e);
}

int cri_pod_stream(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(StreamPodSandboxesRequest) *q = request;
    struct cache_filter f;
    pod_filter(q->filter, &f);
    return list_stream(call, c->cache, cache_pods, &f, e);
}

int cri_pod_update(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(UpdatePodSandboxResourcesRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    (void)call;
    int r = cri_require(q->pod_sandbox_id, "pod_sandbox_id", e);
    if (r == 0) {
        r = cache_pod_id(c->cache, q->pod_sandbox_id, &id, e);
    }
    return r < 0 ? r : err_set(e, ENOTSUP, ERR_UNSUPPORTED, "resizing a pod as a whole is not supported");
}
