/* oci/cgroup-stats.c: a container's figures in the form of `events --stats`. */
#include "base/fd.h"
#include "oci/cgroup.h"

#include <stdio.h>

static json_t *number(int dir, const char *file)
{
    uint64_t v = 0;
    (void)!cg_read_u64(dir, file, &v);
    return v > INT64_MAX ? json_real(18446744073709551615.0) : json_integer((json_int_t)v);
}

static json_t *keyed(int dir, const char *file, const char *key, uint64_t scale)
{
    uint64_t v = 0;
    (void)!cg_read_key(dir, file, key, &v);
    return json_integer((json_int_t)(v * scale));
}

static json_t *cpu(const struct oci_cgroup *cg)
{
    bool v2;
    int dir = cgroup_dir(cg, "cpuacct", &v2);
    if (v2) {
        return json_pack("{s:{s:o, s:o, s:o}, s:{s:o, s:o, s:o}}", "usage", "total", keyed(dir, "cpu.stat", "usage_usec", 1000), "user",
                         keyed(dir, "cpu.stat", "user_usec", 1000), "kernel", keyed(dir, "cpu.stat", "system_usec", 1000), "throttling",
                         "periods", keyed(dir, "cpu.stat", "nr_periods", 1), "throttledPeriods", keyed(dir, "cpu.stat", "nr_throttled", 1),
                         "throttledTime", keyed(dir, "cpu.stat", "throttled_usec", 1000));
    }
    int limits = cgroup_dir(cg, "cpu", &v2);
    return json_pack("{s:{s:o, s:o, s:o}, s:{s:o, s:o, s:o}}", "usage", "total", number(dir, "cpuacct.usage"), "user",
                     number(dir, "cpuacct.usage_user"), "kernel", number(dir, "cpuacct.usage_sys"), "throttling", "periods",
                     keyed(limits, "cpu.stat", "nr_periods", 1), "throttledPeriods", keyed(limits, "cpu.stat", "nr_throttled", 1),
                     "throttledTime", keyed(limits, "cpu.stat", "throttled_time", 1));
}

static json_t *raw(int dir, const char *file)
{
    CLEANUP_BUF struct buf b = { 0 };
    struct err e;
    json_t *o = json_object();
    if (file_read(dir, file, 65536, &b, &e) < 0) {
        return o;
    }
    char *save;
    for (char *line = b.data ? strtok_r(b.data, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        char *space = strchr(line, ' ');
        if (space) {
            *space = '\0';
            json_object_set_new(o, line, json_integer((json_int_t)strtoull(space + 1, NULL, 10)));
        }
    }
    return o;
}

static json_t *memory(const struct oci_cgroup *cg)
{
    bool v2;
    int dir = cgroup_dir(cg, "memory", &v2);
    if (v2) {
        return json_pack("{s:{s:o, s:o, s:o, s:o}, s:{s:o, s:o}, s:o}", "usage", "usage", number(dir, "memory.current"), "limit",
                         number(dir, "memory.max"), "max", number(dir, "memory.peak"), "failcnt", keyed(dir, "memory.events", "max", 1), "swap",
                         "usage", number(dir, "memory.swap.current"), "limit", number(dir, "memory.swap.max"), "raw", raw(dir, "memory.stat"));
    }
    return json_pack("{s:{s:o, s:o, s:o, s:o}, s:o, s:o}", "usage", "usage", number(dir, "memory.usage_in_bytes"), "limit",
                     number(dir, "memory.limit_in_bytes"), "max", number(dir, "memory.max_usage_in_bytes"), "failcnt",
                     number(dir, "memory.failcnt"), "cache", keyed(dir, "memory.stat", "cache", 1), "raw", raw(dir, "memory.stat"));
}

int oci_cgroup_stats_json(const struct oci_cgroup *cg, const char *id, struct buf *out, struct err *e)
{
    bool v2;
    int pids = cgroup_dir(cg, "pids", &v2);
    json_t *all = json_pack("{s:s, s:s, s:{s:o, s:o, s:{s:o, s:o}, s:{}, s:{}, s:{}}}", "type", "stats", "id", id, "data", "cpu", cpu(cg), "memory",
                            memory(cg), "pids", "current", number(pids, "pids.current"), "limit", number(pids, "pids.max"), "blkio", "hugetlb",
                            "intel_rdt");
    CLEANUP_FREE char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    if (!text) {
        return err_oom(e);
    }
    buf_adds(out, text);
    return buf_failed(out) ? err_oom(e) : 0;
}
