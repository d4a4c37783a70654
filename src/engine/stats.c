/* engine/stats.c: see stats.h. One pass over a dozen small files by descriptor of the folder; nothing is asked of a monitor. */
#include "engine/stats.h"

#include "base/fd.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void engine_stats_done(struct engine_stats *s)
{
    free(s->net.v);
    s->net.v = NULL;
    s->net.n = 0;
}

static int folder_open(const struct cg_machine *m, const char *controller, const char *path, bool *v2)
{
    const struct cg_hierarchy *h = cg_machine_find(m, controller);
    CLEANUP_FREE char *full = h ? str_printf("%s%s", h->mount, path) : NULL;
    *v2 = h && h->v2;
    return full ? open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

static uint64_t number(int dir, const char *file)
{
    uint64_t v = 0;
    return cg_read_u64(dir, file, &v) < 0 ? 0 : v;
}

static uint64_t keyed(int dir, const char *file, const char *key)
{
    uint64_t v = 0;
    return cg_read_key(dir, file, key, &v) < 0 ? 0 : v;
}

static void cpu_read(int dir, bool v2, struct engine_stats *s)
{
    if (v2) {
        s->cpu_ns = keyed(dir, "cpu.stat", "usage_usec") * 1000;
        s->cpu_user_ns = keyed(dir, "cpu.stat", "user_usec") * 1000;
        s->cpu_system_ns = keyed(dir, "cpu.stat", "system_usec") * 1000;
    } else {
        s->cpu_ns = number(dir, "cpuacct.usage");
        s->cpu_user_ns = number(dir, "cpuacct.usage_user");
        s->cpu_system_ns = number(dir, "cpuacct.usage_sys");
    }
}

static void memory_read(int dir, bool v2, struct engine_stats *s)
{
    s->mem_usage = number(dir, v2 ? "memory.current" : "memory.usage_in_bytes");
    s->mem_limit = number(dir, v2 ? "memory.max" : "memory.limit_in_bytes");
    if (s->mem_limit > INT64_MAX / 2) {
        s->mem_limit = 0; /* v1 says "no limit" by a very large number */
    }
    s->mem_rss = keyed(dir, "memory.stat", v2 ? "anon" : "total_rss");
    s->mem_page_faults = keyed(dir, "memory.stat", v2 ? "pgfault" : "total_pgfault");
    s->mem_major_faults = keyed(dir, "memory.stat", v2 ? "pgmajfault" : "total_pgmajfault");
    uint64_t inactive = keyed(dir, "memory.stat", v2 ? "inactive_file" : "total_inactive_file");
    s->mem_working_set = s->mem_usage > inactive ? s->mem_usage - inactive : 0;
    if (v2) {
        s->swap_usage = number(dir, "memory.swap.current");
    } else {
        uint64_t both = number(dir, "memory.memsw.usage_in_bytes");
        s->swap_usage = both > s->mem_usage ? both - s->mem_usage : 0;
    }
}

/* "8:0 rbytes=1 wbytes=2 …" of v2, "8:0 Read 1" of v1. */
static void io_read(int dir, bool v2, struct engine_stats *s)
{
    CLEANUP_BUF struct buf b = { 0 };
    struct err e;
    char *save;
    if (file_read(dir, v2 ? "io.stat" : "blkio.throttle.io_service_bytes_recursive", 1 << 20, &b, &e) < 0) {
        return;
    }
    for (char *line = b.data ? strtok_r(b.data, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        const char *r = strstr(line, v2 ? "rbytes=" : " Read "), *w = strstr(line, v2 ? "wbytes=" : " Write ");
        s->io_read += r ? strtoull(r + (v2 ? 7 : 6), NULL, 10) : 0;
        s->io_write += w ? strtoull(w + 7, NULL, 10) : 0;
    }
}

static void pids_read(int dir, bool v2, struct engine_stats *s)
{
    (void)v2;
    s->pids = number(dir, "pids.current");
}

int stats_cgroup_read(const struct cg_machine *m, const char *path, struct engine_stats *ret, struct err *e)
{
    static const struct {
        const char *controller;
        void (*read)(int dir, bool v2, struct engine_stats *s);
    } parts[] = { { "cpuacct", cpu_read }, { "memory", memory_read }, { "blkio", io_read }, { "pids", pids_read } };
    bool any = false;
    ret->timestamp = store_now();
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        bool v2;
        CLEANUP_FD int dir = folder_open(m, parts[i].controller, path, &v2);
        if (dir >= 0) {
            parts[i].read(dir, v2, ret);
            any = true;
        }
    }
    return any ? 0 : err_set(e, ENOENT, ERR_NOT_FOUND, "cgroup %s is not there", path);
}

int stats_net_parse(char *text, struct engine_stats *ret)
{
    char *save;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct engine_net_stats n = { 0 };
        char *colon = strchr(line, ':');
        line += strspn(line, " ");
        if (!colon || (size_t)(colon - line) >= sizeof(n.name)) {
            continue; /* the two lines of titles */
        }
        memcpy(n.name, line, (size_t)(colon - line));
        uint64_t v[16];
        size_t k = 0;
        for (char *p = colon + 1, *end; k < ARRAY_LEN(v); k++, p = end) {
            v[k] = strtoull(p, &end, 10);
            if (end == p) {
                break;
            }
        }
        if (k < ARRAY_LEN(v) || str_eq(n.name, "lo")) {
            continue;
        }
        n.rx_bytes = v[0];
        n.rx_packets = v[1];
        n.rx_errors = v[2];
        n.tx_bytes = v[8];
        n.tx_packets = v[9];
        n.tx_errors = v[10];
        void *p = reallocarray(ret->net.v, ret->net.n + 1, sizeof(n));
        if (!p) {
            return -ENOMEM;
        }
        ret->net.v = p;
        ret->net.v[ret->net.n++] = n;
    }
    return 0;
}

int stats_net_read(pid_t pid, struct engine_stats *ret, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/net/dev", (int)pid);
    int r = file_read(AT_FDCWD, path, 4 << 20, &b, e);
    if (r < 0) {
        return r;
    }
    return b.data && stats_net_parse(b.data, ret) < 0 ? err_oom(e) : 0;
}

int stats_folder_usage(const char *path, uint64_t *bytes, uint64_t *inodes, struct err *e)
{
    char *const paths[] = { (char *)(uintptr_t)path, NULL };
    FTS *f = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    FTSENT *ent;
    uint64_t sum = 0, n = 0;
    if (!f) {
        return err_sys(e, errno, "open %s", path);
    }
    while ((ent = fts_read(f))) {
        if (ent->fts_info == FTS_DP || ent->fts_info == FTS_NS || ent->fts_info == FTS_ERR || ent->fts_info == FTS_DNR) {
            continue; /* gone meanwhile, or seen before */
        }
        sum += (uint64_t)ent->fts_statp->st_blocks * 512 / (ent->fts_statp->st_nlink > 1 && !S_ISDIR(ent->fts_statp->st_mode) ? ent->fts_statp->st_nlink : 1);
        n++;
    }
    fts_close(f);
    *bytes = sum;
    *inodes = n;
    return 0;
}
