/* spec/oci-runtime.c: field tables of config.json, and the checks that need no machine. See oci-runtime.h. */
#include "spec/oci-runtime.h"

#include <errno.h>

#define TABLE(name) static const struct json_field name##_fields[]
#define STATIC_TYPE(name, strct) static const struct json_type name##_type = JSON_TYPE(struct strct, name##_fields)

TABLE(user) = {
    JSON_FIELD(struct oci_user, uid, "uid", U32, JSON_KEEP_EMPTY, NULL),
    JSON_FIELD(struct oci_user, gid, "gid", U32, JSON_KEEP_EMPTY, NULL),
    JSON_FIELD(struct oci_user, umask, "umask", OPT_U32, 0, NULL),
    JSON_FIELD(struct oci_user, additional_gids, "additionalGids", U32S, 0, NULL),
    JSON_FIELD(struct oci_user, username, "username", STR, 0, NULL),
};
STATIC_TYPE(user, oci_user);

TABLE(capabilities) = {
    JSON_FIELD(struct oci_capabilities, bounding, "bounding", STRS, 0, NULL),
    JSON_FIELD(struct oci_capabilities, effective, "effective", STRS, 0, NULL),
    JSON_FIELD(struct oci_capabilities, inheritable, "inheritable", STRS, 0, NULL),
    JSON_FIELD(struct oci_capabilities, permitted, "permitted", STRS, 0, NULL),
    JSON_FIELD(struct oci_capabilities, ambient, "ambient", STRS, 0, NULL),
};
STATIC_TYPE(capabilities, oci_capabilities);

TABLE(rlimit) = {
    JSON_FIELD(struct oci_rlimit, type, "type", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_rlimit, soft, "soft", U64, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_rlimit, hard, "hard", U64, JSON_REQUIRED, NULL),
};
STATIC_TYPE(rlimit, oci_rlimit);

TABLE(box) = {
    JSON_FIELD(struct oci_box, height, "height", U32, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_box, width, "width", U32, JSON_REQUIRED, NULL),
};
STATIC_TYPE(box, oci_box);

TABLE(scheduler) = {
    JSON_FIELD(struct oci_scheduler, policy, "policy", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_scheduler, nice, "nice", I32, 0, NULL),
    JSON_FIELD(struct oci_scheduler, priority, "priority", I32, 0, NULL),
    JSON_FIELD(struct oci_scheduler, flags, "flags", STRS, 0, NULL),
    JSON_FIELD(struct oci_scheduler, runtime, "runtime", U64, 0, NULL),
    JSON_FIELD(struct oci_scheduler, deadline, "deadline", U64, 0, NULL),
    JSON_FIELD(struct oci_scheduler, period, "period", U64, 0, NULL),
};
STATIC_TYPE(scheduler, oci_scheduler);

TABLE(io_priority) = {
    JSON_FIELD(struct oci_io_priority, class_, "class", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_io_priority, priority, "priority", I32, JSON_KEEP_EMPTY, NULL),
};
STATIC_TYPE(io_priority, oci_io_priority);

TABLE(cpu_affinity) = {
    JSON_FIELD(struct oci_cpu_affinity, initial, "initial", STR, 0, NULL),
    JSON_FIELD(struct oci_cpu_affinity, final, "final", STR, 0, NULL),
};
STATIC_TYPE(cpu_affinity, oci_cpu_affinity);

TABLE(process) = {
    JSON_FIELD(struct oci_process, terminal, "terminal", BOOL, 0, NULL),
    JSON_FIELD(struct oci_process, console_size, "consoleSize", OPT_OBJ, 0, &box_type),
    JSON_FIELD(struct oci_process, user, "user", OBJ, JSON_KEEP_EMPTY, &user_type),
    JSON_FIELD(struct oci_process, args, "args", STRS, 0, NULL),
    JSON_FIELD(struct oci_process, env, "env", STRS, 0, NULL),
    JSON_FIELD(struct oci_process, cwd, "cwd", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_process, capabilities, "capabilities", OPT_OBJ, 0, &capabilities_type),
    JSON_FIELD(struct oci_process, rlimits, "rlimits", OBJS, 0, &rlimit_type),
    JSON_FIELD(struct oci_process, no_new_privileges, "noNewPrivileges", BOOL, 0, NULL),
    JSON_FIELD(struct oci_process, apparmor_profile, "apparmorProfile", STR, 0, NULL),
    JSON_FIELD(struct oci_process, selinux_label, "selinuxLabel", STR, 0, NULL),
    JSON_FIELD(struct oci_process, oom_score_adj, "oomScoreAdj", OPT_I32, 0, NULL),
    JSON_FIELD(struct oci_process, scheduler, "scheduler", OPT_OBJ, 0, &scheduler_type),
    JSON_FIELD(struct oci_process, io_priority, "ioPriority", OPT_OBJ, 0, &io_priority_type),
    JSON_FIELD(struct oci_process, exec_cpu_affinity, "execCPUAffinity", OPT_OBJ, 0, &cpu_affinity_type),
};
const struct json_type oci_process_type = JSON_TYPE(struct oci_process, process_fields);

TABLE(id_map) = {
    JSON_FIELD(struct oci_id_map, container_id, "containerID", U32, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_id_map, host_id, "hostID", U32, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_id_map, size, "size", U32, JSON_REQUIRED, NULL),
};
STATIC_TYPE(id_map, oci_id_map);

TABLE(mount) = {
    JSON_FIELD(struct oci_mount, destination, "destination", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_mount, type, "type", STR, 0, NULL),
    JSON_FIELD(struct oci_mount, source, "source", STR, 0, NULL),
    JSON_FIELD(struct oci_mount, options, "options", STRS, 0, NULL),
    JSON_FIELD(struct oci_mount, uid_mappings, "uidMappings", OBJS, 0, &id_map_type),
    JSON_FIELD(struct oci_mount, gid_mappings, "gidMappings", OBJS, 0, &id_map_type),
};
STATIC_TYPE(mount, oci_mount);

TABLE(hook) = {
    JSON_FIELD(struct oci_hook, path, "path", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_hook, args, "args", STRS, 0, NULL),
    JSON_FIELD(struct oci_hook, env, "env", STRS, 0, NULL),
    JSON_FIELD(struct oci_hook, timeout, "timeout", OPT_I32, 0, NULL),
};
STATIC_TYPE(hook, oci_hook);

TABLE(hooks) = {
    JSON_FIELD(struct oci_hooks, prestart, "prestart", OBJS, 0, &hook_type),
    JSON_FIELD(struct oci_hooks, create_runtime, "createRuntime", OBJS, 0, &hook_type),
    JSON_FIELD(struct oci_hooks, create_container, "createContainer", OBJS, 0, &hook_type),
    JSON_FIELD(struct oci_hooks, start_container, "startContainer", OBJS, 0, &hook_type),
    JSON_FIELD(struct oci_hooks, poststart, "poststart", OBJS, 0, &hook_type),
    JSON_FIELD(struct oci_hooks, poststop, "poststop", OBJS, 0, &hook_type),
};
STATIC_TYPE(hooks, oci_hooks);

TABLE(namespace) = {
    JSON_FIELD(struct oci_namespace, type, "type", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_namespace, path, "path", STR, 0, NULL),
};
STATIC_TYPE(namespace, oci_namespace);

TABLE(device) = {
    JSON_FIELD(struct oci_device, type, "type", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_device, path, "path", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_device, major, "major", I64, JSON_KEEP_EMPTY, NULL),
    JSON_FIELD(struct oci_device, minor, "minor", I64, JSON_KEEP_EMPTY, NULL),
    JSON_FIELD(struct oci_device, file_mode, "fileMode", OPT_U32, 0, NULL),
    JSON_FIELD(struct oci_device, uid, "uid", OPT_U32, 0, NULL),
    JSON_FIELD(struct oci_device, gid, "gid", OPT_U32, 0, NULL),
};
STATIC_TYPE(device, oci_device);

TABLE(device_rule) = {
    JSON_FIELD(struct oci_device_rule, allow, "allow", BOOL, JSON_KEEP_EMPTY, NULL),
    JSON_FIELD(struct oci_device_rule, type, "type", STR, 0, NULL),
    JSON_FIELD(struct oci_device_rule, access, "access", STR, 0, NULL),
    JSON_FIELD(struct oci_device_rule, major, "major", OPT_I64, 0, NULL),
    JSON_FIELD(struct oci_device_rule, minor, "minor", OPT_I64, 0, NULL),
};
STATIC_TYPE(device_rule, oci_device_rule);

TABLE(memory) = {
    JSON_FIELD(struct oci_memory, limit, "limit", OPT_I64, 0, NULL),
    JSON_FIELD(struct oci_memory, reservation, "reservation", OPT_I64, 0, NULL),
    JSON_FIELD(struct oci_memory, swap, "swap", OPT_I64, 0, NULL),
    JSON_FIELD(struct oci_memory, kernel, "kernel", OPT_I64, 0, NULL),
    JSON_FIELD(struct oci_memory, kernel_tcp, "kernelTCP", OPT_I64, 0, NULL),
    JSON_FIELD(struct oci_memory, swappiness, "swappiness", OPT_U64, 0, NULL),
    JSON_FIELD(struct oci_memory, disable_oom_killer, "disableOOMKiller", OPT_BOOL, 0, NULL),
    JSON_FIELD(struct oci_memory, use_hierarchy, "useHierarchy", OPT_BOOL, 0, NULL),
    JSON_FIELD(struct oci_memory, check_before_update, "checkBeforeUpdate", BOOL, 0, NULL),
};
STATIC_TYPE(memory, oci_memory);

TABLE(cpu) = {
    JSON_FIELD(struct oci_cpu, shares, "shares", OPT_U64, 0, NULL),
    JSON_FIELD(struct oci_cpu, quota, "quota", OPT_I64, 0, NULL),
    JSON_FIELD(struct oci_cpu, burst, "burst", OPT_U64, 0, NULL),
    JSON_FIELD(struct oci_cpu, period, "period", OPT_U64, 0, NULL),
    JSON_FIELD(struct oci_cpu, realtime_runtime, "realtimeRuntime", OPT_I64, 0, NULL),
    JSON_FIELD(struct oci_cpu, realtime_period, "realtimePeriod", OPT_U64, 0, NULL),
    JSON_FIELD(struct oci_cpu, cpus, "cpus", STR, 0, NULL),
    JSON_FIELD(struct oci_cpu, mems, "mems", STR, 0, NULL),
    JSON_FIELD(struct oci_cpu, idle, "idle", OPT_I64, 0, NULL),
};
STATIC_TYPE(cpu, oci_cpu);

TABLE(pids) = { JSON_FIELD(struct oci_pids, limit, "limit", OPT_I64, 0, NULL) };
STATIC_TYPE(pids, oci_pids);

TABLE(weight_device) = {
    JSON_FIELD(struct oci_weight_device, major, "major", I64, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_weight_device, minor, "minor", I64, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_weight_device, weight, "weight", OPT_U16, 0, NULL),
    JSON_FIELD(struct oci_weight_device, leaf_weight, "leafWeight", OPT_U16, 0, NULL),
};
STATIC_TYPE(weight_device, oci_weight_device);

TABLE(throttle_device) = {
    JSON_FIELD(struct oci_throttle_device, major, "major", I64, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_throttle_device, minor, "minor", I64, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_throttle_device, rate, "rate", U64, JSON_REQUIRED, NULL),
};
STATIC_TYPE(throttle_device, oci_throttle_device);

TABLE(block_io) = {
    JSON_FIELD(struct oci_block_io, weight, "weight", OPT_U16, 0, NULL),
    JSON_FIELD(struct oci_block_io, leaf_weight, "leafWeight", OPT_U16, 0, NULL),
    JSON_FIELD(struct oci_block_io, weight_device, "weightDevice", OBJS, 0, &weight_device_type),
    JSON_FIELD(struct oci_block_io, throttle_read_bps, "throttleReadBpsDevice", OBJS, 0, &throttle_device_type),
    JSON_FIELD(struct oci_block_io, throttle_write_bps, "throttleWriteBpsDevice", OBJS, 0, &throttle_device_type),
    JSON_FIELD(struct oci_block_io, throttle_read_iops, "throttleReadIOPSDevice", OBJS, 0, &throttle_device_type),
    JSON_FIELD(struct oci_block_io, throttle_write_iops, "throttleWriteIOPSDevice", OBJS, 0, &throttle_device_type),
};
STATIC_TYPE(block_io, oci_block_io);

TABLE(hugepage_limit) = {
    JSON_FIELD(struct oci_hugepage_limit, page_size, "pageSize", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_hugepage_limit, limit, "limit", U64, JSON_REQUIRED, NULL),
};
STATIC_TYPE(hugepage_limit, oci_hugepage_limit);

TABLE(if_priority) = {
    JSON_FIELD(struct oci_if_priority, name, "name", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_if_priority, priority, "priority", U32, JSON_REQUIRED, NULL),
};
STATIC_TYPE(if_priority, oci_if_priority);

TABLE(network) = {
    JSON_FIELD(struct oci_network, class_id, "classID", OPT_U32, 0, NULL),
    JSON_FIELD(struct oci_network, priorities, "priorities", OBJS, 0, &if_priority_type),
};
STATIC_TYPE(network, oci_network);

TABLE(resources) = {
    JSON_FIELD(struct oci_resources, devices, "devices", OBJS, 0, &device_rule_type),
    JSON_FIELD(struct oci_resources, memory, "memory", OPT_OBJ, 0, &memory_type),
    JSON_FIELD(struct oci_resources, cpu, "cpu", OPT_OBJ, 0, &cpu_type),
    JSON_FIELD(struct oci_resources, pids, "pids", OPT_OBJ, 0, &pids_type),
    JSON_FIELD(struct oci_resources, block_io, "blockIO", OPT_OBJ, 0, &block_io_type),
    JSON_FIELD(struct oci_resources, hugepage_limits, "hugepageLimits", OBJS, 0, &hugepage_limit_type),
    JSON_FIELD(struct oci_resources, network, "network", OPT_OBJ, 0, &network_type),
    JSON_FIELD(struct oci_resources, rdma, "rdma", RAW, 0, NULL),
    JSON_FIELD(struct oci_resources, unified, "unified", MAP, 0, NULL),
};
const struct json_type oci_resources_type = JSON_TYPE(struct oci_resources, resources_fields);

TABLE(seccomp_arg) = {
    JSON_FIELD(struct oci_seccomp_arg, index, "index", U32, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_seccomp_arg, value, "value", U64, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_seccomp_arg, value_two, "valueTwo", U64, 0, NULL),
    JSON_FIELD(struct oci_seccomp_arg, op, "op", STR, JSON_REQUIRED, NULL),
};
STATIC_TYPE(seccomp_arg, oci_seccomp_arg);

TABLE(seccomp_rule) = {
    JSON_FIELD(struct oci_seccomp_rule, names, "names", STRS, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_seccomp_rule, action, "action", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_seccomp_rule, errno_ret, "errnoRet", OPT_U32, 0, NULL),
    JSON_FIELD(struct oci_seccomp_rule, args, "args", OBJS, 0, &seccomp_arg_type),
};
STATIC_TYPE(seccomp_rule, oci_seccomp_rule);

TABLE(seccomp) = {
    JSON_FIELD(struct oci_seccomp, default_action, "defaultAction", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_seccomp, default_errno_ret, "defaultErrnoRet", OPT_U32, 0, NULL),
    JSON_FIELD(struct oci_seccomp, architectures, "architectures", STRS, 0, NULL),
    JSON_FIELD(struct oci_seccomp, flags, "flags", STRS, 0, NULL),
    JSON_FIELD(struct oci_seccomp, listener_path, "listenerPath", STR, 0, NULL),
    JSON_FIELD(struct oci_seccomp, listener_metadata, "listenerMetadata", STR, 0, NULL),
    JSON_FIELD(struct oci_seccomp, syscalls, "syscalls", OBJS, 0, &seccomp_rule_type),
};
const struct json_type oci_seccomp_type = JSON_TYPE(struct oci_seccomp, seccomp_fields);

TABLE(time_offset) = {
    JSON_FIELD(struct oci_time_offset, secs, "secs", I64, 0, NULL),
    JSON_FIELD(struct oci_time_offset, nanosecs, "nanosecs", U32, 0, NULL),
};
STATIC_TYPE(time_offset, oci_time_offset);

TABLE(time_offsets) = {
    JSON_FIELD(struct oci_time_offsets, boottime, "boottime", OPT_OBJ, 0, &time_offset_type),
    JSON_FIELD(struct oci_time_offsets, monotonic, "monotonic", OPT_OBJ, 0, &time_offset_type),
};
STATIC_TYPE(time_offsets, oci_time_offsets);

TABLE(personality) = {
    JSON_FIELD(struct oci_personality, domain, "domain", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_personality, flags, "flags", STRS, 0, NULL),
};
STATIC_TYPE(personality, oci_personality);

TABLE(memory_policy) = {
    JSON_FIELD(struct oci_memory_policy, mode, "mode", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_memory_policy, nodes, "nodes", STR, 0, NULL),
    JSON_FIELD(struct oci_memory_policy, flags, "flags", STRS, 0, NULL),
};
STATIC_TYPE(memory_policy, oci_memory_policy);

TABLE(intel_rdt) = {
    JSON_FIELD(struct oci_intel_rdt, clos_id, "closID", STR, 0, NULL),
    JSON_FIELD(struct oci_intel_rdt, l3_cache_schema, "l3CacheSchema", STR, 0, NULL),
    JSON_FIELD(struct oci_intel_rdt, mem_bw_schema, "memBwSchema", STR, 0, NULL),
    JSON_FIELD(struct oci_intel_rdt, schemata, "schemata", STRS, 0, NULL),
    JSON_FIELD(struct oci_intel_rdt, enable_monitoring, "enableMonitoring", BOOL, 0, NULL),
};
STATIC_TYPE(intel_rdt, oci_intel_rdt);

TABLE(linux_config) = {
    JSON_FIELD(struct oci_linux, namespaces, "namespaces", OBJS, 0, &namespace_type),
    JSON_FIELD(struct oci_linux, uid_mappings, "uidMappings", OBJS, 0, &id_map_type),
    JSON_FIELD(struct oci_linux, gid_mappings, "gidMappings", OBJS, 0, &id_map_type),
    JSON_FIELD(struct oci_linux, devices, "devices", OBJS, 0, &device_type),
    JSON_FIELD(struct oci_linux, net_devices_raw, "netDevices", RAW, 0, NULL),
    JSON_FIELD(struct oci_linux, cgroups_path, "cgroupsPath", STR, 0, NULL),
    JSON_FIELD(struct oci_linux, resources, "resources", OPT_OBJ, 0, &oci_resources_type),
    JSON_FIELD(struct oci_linux, seccomp, "seccomp", OPT_OBJ, 0, &oci_seccomp_type),
    JSON_FIELD(struct oci_linux, rootfs_propagation, "rootfsPropagation", STR, 0, NULL),
    JSON_FIELD(struct oci_linux, masked_paths, "maskedPaths", STRS, 0, NULL),
    JSON_FIELD(struct oci_linux, readonly_paths, "readonlyPaths", STRS, 0, NULL),
    JSON_FIELD(struct oci_linux, mount_label, "mountLabel", STR, 0, NULL),
    JSON_FIELD(struct oci_linux, sysctl, "sysctl", MAP, 0, NULL),
    JSON_FIELD(struct oci_linux, time_offsets, "timeOffsets", OPT_OBJ, 0, &time_offsets_type),
    JSON_FIELD(struct oci_linux, personality, "personality", OPT_OBJ, 0, &personality_type),
    JSON_FIELD(struct oci_linux, memory_policy, "memoryPolicy", OPT_OBJ, 0, &memory_policy_type),
    JSON_FIELD(struct oci_linux, intel_rdt, "intelRdt", OPT_OBJ, 0, &intel_rdt_type),
};
STATIC_TYPE(linux_config, oci_linux);

TABLE(root) = {
    JSON_FIELD(struct oci_root, path, "path", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_root, readonly, "readonly", BOOL, 0, NULL),
};
STATIC_TYPE(root, oci_root);

TABLE(spec) = {
    JSON_FIELD(struct oci_spec, oci_version, "ociVersion", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_spec, process, "process", OPT_OBJ, 0, &oci_process_type),
    JSON_FIELD(struct oci_spec, root, "root", OPT_OBJ, 0, &root_type),
    JSON_FIELD(struct oci_spec, hostname, "hostname", STR, 0, NULL),
    JSON_FIELD(struct oci_spec, domainname, "domainname", STR, 0, NULL),
    JSON_FIELD(struct oci_spec, mounts, "mounts", OBJS, 0, &mount_type),
    JSON_FIELD(struct oci_spec, hooks, "hooks", OPT_OBJ, 0, &hooks_type),
    JSON_FIELD(struct oci_spec, annotations, "annotations", MAP, 0, NULL),
    JSON_FIELD(struct oci_spec, linux, "linux", OPT_OBJ, 0, &linux_config_type),
};
const struct json_type oci_spec_type = JSON_TYPE(struct oci_spec, spec_fields);

TABLE(state) = {
    JSON_FIELD(struct oci_state, oci_version, "ociVersion", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_state, id, "id", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_state, pid, "pid", I32, JSON_KEEP_EMPTY, NULL),
    JSON_FIELD(struct oci_state, status, "status", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_state, bundle, "bundle", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct oci_state, rootfs, "rootfs", STR, 0, NULL),
    JSON_FIELD(struct oci_state, created, "created", STR, 0, NULL),
    JSON_FIELD(struct oci_state, annotations, "annotations", MAP, 0, NULL),
    JSON_FIELD(struct oci_state, owner, "owner", STR, JSON_KEEP_EMPTY, NULL),
};
const struct json_type oci_state_type = JSON_TYPE(struct oci_state, state_fields);

static int invalid(struct err *e, const char *field, const char *what)
{
    return err_set(e, EINVAL, ERR_INVALID, "%s: %s", field, what);
}

static int check_process(const struct oci_process *p, struct err *e)
{
    if (strv_len(p->args) == 0 || !*p->args[0]) {
        return invalid(e, "process.args", "must name a program");
    }
    if (p->cwd[0] != '/') {
        return invalid(e, "process.cwd", "must be an absolute path");
    }
    for (char **v = p->env; v && *v; v++) {
        if (**v == '=' || !strchr(*v, '=')) {
            return err_set(e, EINVAL, ERR_INVALID, "process.env[%zu]: '%s' is not of the form NAME=VALUE",
                           (size_t)(v - p->env), *v);
        }
    }
    for (size_t i = 0; i < p->rlimits.n; i++) {
        const struct oci_rlimit *l = &p->rlimits.v[i];
        if (l->soft > l->hard) {
            return err_set(e, EINVAL, ERR_INVALID, "process.rlimits[%zu]: soft limit exceeds the hard one", i);
        }
        for (size_t k = 0; k < i; k++) {
            if (str_eq(p->rlimits.v[k].type, l->type)) {
                return err_set(e, EINVAL, ERR_INVALID, "process.rlimits[%zu]: %s is given twice", i, l->type);
            }
        }
    }
    return 0;
}

static int check_hooks(const struct oci_hook_list *l, const char *name, struct err *e)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i].path[0] != '/') {
            return err_set(e, EINVAL, ERR_INVALID, "hooks.%s[%zu].path: must be an absolute path", name, i);
        }
        if (l->v[i].timeout && *l->v[i].timeout <= 0) {
            return err_set(e, EINVAL, ERR_INVALID, "hooks.%s[%zu].timeout: must be greater than 0", name, i);
        }
    }
    return 0;
}

static int check_all_hooks(const struct oci_hooks *h, struct err *e)
{
    const struct {
        const char *name;
        const struct oci_hook_list *list;
    } all[] = { { "prestart", &h->prestart },
                { "createRuntime", &h->create_runtime },
                { "createContainer", &h->create_container },
                { "startContainer", &h->start_container },
                { "poststart", &h->poststart },
                { "poststop", &h->poststop } };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(all); i++) {
        r = check_hooks(all[i].list, all[i].name, e);
    }
    return r;
}

static int check_namespaces(const struct oci_linux *l, struct err *e)
{
    static const char *const types[] = { "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time" };
    unsigned seen = 0;
    for (size_t i = 0; i < l->namespaces.n; i++) {
        const struct oci_namespace *n = &l->namespaces.v[i];
        size_t k = 0;
        while (k < ARRAY_LEN(types) && !str_eq(types[k], n->type)) {
            k++;
        }
        if (k == ARRAY_LEN(types)) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.namespaces[%zu].type: '%s' is not known", i, n->type);
        }
        if (seen & (1u << k)) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.namespaces[%zu].type: %s is given twice", i, n->type);
        }
        if (!str_empty(n->path) && n->path[0] != '/') {
            return err_set(e, EINVAL, ERR_INVALID, "linux.namespaces[%zu].path: must be an absolute path", i);
        }
        seen |= 1u << k;
    }
    return 0;
}

static int check_linux(const struct oci_spec *s, struct err *e)
{
    const struct oci_linux *l = s->linux;
    int r = check_namespaces(l, e);
    if (r < 0) {
        return r;
    }
    const struct oci_namespace *user = oci_spec_namespace(s, "user");
    if ((l->uid_mappings.n || l->gid_mappings.n) && !user) {
        return invalid(e, "linux.uidMappings", "mappings need a user namespace in linux.namespaces");
    }
    if (user && str_empty(user->path) && (!l->uid_mappings.n || !l->gid_mappings.n)) {
        return invalid(e, "linux.uidMappings", "a new user namespace needs uidMappings and gidMappings");
    }
    const struct oci_namespace *uts = oci_spec_namespace(s, "uts");
    if ((!str_empty(s->hostname) || !str_empty(s->domainname)) && !uts) {
        return invalid(e, s->hostname ? "hostname" : "domainname", "needs a uts namespace in linux.namespaces");
    }
    if (l->time_offsets && !oci_spec_namespace(s, "time")) {
        return invalid(e, "linux.timeOffsets", "needs a time namespace in linux.namespaces");
    }
    for (size_t i = 0; i < l->devices.n; i++) {
        const struct oci_device *d = &l->devices.v[i];
        if (!d->type[0] || d->type[1] || !strchr("cbup", d->type[0])) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.devices[%zu].type: '%s' is none of c, b, u, p", i, d->type);
        }
        if (d->path[0] != '/') {
            return err_set(e, EINVAL, ERR_INVALID, "linux.devices[%zu].path: must be an absolute path", i);
        }
    }
    return 0;
}

/* linux.netDevices is an object keyed by the host's name for the device. */
static int collect_net_devices(struct oci_linux *l, struct err *e)
{
    const char *key;
    json_t *item;
    if (!l->net_devices_raw) {
        return 0;
    }
    if (!json_is_object(l->net_devices_raw)) {
        return invalid(e, "linux.netDevices", "expected object");
    }
    l->net_devices.v = calloc(json_object_size(l->net_devices_raw) + 1, sizeof(*l->net_devices.v));
    if (!l->net_devices.v) {
        return err_oom(e);
    }
    json_object_foreach(l->net_devices_raw, key, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (!json_is_object(item) || strlen(key) > 15 || (name && strlen(name) > 15)) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.netDevices.%s: not a valid network device", key);
        }
        struct oci_net_device *d = &l->net_devices.v[l->net_devices.n++];
        d->host_name = strdup(key);
        d->name = strdup(name && *name ? name : key);
        if (!d->host_name || !d->name) {
            return err_oom(e);
        }
    }
    return 0;
}

static int check_version(const char *v, struct err *e)
{
    if (v[0] != '1' || v[1] != '.') {
        return err_set(e, EINVAL, ERR_INVALID, "ociVersion: '%s' is not supported; 1.x is", v);
    }
    return 0;
}

static int check_spec(const struct oci_spec *s, struct err *e)
{
    int r = check_version(s->oci_version, e);
    if (r == 0 && !s->root) {
        r = invalid(e, "root", "required field is missing");
    }
    if (r == 0 && str_empty(s->root->path)) {
        r = invalid(e, "root.path", "must not be empty");
    }
    if (r == 0 && s->process) {
        r = check_process(s->process, e);
    }
    for (size_t i = 0; r == 0 && i < s->mounts.n; i++) {
        if (str_empty(s->mounts.v[i].destination)) {
            r = err_set(e, EINVAL, ERR_INVALID, "mounts[%zu].destination: must not be empty", i);
        }
    }
    if (r == 0 && s->hooks) {
        r = check_all_hooks(s->hooks, e);
    }
    return r == 0 && s->linux ? check_linux(s, e) : r;
}

int oci_spec_parse(const char *text, size_t len, struct oci_spec **ret, struct err *e)
{
    CLEANUP_OCI_SPEC struct oci_spec *s = calloc(1, sizeof(*s));
    if (!s) {
        return err_oom(e);
    }
    int r = json_parse(&oci_spec_type, text, len, s, e);
    if (r == 0 && s->linux) {
        r = collect_net_devices(s->linux, e);
    }
    if (r == 0) {
        r = check_spec(s, e);
    }
    if (r == 0) {
        *ret = PTR_STEAL(s);
    }
    return r;
}

void oci_spec_free(struct oci_spec *s)
{
    if (!s) {
        return;
    }
    if (s->linux) {
        for (size_t i = 0; i < s->linux->net_devices.n; i++) {
            free(s->linux->net_devices.v[i].host_name);
            free(s->linux->net_devices.v[i].name);
        }
        free(s->linux->net_devices.v);
    }
    json_free(&oci_spec_type, s);
    free(s);
}

int oci_process_parse(const char *text, size_t len, struct oci_process **ret, struct err *e)
{
    CLEANUP_OCI_PROCESS struct oci_process *p = calloc(1, sizeof(*p));
    if (!p) {
        return err_oom(e);
    }
    int r = json_parse(&oci_process_type, text, len, p, e);
    if (r == 0) {
        r = check_process(p, e);
    }
    if (r == 0) {
        *ret = PTR_STEAL(p);
    }
    return r;
}

void oci_process_free(struct oci_process *p)
{
    if (p) {
        json_free(&oci_process_type, p);
        free(p);
    }
}

const struct oci_namespace *oci_spec_namespace(const struct oci_spec *s, const char *type)
{
    for (size_t i = 0; s->linux && i < s->linux->namespaces.n; i++) {
        if (str_eq(s->linux->namespaces.v[i].type, type)) {
            return &s->linux->namespaces.v[i];
        }
    }
    return NULL;
}
