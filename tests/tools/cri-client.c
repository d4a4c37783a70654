/*
 * tests/tools/cri-client.c: a CRI client in C for the demo and for benchmarks, where Go's crictl is not there or would be most of
 * what is measured.
 *
 *     cri-client SOCKET version|status|pods|ps|images
 *     cri-client SOCKET pull IMAGE | life IMAGE | exec CONTAINER CMD...
 *     cri-client SOCKET up IMAGE | down POD             a pod with two containers: printed, and taken away
 *     cri-client SOCKET bench IMAGE COUNT [THREADS]     a pod's life COUNT times; p50 and p95 of each call
 *     cri-client SOCKET bench-exec CONTAINER COUNT [THREADS]
 *     cri-client SOCKET bench-list COUNT
 */
#include "base/num.h"
#include "cri/pb.h"
#include "http/grpc-client.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 16, THREADS_MAX = 64 };

struct step {
    const char *name;
    double *ms;
    size_t n, cap;
};

struct client {
    struct grpc_client *c;
    struct step steps[STEPS];
    unsigned serial, thread;
    bool host_network;
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void note(struct client *k, const char *name, double ms)
{
    for (size_t i = 0; i < STEPS; i++) {
        struct step *s = &k->steps[i];
        if (!s->name) {
            s->name = name;
        }
        if (strcmp(s->name, name) == 0) {
            if (array_grow(&s->ms, &s->cap, s->n + 1, sizeof(*s->ms)) == 0) {
                s->ms[s->n++] = ms;
            }
            return;
        }
    }
}

/* Calls, and unpacks the answer into *ret (NULL: not wanted). Says what went wrong. */
static int rpc(struct client *k, const char *method, const void *request, const ProtobufCMessageDescriptor *type, void *ret)
{
    CLEANUP_BUF struct buf q = { 0 };
    CLEANUP_BUF struct buf path = { 0 };
    CLEANUP(grpc_reply_done) struct grpc_reply reply = { 0 };
    struct err e = { 0 };
    pb_pack(request, &q);
    buf_addf(&path, "/runtime.v1.%sService/%s", strstr(method, "Image") ? "Image" : "Runtime", method);
    double from = now_ms();
    int r = grpc_client_call(k->c, &(struct grpc_request){ .path = buf_str(&path), .msg = q.data, .len = q.len }, &reply, &e);
    note(k, method, now_ms() - from);
    if (r < 0 || reply.status != 0) {
        (void)fprintf(stderr, "cri-client: %s: %s\n", method, r < 0 ? e.text : reply.message ? reply.message : "failed");
        return -EIO;
    }
    if (ret) {
        void *m = protobuf_c_message_unpack(type, NULL, reply.body.len, (const uint8_t *)reply.body.data);
        *(void **)ret = m;
        return m ? 0 : -EBADMSG;
    }
    return 0;
}

static int run_pod(struct client *k, char **ret)
{
    V1(PodSandboxMetadata) meta;
    V1(PodSandboxConfig) config;
    V1(LinuxPodSandboxConfig) lin;
    V1(LinuxSandboxSecurityContext) sec;
    V1(NamespaceOption) ns;
    V1(RunPodSandboxRequest) q;
    CLEANUP_PB V1(RunPodSandboxResponse) *m = NULL;
    char name[64];
    V1_INIT(pod_sandbox_metadata, &meta);
    V1_INIT(pod_sandbox_config, &config);
    V1_INIT(linux_pod_sandbox_config, &lin);
    V1_INIT(linux_sandbox_security_context, &sec);
    V1_INIT(namespace_option, &ns);
    V1_INIT(run_pod_sandbox_request, &q);
    (void)snprintf(name, sizeof(name), "cri-client-%d-%u-%u", (int)getpid(), k->thread, ++k->serial);
    meta.name = meta.uid = name;
    meta.namespace_ = (char *)(uintptr_t) "default";
    ns.network = k->host_network ? RUNTIME__V1__NAMESPACE_MODE__NODE : RUNTIME__V1__NAMESPACE_MODE__POD;
    ns.pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
    sec.namespace_options = &ns;
    lin.security_context = &sec;
    config.metadata = &meta;
    config.linux = &lin;
    q.config = &config;
    int r = rpc(k, "RunPodSandbox", &q, V1_DESC(run_pod_sandbox_response), &m);
    if (r == 0) {
        *ret = strdup(m->pod_sandbox_id);
    }
    return r;
}

static int create(struct client *k, char *pod, const char *name, const char *image, char **ret)
{
    char *command[] = { (char[]){ "sleep" }, (char[]){ "1000" } };
    V1(ContainerMetadata) meta;
    V1(ImageSpec) spec;
    V1(ContainerConfig) config;
    V1(CreateContainerRequest) q;
    CLEANUP_PB V1(CreateContainerResponse) *m = NULL;
    V1_INIT(container_metadata, &meta);
    V1_INIT(image_spec, &spec);
    V1_INIT(container_config, &config);
    V1_INIT(create_container_request, &q);
    meta.name = (char *)(uintptr_t)name;
    spec.image = (char *)(uintptr_t)image;
    config.metadata = &meta;
    config.image = &spec;
    config.command = command;
    config.n_command = 2;
    q.pod_sandbox_id = pod;
    q.config = &config;
    int r = rpc(k, "CreateContainer", &q, V1_DESC(create_container_response), &m);
    if (r == 0) {
        *ret = strdup(m->container_id);
    }
    return r;
}

#define ID_CALL(function, type, name, method, member)                                                                              \
    static int function(struct client *k, char *id)                                                                                \
    {                                                                                                                              \
        V1(type) q;                                                                                                                \
        V1_INIT(name, &q);                                                                                                         \
        q.member = id;                                                                                                             \
        return rpc(k, method, &q, NULL, NULL);                                                                                     \
    }
ID_CALL(start, StartContainerRequest, start_container_request, "StartContainer", container_id)
ID_CALL(stop, StopContainerRequest, stop_container_request, "StopContainer", container_id)
ID_CALL(status, ContainerStatusRequest, container_status_request, "ContainerStatus", container_id)
ID_CALL(stats, ContainerStatsRequest, container_stats_request, "ContainerStats", container_id)
ID_CALL(remove_ctr, RemoveContainerRequest, remove_container_request, "RemoveContainer", container_id)
ID_CALL(stop_pod, StopPodSandboxRequest, stop_pod_sandbox_request, "StopPodSandbox", pod_sandbox_id)
ID_CALL(remove_pod, RemovePodSandboxRequest, remove_pod_sandbox_request, "RemovePodSandbox", pod_sandbox_id)

static int exec_sync(struct client *k, char *id, size_t n, char **cmd, bool print)
{
    V1(ExecSyncRequest) q;
    CLEANUP_PB V1(ExecSyncResponse) *m = NULL;
    V1_INIT(exec_sync_request, &q);
    q.container_id = id;
    q.n_cmd = n;
    q.cmd = cmd;
    q.timeout = 30;
    int r = rpc(k, "ExecSync", &q, V1_DESC(exec_sync_response), &m);
    if (r == 0 && print) {
        (void)fwrite(m->stdout.data, 1, m->stdout.len, stdout);
        (void)fwrite(m->stderr.data, 1, m->stderr.len, stderr);
    }
    return r < 0 ? r : m->exit_code;
}

static int pull(struct client *k, const char *image)
{
    V1(ImageSpec) spec;
    V1(PullImageRequest) q;
    CLEANUP_PB V1(PullImageResponse) *m = NULL;
    V1_INIT(image_spec, &spec);
    V1_INIT(pull_image_request, &q);
    spec.image = (char *)(uintptr_t)image;
    q.image = &spec;
    int r = rpc(k, "PullImage", &q, V1_DESC(pull_image_response), &m);
    if (r == 0) {
        (void)puts(m->image_ref);
    }
    return r;
}

/* A pod with two containers, from its start to its end. verbose: says what it does. */
static int life(struct client *k, const char *image, bool verbose, unsigned n_ctrs)
{
    CLEANUP_FREE char *pod = NULL;
    char *ctr[2] = { NULL, NULL };
    static const char *const names[] = { "one", "two" };
    char *cmd[] = { (char[]){ "echo" }, (char[]){ "hello from inside" } };
    int r = run_pod(k, &pod);
    if (r == 0 && verbose) {
        (void)printf("pod %.12s runs\n", pod);
    }
    for (unsigned i = 0; i < n_ctrs && r == 0; i++) {
        r = create(k, pod, names[i], image, &ctr[i]);
        r = r < 0 ? r : start(k, ctr[i]);
        if (r == 0 && verbose) {
            (void)printf("container %.12s (%s) runs\n", ctr[i], names[i]);
        }
        r = r < 0 ? r : exec_sync(k, ctr[i], 2, cmd, verbose);
        r = r < 0 ? r : status(k, ctr[i]);
        r = r < 0 ? r : stats(k, ctr[i]);
    }
    for (unsigned i = 0; i < n_ctrs; i++) {
        if (ctr[i]) {
            r = stop(k, ctr[i]) < 0 || remove_ctr(k, ctr[i]) < 0 ? -EIO : r;
            free(ctr[i]);
        }
    }
    if (pod) {
        r = stop_pod(k, pod) < 0 || remove_pod(k, pod) < 0 ? -EIO : r;
    }
    if (r == 0 && verbose) {
        (void)puts("stopped and removed");
    }
    return r;
}

static int up(struct client *k, const char *image)
{
    static const char *const names[] = { "one", "two" };
    CLEANUP_FREE char *pod = NULL;
    int r = run_pod(k, &pod);
    if (r == 0) {
        (void)printf("pod %s\n", pod);
    }
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(names); i++) {
        CLEANUP_FREE char *ctr = NULL;
        r = create(k, pod, names[i], image, &ctr);
        r = r < 0 ? r : start(k, ctr);
        if (r == 0) {
            (void)printf("container %s (%s) runs\n", ctr, names[i]);
        }
    }
    return r;
}

static int down(struct client *k, char *pod)
{
    int r = stop_pod(k, pod);
    return r < 0 ? r : remove_pod(k, pod);
}

static int list(struct client *k, const char *what)
{
    if (strcmp(what, "pods") == 0) {
        V1(ListPodSandboxRequest) q;
        CLEANUP_PB V1(ListPodSandboxResponse) *m = NULL;
        V1_INIT(list_pod_sandbox_request, &q);
        int r = rpc(k, "ListPodSandbox", &q, V1_DESC(list_pod_sandbox_response), &m);
        for (size_t i = 0; r == 0 && i < m->n_items; i++) {
            (void)printf("%.12s %s %s\n", m->items[i]->id, m->items[i]->metadata->name, m->items[i]->state == 0 ? "ready" : "notready");
        }
        return r;
    }
    if (strcmp(what, "ps") == 0) {
        static const char *const states[] = { "created", "running", "exited", "unknown" };
        V1(ListContainersRequest) q;
        CLEANUP_PB V1(ListContainersResponse) *m = NULL;
        V1_INIT(list_containers_request, &q);
        int r = rpc(k, "ListContainers", &q, V1_DESC(list_containers_response), &m);
        for (size_t i = 0; r == 0 && i < m->n_containers; i++) {
            (void)printf("%.12s %s %s\n", m->containers[i]->id, m->containers[i]->metadata->name, states[m->containers[i]->state & 3]);
        }
        return r;
    }
    V1(ListImagesRequest) q;
    CLEANUP_PB V1(ListImagesResponse) *m = NULL;
    V1_INIT(list_images_request, &q);
    int r = rpc(k, "ListImages", &q, V1_DESC(list_images_response), &m);
    for (size_t i = 0; r == 0 && i < m->n_images; i++) {
        (void)printf("%s %s\n", m->images[i]->id, m->images[i]->n_repo_tags > 0 ? m->images[i]->repo_tags[0] : "-");
    }
    return r;
}

static int info(struct client *k, const char *what)
{
    if (strcmp(what, "version") == 0) {
        V1(VersionRequest) q;
        CLEANUP_PB V1(VersionResponse) *m = NULL;
        V1_INIT(version_request, &q);
        int r = rpc(k, "Version", &q, V1_DESC(version_response), &m);
        if (r == 0) {
            (void)printf("%s %s %s\n", m->runtime_name, m->runtime_version, m->runtime_api_version);
        }
        return r;
    }
    V1(StatusRequest) q;
    CLEANUP_PB V1(StatusResponse) *m = NULL;
    V1_INIT(status_request, &q);
    int r = rpc(k, "Status", &q, V1_DESC(status_response), &m);
    for (size_t i = 0; r == 0 && i < m->status->n_conditions; i++) {
        const V1(RuntimeCondition) *c = m->status->conditions[i];
        (void)printf("%s %s %s\n", c->type, c->status ? "true" : "false", c->message);
    }
    return r;
}

/* ---- benchmarks ------------------------------------------------------------------------------ */

struct job {
    const char *socket, *kind, *arg;
    uint32_t count;
    struct client k;
    int r;
};

static int job_once(struct job *j)
{
    char *cmd[] = { (char[]){ "true" } };
    if (strcmp(j->kind, "bench-exec") == 0) {
        return exec_sync(&j->k, (char *)(uintptr_t)j->arg, 1, cmd, false);
    }
    if (strcmp(j->kind, "bench-list") == 0) {
        V1(ListContainersRequest) q;
        V1(ListPodSandboxRequest) p;
        V1_INIT(list_containers_request, &q);
        V1_INIT(list_pod_sandbox_request, &p);
        int r = rpc(&j->k, "ListContainers", &q, NULL, NULL);
        return r < 0 ? r : rpc(&j->k, "ListPodSandbox", &p, NULL, NULL);
    }
    return life(&j->k, j->arg, false, 1);
}

static void *job_run(void *data)
{
    struct job *j = data;
    struct err e = { 0 };
    j->k.host_network = getenv("CRI_CLIENT_HOST_NETWORK") != NULL;
    j->r = grpc_client_open(j->socket, &j->k.c, &e);
    for (uint32_t i = 0; i < j->count && j->r == 0; i++) {
        j->r = job_once(j);
    }
    grpc_client_free(j->k.c);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(struct job *jobs, size_t n, double seconds, uint32_t total)
{
    for (size_t i = 0; i < STEPS && jobs[0].k.steps[i].name; i++) {
        struct step all = { .name = jobs[0].k.steps[i].name };
        for (size_t t = 0; t < n; t++) {
            struct step *s = &jobs[t].k.steps[i];
            for (size_t v = 0; v < s->n; v++) {
                if (array_grow(&all.ms, &all.cap, all.n + 1, sizeof(double)) == 0) {
                    all.ms[all.n++] = s->ms[v];
                }
            }
            free(s->ms);
        }
        if (all.n > 0) {
            qsort(all.ms, all.n, sizeof(double), by_value);
            (void)printf("%-20s p50 %8.3f ms  p95 %8.3f ms  max %8.3f ms\n", all.name, all.ms[all.n / 2], all.ms[all.n * 95 / 100],
                         all.ms[all.n - 1]);
        }
        free(all.ms);
    }
    (void)printf("%u in %.2f s: %.1f a second\n", total, seconds, total / seconds);
}

static int bench(const char *socket, const char *kind, const char *arg, uint32_t count, uint32_t threads)
{
    static struct job jobs[THREADS_MAX];
    pthread_t t[THREADS_MAX];
    int r = 0;
    threads = threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads;
    double from = now_ms();
    for (uint32_t i = 0; i < threads; i++) {
        jobs[i] = (struct job){ .socket = socket, .kind = kind, .arg = arg, .count = count / threads, .k.thread = i };
        if (pthread_create(&t[i], NULL, job_run, &jobs[i]) != 0) {
            return -EAGAIN;
        }
    }
    for (uint32_t i = 0; i < threads; i++) {
        (void)pthread_join(t[i], NULL);
        r = jobs[i].r != 0 ? jobs[i].r : r;
    }
    report(jobs, threads, (now_ms() - from) / 1e3, count / threads * threads);
    return r;
}

static int command(struct client *k, int argc, char **argv)
{
    const char *what = argv[2];
    if (strcmp(what, "version") == 0 || strcmp(what, "status") == 0) {
        return info(k, what);
    }
    if (strcmp(what, "pods") == 0 || strcmp(what, "ps") == 0 || strcmp(what, "images") == 0) {
        return list(k, what);
    }
    if (argc == 4 && strcmp(what, "pull") == 0) {
        return pull(k, argv[3]);
    }
    if (argc == 4 && strcmp(what, "life") == 0) {
        return life(k, argv[3], true, 2);
    }
    if (argc == 4 && strcmp(what, "up") == 0) {
        return up(k, argv[3]);
    }
    if (argc == 4 && strcmp(what, "down") == 0) {
        return down(k, argv[3]);
    }
    if (argc > 4 && strcmp(what, "exec") == 0) {
        return exec_sync(k, argv[3], (size_t)argc - 4, argv + 4, true);
    }
    (void)fprintf(stderr, "cri-client: unknown command %s\n", what);
    return -EINVAL;
}

int main(int argc, char **argv)
{
    struct client k = { .host_network = getenv("CRI_CLIENT_HOST_NETWORK") != NULL };
    struct err e = { 0 };
    uint32_t count = 100, threads = 1;
    if (argc < 3) {
        (void)fprintf(stderr, "usage: cri-client SOCKET COMMAND [ARG...]\n");
        return 2;
    }
    if (strncmp(argv[2], "bench", 5) == 0) {
        bool lists = strcmp(argv[2], "bench-list") == 0;
        int at = lists ? 3 : 4;
        if ((argc > at && num_u32(argv[at], &count) < 0) || (argc > at + 1 && num_u32(argv[at + 1], &threads) < 0) || argc < at) {
            (void)fprintf(stderr, "cri-client: %s: bad numbers\n", argv[2]);
            return 2;
        }
        return bench(argv[1], argv[2], lists ? "" : argv[3], count, threads) == 0 ? 0 : 1;
    }
    if (grpc_client_open(argv[1], &k.c, &e) < 0) {
        (void)fprintf(stderr, "cri-client: %s\n", e.text);
        return 1;
    }
    int r = command(&k, argc, argv);
    grpc_client_free(k.c);
    for (size_t i = 0; i < STEPS; i++) {
        free(k.steps[i].ms);
    }
    return r < 0 ? 1 : r;
}
