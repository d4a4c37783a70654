/*
 * cri/metrics.c: ListPodSandboxMetrics: the figures of stats.c under the names that cAdvisor gave them. A table names each metric,
 * says how it is worded and where in the engine's figures it is.
 */
#include "cri/stats.h"

#include <stdio.h>

struct metric {
    const char *name, *help;
    V1(MetricType) type;
    size_t offset;  /* in struct engine_stats, or in struct engine_net_stats */
    uint64_t scale; /* the value is divided by this */
};

#define GAUGE RUNTIME__V1__METRIC_TYPE__GAUGE
#define COUNTER RUNTIME__V1__METRIC_TYPE__COUNTER
#define S(f) offsetof(struct engine_stats, f)
#define N(f) offsetof(struct engine_net_stats, f)

static const struct metric figures[] = {
    { "container_cpu_usage_seconds_total", "Cumulative CPU time consumed, in seconds", COUNTER, S(cpu_ns), 1000000000 },
    { "container_cpu_user_seconds_total", "Cumulative user CPU time consumed, in seconds", COUNTER, S(cpu_user_ns), 1000000000 },
    { "container_cpu_system_seconds_total", "Cumulative system CPU time consumed, in seconds", COUNTER, S(cpu_system_ns), 1000000000 },
    { "container_memory_usage_bytes", "Current memory usage, including all memory regardless of when it was accessed", GAUGE,
      S(mem_usage), 1 },
    { "container_memory_working_set_bytes", "Current working set", GAUGE, S(mem_working_set), 1 },
    { "container_memory_rss", "Size of RSS", GAUGE, S(mem_rss), 1 },
    { "container_memory_swap", "Container swap usage", GAUGE, S(swap_usage), 1 },
    { "container_spec_memory_limit_bytes", "Memory limit for the container", GAUGE, S(mem_limit), 1 },
    { "container_processes", "Number of processes running inside the container", GAUGE, S(pids), 1 },
    { "container_fs_reads_bytes_total", "Cumulative count of bytes read", COUNTER, S(io_read), 1 },
    { "container_fs_writes_bytes_total", "Cumulative count of bytes written", COUNTER, S(io_write), 1 },
    { "container_fs_usage_bytes", "Number of bytes that are consumed by the container on this file system", GAUGE, S(rw_bytes), 1 },
    { "container_fs_inodes_total", "Number of inodes in use by the writable layer", GAUGE, S(rw_inodes), 1 },
};

static const struct metric net_figures[] = {
    { "container_network_receive_bytes_total", "Cumulative count of bytes received", COUNTER, N(rx_bytes), 1 },
    { "container_network_receive_packets_total", "Cumulative count of packets received", COUNTER, N(rx_packets), 1 },
    { "container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", COUNTER, N(rx_errors), 1 },
    { "container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", COUNTER, N(tx_bytes), 1 },
    { "container_network_transmit_packets_total", "Cumulative count of packets transmitted", COUNTER, N(tx_packets), 1 },
    { "container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", COUNTER, N(tx_errors), 1 },
};

static void put_descriptor(const struct metric *t, bool net, struct buf *out)
{
    static const char *const keys[] = { "id", "name", "image", "interface" };
    V1(MetricDescriptor) m;
    CLEANUP_BUF struct buf packed = { 0 };
    V1_INIT(metric_descriptor, &m);
    m.name = (char *)(uintptr_t)t->name;
    m.help = (char *)(uintptr_t)t->help;
    m.label_keys = (char **)(uintptr_t)keys;
    m.n_label_keys = net ? 4 : 3;
    pb_pack(&m, &packed);
    pb_put_bytes(out, 1, packed.data, packed.len);
}

int cri_metric_descriptors(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    (void)c;
    (void)request;
    CLEANUP_BUF struct buf out = { 0 };
    list_begin(&out);
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        put_descriptor(&figures[i], false, &out);
    }
    for (size_t i = 0; i < ARRAY_LEN(net_figures); i++) {
        put_descriptor(&net_figures[i], true, &out);
    }
    return grpc_send_buf(call, &out, e);
}

static void put_metric(const struct metric *t, const void *figures_at, int64_t timestamp, char **labels, size_t n_labels,
                       unsigned field, struct buf *out)
{
    V1(Metric) m;
    V1(UInt64Value) v;
    uint64_t n = 0;
    CLEANUP_BUF struct buf packed = { 0 };
    memcpy(&n, (const char *)figures_at + t->offset, sizeof(n));
    V1_INIT(metric, &m);
    V1_INIT(uint64_value, &v);
    v.value = n / t->scale;
    m.name = (char *)(uintptr_t)t->name;
    m.timestamp = timestamp;
    m.metric_type = t->type;
    m.label_values = labels;
    m.n_label_values = n_labels;
    m.value = &v;
    pb_pack(&m, &packed);
    pb_put_bytes(out, field, packed.data, packed.len);
}

static void put_container(struct cri *c, const char *id, struct buf *out)
{
    CLEANUP(engine_stats_done) struct engine_stats s = { 0 };
    CLEANUP_BUF struct buf m = { 0 };
    struct engine_ctr *k = NULL;
    if (engine_ctr_get(c->engine, id, &k, NULL) < 0) {
        return;
    }
    if (engine_ctr_stats(c->engine, id, &s, NULL) == 0) {
        char empty[] = "";
        char *labels[] = { k->id, k->spec.name ? k->spec.name : empty, k->image_name ? k->image_name : empty };
        pb_put_bytes(&m, 1, k->id, strlen(k->id));
        for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
            put_metric(&figures[i], &s, s.timestamp, labels, ARRAY_LEN(labels), 2, &m);
        }
        pb_put_bytes(out, 3, m.data, m.len);
    }
    engine_ctr_free(k);
}

static int put_pod(struct cri *c, const char *id, struct buf *out, struct err *e)
{
    CLEANUP(engine_stats_done) struct engine_stats s = { 0 };
    CLEANUP_STRV char **ids = NULL;
    char empty[] = "";
    char pod_name[] = "POD";
    CLEANUP_FREE char *own = strdup(id);
    char *labels[] = { own, pod_name, empty, NULL };
    int r = list_ids(c->cache, cache_ctrs,
                     &(struct cache_filter){ .pod = id, .state = RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING }, &ids, e);
    if (r < 0 || !own) {
        return r < 0 ? r : err_oom(e);
    }
    pb_put_bytes(out, 1, id, strlen(id));
    if (engine_pod_stats(c->engine, id, &s, NULL) == 0) {
        for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
            put_metric(&figures[i], &s, s.timestamp, labels, 3, 2, out);
        }
        for (size_t n = 0; n < s.net.n; n++) {
            labels[3] = s.net.v[n].name;
            for (size_t i = 0; i < ARRAY_LEN(net_figures); i++) {
                put_metric(&net_figures[i], &s.net.v[n], s.timestamp, labels, 4, 2, out);
            }
        }
    }
    for (size_t i = 0; ids[i]; i++) {
        put_container(c, ids[i], out);
    }
    return 0;
}

static int metrics(struct cri *c, struct grpc_call *call, bool stream, struct err *e)
{
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_STRV char **ids = NULL;
    int r = list_ids(c->cache, cache_pods, &(struct cache_filter){ .state = -1 }, &ids, e);
    list_begin(&out);
    for (size_t i = 0; r == 0 && ids[i]; i++) {
        CLEANUP_BUF struct buf item = { 0 };
        r = put_pod(c, ids[i], &item, e);
        pb_put_bytes(&out, 1, item.data, item.len);
        if (r == 0 && stream) {
            r = grpc_send_buf(call, &out, e);
            buf_reset(&out);
            list_begin(&out);
        }
    }
    return r < 0 || stream ? r : grpc_send_buf(call, &out, e);
}

int cri_metrics_list(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    (void)request;
    return metrics(c, call, false, e);
}

int cri_metrics_stream(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    (void)request;
    return metrics(c, call, true, e);
}
