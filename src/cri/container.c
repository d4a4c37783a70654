/* cri/container.c: calls about containers. */
#include "cri/convert.h"
#include "cri/cri-internal.h"
#include "cri/list.h"

#include <errno.h>

/* The pod's own words about itself; what a CreateContainer request repeats of them is only a copy. */
static int pod_config(struct cri *c, const char *pod, V1(PodSandboxConfig) **ret, const struct cri_handler **ret_handler, struct err *e)
{
    struct engine_pod *p = NULL;
    int r = engine_pod_get(c->engine, pod, &p, e);
    if (r < 0) {
        return r;
    }
    if (p->state != ENGINE_POD_READY) {
        r = err_set(e, EINVAL, ERR_BUSY, "pod_sandbox_id: pod %.64s is not ready", pod);
    } else {
        *ret = V1_UNPACK(pod_sandbox_config, p->spec.cri_config ? p->spec.cri_config : "", p->spec.cri_config_len);
        *ret_handler = cri_handler_find(c, p->spec.runtime_handler ? p->spec.runtime_handler : "");
        r = !*ret ? err_oom(e) : !*ret_handler ? err_set(e, EINVAL, ERR_INVALID, "the pod's runtime handler is not configured") : 0;
    }
    engine_pod_free(p);
    return r;
}

static int check_handler(const struct cri_handler *h, const struct engine_ctr_spec *s, struct err *e)
{
    for (size_t i = 0; i < s->mounts.n && !h->recursive_readonly; i++) {
        if (s->mounts.v[i].recursive_readonly) {
            return err_set(e, ENOTSUP, ERR_INVALID, "config.mounts[%zu].recursive_read_only: not with this runtime handler", i);
        }
    }
    return 0;
}

int cri_ctr_create(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(CreateContainerRequest) *q = request;
    CLEANUP(engine_ctr_spec_done) struct engine_ctr_spec spec = { 0 };
    CLEANUP_PB V1(PodSandboxConfig) *pod = NULL;
    CLEANUP_FREE char *pod_id = NULL;
    CLEANUP_FREE char *id = NULL;
    const struct cri_handler *h = NULL;
    V1(CreateContainerResponse) m;
    int r = cri_require(q->pod_sandbox_id, "pod_sandbox_id", e);
    r = r < 0 ? r : cache_pod_id(c->cache, q->pod_sandbox_id, &pod_id, e);
    r = r < 0 ? r : pod_config(c, pod_id, &pod, &h, e);
    r = r < 0 ? r : convert_ctr(q->config, pod, &spec, e);
    r = r < 0 ? r : check_handler(h, &spec, e);
    if (r == 0 && h->runtime) {
        spec.runtime = strdup(h->runtime);
        r = spec.runtime ? 0 : err_oom(e);
    }
    r = r < 0 ? r : engine_ctr_create(c->engine, pod_id, NULL, &spec, &id, e);
    r = r < 0 ? r : cache_refresh_ctr(c->cache, id, e);
    if (r < 0) {
        return r;
    }
    V1_INIT(create_container_response, &m);
    m.container_id = id;
    return cri_reply(call, &m, e);
}

static int ctr_id(struct cri *c, const char *ref, char **ret, struct err *e)
{
    int r = cri_require(ref, "container_id", e);
    return r < 0 ? r : cache_ctr_id(c->cache, ref, ret, e);
}

int cri_ctr_start(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(StartContainerRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    V1(StartContainerResponse) m;
    int r = ctr_id(c, q->container_id, &id, e);
    if (r < 0) {
        return r;
    }
    r = engine_ctr_start(c->engine, id, e);
    int done = cache_refresh_ctr(c->cache, id, r < 0 ? NULL : e);
    V1_INIT(start_container_response, &m);
    return r < 0 ? r : done < 0 ? done : cri_reply(call, &m, e);
}

/* As pod_id_if_any() in pod.c. */
static int ctr_id_if_any(struct cri *c, const char *ref, char **ret, struct err *e)
{
    struct err why = { 0 };
    int r = cri_require(ref, "container_id", e);
    if (r < 0) {
        return r;
    }
    r = cache_ctr_id(c->cache, ref, ret, &why);
    return r < 0 && why.kind != ERR_NOT_FOUND ? err_set(e, -r, why.kind, "%s", why.text) : 0;
}

int cri_ctr_stop(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(StopContainerRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    V1(StopContainerResponse) m;
    int r = ctr_id_if_any(c, q->container_id, &id, e);
    if (r == 0 && id) {
        struct err why = { 0 };
        r = engine_ctr_stop(c->engine, id, q->timeout > 0 ? q->timeout : 0, &why);
        int done = cache_refresh_ctr(c->cache, id, e);
        r = r < 0 && why.kind != ERR_NOT_FOUND ? err_set(e, -r, why.kind, "%s", why.text) : done;
    }
    V1_INIT(stop_container_response, &m);
    return r < 0 ? r : cri_reply(call, &m, e);
}

int cri_ctr_remove(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(RemoveContainerRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    V1(RemoveContainerResponse) m;
    int r = ctr_id_if_any(c, q->container_id, &id, e);
    if (r == 0 && id) {
        struct err why = { 0 };
        r = engine_ctr_remove(c->engine, id, true, &why);
        int done = cache_refresh_ctr(c->cache, id, e);
        r = r < 0 && why.kind != ERR_NOT_FOUND ? err_set(e, -r, why.kind, "%s", why.text) : done;
    }
    V1_INIT(remove_container_response, &m);
    return r < 0 ? r : cri_reply(call, &m, e);
}

static int ctr_info(struct cri *c, const char *id, struct buf *out, struct err *e)
{
    struct engine_ctr *k = NULL;
    int r = engine_ctr_get(c->engine, id, &k, e);
    if (r < 0) {
        return r;
    }
    json_t *args = json_array();
    for (size_t i = 0; k->args && k->args[i]; i++) {
        (void)json_array_append_new(args, json_string(k->args[i]));
    }
    json_t *o = json_pack("{s:s, s:s*, s:i, s:b, s:s*, s:o}", "id", k->id, "sandboxID", k->pod_id, "pid", (int)k->pid, "privileged",
                          (int)k->spec.privileged, "runtime", k->spec.runtime, "args", args);
    r = list_put_info(out, 2, "info", o, e);
    engine_ctr_free(k);
    return r;
}

int cri_ctr_status(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ContainerStatusRequest) *q = request;
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_FREE char *id = NULL;
    int r = ctr_id(c, q->container_id, &id, e);
    list_begin(&out);
    r = r < 0 ? r : cache_ctr_status(c->cache, id, 1, &out, e);
    if (r == 0 && q->verbose) {
        r = ctr_info(c, id, &out, e);
    }
    return r < 0 ? r : grpc_send_buf(call, &out, e);
}

static void ctr_filter(const V1(ContainerFilter) *f, struct cache_filter *ret)
{
    *ret = (struct cache_filter){ .state = -1 };
    if (f) {
        ret->id = f->id;
        ret->pod = f->pod_sandbox_id;
        ret->state = f->state ? (int)f->state->state : -1;
        ret->n_labels = f->n_label_selector;
        ret->labels = f->label_selector;
    }
}

int cri_ctr_list(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ListContainersRequest) *q = request;
    struct cache_filter f;
    ctr_filter(q->filter, &f);
    return list_reply(call, c->cache, cache_ctrs, &f, e);
}

int cri_ctr_stream(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(StreamContainersRequest) *q = request;
    struct cache_filter f;
    ctr_filter(q->filter, &f);
    return list_stream(call, c->cache, cache_ctrs, &f, e);
}

int cri_ctr_update(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(UpdateContainerResourcesRequest) *q = request;
    CLEANUP(engine_resources_done) struct engine_resources res = { 0 };
    CLEANUP_FREE char *id = NULL;
    V1(UpdateContainerResourcesResponse) m;
    int r = ctr_id(c, q->container_id, &id, e);
    if (r == 0 && !q->linux) {
        r = err_set(e, EINVAL, ERR_INVALID, "linux: is required");
    }
    r = r < 0 ? r : convert_resources(q->linux, "linux", &res, e);
    r = r < 0 ? r : engine_ctr_update(c->engine, id, &res, e);
    r = r < 0 ? r : cache_refresh_ctr(c->cache, id, e);
    V1_INIT(update_container_resources_response, &m);
    return r < 0 ? r : cri_reply(call, &m, e);
}

int cri_ctr_reopen_log(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ReopenContainerLogRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    V1(ReopenContainerLogResponse) m;
    int r = ctr_id(c, q->container_id, &id, e);
    r = r < 0 ? r : engine_ctr_reopen_log(c->engine, id, e);
    V1_INIT(reopen_container_log_response, &m);
    return r < 0 ? r : cri_reply(call, &m, e);
}

int cri_ctr_checkpoint(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(CheckpointContainerRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    (void)call;
    int r = ctr_id(c, q->container_id, &id, e);
    return r < 0 ? r : err_set(e, ENOTSUP, ERR_UNSUPPORTED, "checkpoints are not supported");
}
