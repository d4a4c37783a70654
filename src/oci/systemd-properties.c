/*
 * oci/systemd-properties.c: limits and annotations as properties of a unit, NAME=VALUE with the value in GVariant text. systemd writes them
 * to the cgroup's files whenever it likes; so they have to say the same as what we write there.
 */
#include "base/num.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <stdio.h>

enum { CPUS_MAX = 8192, PERCENT_USEC = 10000 };

static int add(char ***list, const char *name, const char *type, uint64_t value, struct err *e)
{
    char text[96];
    snprintf(text, sizeof(text), "%s=%s %llu", name, type, (unsigned long long)value);
    return strv_push(list, text) < 0 ? err_oom(e) : 0;
}

static int add_u64(char ***list, const char *name, uint64_t value, struct err *e)
{
    return add(list, name, "uint64", value, e);
}

/* In the specification 0 is "not set" and -1 "no limit", which is the greatest number for systemd. */
static int add_limit(char ***list, const char *name, const int64_t *value, struct err *e)
{
    return !value || *value == 0 ? 0 : add_u64(list, name, *value < 0 ? UINT64_MAX : (uint64_t)*value, e);
}

static int add_memory(char ***list, const struct oci_memory *m, struct err *e)
{
    if (!m) {
        return 0;
    }
    int r = add_limit(list, "MemoryMax", m->limit, e);
    r = r < 0 ? r : add_limit(list, "MemoryLow", m->reservation, e);
    if (r == 0 && m->swap && *m->swap < 0) {
        r = add_u64(list, "MemorySwapMax", UINT64_MAX, e);
    } else if (r == 0 && m->swap && m->limit && *m->limit > 0 && *m->swap >= *m->limit) {
        r = add_u64(list, "MemorySwapMax", (uint64_t)(*m->swap - *m->limit), e);
    }
    return r;
}

/* "0-3,7" as bytes, the first processor in the lowest bit. What is no such list is left to the kernel, whose error names the file. */
static int add_set(char ***list, const char *name, const char *set, struct err *e)
{
    uint8_t bits[CPUS_MAX / 8] = { 0 };
    size_t used = 0;
    CLEANUP_BUF struct buf out = { 0 };
    for (const char *p = set; *p;) {
        char *end;
        unsigned long first = strtoul(p, &end, 10), last = first;
        if (end != p && *end == '-') {
            p = end + 1;
            last = strtoul(p, &end, 10);
        }
        if (end == p || (*end && *end != ',') || last >= CPUS_MAX || first > last) {
            return 0;
        }
        for (unsigned long i = first; i <= last; i++) {
            bits[i / 8] |= (uint8_t)(1u << i % 8);
            used = i / 8 + 1 > used ? i / 8 + 1 : used;
        }
        p = *end ? end + 1 : end;
    }
    buf_addf(&out, "%s=[", name);
    for (size_t i = 0; i < used; i++) {
        buf_addf(&out, "%s%u", i ? ", " : "byte ", bits[i]);
    }
    buf_addc(&out, ']');
    return buf_failed(&out) || (used && strv_push(list, buf_str(&out)) < 0) ? err_oom(e) : 0;
}

/* systemd keeps whole per cents of a processor and cuts the rest off: rounded up, it never gives less than was asked for. */
static int add_quota(char ***list, const struct oci_cpu *c, struct err *e)
{
    uint64_t period = c->period && *c->period ? *c->period : 100000;
    int r = c->period && *c->period ? add_u64(list, "CPUQuotaPeriodUSec", period, e) : 0;
    if (r < 0 || !c->quota || *c->quota == 0) {
        return r;
    }
    uint64_t quota = UINT64_MAX;
    if (*c->quota > 0 && (uint64_t)*c->quota < UINT64_MAX / 1000000 - period) {
        quota = ((uint64_t)*c->quota * 1000000 + period - 1) / period;
        quota = (quota + PERCENT_USEC - 1) / PERCENT_USEC * PERCENT_USEC;
    }
    return add_u64(list, "CPUQuotaPerSecUSec", quota, e);
}

static int add_cpu(char ***list, const struct oci_cpu *c, bool cpusets, struct err *e)
{
    if (!c) {
        return 0;
    }
    int r = c->shares && *c->shares ? add_u64(list, "CPUWeight", cgroup_weight_of_shares(*c->shares), e) : 0;
    r = r < 0 ? r : add_quota(list, c, e);
    if (r == 0 && cpusets && !str_empty(c->cpus)) {
        r = add_set(list, "AllowedCPUs", c->cpus, e);
    }
    if (r == 0 && cpusets && !str_empty(c->mems)) {
        r = add_set(list, "AllowedMemoryNodes", c->mems, e);
    }
    return r;
}

/* Files of linux.resources.unified that systemd has a property for. */
static int add_unified(char ***list, const struct str_map *unified, struct err *e)
{
    static const struct {
        const char *file, *property;
    } t[] = {
        { "memory.max", "MemoryMax" }, { "memory.high", "MemoryHigh" }, { "memory.low", "MemoryLow" }, { "memory.min", "MemoryMin" },
        { "memory.swap.max", "MemorySwapMax" }, { "pids.max", "TasksMax" }, { "cpu.weight", "CPUWeight" },
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(t); i++) {
        const char *text = str_map_get(unified, t[i].file);
        uint64_t v = UINT64_MAX;
        if (text && (str_eq(text, "max") || num_u64(text, &v) == 0)) {
            r = add_u64(list, t[i].property, v, e);
        }
    }
    return r;
}

int systemd_limits(const struct oci_resources *res, bool cpusets, char ***list, struct err *e)
{
    int r = add_memory(list, res->memory, e);
    r = r < 0 ? r : add_cpu(list, res->cpu, cpusets, e);
    r = r < 0 ? r : add_limit(list, "TasksMax", res->pids ? res->pids->limit : NULL, e);
    if (r == 0 && res->block_io && res->block_io->weight && *res->block_io->weight) {
        r = add_u64(list, "IOWeight", (uint64_t)cgroup_io_weight(*res->block_io->weight), e);
    }
    return r < 0 ? r : add_unified(list, &res->unified, e);
}

static bool is_property(const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    return name[0] >= 'A' && name[0] <= 'Z' && name[n] == '\0';
}

/* "…Sec" in seconds is what unit files have; on the bus it is "…USec". A fraction is cut to microseconds. */
static int seconds(const char *name, const char *value, char **ret, struct err *e)
{
    const char *digits = value;
    for (const char *const *t = (const char *const[]){ "uint64 ", "int64 ", "uint32 ", "int32 ", "double ", NULL }; *t; t++) {
        digits += str_starts(digits, *t) ? strlen(*t) : 0;
    }
    char *end;
    double s = strtod(digits, &end);
    if (end == digits || *end || !(s >= 0 && s <= 1e12)) {
        return err_set(e, EINVAL, ERR_INVALID, "annotations: org.systemd.property.%s: '%s' is no number of seconds", name, value);
    }
    *ret = str_printf("%.*sUSec=uint64 %llu", (int)(strlen(name) - 3), name, (unsigned long long)(s * 1e6));
    return *ret ? 0 : err_oom(e);
}

int systemd_annotations(const struct str_map *annotations, char ***list, struct err *e)
{
    static const char prefix[] = "org.systemd.property.";
    for (size_t i = 0; annotations && i < annotations->n; i++) {
        if (!str_starts(annotations->v[i].key, prefix)) {
            continue;
        }
        const char *name = annotations->v[i].key + strlen(prefix), *value = annotations->v[i].value;
        CLEANUP_FREE char *p = NULL;
        int r = 0;
        if (!is_property(name)) {
            return err_set(e, EINVAL, ERR_INVALID, "annotations: '%.80s' names no systemd property", annotations->v[i].key);
        }
        if (str_ends(name, "Sec") && !str_ends(name, "USec")) {
            r = seconds(name, value, &p, e);
        } else {
            p = str_printf("%s=%s", name, value);
        }
        if (r < 0 || !p || strv_push(list, p) < 0) {
            return r < 0 ? r : err_oom(e);
        }
    }
    return 0;
}
