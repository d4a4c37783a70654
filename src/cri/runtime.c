/* cri/runtime.c: what the runtime is, how it is, and how it is configured. */
#include "cri/cri-internal.h"
#include "cri/list.h"

#include <errno.h>

int cri_version(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    (void)c;
    (void)request;
    V1(VersionResponse) m;
    V1_INIT(version_response, &m);
    m.version = (char *)(uintptr_t) "0.1.0"; /* of the kubelet's side, for ever */
    m.runtime_name = (char *)(uintptr_t) "tare";
    m.runtime_version = (char *)(uintptr_t)TARE_VERSION;
    m.runtime_api_version = (char *)(uintptr_t) "v1";
    return cri_reply(call, &m, e);
}

static void put_condition(struct buf *out, const char *type, bool status, const char *reason, const char *message)
{
    V1(RuntimeCondition) m;
    CLEANUP_BUF struct buf packed = { 0 };
    V1_INIT(runtime_condition, &m);
    m.type = (char *)(uintptr_t)type;
    m.status = status;
    m.reason = (char *)(uintptr_t)(status ? "" : reason);
    m.message = (char *)(uintptr_t)(status ? "" : message);
    pb_pack(&m, &packed);
    pb_put_bytes(out, 1, packed.data, packed.len);
}

static void put_handlers(const struct cri *c, struct buf *out)
{
    for (size_t i = 0; i < c->n_handlers; i++) {
        V1(RuntimeHandlerFeatures) f;
        V1(RuntimeHandler) m;
        CLEANUP_BUF struct buf packed = { 0 };
        V1_INIT(runtime_handler_features, &f);
        V1_INIT(runtime_handler, &m);
        f.recursive_read_only_mounts = c->handlers[i].recursive_readonly;
        f.user_namespaces = c->handlers[i].user_namespaces;
        m.name = (char *)(uintptr_t)c->handlers[i].name;
        m.features = &f;
        pb_pack(&m, &packed);
        pb_put_bytes(out, 3, packed.data, packed.len);
    }
}

int cri_status(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(StatusRequest) *q = request;
    CLEANUP(engine_info_done) struct engine_info info = { 0 };
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_BUF struct buf part = { 0 };
    V1(RuntimeFeatures) f;
    int r = engine_info(c->engine, &info, e);
    if (r < 0) {
        return r;
    }
    list_begin(&out);
    put_condition(&part, "RuntimeReady", true, "", "");
    put_condition(&part, "NetworkReady", info.network_ready, "NetworkNotReady", info.network_reason ? info.network_reason : "");
    pb_put_bytes(&out, 1, part.data, part.len);
    put_handlers(c, &out);
    buf_reset(&part);
    V1_INIT(runtime_features, &f);
    f.supplemental_groups_policy = 1;
    pb_pack(&f, &part);
    pb_put_bytes(&out, 4, part.data, part.len);
    if (q->verbose) {
        r = list_put_info(&out, 2, "config",
                          json_pack("{s:s*, s:s*, s:s*, s:s*, s:s*, s:s*}", "root", info.root, "run", info.run, "cgroupDriver",
                                    info.cgroup_driver, "cgroupVersion", info.cgroup_version, "snapshotter", info.snapshotter,
                                    "kernel", info.kernel),
                          e);
    }
    return r < 0 ? r : grpc_send_buf(call, &out, e);
}

int cri_runtime_config(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    (void)request;
    CLEANUP(engine_info_done) struct engine_info info = { 0 };
    V1(LinuxRuntimeConfiguration) lin;
    V1(RuntimeConfigResponse) m;
    int r = engine_info(c->engine, &info, e);
    if (r < 0) {
        return r;
    }
    V1_INIT(linux_runtime_configuration, &lin);
    V1_INIT(runtime_config_response, &m);
    lin.cgroup_driver = str_eq(info.cgroup_driver, "systemd") ? RUNTIME__V1__CGROUP_DRIVER__SYSTEMD :
                                                               RUNTIME__V1__CGROUP_DRIVER__CGROUPFS;
    m.linux = &lin;
    return cri_reply(call, &m, e);
}

/* The pod CIDR is for runtimes that write a CNI configuration from a template; with none there is nothing to write. */
int cri_update_runtime_config(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(UpdateRuntimeConfigRequest) *q = request;
    V1(UpdateRuntimeConfigResponse) m;
    if (c->log && q->runtime_config && q->runtime_config->network_config) {
        log_event(c->log, LOG_INFO, "runtime.config", "pod_cidr", q->runtime_config->network_config->pod_cidr, NULL);
    }
    V1_INIT(update_runtime_config_response, &m);
    return cri_reply(call, &m, e);
}
