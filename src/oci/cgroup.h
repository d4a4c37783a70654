/* oci/cgroup.h: what the cgroup files of this room share. The public part is in oci.h. */
#pragma once

#include "oci/oci.h"
#include "sys/cgroup.h"

struct oci_cgroup {
    struct cg_machine machine;
    bool has[CG_HIERARCHIES_MAX];  /* there is a folder of the container in that hierarchy, or may be */
    bool made[CG_HIERARCHIES_MAX]; /* by us, now */
    struct cgroup_dirs {
        int fd[CG_HIERARCHIES_MAX]; /* the folder once somebody has asked for it, -1 */
    } *dirs;
    char *text, *path;
    char *unit;    /* systemd's scope, NULL: made by ourselves */
    int keep;      /* held open while tare-systemd-helper has to stay in the scope, -1 */
    int helper;    /* its pidfd, -1 */
    bool tolerant; /* without privilege limits are set where the kernel lets us */
};

/* The container's folder in hierarchy i, opened at the first call; -1: none there. Owned by cg. */
int cgroup_folder(const struct oci_cgroup *cg, size_t i);
/* Removes it where nobody is in it, without a look at the processes. False: somebody may be. */
bool cgroup_remove_empty(const struct oci_cgroup *cg);
/* Folder of the hierarchy that has that v1 controller (or of v2 when it is the one there), -1 if there is none. */
int cgroup_dir(const struct oci_cgroup *cg, const char *controller, bool *ret_v2);
MUST_USE int cgroup_write(const struct oci_cgroup *cg, int dir, const char *file, const char *value, struct err *e);
MUST_USE int cgroup_write_i64(const struct oci_cgroup *cg, int dir, const char *file, int64_t value, struct err *e);

/* The text of the cgroup that oci_cgroup_create() would make; NULL when out of memory. */
char *cgroup_text_of(const char *cgroups_path, const char *id, bool systemd);

/* cgroup-limits.c: v1's numbers as v2's, 1 to 10000 */
uint64_t cgroup_weight_of_shares(uint64_t shares);
uint64_t cgroup_io_weight(uint16_t weight);

/* cgroup-devices.c */
MUST_USE int cgroup_devices_apply(struct oci_cgroup *cg, const struct oci_resources *r, struct err *e);
struct bpf_insn;
/* The v2 program for these rules, the default devices included; the caller frees *ret. */
MUST_USE int device_program(const struct oci_device_rule *rules, size_t n, struct bpf_insn **ret, size_t *ret_len, struct err *e);

/* cgroup-systemd.c */
struct systemd_names {
    char *slice, *unit;
    char *path; /* of the cgroup */
    char *text; /* "systemd:slice:prefix:name" */
};
/* cgroups_path as above without "systemd:"; empty: a scope of the default slice. */
MUST_USE int systemd_names_parse(const char *cgroups_path, const char *id, struct systemd_names *ret, struct err *e);
void systemd_names_done(struct systemd_names *n);
/* Makes the scope; it lives as long as there are processes in it, the helper being the first. spec: limits and annotations; NULL: none. */
MUST_USE int systemd_scope_start(struct oci_cgroup *cg, const struct systemd_names *n, const struct oci_spec *spec, struct err *e);
/* Tells systemd of new limits. */
MUST_USE int systemd_scope_update(const struct oci_cgroup *cg, const struct oci_resources *res, struct err *e);
void systemd_helper_release(struct oci_cgroup *cg);
void systemd_scope_stop(const char *unit);

/* systemd-properties.c: append NAME=VALUE to *list. cpusets: the machine's v2 hierarchy has them. */
MUST_USE int systemd_limits(const struct oci_resources *res, bool cpusets, char ***list, struct err *e);
/* org.systemd.property.NAME */
MUST_USE int systemd_annotations(const struct str_map *annotations, char ***list, struct err *e);
