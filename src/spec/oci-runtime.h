/*
 * spec/oci-runtime.h: config.json of the OCI runtime specification 1.3 for Linux, and the state that a runtime shows.
 *
 * Field names are the specification's, in snake case; see config.md and config-linux.md there for the meaning of each. Memory
 * belongs to the struct and is released by json_free() with its type, or oci_spec_free().
 */
#pragma once

#include "spec/json.h"

#define OCI_VERSION "1.3.0"

struct oci_user {
    uint32_t uid, gid;
    uint32_t *umask;
    JSON_ARRAY(uint32_t) additional_gids;
    char *username;
};

struct oci_capabilities {
    char **bounding, **effective, **inheritable, **permitted, **ambient;
};

struct oci_rlimit {
    char *type;
    uint64_t soft, hard;
};

struct oci_box {
    uint32_t height, width;
};

struct oci_scheduler {
    char *policy;
    int32_t nice, priority;
    char **flags;
    uint64_t runtime, deadline, period;
};

struct oci_io_priority {
    char *class_;
    int32_t priority;
};

struct oci_cpu_affinity {
    char *initial, *final;
};

struct oci_process {
    bool terminal;
    struct oci_box *console_size;
    struct oci_user user;
    char **args;
    char **env;
    char *cwd;
    struct oci_capabilities *capabilities;
    JSON_ARRAY(struct oci_rlimit) rlimits;
    bool no_new_privileges;
    char *apparmor_profile, *selinux_label;
    int32_t *oom_score_adj;
    struct oci_scheduler *scheduler;
    struct oci_io_priority *io_priority;
    struct oci_cpu_affinity *exec_cpu_affinity;
};
extern const struct json_type oci_process_type;

struct oci_id_map {
    uint32_t container_id, host_id, size;
};

struct oci_mount {
    char *destination, *type, *source;
    char **options;
    JSON_ARRAY(struct oci_id_map) uid_mappings, gid_mappings;
};

struct oci_hook {
    char *path;
    char **args, **env;
    int32_t *timeout; /* seconds, > 0 */
};
struct oci_hook_list {
    struct oci_hook *v;
    size_t n;
};

struct oci_hooks {
    struct oci_hook_list prestart, create_runtime, create_container, start_container, poststart, poststop;
};

struct oci_namespace {
    char *type, *path;
};

struct oci_device {
    char *type, *path;
    int64_t major, minor;
    uint32_t *file_mode, *uid, *gid;
};

struct oci_net_device {
    char *host_name; /* the key in config.json */
    char *name;
};

struct oci_device_rule {
    bool allow;
    char *type, *access;
    int64_t *major, *minor;
};

struct oci_memory {
    int64_t *limit, *reservation, *swap, *kernel, *kernel_tcp;
    uint64_t *swappiness;
    bool *disable_oom_killer, *use_hierarchy;
    bool check_before_update;
};

struct oci_cpu {
    uint64_t *shares, *burst, *period, *realtime_period;
    int64_t *quota, *realtime_runtime, *idle;
    char *cpus, *mems;
};

struct oci_pids {
    int64_t *limit;
};

struct oci_weight_device {
    int64_t major, minor;
    uint16_t *weight, *leaf_weight;
};
struct oci_throttle_device {
    int64_t major, minor;
    uint64_t rate;
};
struct oci_throttle_list {
    struct oci_throttle_device *v;
    size_t n;
};

struct oci_block_io {
    uint16_t *weight, *leaf_weight;
    JSON_ARRAY(struct oci_weight_device) weight_device;
    struct oci_throttle_list throttle_read_bps, throttle_write_bps, throttle_read_iops, throttle_write_iops;
};

struct oci_hugepage_limit {
    char *page_size;
    uint64_t limit;
};

struct oci_if_priority {
    char *name;
    uint32_t priority;
};

struct oci_network {
    uint32_t *class_id;
    JSON_ARRAY(struct oci_if_priority) priorities;
};

struct oci_resources {
    JSON_ARRAY(struct oci_device_rule) devices;
    struct oci_memory *memory;
    struct oci_cpu *cpu;
    struct oci_pids *pids;
    struct oci_block_io *block_io;
    JSON_ARRAY(struct oci_hugepage_limit) hugepage_limits;
    struct oci_network *network;
    json_t *rdma; /* {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 100}} */
    struct str_map unified;
};
extern const struct json_type oci_resources_type;

struct oci_seccomp_arg {
    uint32_t index;
    uint64_t value, value_two;
    char *op;
};

struct oci_seccomp_rule {
    char **names;
    char *action;
    uint32_t *errno_ret;
    JSON_ARRAY(struct oci_seccomp_arg) args;
};

struct oci_seccomp {
    char *default_action;
    uint32_t *default_errno_ret;
    char **architectures;
    char **flags;
    char *listener_path, *listener_metadata;
    JSON_ARRAY(struct oci_seccomp_rule) syscalls;
};
extern const struct json_type oci_seccomp_type;

struct oci_time_offset {
    int64_t secs;
    uint32_t nanosecs;
};
struct oci_time_offsets {
    struct oci_time_offset *boottime, *monotonic;
};

struct oci_personality {
    char *domain;
    char **flags;
};

struct oci_memory_policy {
    char *mode, *nodes;
    char **flags;
};

struct oci_intel_rdt {
    char *clos_id, *l3_cache_schema, *mem_bw_schema;
    char **schemata;
    bool enable_monitoring;
};

struct oci_linux {
    JSON_ARRAY(struct oci_namespace) namespaces;
    JSON_ARRAY(struct oci_id_map) uid_mappings, gid_mappings;
    JSON_ARRAY(struct oci_device) devices;
    JSON_ARRAY(struct oci_net_device) net_devices;
    json_t *net_devices_raw; /* {"eth1": {"name": "ctr_eth1"}}; turned into net_devices by oci_spec_parse() */
    char *cgroups_path;
    struct oci_resources *resources;
    struct oci_seccomp *seccomp;
    char *rootfs_propagation;
    char **masked_paths, **readonly_paths;
    char *mount_label;
    struct str_map sysctl;
    struct oci_time_offsets *time_offsets;
    struct oci_personality *personality;
    struct oci_memory_policy *memory_policy;
    struct oci_intel_rdt *intel_rdt;
};

struct oci_root {
    char *path;
    bool readonly;
};

struct oci_spec {
    char *oci_version;
    struct oci_process *process;
    struct oci_root *root;
    char *hostname, *domainname;
    JSON_ARRAY(struct oci_mount) mounts;
    struct oci_hooks *hooks;
    struct str_map annotations;
    struct oci_linux *linux;
};
extern const struct json_type oci_spec_type;

/*
 * Parses and validates what can be validated without looking at the machine. The error is ERR_INVALID and names the field.
 * *ret is released by oci_spec_free().
 */
MUST_USE int oci_spec_parse(const char *text, size_t len, struct oci_spec **ret, struct err *e);
void oci_spec_free(struct oci_spec *s);
static inline void oci_spec_free_p(struct oci_spec **s)
{
    oci_spec_free(*s);
}
#define CLEANUP_OCI_SPEC CLEANUP(oci_spec_free_p)

/* process.json of an exec: as oci_spec_parse(). Release with oci_process_free(). */
MUST_USE int oci_process_parse(const char *text, size_t len, struct oci_process **ret, struct err *e);
void oci_process_free(struct oci_process *p);
static inline void oci_process_free_p(struct oci_process **p)
{
    oci_process_free(*p);
}
#define CLEANUP_OCI_PROCESS CLEANUP(oci_process_free_p)

/* The namespace of that type ("pid", "network", …) in linux.namespaces, or NULL. */
const struct oci_namespace *oci_spec_namespace(const struct oci_spec *s, const char *type);

/* The state as runtime.md defines it (with runc's additions), for `state` and the hooks' standard input. */
struct oci_state {
    char *oci_version, *id, *status;
    int32_t pid;
    char *bundle, *rootfs, *created, *owner;
    struct str_map annotations;
};
extern const struct json_type oci_state_type;
