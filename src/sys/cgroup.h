/*
 * sys/cgroup.h: which cgroup hierarchies the machine has. v2 alone ("unified"), v1, or both
 * ("hybrid": v1 controllers beside a v2 tree that has few or none, but cgroup.kill and friends).
 */
#pragma once

#include "base/err.h"

enum { CG_HIERARCHIES_MAX = 20 };

struct cg_hierarchy {
    char *mount;       /* "/sys/fs/cgroup/memory" */
    char *controllers; /* "cpu,cpuacct"; "" of v2; "name=systemd" of a named one */
    bool v2;
};

struct cg_machine {
    struct cg_hierarchy h[CG_HIERARCHIES_MAX];
    size_t n;
};

enum cg_mode { CG_NONE, CG_V1, CG_HYBRID, CG_V2 };

MUST_USE int cg_machine_read(struct cg_machine *ret, struct err *e);
void cg_machine_done(struct cg_machine *m);
enum cg_mode cg_machine_mode(const struct cg_machine *m);
/* The hierarchy that has that v1 controller, else the v2 one with controller "" , else NULL. */
const struct cg_hierarchy *cg_machine_find(const struct cg_machine *m, const char *controller);
/* Whether the comma-separated list has that word. */
bool cg_list_has(const char *list, const char *word);

/* pid's path in the hierarchy; caller frees. */
MUST_USE int cg_path_of_pid(pid_t pid, const struct cg_hierarchy *h, char **ret, struct err *e);

/* Reads one number of a file below dirfd ("max" is UINT64_MAX). Returns 0 or -errno. */
MUST_USE int cg_read_u64(int dirfd, const char *file, uint64_t *ret);
/* Value of "key N" in a flat keyed file such as memory.stat or cgroup.events. -ENOENT when the key is not there. */
MUST_USE int cg_read_key(int dirfd, const char *file, const char *key, uint64_t *ret);
