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

/* ---- URLs ------------------------------------------------------------------------------------------ */

static int check_streams(bool in, bool out, bool err, bool tty, struct err *e)
{
    if (!in && !out && !err) {
        return err_set(e, EINVAL, ERR_INVALID, "stdin, stdout, stderr: one of them is required");
    }
    return tty && err ? err_set(e, EINVAL, ERR_INVALID, "stderr: a terminal has none of its own") : 0;
}

static int check_running(struct cri *c, const char *id, struct err *e)
{
    struct engine_ctr *k = NULL;
    int r = engine_ctr_get(c->engine, id, &k, e);
    if (r == 0 && k->state != ENGINE_CTR_RUNNING) {
        r = err_set(e, EINVAL, ERR_BUSY, "container %.12s does not run", id);
    }
    engine_ctr_free(k);
    return r;
}

static int new_ticket(const struct ticket *from, struct ticket **ret, struct err *e)
{
    *ret = malloc(sizeof(**ret));
    if (!*ret) {
        return err_oom(e);
    }
    **ret = *from;
    return 0;
}

int cri_exec(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ExecRequest) *q = request;
    CLEANUP_FREE char *url = NULL;
    struct ticket *t = NULL;
    V1(ExecResponse) m;
    CLEANUP_FREE char *id = NULL;
    CLEANUP_STRV char **args = NULL;
    int r = exec_check(c, q->container_id, q->n_cmd, &id, e);
    r = r < 0 ? r : check_streams(q->stdin, q->stdout, q->stderr, q->tty, e);
    r = r < 0 ? r : check_running(c, id, e);
    for (size_t i = 0; i < q->n_cmd && r == 0; i++) {
        r = strv_push(&args, q->cmd[i]) < 0 ? err_oom(e) : 0;
    }
    r = r < 0 ? r
              : new_ticket(&(struct ticket){ .kind = TICKET_EXEC, .has_stdin = q->stdin, .has_stdout = q->stdout,
                                             .has_stderr = q->stderr, .tty = q->tty },
                           &t, e);
    if (r < 0) {
        return r;
    }
    t->id = PTR_STEAL(id);
    t->args = PTR_STEAL(args);
    r = streaming_url(c->streaming, t, &url, e);
    V1_INIT(exec_response, &m);
    m.url = url;
    return r < 0 ? r : cri_reply(call, &m, e);
}

int cri_attach(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(AttachRequest) *q = request;
    CLEANUP_FREE char *url = NULL;
    struct ticket *t = NULL;
    V1(AttachResponse) m;
    CLEANUP_FREE char *id = NULL;
    int r = exec_check(c, q->container_id, 1, &id, e);
    r = r < 0 ? r : check_streams(q->stdin, q->stdout, q->stderr, q->tty, e);
    r = r < 0 ? r : check_running(c, id, e);
    r = r < 0 ? r
              : new_ticket(&(struct ticket){ .kind = TICKET_ATTACH, .has_stdin = q->stdin, .has_stdout = q->stdout,
                                             .has_stderr = q->stderr, .tty = q->tty },
                           &t, e);
    if (r < 0) {
        return r;
    }
    t->id = PTR_STEAL(id);
    r = streaming_url(c->streaming, t, &url, e);
    V1_INIT(attach_response, &m);
    m.url = url;
    return r < 0 ? r : cri_reply(call, &m, e);
}

static int copy_ports(struct ticket *t, const V1(PortForwardRequest) *q, struct err *e)
{
    if (q->n_port > STREAM_PORTS_MAX) {
        return err_set(e, E2BIG, ERR_INVALID, "port: more than %d", STREAM_PORTS_MAX);
    }
    t->ports = q->n_port ? calloc(q->n_port, sizeof(*t->ports)) : NULL;
    if (q->n_port && !t->ports) {
        return err_oom(e);
    }
    for (size_t i = 0; i < q->n_port; i++) {
        if (q->port[i] < 1 || q->port[i] > UINT16_MAX) {
            return err_set(e, EINVAL, ERR_INVALID, "port[%zu]: %d is no port", i, q->port[i]);
        }
        t->ports[t->n_ports++] = (uint16_t)q->port[i];
    }
    return 0;
}

int cri_port_forward(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(PortForwardRequest) *q = request;
    CLEANUP_FREE char *url = NULL;
    struct engine_pod *pod = NULL;
    struct ticket *t = NULL;
    V1(PortForwardResponse) m;
    CLEANUP_FREE char *id = NULL;
    int r = cri_require(q->pod_sandbox_id, "pod_sandbox_id", e);
    r = r < 0 ? r : cache_pod_id(c->cache, q->pod_sandbox_id, &id, e);
    r = r < 0 ? r : engine_pod_get(c->engine, id, &pod, e);
    if (r == 0 && pod->state != ENGINE_POD_READY) {
        r = err_set(e, EINVAL, ERR_BUSY, "pod %.12s is not ready", id);
    }
    engine_pod_free(pod);
    r = r < 0 ? r : new_ticket(&(struct ticket){ .kind = TICKET_FORWARD }, &t, e);
    r = r < 0 ? r : copy_ports(t, q, e);
    if (r < 0) {
        ticket_unref(t);
        return r;
    }
    t->id = PTR_STEAL(id);
    r = streaming_url(c->streaming, t, &url, e);
    V1_INIT(port_forward_response, &m);
    m.url = url;
    return r < 0 ? r : cri_reply(call, &m, e);
}
