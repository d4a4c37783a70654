/* cri/stats-calls.c: the calls that ask for figures: of one object, of all that match, and of those as a stream. */
#include "cri/stats.h"

#include <errno.h>

typedef int stats_pack_fn(struct cri *c, const char *id, struct buf *out, struct err *e);

static int one(struct cri *c, struct grpc_call *call, const char *id, stats_pack_fn *fn, struct err *e)
{
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_BUF struct buf item = { 0 };
    int r = fn(c, id, &item, e);
    if (r < 0) {
        return r;
    }
    list_begin(&out);
    pb_put_bytes(&out, 1, item.data, item.len);
    return grpc_send_buf(call, &out, e);
}

/* stream: a message for each object. */
static int many(struct cri *c, struct grpc_call *call, list_walk_fn *walk, const struct cache_filter *f, stats_pack_fn *fn,
                bool stream, struct err *e)
{
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_STRV char **ids = NULL;
    int r = list_ids(c->cache, walk, f, &ids, e);
    list_begin(&out);
    for (size_t i = 0; r == 0 && ids[i]; i++) {
        CLEANUP_BUF struct buf item = { 0 };
        if (fn(c, ids[i], &item, NULL) < 0) {
            continue;
        }
        pb_put_bytes(&out, 1, item.data, item.len);
        if (stream) {
            r = grpc_send_buf(call, &out, e);
            buf_reset(&out);
            list_begin(&out);
        }
    }
    return r < 0 || stream ? r : grpc_send_buf(call, &out, e);
}

static void ctr_filter(const V1(ContainerStatsFilter) *f, struct cache_filter *ret)
{
    *ret = (struct cache_filter){ .state = -1 };
    if (f) {
        *ret = (struct cache_filter){ .id = f->id, .pod = f->pod_sandbox_id, .state = -1, .n_labels = f->n_label_selector,
                                      .labels = f->label_selector };
    }
}

static void pod_filter(const V1(PodSandboxStatsFilter) *f, struct cache_filter *ret)
{
    *ret = (struct cache_filter){ .state = -1 };
    if (f) {
        *ret = (struct cache_filter){ .id = f->id, .state = -1, .n_labels = f->n_label_selector, .labels = f->label_selector };
    }
}

int cri_ctr_stats(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ContainerStatsRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    int r = cri_require(q->container_id, "container_id", e);
    r = r < 0 ? r : cache_ctr_id(c->cache, q->container_id, &id, e);
    return r < 0 ? r : one(c, call, id, stats_ctr_pack, e);
}

int cri_ctr_stats_list(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    struct cache_filter f;
    ctr_filter(((const V1(ListContainerStatsRequest) *)request)->filter, &f);
    return many(c, call, cache_ctrs, &f, stats_ctr_pack, false, e);
}

int cri_ctr_stats_stream(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    struct cache_filter f;
    ctr_filter(((const V1(StreamContainerStatsRequest) *)request)->filter, &f);
    return many(c, call, cache_ctrs, &f, stats_ctr_pack, true, e);
}

int cri_pod_stats(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(PodSandboxStatsRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    int r = cri_require(q->pod_sandbox_id, "pod_sandbox_id", e);
    r = r < 0 ? r : cache_pod_id(c->cache, q->pod_sandbox_id, &id, e);
    return r < 0 ? r : one(c, call, id, stats_pod_pack, e);
}

int cri_pod_stats_list(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    struct cache_filter f;
    pod_filter(((const V1(ListPodSandboxStatsRequest) *)request)->filter, &f);
    return many(c, call, cache_pods, &f, stats_pod_pack, false, e);
}

int cri_pod_stats_stream(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    struct cache_filter f;
    pod_filter(((const V1(StreamPodSandboxStatsRequest) *)request)->filter, &f);
    return many(c, call, cache_pods, &f, stats_pod_pack, true, e);
}
