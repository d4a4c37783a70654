/* cmd/tare-oci-update.c: update, events and stats. */
#include "cmd/tare-oci.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <unistd.h>

/* The members of struct rt_update_args that become numbers of struct oci_resources. */
enum update_group { IN_CPU, IN_MEMORY, IN_PIDS };
#define ARG(member) offsetof(struct rt_update_args, member)
static const struct update_number {
    size_t arg;
    enum update_group group;
    size_t to;        /* of a pointer to int64_t or uint64_t: both are 64 bits wide */
    const char *flag;
    int64_t min;
} numbers[] = {
    { ARG(cpu_period), IN_CPU, offsetof(struct oci_cpu, period), "--cpu-period", 0 },
    { ARG(cpu_quota), IN_CPU, offsetof(struct oci_cpu, quota), "--cpu-quota", -1 },
    { ARG(cpu_burst), IN_CPU, offsetof(struct oci_cpu, burst), "--cpu-burst", 0 },
    { ARG(cpu_share), IN_CPU, offsetof(struct oci_cpu, shares), "--cpu-share", 0 },
    { ARG(cpu_rt_period), IN_CPU, offsetof(struct oci_cpu, realtime_period), "--cpu-rt-period", 0 },
    { ARG(cpu_rt_runtime), IN_CPU, offsetof(struct oci_cpu, realtime_runtime), "--cpu-rt-runtime", -1 },
    { ARG(cpu_idle), IN_CPU, offsetof(struct oci_cpu, idle), "--cpu-idle", 0 },
    { ARG(memory), IN_MEMORY, offsetof(struct oci_memory, limit), "--memory", -1 },
    { ARG(memory_reservation), IN_MEMORY, offsetof(struct oci_memory, reservation), "--memory-reservation", -1 },
    { ARG(memory_swap), IN_MEMORY, offsetof(struct oci_memory, swap), "--memory-swap", -1 },
    { ARG(pids_limit), IN_PIDS, offsetof(struct oci_pids, limit), "--pids-limit", -1 },
};

static void *group_of(struct oci_resources *r, enum update_group group)
{
    switch (group) {
    case IN_CPU:
        return r->cpu ? r->cpu : (r->cpu = calloc(1, sizeof(*r->cpu)));
    case IN_MEMORY:
        return r->memory ? r->memory : (r->memory = calloc(1, sizeof(*r->memory)));
    case IN_PIDS:
        return r->pids ? r->pids : (r->pids = calloc(1, sizeof(*r->pids)));
    }
    return NULL;
}

static int add_number(struct oci_resources *r, const struct update_number *n, int64_t value, struct err *e)
{
    if (value < n->min) {
        return err_set(e, EINVAL, ERR_INVALID, "%s: %lld is too small", n->flag, (long long)value);
    }
    char *group = group_of(r, n->group);
    int64_t *copy = group ? malloc(sizeof(*copy)) : NULL;
    if (!copy) {
        return err_oom(e);
    }
    *copy = value;
    int64_t **slot = (void *)(group + n->to);
    free(*slot);
    *slot = copy;
    return 0;
}

static int add_weight(struct oci_resources *r, int64_t weight, struct err *e)
{
    if (weight < 10 || weight > 1000) {
        return err_set(e, EINVAL, ERR_INVALID, "--blkio-weight: %lld is not from 10 to 1000", (long long)weight);
    }
    if (!r->block_io && !(r->block_io = calloc(1, sizeof(*r->block_io)))) {
        return err_oom(e);
    }
    uint16_t *copy = malloc(sizeof(*copy));
    if (!copy) {
        return err_oom(e);
    }
    *copy = (uint16_t)weight;
    free(r->block_io->weight);
    r->block_io->weight = copy;
    return 0;
}

static int add_cpuset(struct oci_resources *r, const struct rt_update_args *a, struct err *e)
{
    struct oci_cpu *cpu = group_of(r, IN_CPU);
    if (!cpu) {
        return err_oom(e);
    }
    if (a->cpuset_cpus) {
        free(cpu->cpus);
        cpu->cpus = strdup(a->cpuset_cpus);
    }
    if (a->cpuset_mems) {
        free(cpu->mems);
        cpu->mems = strdup(a->cpuset_mems);
    }
    return (a->cpuset_cpus && !cpu->cpus) || (a->cpuset_mems && !cpu->mems) ? err_oom(e) : 0;
}

static int resources_of_flags(const struct rt_update_args *a, struct oci_resources *r, struct err *e)
{
    if (a->l3_cache_schema || a->mem_bw_schema) {
        return err_set(e, EOPNOTSUPP, ERR_UNSUPPORTED, "--l3-cache-schema, --mem-bw-schema: not supported by update");
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        int64_t value;
        memcpy(&value, (const char *)a + numbers[i].arg, sizeof(value));
        int ret = value == INT64_MIN ? 0 : add_number(r, &numbers[i], value, e);
        if (ret < 0) {
            return ret;
        }
    }
    int ret = a->blkio_weight == INT64_MIN ? 0 : add_weight(r, a->blkio_weight, e);
    if (ret == 0 && (a->cpuset_cpus || a->cpuset_mems)) {
        ret = add_cpuset(r, a, e);
    }
    return ret;
}

static int resources_of_file(const char *path, struct oci_resources *r, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    int ret;
    if (strcmp(path, "-") == 0) {
        ret = fd_read_all(STDIN_FILENO, &text, JSON_TEXT_MAX);
        ret = ret < 0 ? err_sys(e, -ret, "read standard input") : 0;
    } else {
        ret = file_read(AT_FDCWD, path, JSON_TEXT_MAX, &text, e);
    }
    if (ret == 0) {
        ret = json_parse(&oci_resources_type, buf_str(&text), text.len, r, e);
        ret = ret < 0 ? err_wrap(e, "--resources %s", path) : 0;
    }
    return ret;
}

/* A container that runs, and its cgroup. */
static int open_running(const struct rt *g, const char *id, struct oci_container **k, struct oci_cgroup **cg, struct err *e)
{
    int r = oci_load(g->root, id, k, e);
    if (r < 0) {
        return r;
    }
    if ((*k)->status == OCI_STOPPED || (*k)->status == OCI_CREATING) {
        return err_set(e, EINVAL, ERR_INVALID, "container %s is not running", id);
    }
    return oci_cgroup_open((*k)->cgroup, cg, e);
}

int rt_update(void *globals, void *args, int argc, char **argv)
{
    (void)argc;
    const struct rt *g = globals;
    const struct rt_update_args *a = args;
    struct err e = { 0 };
    struct oci_resources res = { 0 };
    CLEANUP_OCI_CONTAINER struct oci_container *k = NULL;
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    int r = a->resources ? resources_of_file(a->resources, &res, &e) : resources_of_flags(a, &res, &e);
    if (r == 0) {
        r = open_running(g, argv[0], &k, &cg, &e);
    }
    if (r == 0) {
        r = oci_cgroup_apply(cg, &res, true, &e);
    }
    json_free(&oci_resources_type, &res);
    return r < 0 ? rt_fail(g, 1, &e) : 0;
}

static int show_stats(const struct rt *g, const struct oci_cgroup *cg, const char *id, struct err *e)
{
    CLEANUP_BUF struct buf out = { 0 };
    int r = oci_cgroup_stats_json(cg, id, &out, e);
    if (r < 0) {
        return r;
    }
    if (out.len > 0 && out.data[out.len - 1] != '\n') {
        buf_addc(&out, '\n');
    }
    return rt_print(g, &out) == 0 ? 0 : -EPIPE;
}

static int show_oom(const struct rt *g, const char *id)
{
    CLEANUP_BUF struct buf out = { 0 };
    buf_addf(&out, "{\"type\":\"oom\",\"id\":\"%s\"}\n", id); /* an id needs no quoting */
    return rt_print(g, &out);
}

int rt_events(void *globals, void *args, int argc, char **argv)
{
    (void)argc;
    const struct rt *g = globals;
    const struct rt_events_args *a = args;
    struct err e = { 0 };
    CLEANUP_OCI_CONTAINER struct oci_container *k = NULL;
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    if (a->interval < 1000000) {
        err_set(&e, EINVAL, ERR_INVALID, "--interval: must be at least 1ms");
        return rt_fail(g, 1, &e);
    }
    if (open_running(g, argv[0], &k, &cg, &e) < 0 || (a->stats && show_stats(g, cg, k->id, &e) < 0)) {
        return rt_fail(g, 1, &e);
    }
    if (a->stats) {
        return 0;
    }
    CLEANUP_FD int pidfd = pidfd_open(k->pid, 0);
    struct pollfd p = { .fd = pidfd, .events = POLLIN };
    uint64_t kills = oci_cgroup_oom_kills(cg);
    int64_t ms = a->interval / 1000000;
    for (bool ended = pidfd < 0; !ended;) {
        ended = poll(&p, 1, (int)(ms > INT32_MAX ? INT32_MAX : ms)) > 0;
        uint64_t now = oci_cgroup_oom_kills(cg);
        if (now > kills && show_oom(g, k->id) != 0) {
            return 1;
        }
        kills = now;
        if (!ended && show_stats(g, cg, k->id, &e) < 0) {
            return e.code ? rt_fail(g, 1, &e) : 1;
        }
    }
    return 0;
}
