/*
 * cri/cache.h: pods and containers in memory, as the packed messages that lists and status calls answer with. It can be rebuilt
 * from the engine at any time. Whoever changes an object refreshes its entry before answering; all other changes come by the
 * event log. A refresh that began earlier never overwrites the result of one that began later.
 *
 * Pods that were not made through CRI are not shown: a kubelet would remove what it does not know.
 */
#pragma once

#include "cri/pb.h"
#include "engine/engine.h"

struct cri_cache;

MUST_USE int cache_new(struct engine *g, struct cri_cache **ret, struct err *e);
void cache_free(struct cri_cache *c);
/* Reads everything. */
MUST_USE int cache_load(struct cri_cache *c, struct err *e);
/* Reads one object by its full id; an id that the engine does not know is dropped, which is no error. */
MUST_USE int cache_refresh_ctr(struct cri_cache *c, const char *id, struct err *e);
/* The pod, and its containers. */
MUST_USE int cache_refresh_pod(struct cri_cache *c, const char *id, struct err *e);
/* Containers that run by what the cache knows: full ids, NULL-terminated. NULL when out of memory. */
char **cache_running(struct cri_cache *c);

struct cache_filter {
    const char *id, *pod; /* prefixes; "" or NULL: any */
    int state;            /* -1: any */
    size_t n_labels;
    void *labels; /* entries of a map<string, string> */
};
/* Called under the cache's lock with the packed item; must not block. < 0 ends the walk. */
typedef int cache_item_fn(void *data, const char *id, const struct buf *item);
int cache_pods(struct cri_cache *c, const struct cache_filter *f, cache_item_fn *fn, void *data);
int cache_ctrs(struct cri_cache *c, const struct cache_filter *f, cache_item_fn *fn, void *data);

/* The full id for an id or a unique prefix. ERR_NOT_FOUND, ERR_INVALID. Caller frees. */
MUST_USE int cache_pod_id(struct cri_cache *c, const char *ref, char **ret, struct err *e);
MUST_USE int cache_ctr_id(struct cri_cache *c, const char *ref, char **ret, struct err *e);
/* Appends the packed PodSandboxStatus; then, if with_ctrs, its containers' status as field `with_ctrs` of the answer. */
MUST_USE int cache_pod_status(struct cri_cache *c, const char *ref, unsigned field, unsigned with_ctrs, struct buf *out,
                              struct err *e);
/* Appends the packed ContainerStatus as the given field. A container that has just died is read again first. */
MUST_USE int cache_ctr_status(struct cri_cache *c, const char *ref, unsigned field, struct buf *out, struct err *e);

/* CPU time of a container (or pod) at some moment; returns nanoseconds of CPU a second since an earlier call, 0 at first. */
uint64_t cache_cpu_rate(struct cri_cache *c, const char *ctr_or_pod, int64_t timestamp, uint64_t cpu_ns);

/*
 * Events. A reader subscribes, and from then on misses nothing unless it falls behind by a thousand: then cache_event_next() fails
 * with ERR_UNAVAILABLE and it has to list again.
 */
uint64_t cache_subscribe(struct cri_cache *c);
void cache_unsubscribe(struct cri_cache *c);
/* Waits for the next event, and appends its packed ContainerEventResponse. -ECANCELED after cache_interrupt() or *stop. */
MUST_USE int cache_event_next(struct cri_cache *c, uint64_t *cursor, const bool *stop, struct buf *out, struct err *e);
/* Wakes every reader, so that it looks at its stop flag; set_stop (may be NULL) is set under the lock. */
void cache_interrupt(struct cri_cache *c, bool *set_stop);
