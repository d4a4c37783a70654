/*
 * oci/cgroup-limits.c: linux.resources as values of cgroup files, v1 and v2 (config-linux.md "Control groups"). What a hierarchy of this
 * machine does not offer is an error that names the field, unless the container asks for nothing there.
 */
#include "base/fd.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static int no_controller(const char *field, const char *controller, struct err *e)
{
    return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "linux.resources.%s: this machine has no '%s' cgroup controller", field, controller);
}

static int dir_for(const struct oci_cgroup *cg, const char *controller, const char *field, const char *v2_file, bool *v2, int *ret,
                   struct err *e)
{
    *ret = cgroup_dir(cg, controller, v2);
    if (*ret >= 0 && (!*v2 || !v2_file || faccessat(*ret, v2_file, F_OK, 0) == 0)) {
        return 0;
    }
    return no_controller(field, controller, e);
}

static int wrap(int r, const char *field, struct err *e)
{
    return r < 0 ? err_wrap(e, "linux.resources.%s", field) : 0;
}

static int write_max(const struct oci_cgroup *cg, int dir, const char *file, int64_t v, struct err *e)
{
    return v < 0 ? cgroup_write(cg, dir, file, "max", e) : cgroup_write_i64(cg, dir, file, v, e);
}

static int check_usage(int dir, const char *file, const struct oci_memory *m, struct err *e)
{
    uint64_t used;
    if (!m->check_before_update || !m->limit || *m->limit <= 0 || cg_read_u64(dir, file, &used) < 0 || used <= (uint64_t)*m->limit) {
        return 0;
    }
    return err_set(e, EINVAL, ERR_INVALID, "linux.resources.memory.limit: %lld is below what is in use (%llu)", (long long)*m->limit,
                   (unsigned long long)used);
}

/*
 * The kernel holds memory at most memory+swap at every moment, so the greater one goes first when both grow, the smaller one when
 * they shrink. No limit for memory is none for both.
 */
static int memory_limits_v1(const struct oci_cgroup *cg, int dir, const struct oci_memory *m, struct err *e)
{
    static const char limit[] = "memory.limit_in_bytes", swap[] = "memory.memsw.limit_in_bytes";
    int64_t mem = m->limit ? *m->limit : 0, both = m->swap ? *m->swap : 0;
    bool counts = (mem < 0 || both != 0) && faccessat(dir, swap, F_OK, 0) == 0;
    uint64_t now = UINT64_MAX;
    if (both != 0 && !counts) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "swap: this kernel does not count swap (swapaccount=1 needed)");
    }
    if (both > 0 && mem > both) {
        return err_set(e, EINVAL, ERR_INVALID, "swap: has to be memory and swap together, so at least memory.limit");
    }
    both = mem < 0 && both == 0 && counts ? -1 : both;
    bool grows = both < 0 || (both > 0 && cg_read_u64(dir, swap, &now) == 0 && (uint64_t)both > now);
    int r = both != 0 && grows ? cgroup_write_i64(cg, dir, swap, both, e) : 0;
    if (r == 0 && mem != 0) {
        r = cgroup_write_i64(cg, dir, limit, mem, e);
    }
    return r == 0 && both != 0 && !grows ? cgroup_write_i64(cg, dir, swap, both, e) : r;
}

static int memory_v1(const struct oci_cgroup *cg, int dir, const struct oci_memory *m, struct err *e)
{
    int r = check_usage(dir, "memory.usage_in_bytes", m, e);
    if (r < 0) {
        return r;
    }
    r = memory_limits_v1(cg, dir, m, e);
    if (r == 0 && m->reservation && *m->reservation != 0) {
        r = cgroup_write_i64(cg, dir, "memory.soft_limit_in_bytes", *m->reservation, e);
    }
    if (r == 0 && m->kernel_tcp && *m->kernel_tcp != 0) {
        r = cgroup_write_i64(cg, dir, "memory.kmem.tcp.limit_in_bytes", *m->kernel_tcp, e);
    }
    if (r == 0 && m->swappiness) {
        if (*m->swappiness > 100) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.resources.memory.swappiness: %llu is not within 0 to 100",
                           (unsigned long long)*m->swappiness);
        }
        r = cgroup_write_i64(cg, dir, "memory.swappiness", (int64_t)*m->swappiness, e);
    }
    if (r == 0 && m->disable_oom_killer && *m->disable_oom_killer) {
        r = cgroup_write(cg, dir, "memory.oom_control", "1", e);
    }
    return wrap(r, "memory", e);
}

/* In v2 swap is counted on its own; the specification's value is memory and swap together. */
static int swap_v2(const struct oci_memory *m, int64_t *ret, struct err *e)
{
    if (*m->swap < 0) {
        *ret = -1;
        return 0;
    }
    if (!m->limit || *m->limit < 0 || *m->swap < *m->limit) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.resources.memory.swap: has to be memory and swap together, so at least memory.limit");
    }
    *ret = *m->swap - *m->limit;
    return 0;
}

static int memory_v2(const struct oci_cgroup *cg, int dir, const struct oci_memory *m, struct err *e)
{
    int r = 0;
    int64_t swap = 0;
    if (check_usage(dir, "memory.current", m, e) < 0) {
        return -EINVAL;
    }
    if (m->swap && *m->swap != 0) {
        r = swap_v2(m, &swap, e);
        if (r == 0 && faccessat(dir, "memory.swap.max", F_OK, 0) == 0) {
            r = write_max(cg, dir, "memory.swap.max", swap, e);
        } else if (r == 0 && swap > 0) {
            r = err_set(e, ENOTSUP, ERR_UNSUPPORTED, "swap: this kernel does not count swap");
        }
    }
    if (r == 0 && m->limit && *m->limit != 0) {
        r = write_max(cg, dir, "memory.max", *m->limit, e);
    }
    if (r == 0 && m->reservation && *m->reservation != 0) {
        r = write_max(cg, dir, "memory.low", *m->reservation, e);
    }
    return wrap(r, "memory", e);
}

static int memory_apply(const struct oci_cgroup *cg, const struct oci_memory *m, struct err *e)
{
    bool v2;
    int dir;
    if (!m || !(m->limit || m->reservation || m->swap || m->kernel_tcp || m->swappiness || m->disable_oom_killer)) {
        return 0;
    }
    int r = dir_for(cg, "memory", "memory", "memory.max", &v2, &dir, e);
    if (r < 0) {
        return cg->tolerant ? 0 : r;
    }
    return v2 ? memory_v2(cg, dir, m, e) : memory_v1(cg, dir, m, e);
}

/*
 * 2 … 262144 shares on 1 … 10000 weight so that the defaults meet, 1024 and 100: the parabola in the logarithms that the newest
 * peers agreed on (a straight line made 39 of 1024).
 */
uint64_t cgroup_weight_of_shares(uint64_t shares)
{
    if (shares <= 2 || shares >= 262144) {
        return shares <= 2 ? 1 : 10000;
    }
    double l = log2((double)shares);
    return (uint64_t)ceil(pow(10, (l * l + 125 * l) / 612.0 - 7.0 / 34.0));
}

/* "QUOTA PERIOD": what is not given stays as it is; a quota alone leaves the period to the kernel. */
static int cpu_max(const struct oci_cgroup *cg, int dir, const struct oci_cpu *c, struct err *e)
{
    char text[64], quota[24] = "max";
    if (c->quota && *c->quota) {
        if (*c->quota > 0) {
            snprintf(quota, sizeof(quota), "%lld", (long long)*c->quota);
        }
    } else {
        CLEANUP_BUF struct buf now = { 0 };
        int r = file_read(dir, "cpu.max", 64, &now, e);
        if (r < 0) {
            return r;
        }
        snprintf(quota, sizeof(quota), "%.*s", (int)strcspn(buf_str(&now), " \n"), buf_str(&now));
    }
    if (c->period && *c->period) {
        snprintf(text, sizeof(text), "%s %llu", quota, (unsigned long long)*c->period);
    } else {
        snprintf(text, sizeof(text), "%s", quota);
    }
    return cgroup_write(cg, dir, "cpu.max", text, e);
}

static int cpu_v2(const struct oci_cgroup *cg, int dir, const struct oci_cpu *c, struct err *e)
{
    int r = 0;
    if (c->idle && faccessat(dir, "cpu.idle", F_OK, 0) == 0) {
        r = cgroup_write_i64(cg, dir, "cpu.idle", *c->idle, e);
    }
    if (r == 0 && c->shares && *c->shares && !(c->idle && *c->idle)) {
        r = cgroup_write_i64(cg, dir, "cpu.weight", (int64_t)cgroup_weight_of_shares(*c->shares), e);
    }
    if (r == 0 && ((c->quota && *c->quota) || (c->period && *c->period))) {
        r = cpu_max(cg, dir, c, e);
    }
    if (r == 0 && c->burst) {
        r = cgroup_write_i64(cg, dir, "cpu.max.burst", (int64_t)*c->burst, e);
    }
    return r;
}

static int cpu_v1(const struct oci_cgroup *cg, int dir, const struct oci_cpu *c, struct err *e)
{
    const struct {
        const char *file;
        bool given;
        int64_t value;
    } all[] = {
        { "cpu.shares", c->shares && *c->shares, c->shares ? (int64_t)*c->shares : 0 },
        { "cpu.rt_period_us", c->realtime_period && *c->realtime_period, c->realtime_period ? (int64_t)*c->realtime_period : 0 },
        { "cpu.rt_runtime_us", c->realtime_runtime && *c->realtime_runtime, c->realtime_runtime ? *c->realtime_runtime : 0 },
        { "cpu.cfs_period_us", c->period && *c->period, c->period ? (int64_t)*c->period : 0 },
        { "cpu.cfs_quota_us", c->quota && *c->quota, c->quota ? *c->quota : 0 },
        /* A longer period may be refused as long as the old quota exceeds it: asked once more after the quota. */
        { "cpu.cfs_period_us", c->period && *c->period && c->quota && *c->quota, c->period ? (int64_t)*c->period : 0 },
        { "cpu.cfs_burst_us", c->burst != NULL, c->burst ? (int64_t)*c->burst : 0 },
        { "cpu.idle", c->idle != NULL, c->idle ? *c->idle : 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        int r = all[i].given ? cgroup_write_i64(cg, dir, all[i].file, all[i].value, e) : 0;
        if (r < 0 && !(i == 3 && all[5].given)) {
            return r;
        }
    }
    return 0;
}

static int cpu_apply(const struct oci_cgroup *cg, const struct oci_cpu *c, struct err *e)
{
    bool v2;
    int dir, r = 0;
    if (!c) {
        return 0;
    }
    if (c->shares || c->quota || c->period || c->burst || c->idle || c->realtime_period || c->realtime_runtime) {
        r = dir_for(cg, "cpu", "cpu", "cpu.max", &v2, &dir, e);
        if (r < 0) {
            return cg->tolerant ? 0 : r;
        }
        r = wrap(v2 ? cpu_v2(cg, dir, c, e) : cpu_v1(cg, dir, c, e), "cpu", e);
    }
    if (r == 0 && (!str_empty(c->cpus) || !str_empty(c->mems))) {
        r = dir_for(cg, "cpuset", "cpu", "cpuset.cpus", &v2, &dir, e);
        if (r == 0 && !str_empty(c->cpus)) {
            r = wrap(cgroup_write(cg, dir, "cpuset.cpus", c->cpus, e), "cpu.cpus", e);
        }
        if (r == 0 && !str_empty(c->mems)) {
            r = wrap(cgroup_write(cg, dir, "cpuset.mems", c->mems, e), "cpu.mems", e);
        }
    }
    return r;
}

static int pids_apply(const struct oci_cgroup *cg, const struct oci_pids *p, struct err *e)
{
    bool v2;
    int dir;
    if (!p || !p->limit || *p->limit == 0) {
        return 0;
    }
    int r = dir_for(cg, "pids", "pids", "pids.max", &v2, &dir, e);
    if (r < 0) {
        return cg->tolerant ? 0 : r;
    }
    return wrap(write_max(cg, dir, "pids.max", *p->limit, e), "pids.limit", e);
}

static int throttle(const struct oci_cgroup *cg, int dir, bool v2, const struct oci_throttle_list *l, const char *v1_file, const char *key,
                    struct err *e)
{
    for (size_t i = 0; i < l->n; i++) {
        char text[128];
        const struct oci_throttle_device *d = &l->v[i];
        snprintf(text, sizeof(text), v2 ? "%lld:%lld %s=%llu" : "%lld:%lld %.0s%llu", (long long)d->major, (long long)d->minor, key,
                 (unsigned long long)d->rate);
        int r = cgroup_write(cg, dir, v2 ? "io.max" : v1_file, text, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

uint64_t cgroup_io_weight(uint16_t weight)
{
    return weight <= 10 ? 1 : 1 + ((uint64_t)weight - 10) * 9999 / 990;
}

static int io_weight(const struct oci_cgroup *cg, int dir, bool v2, const struct oci_block_io *b, struct err *e)
{
    int r = 0;
    if (b->weight && *b->weight) {
        const char *v1 = faccessat(dir, "blkio.weight", F_OK, 0) == 0 ? "blkio.weight" : "blkio.bfq.weight";
        if (!v2) {
            r = cgroup_write_i64(cg, dir, v1, *b->weight, e);
        } else if (faccessat(dir, "io.bfq.weight", F_OK, 0) == 0) {
            r = cgroup_write_i64(cg, dir, "io.bfq.weight", *b->weight, e);
        } else {
            r = cgroup_write_i64(cg, dir, "io.weight", (int64_t)cgroup_io_weight(*b->weight), e);
        }
    }
    for (size_t i = 0; r == 0 && i < b->weight_device.n; i++) {
        const struct oci_weight_device *d = &b->weight_device.v[i];
        char text[64];
        snprintf(text, sizeof(text), "%lld:%lld %u", (long long)d->major, (long long)d->minor, d->weight ? *d->weight : 0u);
        r = cgroup_write(cg, dir, v2 ? "io.bfq.weight" : "blkio.weight_device", text, e);
    }
    return r;
}

static int io_apply(const struct oci_cgroup *cg, const struct oci_block_io *b, struct err *e)
{
    bool v2;
    int dir;
    if (!b || !((b->weight && *b->weight) || b->weight_device.n || b->throttle_read_bps.n || b->throttle_write_bps.n ||
                b->throttle_read_iops.n || b->throttle_write_iops.n)) {
        return 0;
    }
    int r = dir_for(cg, "blkio", "blockIO", "io.stat", &v2, &dir, e);
    if (r == 0) {
        r = io_weight(cg, dir, v2, b, e);
    }
    if (r == 0) {
        r = throttle(cg, dir, v2, &b->throttle_read_bps, "blkio.throttle.read_bps_device", "rbps", e);
    }
    if (r == 0) {
        r = throttle(cg, dir, v2, &b->throttle_write_bps, "blkio.throttle.write_bps_device", "wbps", e);
    }
    if (r == 0) {
        r = throttle(cg, dir, v2, &b->throttle_read_iops, "blkio.throttle.read_iops_device", "riops", e);
    }
    if (r == 0) {
        r = throttle(cg, dir, v2, &b->throttle_write_iops, "blkio.throttle.write_iops_device", "wiops", e);
    }
    return wrap(r, "blockIO", e);
}

static int hugetlb_apply(const struct oci_cgroup *cg, const struct oci_resources *res, struct err *e)
{
    for (size_t i = 0; i < res->hugepage_limits.n; i++) {
        const struct oci_hugepage_limit *h = &res->hugepage_limits.v[i];
        bool v2;
        int dir = cgroup_dir(cg, "hugetlb", &v2);
        char file[64];
        if (strspn(h->page_size, "0123456789KMGB") != strlen(h->page_size) || strlen(h->page_size) > 8) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.resources.hugepageLimits[%zu].pageSize: '%s' is no size such as 2MB", i, h->page_size);
        }
        snprintf(file, sizeof(file), v2 ? "hugetlb.%s.max" : "hugetlb.%s.limit_in_bytes", h->page_size);
        if (dir < 0 || faccessat(dir, file, F_OK, 0) < 0) {
            return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "linux.resources.hugepageLimits[%zu]: this machine has no pages of %s", i, h->page_size);
        }
        char text[32];
        snprintf(text, sizeof(text), "%llu", (unsigned long long)h->limit);
        int r = cgroup_write(cg, dir, file, text, e);
        /* The reservation limit came later; where it is it has to be the same. */
        snprintf(file, sizeof(file), v2 ? "hugetlb.%s.rsvd.max" : "hugetlb.%s.rsvd.limit_in_bytes", h->page_size);
        if (r == 0 && faccessat(dir, file, F_OK, 0) == 0) {
            r = cgroup_write(cg, dir, file, text, e);
        }
        if (r < 0) {
            return err_wrap(e, "linux.resources.hugepageLimits[%zu]", i);
        }
    }
    return 0;
}

static int rdma_apply(const struct oci_cgroup *cg, const json_t *rdma, struct err *e)
{
    const char *key;
    json_t *item;
    bool v2;
    if (!rdma || !json_is_object(rdma) || json_object_size(rdma) == 0) {
        return 0;
    }
    int dir = cgroup_dir(cg, "rdma", &v2);
    if (dir < 0 || faccessat(dir, "rdma.max", F_OK, 0) < 0) {
        return no_controller("rdma", "rdma", e);
    }
    json_object_foreach((json_t *)(uintptr_t)rdma, key, item) {
        const json_t *handles = json_object_get(item, "hcaHandles"), *objects = json_object_get(item, "hcaObjects");
        CLEANUP_BUF struct buf b = { 0 };
        buf_adds(&b, key);
        if (handles) {
            buf_addf(&b, " hca_handle=%lld", (long long)json_integer_value(handles));
        }
        if (objects) {
            buf_addf(&b, " hca_object=%lld", (long long)json_integer_value(objects));
        }
        if (buf_failed(&b)) {
            return err_oom(e);
        }
        int r = cgroup_write(cg, dir, "rdma.max", buf_str(&b), e);
        if (r < 0) {
            return err_wrap(e, "linux.resources.rdma.%s", key);
        }
    }
    return 0;
}

static int network_apply(const struct oci_cgroup *cg, const struct oci_network *n, struct err *e)
{
    bool v2;
    if (!n) {
        return 0;
    }
    /* v2 has neither: there the specification lets them be ignored. */
    int dir = cgroup_dir(cg, "net_cls", &v2);
    int r = n->class_id && dir >= 0 && !v2 ? cgroup_write_i64(cg, dir, "net_cls.classid", *n->class_id, e) : 0;
    dir = cgroup_dir(cg, "net_prio", &v2);
    for (size_t i = 0; r == 0 && dir >= 0 && !v2 && i < n->priorities.n; i++) {
        char text[64];
        snprintf(text, sizeof(text), "%.15s %u", n->priorities.v[i].name, n->priorities.v[i].priority);
        r = cgroup_write(cg, dir, "net_prio.ifpriomap", text, e);
    }
    return wrap(r, "network", e);
}

static int unified_apply(const struct oci_cgroup *cg, const struct str_map *m, struct err *e)
{
    int dir = oci_cgroup_clone_fd(cg);
    for (size_t i = 0; i < m->n; i++) {
        if (strchr(m->v[i].key, '/') || !strchr(m->v[i].key, '.')) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.resources.unified: '%s' is not the name of a cgroup file", m->v[i].key);
        }
        if (dir < 0 || faccessat(dir, m->v[i].key, F_OK, 0) < 0) {
            return err_set(e, ENOENT, ERR_INVALID, "linux.resources.unified.%s: this machine's cgroup v2 has no such file", m->v[i].key);
        }
        int r = cgroup_write(cg, dir, m->v[i].key, m->v[i].value, e);
        if (r < 0) {
            return err_wrap(e, "linux.resources.unified.%s", m->v[i].key);
        }
    }
    return 0;
}

int oci_cgroup_apply(struct oci_cgroup *cg, const struct oci_resources *res, bool update, struct err *e)
{
    int r = update && cg->unit ? systemd_scope_update(cg, res, e) : 0;
    if (r == 0) {
        r = memory_apply(cg, res->memory, e);
    }
    if (r == 0) {
        r = cpu_apply(cg, res->cpu, e);
    }
    if (r == 0) {
        r = pids_apply(cg, res->pids, e);
    }
    if (r == 0) {
        r = io_apply(cg, res->block_io, e);
    }
    if (r == 0) {
        r = hugetlb_apply(cg, res, e);
    }
    if (r == 0) {
        r = rdma_apply(cg, res->rdma, e);
    }
    if (r == 0) {
        r = network_apply(cg, res->network, e);
    }
    /* An update that says nothing of devices leaves them alone; a new container gets them when its init has made its nodes. */
    if (r == 0 && update && res->devices.n) {
        r = cgroup_devices_apply(cg, res, e);
    }
    return r == 0 ? unified_apply(cg, &res->unified, e) : r;
}
