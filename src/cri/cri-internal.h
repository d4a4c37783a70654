/* cri/cri-internal.h: what the files of the room share. */
#pragma once

#include "cri/cache.h"
#include "cri/cri.h"
#include "cri/pb.h"
#include "cri/streaming.h"

#include <pthread.h>

struct cri {
    struct engine *engine;
    const struct log *log;
    const struct cri_handler *handlers;
    size_t n_handlers;
    struct cri_cache *cache;
    struct streaming *streaming;
    char *fs_images, *fs_containers; /* mount points for the figures of file systems; NULL: unknown */
    /* the thread that follows the event log */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool stopping, woken; /* under lock */
    char **ids;           /* named by datagrams, under lock */
    size_t n_ids;
    uint64_t cursor;      /* the thread's own: last event seen */
};

/* One call: q is the unpacked request. */
typedef int cri_fn(struct cri *c, struct grpc_call *call, const void *q, struct err *e);

/* Packs and sends. */
MUST_USE int cri_reply(struct grpc_call *call, const void *message, struct err *e);
/* ERR_INVALID "FIELD: is required". */
MUST_USE int cri_require(const char *value, const char *field, struct err *e);
/* NULL when there is none of that name. */
const struct cri_handler *cri_handler_find(const struct cri *c, const char *name);

#define CRI_FN(name) int name(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
CRI_FN(cri_version);
CRI_FN(cri_status);
CRI_FN(cri_runtime_config);
CRI_FN(cri_update_runtime_config);
CRI_FN(cri_pod_run);
CRI_FN(cri_pod_stop);
CRI_FN(cri_pod_remove);
CRI_FN(cri_pod_status);
CRI_FN(cri_pod_list);
CRI_FN(cri_pod_stream);
CRI_FN(cri_pod_update);
CRI_FN(cri_ctr_create);
CRI_FN(cri_ctr_start);
CRI_FN(cri_ctr_stop);
CRI_FN(cri_ctr_remove);
CRI_FN(cri_ctr_status);
CRI_FN(cri_ctr_list);
CRI_FN(cri_ctr_stream);
CRI_FN(cri_ctr_update);
CRI_FN(cri_ctr_reopen_log);
CRI_FN(cri_ctr_checkpoint);
CRI_FN(cri_exec_sync);
CRI_FN(cri_exec);
CRI_FN(cri_attach);
CRI_FN(cri_port_forward);
CRI_FN(cri_image_list);
CRI_FN(cri_image_stream);
CRI_FN(cri_image_status);
CRI_FN(cri_image_pull);
CRI_FN(cri_image_remove);
CRI_FN(cri_image_fs_info);
CRI_FN(cri_ctr_stats);
CRI_FN(cri_ctr_stats_list);
CRI_FN(cri_ctr_stats_stream);
CRI_FN(cri_pod_stats);
CRI_FN(cri_pod_stats_list);
CRI_FN(cri_pod_stats_stream);
CRI_FN(cri_events);
CRI_FN(cri_metric_descriptors);
CRI_FN(cri_metrics_list);
CRI_FN(cri_metrics_stream);
