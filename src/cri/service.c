/*
 * cri/service.c: the table of calls, what happens around each of them, and the room's life. See cri.h.
 */
#include "cri/cri-internal.h"

#include <errno.h>

struct cri_call {
    const ProtobufCMessageDescriptor *request;
    cri_fn *fn;
};

static int dispatch(struct grpc_call *call, const uint8_t *msg, size_t len, void *data, struct err *e)
{
    const struct cri_call *t = grpc_call_method(call)->tag;
    CLEANUP_PB ProtobufCMessage *q = protobuf_c_message_unpack(t->request, NULL, len, msg);
    if (!q) {
        return err_set(e, EBADMSG, ERR_INVALID, "%s: malformed message", t->request->short_name);
    }
    int r = pb_check_utf8(q, e);
    return r < 0 ? r : t->fn(data, call, q, e);
}

#define CALL(service, name, request, fn, stream)                                                                                   \
    {                                                                                                                              \
        "/runtime.v1." service "Service/" name, dispatch, stream, &(const struct cri_call) { V1_DESC(request##_request), fn }        \
    }
#define RUNTIME(name, request, fn) CALL("Runtime", name, request, fn, false)
#define RUNTIME_STREAM(name, request, fn) CALL("Runtime", name, request, fn, true)

static const struct grpc_method table[] = {
    RUNTIME("Version", version, cri_version),
    RUNTIME("Status", status, cri_status),
    RUNTIME("RuntimeConfig", runtime_config, cri_runtime_config),
    RUNTIME("UpdateRuntimeConfig", update_runtime_config, cri_update_runtime_config),
    RUNTIME("RunPodSandbox", run_pod_sandbox, cri_pod_run),
    RUNTIME("StopPodSandbox", stop_pod_sandbox, cri_pod_stop),
    RUNTIME("RemovePodSandbox", remove_pod_sandbox, cri_pod_remove),
    RUNTIME("PodSandboxStatus", pod_sandbox_status, cri_pod_status),
    RUNTIME("ListPodSandbox", list_pod_sandbox, cri_pod_list),
    RUNTIME_STREAM("StreamPodSandboxes", stream_pod_sandboxes, cri_pod_stream),
    RUNTIME("UpdatePodSandboxResources", update_pod_sandbox_resources, cri_pod_update),
    RUNTIME("CreateContainer", create_container, cri_ctr_create),
    RUNTIME("StartContainer", start_container, cri_ctr_start),
    RUNTIME("StopContainer", stop_container, cri_ctr_stop),
    RUNTIME("RemoveContainer", remove_container, cri_ctr_remove),
    RUNTIME("ContainerStatus", container_status, cri_ctr_status),
    RUNTIME("ListContainers", list_containers, cri_ctr_list),
    RUNTIME_STREAM("StreamContainers", stream_containers, cri_ctr_stream),
    RUNTIME("UpdateContainerResources", update_container_resources, cri_ctr_update),
    RUNTIME("ReopenContainerLog", reopen_container_log, cri_ctr_reopen_log),
    RUNTIME("CheckpointContainer", checkpoint_container, cri_ctr_checkpoint),
    RUNTIME("ExecSync", exec_sync, cri_exec_sync),
    RUNTIME("Exec", exec, cri_exec),
    RUNTIME("Attach", attach, cri_attach),
    RUNTIME("PortForward", port_forward, cri_port_forward),
    RUNTIME("ContainerStats", container_stats, cri_ctr_stats),
    RUNTIME("ListContainerStats", list_container_stats, cri_ctr_stats_list),
    RUNTIME_STREAM("StreamContainerStats", stream_container_stats, cri_ctr_stats_stream),
    RUNTIME("PodSandboxStats", pod_sandbox_stats, cri_pod_stats),
    RUNTIME("ListPodSandboxStats", list_pod_sandbox_stats, cri_pod_stats_list),
    RUNTIME_STREAM("StreamPodSandboxStats", stream_pod_sandbox_stats, cri_pod_stats_stream),
    RUNTIME_STREAM("GetContainerEvents", get_events, cri_events),
    RUNTIME("ListMetricDescriptors", list_metric_descriptors, cri_metric_descriptors),
    RUNTIME("ListPodSandboxMetrics", list_pod_sandbox_metrics, cri_metrics_list),
    RUNTIME_STREAM("StreamPodSandboxMetrics", stream_pod_sandbox_metrics, cri_metrics_stream),
    CALL("Image", "ListImages", list_images, cri_image_list, false),
    CALL("Image", "StreamImages", stream_images, cri_image_stream, true),
    CALL("Image", "ImageStatus", image_status, cri_image_status, false),
    CALL("Image", "PullImage", pull_image, cri_image_pull, false),
    CALL("Image", "RemoveImage", remove_image, cri_image_remove, false),
    CALL("Image", "ImageFsInfo", image_fs_info, cri_image_fs_info, false),
};

const struct grpc_method *cri_methods(size_t *ret_n)
{
    *ret_n = ARRAY_LEN(table);
    return table;
}

int cri_reply(struct grpc_call *call, const void *message, struct err *e)
{
    CLEANUP_BUF struct buf out = { 0 };
    buf_add(&out, "\0\0\0\0", GRPC_PREFIX);
    pb_pack(message, &out);
    return grpc_send_buf(call, &out, e);
}

int cri_require(const char *value, const char *field, struct err *e)
{
    return str_empty(value) ? err_set(e, EINVAL, ERR_INVALID, "%s: is required", field) : 0;
}

const struct cri_handler *cri_handler_find(const struct cri *c, const char *name)
{
    for (size_t i = 0; i < c->n_handlers; i++) {
        if (str_eq(c->handlers[i].name, name)) {
            return &c->handlers[i];
        }
    }
    return NULL;
}

int cri_new(const struct cri_options *o, struct cri **ret, struct err *e)
{
    struct cri *c = calloc(1, sizeof(*c));
    struct engine_usage usage = { 0 };
    if (!c) {
        return err_oom(e);
    }
    *c = (struct cri){ .engine = o->engine, .log = o->log, .handlers = o->handlers, .n_handlers = o->n_handlers };
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->cond, NULL);
    int r = cache_new(o->engine, &c->cache, e);
    r = r < 0 ? r : streaming_new(o->engine, &o->streaming, &c->streaming, e);
    if (r < 0) {
        cri_free(c);
        return r;
    }
    if (engine_usage(o->engine, &usage, NULL) == 0) {
        c->fs_images = PTR_STEAL(usage.images.mountpoint);
        c->fs_containers = PTR_STEAL(usage.containers.mountpoint);
    }
    engine_usage_done(&usage);
    *ret = c;
    return 0;
}

void cri_free(struct cri *c)
{
    if (!c) {
        return;
    }
    cri_stop(c);
    streaming_free(c->streaming);
    cache_free(c->cache);
    strv_free(c->ids);
    free(c->fs_images);
    free(c->fs_containers);
    pthread_cond_destroy(&c->cond);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

unsigned cri_stop_streams(struct cri *c, int timeout_ms)
{
    return streaming_stop(c->streaming, timeout_ms);
}
