/*
 * engine/codec.c: specs and statuses of pods and containers as the JSON texts of their rows. Member names are the keys; a member that
 * is new is simply absent in an old row.
 */
#include "engine/internal.h"

#include <errno.h>

static const struct json_field resources_fields[] = {
    JSON_FIELD(struct engine_resources, cpu_period, "cpu_period", I64, 0, NULL),
    JSON_FIELD(struct engine_resources, cpu_quota, "cpu_quota", I64, 0, NULL),
    JSON_FIELD(struct engine_resources, cpu_shares, "cpu_shares", I64, 0, NULL),
    JSON_FIELD(struct engine_resources, memory_limit, "memory_limit", I64, 0, NULL),
    JSON_FIELD(struct engine_resources, memory_swap, "memory_swap", I64, 0, NULL),
    JSON_FIELD(struct engine_resources, memory_reservation, "memory_reservation", I64, 0, NULL),
    JSON_FIELD(struct engine_resources, pids_limit, "pids_limit", I64, 0, NULL),
    JSON_FIELD(struct engine_resources, oom_score_adj, "oom_score_adj", I64, 0, NULL),
    JSON_FIELD(struct engine_resources, has_oom_score_adj, "has_oom_score_adj", BOOL, 0, NULL),
    JSON_FIELD(struct engine_resources, cpuset_cpus, "cpuset_cpus", STR, 0, NULL),
    JSON_FIELD(struct engine_resources, cpuset_mems, "cpuset_mems", STR, 0, NULL),
    JSON_FIELD(struct engine_resources, unified, "unified", MAP, 0, NULL),
    JSON_FIELD(struct engine_resources, hugepages, "hugepages", MAP, 0, NULL),
};
static const struct json_type resources_type = JSON_TYPE(struct engine_resources, resources_fields);

static const struct json_field id_map_fields[] = {
    JSON_FIELD(struct engine_id_map, container_id, "container_id", U32, 0, NULL),
    JSON_FIELD(struct engine_id_map, host_id, "host_id", U32, 0, NULL),
    JSON_FIELD(struct engine_id_map, length, "length", U32, 0, NULL),
};
static const struct json_type id_map_type = JSON_TYPE(struct engine_id_map, id_map_fields);

static const struct json_field port_fields[] = {
    JSON_FIELD(struct engine_port, protocol, "protocol", STR, 0, NULL),
    JSON_FIELD(struct engine_port, host_ip, "host_ip", STR, 0, NULL),
    JSON_FIELD(struct engine_port, host_port, "host_port", U16, 0, NULL),
    JSON_FIELD(struct engine_port, container_port, "container_port", U16, 0, NULL),
};
static const struct json_type port_type = JSON_TYPE(struct engine_port, port_fields);

static const struct json_field pod_spec_fields[] = {
    JSON_FIELD(struct engine_pod_spec, kind, "kind", U32, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, name, "name", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, uid, "uid", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, k8s_namespace, "k8s_namespace", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, attempt, "attempt", U32, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, hostname, "hostname", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, domainname, "domainname", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, log_directory, "log_directory", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, cgroup_parent, "cgroup_parent", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, runtime_handler, "runtime_handler", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, labels, "labels", MAP, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, annotations, "annotations", MAP, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, sysctls, "sysctls", MAP, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, dns_servers, "dns_servers", STRS, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, dns_searches, "dns_searches", STRS, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, dns_options, "dns_options", STRS, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, has_dns, "has_dns", BOOL, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, extra_hosts, "extra_hosts", STRS, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, ports, "ports", OBJS, 0, &port_type),
    JSON_FIELD(struct engine_pod_spec, net, "net", U32, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, pid, "pid", U32, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, ipc, "ipc", U32, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, network, "network", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, netns_of, "netns_of", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, ipcns_of, "ipcns_of", STR, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, shm_size, "shm_size", I64, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, userns, "userns", BOOL, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, uid_map, "uid_map", OBJS, 0, &id_map_type),
    JSON_FIELD(struct engine_pod_spec, gid_map, "gid_map", OBJS, 0, &id_map_type),
    JSON_FIELD(struct engine_pod_spec, privileged, "privileged", BOOL, 0, NULL),
    JSON_FIELD(struct engine_pod_spec, resources, "resources", OBJ, 0, &resources_type),
    JSON_FIELD(struct engine_pod_spec, overhead, "overhead", OBJ, 0, &resources_type),
};
const struct json_type pod_spec_type = JSON_TYPE(struct engine_pod_spec, pod_spec_fields);

static const struct json_field mount_fields[] = {
    JSON_FIELD(struct engine_mount, kind, "kind", U32, 0, NULL),
    JSON_FIELD(struct engine_mount, source, "source", STR, 0, NULL),
    JSON_FIELD(struct engine_mount, target, "target", STR, 0, NULL),
    JSON_FIELD(struct engine_mount, readonly, "readonly", BOOL, 0, NULL),
    JSON_FIELD(struct engine_mount, recursive_readonly, "recursive_readonly", BOOL, 0, NULL),
    JSON_FIELD(struct engine_mount, create_source, "create_source", BOOL, 0, NULL),
    JSON_FIELD(struct engine_mount, relabel, "relabel", BOOL, 0, NULL),
    JSON_FIELD(struct engine_mount, propagation, "propagation", STR, 0, NULL),
    JSON_FIELD(struct engine_mount, options, "options", STR, 0, NULL),
    JSON_FIELD(struct engine_mount, sub_path, "sub_path", STR, 0, NULL),
    JSON_FIELD(struct engine_mount, userns_map, "userns_map", BOOL, 0, NULL),
    JSON_FIELD(struct engine_mount, no_copy, "no_copy", BOOL, 0, NULL),
};
static const struct json_type mount_type = JSON_TYPE(struct engine_mount, mount_fields);

static const struct json_field device_fields[] = {
    JSON_FIELD(struct engine_device, host_path, "host_path", STR, 0, NULL),
    JSON_FIELD(struct engine_device, container_path, "container_path", STR, 0, NULL),
    JSON_FIELD(struct engine_device, permissions, "permissions", STR, 0, NULL),
};
static const struct json_type device_type = JSON_TYPE(struct engine_device, device_fields);

static const struct json_field rlimit_fields[] = {
    JSON_FIELD(struct engine_rlimit, name, "name", STR, 0, NULL),
    JSON_FIELD(struct engine_rlimit, soft, "soft", U64, 0, NULL),
    JSON_FIELD(struct engine_rlimit, hard, "hard", U64, 0, NULL),
};
static const struct json_type rlimit_type = JSON_TYPE(struct engine_rlimit, rlimit_fields);

static const struct json_field ctr_spec_fields[] = {
    JSON_FIELD(struct engine_ctr_spec, name, "name", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, attempt, "attempt", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, image, "image", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, image_id, "image_id", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, entrypoint, "entrypoint", STRS, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, command, "command", STRS, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, has_entrypoint, "has_entrypoint", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, env, "env", STRS, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, working_dir, "working_dir", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, user, "user", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, has_uid, "has_uid", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, has_gid, "has_gid", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, uid, "uid", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, gid, "gid", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, groups, "groups", U32S, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, groups_strict, "groups_strict", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, hostname, "hostname", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, mounts, "mounts", OBJS, 0, &mount_type),
    JSON_FIELD(struct engine_ctr_spec, devices, "devices", OBJS, 0, &device_type),
    JSON_FIELD(struct engine_ctr_spec, cdi_devices, "cdi_devices", STRS, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, labels, "labels", MAP, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, annotations, "annotations", MAP, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, tty, "tty", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, stdin_open, "stdin_open", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, stdin_once, "stdin_once", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, init, "init", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, privileged, "privileged", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, readonly_rootfs, "readonly_rootfs", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, no_new_privs, "no_new_privs", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, auto_remove, "auto_remove", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, cap_add, "cap_add", STRS, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, cap_drop, "cap_drop", STRS, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, cap_ambient, "cap_ambient", STRS, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, seccomp, "seccomp", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, seccomp_profile, "seccomp_profile", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, apparmor_profile, "apparmor_profile", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, selinux_label, "selinux_label", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, masked_paths, "masked_paths", STRS, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, readonly_paths, "readonly_paths", STRS, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, has_paths, "has_paths", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, pid, "pid", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, ipc, "ipc", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, net, "net", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, pid_target, "pid_target", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, cgroup_host, "cgroup_host", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, resources, "resources", OBJ, 0, &resources_type),
    JSON_FIELD(struct engine_ctr_spec, rlimits, "rlimits", OBJS, 0, &rlimit_type),
    JSON_FIELD(struct engine_ctr_spec, stop_signal, "stop_signal", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, stop_timeout, "stop_timeout", I64, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, restart_policy, "restart_policy", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, log_format, "log_format", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, log_path, "log_path", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, log_max_size, "log_max_size", I64, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, log_max_files, "log_max_files", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, runtime, "runtime", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, detach_keys, "detach_keys", STR, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, notify_socket, "notify_socket", BOOL, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, tty_rows, "tty_rows", U32, 0, NULL),
    JSON_FIELD(struct engine_ctr_spec, tty_cols, "tty_cols", U32, 0, NULL),
};
const struct json_type ctr_spec_type = JSON_TYPE(struct engine_ctr_spec, ctr_spec_fields);

static const struct json_field pod_status_fields[] = {
    JSON_FIELD(struct pod_status, ips, "ips", STRS, 0, NULL),
    JSON_FIELD(struct pod_status, netns, "netns", STR, 0, NULL),
    JSON_FIELD(struct pod_status, ns_net, "ns_net", STR, 0, NULL),
    JSON_FIELD(struct pod_status, ns_ipc, "ns_ipc", STR, 0, NULL),
    JSON_FIELD(struct pod_status, ns_uts, "ns_uts", STR, 0, NULL),
    JSON_FIELD(struct pod_status, ns_pid, "ns_pid", STR, 0, NULL),
    JSON_FIELD(struct pod_status, ns_user, "ns_user", STR, 0, NULL),
    JSON_FIELD(struct pod_status, cgroup, "cgroup", STR, 0, NULL),
    JSON_FIELD(struct pod_status, boot_id, "boot_id", STR, 0, NULL),
    JSON_FIELD(struct pod_status, monitor_pid, "monitor_pid", I32, 0, NULL),
    JSON_FIELD(struct pod_status, shm, "shm", BOOL, 0, NULL),
};
const struct json_type pod_status_type = JSON_TYPE(struct pod_status, pod_status_fields);

static const struct json_field ctr_status_fields[] = {
    JSON_FIELD(struct ctr_status, args, "args", STRS, 0, NULL),
    JSON_FIELD(struct ctr_status, uid, "uid", U32, 0, NULL),
    JSON_FIELD(struct ctr_status, gid, "gid", U32, 0, NULL),
    JSON_FIELD(struct ctr_status, groups, "groups", U32S, 0, NULL),
    JSON_FIELD(struct ctr_status, log_path, "log_path", STR, 0, NULL),
    JSON_FIELD(struct ctr_status, image_name, "image_name", STR, 0, NULL),
    JSON_FIELD(struct ctr_status, stop_signal, "stop_signal", STR, 0, NULL),
    JSON_FIELD(struct ctr_status, cgroup, "cgroup", STR, 0, NULL),
    JSON_FIELD(struct ctr_status, runtime, "runtime", STR, 0, NULL),
    JSON_FIELD(struct ctr_status, volumes, "volumes", STRS, 0, NULL),
    JSON_FIELD(struct ctr_status, anonymous, "anonymous", STRS, 0, NULL),
    JSON_FIELD(struct ctr_status, stopped, "stopped", BOOL, 0, NULL),
    JSON_FIELD(struct ctr_status, has_volumes_filled, "has_volumes_filled", BOOL, 0, NULL),
};
const struct json_type ctr_status_type = JSON_TYPE(struct ctr_status, ctr_status_fields);

/* ---- bytes in a text ----------------------------------------------------------------------------------- */

static json_t *hex_of(const char *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    CLEANUP_BUF struct buf b = { 0 };
    for (size_t i = 0; i < len; i++) {
        buf_addc(&b, digits[(unsigned char)data[i] >> 4]);
        buf_addc(&b, digits[(unsigned char)data[i] & 15]);
    }
    return buf_failed(&b) ? NULL : json_string(buf_str(&b));
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int bytes_of(const json_t *v, char **ret, size_t *ret_len, struct err *e)
{
    const char *s = json_string_value(v);
    if (!s) {
        return 0;
    }
    size_t n = strlen(s) / 2;
    char *out = malloc(n + 1);
    if (!out) {
        return err_oom(e);
    }
    for (size_t i = 0; i < n; i++) {
        int hi = digit(s[2 * i]), lo = digit(s[2 * i + 1]);
        if (hi < 0 || lo < 0) {
            free(out);
            return err_set(e, EINVAL, ERR_INVALID, "cri_config: not hexadecimal");
        }
        out[i] = (char)(hi << 4 | lo);
    }
    out[n] = '\0';
    *ret = out;
    *ret_len = n;
    return 0;
}

static int write_spec(const struct json_type *t, const void *spec, const char *bytes, size_t len, char **ret, struct err *e)
{
    json_t *o = json_encode(t, spec);
    char *text = NULL;
    if (o && (len == 0 || json_object_set_new(o, "cri_config", hex_of(bytes, len)) == 0)) {
        text = json_dumps(o, JSON_COMPACT);
    }
    json_decref(o);
    if (!text) {
        return err_oom(e);
    }
    *ret = text;
    return 0;
}

static int read_spec(const struct json_type *t, const char *text, void *ret, char **bytes, size_t *len, struct err *e)
{
    json_error_t je;
    json_t *o = json_loads(text ? text : "{}", 0, &je);
    if (!o) {
        return err_set(e, EINVAL, ERR_INTERNAL, "a row of the database is no JSON: %s", je.text);
    }
    int r = json_decode(t, o, ret, e);
    if (r == 0) {
        r = bytes_of(json_object_get(o, "cri_config"), bytes, len, e);
    }
    json_decref(o);
    return r;
}

int codec_pod_spec(const struct engine_pod_spec *s, char **ret, struct err *e)
{
    return write_spec(&pod_spec_type, s, s->cri_config, s->cri_config_len, ret, e);
}

int codec_ctr_spec(const struct engine_ctr_spec *s, char **ret, struct err *e)
{
    return write_spec(&ctr_spec_type, s, s->cri_config, s->cri_config_len, ret, e);
}

int codec_pod_spec_read(const char *text, struct engine_pod_spec *ret, struct err *e)
{
    return read_spec(&pod_spec_type, text, ret, &ret->cri_config, &ret->cri_config_len, e);
}

int codec_ctr_spec_read(const char *text, struct engine_ctr_spec *ret, struct err *e)
{
    return read_spec(&ctr_spec_type, text, ret, &ret->cri_config, &ret->cri_config_len, e);
}

int codec_status(const struct json_type *t, const void *st, char **ret, struct err *e)
{
    return write_spec(t, st, NULL, 0, ret, e);
}

int codec_status_read(const struct json_type *t, const char *text, void *ret, struct err *e)
{
    char *none = NULL;
    size_t len = 0;
    int r = read_spec(t, text, ret, &none, &len, e);
    free(none);
    return r;
}

void engine_resources_done(struct engine_resources *r)
{
    json_free(&resources_type, r);
}

void engine_pod_spec_done(struct engine_pod_spec *s)
{
    free(s->cri_config);
    json_free(&pod_spec_type, s);
}

void engine_ctr_spec_done(struct engine_ctr_spec *s)
{
    free(s->cri_config);
    json_free(&ctr_spec_type, s);
}
