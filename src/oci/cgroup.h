/* oci/cgroup.h: what the cgroup files of this room share. The public part is in oci.h. */
#pragma once

#include "oci/oci.h"
#include "sys/cgroup.h"

struct oci_cgroup {
    struct cg_machine machine;
    int dir[CG_HIERARCHIES_MAX];   /* the container's folder in each hierarchy, -1: none there */
    int tasks[CG_HIERARCHIES_MAX]; /* v1: its tasks file, open for writing */
    bool made[CG_HIERARCHIES_MAX]; /* by us, now */
    char *text, *path;
    bool tolerant; /* without privilege limits are set where the kernel lets us */
};

/* Folder of the hierarchy that has that v1 controller (or of v2 when it is the one there), -1 if there is none. */
int cgroup_dir(const struct oci_cgroup *cg, const char *controller, bool *ret_v2);
MUST_USE int cgroup_write(const struct oci_cgroup *cg, int dir, const char *file, const char *value, struct err *e);
MUST_USE int cgroup_write_i64(const struct oci_cgroup *cg, int dir, const char *file, int64_t value, struct err *e);

/* The text of the cgroup that oci_cgroup_create() would make; NULL when out of memory. */
char *cgroup_text_of(const char *cgroups_path, const char *id);

/* cgroup-devices.c */
MUST_USE int cgroup_devices_apply(struct oci_cgroup *cg, const struct oci_resources *r, struct err *e);
struct bpf_insn;
/* The v2 program for these rules, the default devices included; the caller frees *ret. */
MUST_USE int device_program(const struct oci_device_rule *rules, size_t n, struct bpf_insn **ret, size_t *ret_len, struct err *e);
