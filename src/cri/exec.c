/* cri/exec.c: running a command in a container, and the calls that hand out a URL for streams. */
#include "cri/cri-internal.h"

#include <errno.h>

/* The interface's limit for both streams together, less what the message adds. */
enum { EXEC_OUTPUT_MAX = (16 << 20) - 1024 };

static int exec_check(struct cri *c, const char *ref, size_t n_cmd, char **ret_id, struct err *e)
{
    int r = cri_require(ref, "container_id", e);
    if (r == 0 && n_cmd == 0) {
        r = err_set(e, EINVAL, ERR_INVALID, "cmd: is required");
    }
    return r < 0 ? r : cache_ctr_id(c->cache, ref, ret_id, e);
}

int cri_exec_sync(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ExecSyncRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    CLEANUP_STRV char **args = NULL;
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_BUF struct buf errout = { 0 };
    V1(ExecSyncResponse) m;
    int32_t code = 0;
    int r = exec_check(c, q->container_id, q->n_cmd, &id, e);
    if (r == 0 && (q->timeout < 0 || q->timeout > INT64_MAX / 1000)) {
        r = err_set(e, EINVAL, ERR_INVALID, "timeout: %lld is no number of seconds", (long long)q->timeout);
    }
    for (size_t i = 0; i < q->n_cmd && r == 0; i++) {
        r = strv_push(&args, q->cmd[i]) < 0 ? err_oom(e) : 0;
    }
    r = r < 0 ? r : engine_exec_sync(c->engine, id, args, q->timeout * 1000, EXEC_OUTPUT_MAX, &out, &errout, &code, e);
    if (r < 0) {
        return r;
    }
    V1_INIT(exec_sync_response, &m);
    m.stdout.data = (uint8_t *)out.data;
    m.stdout.len = out.len;
    m.stderr.data = (uint8_t *)errout.data;
    m.stderr.len = errout.len < EXEC_OUTPUT_MAX - out.len ? errout.len : EXEC_OUTPUT_MAX - out.len;
    m.exit_code = code;
    return cri_reply(call, &m, e);
}

int cri_exec(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ExecRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    (void)call;
    int r = exec_check(c, q->container_id, q->n_cmd, &id, e);
    return r < 0 ? r : err_set(e, ENOTSUP, ERR_UNSUPPORTED, "streaming exec is not supported; take ExecSync");
}

int cri_attach(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(AttachRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    (void)call;
    int r = exec_check(c, q->container_id, 1, &id, e);
    return r < 0 ? r : err_set(e, ENOTSUP, ERR_UNSUPPORTED, "attaching by CRI is not supported; take tare attach");
}

int cri_port_forward(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(PortForwardRequest) *q = request;
    CLEANUP_FREE char *id = NULL;
    (void)call;
    int r = cri_require(q->pod_sandbox_id, "pod_sandbox_id", e);
    r = r < 0 ? r : cache_pod_id(c->cache, q->pod_sandbox_id, &id, e);
    return r < 0 ? r : err_set(e, ENOTSUP, ERR_UNSUPPORTED, "port forwarding is not supported");
}
