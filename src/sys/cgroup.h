/*
 * sys/cgroup.h: the control group file systems of the machine, v1, v2 or both, and what one does with a folder in them. No policy:
 * which cgroup a container gets, and its limits, are oci/'s.
 *
 * All functions take the folder's descriptor. A cgroup file is written with one write() and read with one read().
 */
#pragma once

#include "base/buf.h"

#include <sys/types.h>

/* Controllers as bits; those that v1 and v2 name differently (blkio, io) share one. */
enum cg_controller {
    CG_CPU = 1 << 0,
    CG_CPUACCT = 1 << 1,
    CG_CPUSET = 1 << 2,
    CG_MEMORY = 1 << 3,
    CG_PIDS = 1 << 4,
    CG_IO = 1 << 5,
    CG_HUGETLB = 1 << 6,
    CG_RDMA = 1 << 7,
    CG_DEVICES = 1 << 8, /* v1 only */
    CG_FREEZER = 1 << 9, /* v1 only */
    CG_NET_CLS = 1 << 10,
    CG_NET_PRIO = 1 << 11,
    CG_PERF = 1 << 12,
    CG_MISC = 1 << 13,
    CG_NAMED = 1 << 14, /* v1 "name=systemd" and the like: processes, no limits */
};

enum { CG_HIERARCHIES_MAX = 16 };

struct cg_hierarchy {
    bool v2;
    unsigned controllers; /* on v2: those that are available at its root */
    char *mount;          /* "/sys/fs/cgroup/memory" */
    char *self;           /* our own cgroup below the mount, "/" or "/a/b" */
    char *names;          /* as /proc/self/cgroup has them: "cpu,cpuacct", "name=systemd", "" on v2 */
};

/* What is mounted. On pure v2: one hierarchy; on hybrid machines: the v1 ones and v2. */
struct cg_system {
    struct cg_hierarchy h[CG_HIERARCHIES_MAX];
    size_t n;
    int v2; /* index of the v2 hierarchy, -1: there is none */
    bool unified; /* v2 is all there is */
};

/* From /proc/self/cgroup and /proc/self/mountinfo. Release with cg_system_done() in any case. */
MUST_USE int cg_system_init(struct cg_system *s, struct err *e);
void cg_system_done(struct cg_system *s);
/* The hierarchy that has the controller, or NULL. */
const struct cg_hierarchy *cg_system_find(const struct cg_system *s, unsigned controller);
/* For tests: the same from two texts; controllers of v2 are left empty. */
MUST_USE int cg_system_parse(struct cg_system *s, const char *self_cgroup, const char *mountinfo, struct err *e);

/* Opens path (which begins with "/", has no "..") below the hierarchy's mount: O_PATH | O_DIRECTORY. */
MUST_USE int cg_open(const struct cg_hierarchy *h, const char *path, int *ret_fd, struct err *e);
/*
 * Makes the folder and those above it. v2: enables in each one above the controllers of `enable` that are to be had; v1 cpuset:
 * copies cpus and mems from above where they are empty. *ret_created: whether the last one was made now.
 */
MUST_USE int cg_make(const struct cg_hierarchy *h, const char *path, unsigned enable, int *ret_fd, bool *ret_created,
                     struct err *e);
/* rmdir of the folder and of those in it, deepest first. -EBUSY when processes are left; absent is fine. */
MUST_USE int cg_remove(const struct cg_hierarchy *h, const char *path, struct err *e);

/* Returns 0 or -errno; the error names the file. */
MUST_USE int cg_write(int dirfd, const char *file, const char *value, struct err *e);
MUST_USE int cg_writef(int dirfd, const char *file, struct err *e, const char *fmt, ...) PRINTF(4, 5);
/* At most 64 KiB. */
MUST_USE int cg_read(int dirfd, const char *file, struct buf *out, struct err *e);
/* One number; "max" is UINT64_MAX. */
MUST_USE int cg_read_u64(int dirfd, const char *file, uint64_t *ret, struct err *e);
/* The number behind key in a file of lines "key number" (memory.events, cpu.stat). -ENOENT without such a line. */
MUST_USE int cg_read_key(int dirfd, const char *file, const char *key, uint64_t *ret);
bool cg_has(int dirfd, const char *file);

/* Pids in this cgroup and in those below it, appended (array as for array_grow()). Zombies are among them. */
MUST_USE int cg_pids(int dirfd, pid_t **pids, size_t *n, size_t *cap, struct err *e);
/* cgroup.kill; -EOPNOTSUPP where there is none (v1, or a kernel before 5.14). */
MUST_USE int cg_kill(int dirfd);
/* v2 cgroup.freeze; waits until cgroup.events says so, at most timeout_ms. */
MUST_USE int cg_freeze(int dirfd, bool freeze, int timeout_ms, struct err *e);
/* v1 freezer.state, retried while the kernel is at it. */
MUST_USE int cg_freeze_v1(int dirfd, bool freeze, int timeout_ms, struct err *e);
