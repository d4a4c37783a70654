/* cri/stats.c: figures of containers and pods. One object that has none spoils nobody's answer: it is told without figures. */
#include "cri/stats.h"

#include <errno.h>

static V1(UInt64Value) *value(struct stats_parts *p, uint64_t v)
{
    V1(UInt64Value) *to = &p->values[p->n_values++];
    V1_INIT(uint64_value, to);
    to->value = v;
    return to;
}

static void fill_cpu(struct stats_parts *p, const struct engine_stats *s, uint64_t rate)
{
    V1_INIT(cpu_usage, &p->cpu);
    p->cpu.timestamp = s->timestamp;
    p->cpu.usage_core_nano_seconds = value(p, s->cpu_ns);
    p->cpu.usage_nano_cores = value(p, rate);
}

static void fill_memory(struct stats_parts *p, const struct engine_stats *s)
{
    V1_INIT(memory_usage, &p->memory);
    p->memory.timestamp = s->timestamp;
    p->memory.working_set_bytes = value(p, s->mem_working_set);
    p->memory.usage_bytes = value(p, s->mem_usage);
    p->memory.rss_bytes = value(p, s->mem_rss);
    p->memory.page_faults = value(p, s->mem_page_faults);
    p->memory.major_page_faults = value(p, s->mem_major_faults);
    /* A limit beyond any machine's memory is none. */
    if (s->mem_limit > 0 && s->mem_limit < (uint64_t)1 << 60) {
        p->memory.available_bytes = value(p, s->mem_limit > s->mem_working_set ? s->mem_limit - s->mem_working_set : 0);
    }
    V1_INIT(swap_usage, &p->swap);
    p->swap.timestamp = s->timestamp;
    p->swap.swap_usage_bytes = value(p, s->swap_usage);
    p->swap.swap_available_bytes = value(p, 0);
}

static void fill_layer(struct cri *c, struct stats_parts *p, const struct engine_stats *s)
{
    V1_INIT(filesystem_usage, &p->layer);
    V1_INIT(filesystem_identifier, &p->fs);
    p->fs.mountpoint = c->fs_containers ? c->fs_containers : p->fs.mountpoint;
    p->layer.timestamp = s->timestamp;
    p->layer.fs_id = &p->fs;
    p->layer.used_bytes = value(p, s->rw_bytes);
    p->layer.inodes_used = value(p, s->rw_inodes);
}

/* Metadata, labels and annotations have the same numbers in Container as in ContainerAttributes, but for these. */
int stats_ctr_pack(struct cri *c, const char *id, struct buf *out, struct err *e)
{
    struct engine_ctr *k = NULL;
    CLEANUP(engine_stats_done) struct engine_stats s = { 0 };
    struct stats_parts p = { 0 };
    V1(ContainerStats) m;
    V1(ContainerMetadata) meta;
    V1(ContainerAttributes) attr;
    CLEANUP_BUF struct buf packed_attr = { 0 };
    int r = engine_ctr_get(c->engine, id, &k, e);
    if (r < 0) {
        return r;
    }
    V1_INIT(container_stats, &m);
    V1_INIT(container_metadata, &meta);
    V1_INIT(container_attributes, &attr);
    meta.name = k->spec.name ? k->spec.name : meta.name;
    meta.attempt = k->spec.attempt;
    attr.id = k->id;
    attr.metadata = &meta;
    pb_pack(&attr, &packed_attr);
    stats_put_map(&packed_attr, 3, &k->spec.labels);
    stats_put_map(&packed_attr, 4, &k->spec.annotations);
    pb_put_bytes(out, 1, packed_attr.data, packed_attr.len);
    bool alive = k->state == ENGINE_CTR_RUNNING || k->state == ENGINE_CTR_PAUSED;
    if (alive && engine_ctr_stats(c->engine, k->id, &s, NULL) == 0) {
        fill_cpu(&p, &s, cache_cpu_rate(c->cache, k->id, s.timestamp, s.cpu_ns));
        fill_memory(&p, &s);
        fill_layer(c, &p, &s);
        m.cpu = &p.cpu;
        m.memory = &p.memory;
        m.writable_layer = &p.layer;
        m.swap = &p.swap;
    }
    pb_pack(&m, out);
    engine_ctr_free(k);
    return buf_failed(out) ? err_oom(e) : 0;
}

void stats_put_map(struct buf *out, unsigned field, const struct str_map *m)
{
    for (size_t i = 0; i < m->n; i++) {
        CLEANUP_BUF struct buf entry = { 0 };
        pb_put_bytes(&entry, 1, m->v[i].key, strlen(m->v[i].key));
        pb_put_bytes(&entry, 2, m->v[i].value, strlen(m->v[i].value));
        pb_put_bytes(out, field, entry.data, entry.len);
    }
}

static void put_interface(const struct engine_net_stats *n, unsigned field, struct buf *out)
{
    struct stats_parts p = { 0 };
    V1(NetworkInterfaceUsage) m;
    CLEANUP_BUF struct buf packed = { 0 };
    V1_INIT(network_interface_usage, &m);
    m.name = (char *)(uintptr_t)n->name;
    m.rx_bytes = value(&p, n->rx_bytes);
    m.rx_errors = value(&p, n->rx_errors);
    m.tx_bytes = value(&p, n->tx_bytes);
    m.tx_errors = value(&p, n->tx_errors);
    pb_pack(&m, &packed);
    pb_put_bytes(out, field, packed.data, packed.len);
}

static void put_network(const struct engine_stats *s, struct buf *out)
{
    CLEANUP_BUF struct buf net = { 0 };
    pb_put_u64(&net, 1, (uint64_t)s->timestamp);
    for (size_t i = 0; i < s->net.n; i++) {
        if (!str_eq(s->net.v[i].name, "lo")) {
            put_interface(&s->net.v[i], net.len < 16 ? 2 : 3, &net); /* the first one is the pod's own */
        }
    }
    pb_put_bytes(out, 3, net.data, net.len);
}

static void put_pod_figures(struct cri *c, const char *id, struct buf *out)
{
    CLEANUP(engine_stats_done) struct engine_stats s = { 0 };
    struct stats_parts p = { 0 };
    V1(LinuxPodSandboxStats) m;
    V1(ProcessUsage) proc;
    if (engine_pod_stats(c->engine, id, &s, NULL) < 0) {
        return;
    }
    V1_INIT(linux_pod_sandbox_stats, &m);
    V1_INIT(process_usage, &proc);
    fill_cpu(&p, &s, cache_cpu_rate(c->cache, id, s.timestamp, s.cpu_ns));
    fill_memory(&p, &s);
    proc.timestamp = s.timestamp;
    proc.process_count = value(&p, s.pids);
    m.cpu = &p.cpu;
    m.memory = &p.memory;
    m.process = &proc;
    pb_pack(&m, out);
    if (s.net.n > 0) {
        put_network(&s, out);
    }
}

int stats_pod_pack(struct cri *c, const char *id, struct buf *out, struct err *e)
{
    struct engine_pod *k = NULL;
    V1(PodSandboxMetadata) meta;
    V1(PodSandboxAttributes) attr;
    CLEANUP_BUF struct buf part = { 0 };
    CLEANUP_BUF struct buf lin = { 0 };
    CLEANUP_STRV char **ids = NULL;
    int r = engine_pod_get(c->engine, id, &k, e);
    if (r < 0) {
        return r;
    }
    V1_INIT(pod_sandbox_metadata, &meta);
    V1_INIT(pod_sandbox_attributes, &attr);
    meta.name = k->spec.name ? k->spec.name : meta.name;
    meta.uid = k->spec.uid ? k->spec.uid : meta.uid;
    meta.namespace_ = k->spec.k8s_namespace ? k->spec.k8s_namespace : meta.namespace_;
    meta.attempt = k->spec.attempt;
    attr.id = k->id;
    attr.metadata = &meta;
    pb_pack(&attr, &part);
    stats_put_map(&part, 3, &k->spec.labels);
    stats_put_map(&part, 4, &k->spec.annotations);
    pb_put_bytes(out, 1, part.data, part.len);
    put_pod_figures(c, k->id, &lin);
    r = list_ids(c->cache, cache_ctrs, &(struct cache_filter){ .pod = k->id, .state = -1 }, &ids, e);
    for (size_t i = 0; r == 0 && ids[i]; i++) {
        CLEANUP_BUF struct buf one = { 0 };
        if (stats_ctr_pack(c, ids[i], &one, NULL) == 0) {
            pb_put_bytes(&lin, 5, one.data, one.len);
        }
    }
    pb_put_bytes(out, 2, lin.data, lin.len);
    engine_pod_free(k);
    return r < 0 ? r : buf_failed(out) ? err_oom(e) : 0;
}
