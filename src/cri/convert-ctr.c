/* cri/convert-ctr.c: what a request says of a container, as the engine wants it. See convert.h. */
#include "cri/convert-internal.h"

#include <errno.h>
#include <stdio.h>

enum { UNNAMED_LOG_MAX = 10 << 20 }; /* of a container for which nobody rotates the log */

static int ctr_mount(const V1(Mount) *m, struct engine_mount *to, char *why, size_t why_len)
{
    static const char *const propagation[] = { "rprivate", "rslave", "rshared" };
    bool image = m->image && !str_empty(m->image->image);
    const char *bad = NULL;
    if (m->container_path[0] != '/') {
        bad = "container_path: is no absolute path";
    } else if (image && !str_empty(m->host_path)) {
        bad = "host_path: has to be empty for an image";
    } else if (!image && m->host_path[0] != '/') {
        bad = "host_path: is no absolute path";
    } else if ((size_t)m->propagation >= ARRAY_LEN(propagation)) {
        bad = "propagation: is unknown";
    } else if (m->recursive_read_only && !m->readonly) {
        bad = "recursive_read_only: needs readonly";
    } else if (m->recursive_read_only && m->propagation != RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE) {
        bad = "recursive_read_only: needs private propagation";
    }
    if (bad) {
        (void)snprintf(why, why_len, "%s", bad);
        return -EINVAL;
    }
    to->kind = image ? ENGINE_MOUNT_IMAGE : ENGINE_MOUNT_BIND;
    to->source = strdup(image ? m->image->image : m->host_path);
    to->target = strdup(m->container_path);
    to->propagation = strdup(propagation[m->propagation]);
    to->readonly = m->readonly || image;
    to->recursive_readonly = m->recursive_read_only;
    to->create_source = !image; /* as dockershim did, and the peers do since */
    to->relabel = m->selinux_relabel;
    to->userns_map = m->n_uidmappings > 0;
    to->sub_path = str_empty(m->image_sub_path) ? NULL : strdup(m->image_sub_path);
    return to->source && to->target && to->propagation ? 0 : -ENOMEM;
}

static int ctr_mounts(const V1(ContainerConfig) *config, struct engine_ctr_spec *ret, struct err *e)
{
    char why[64];
    if (config->n_mounts == 0) {
        return 0;
    }
    ret->mounts.v = calloc(config->n_mounts, sizeof(*ret->mounts.v));
    if (!ret->mounts.v) {
        return err_oom(e);
    }
    for (size_t i = 0; i < config->n_mounts; i++) {
        int r = ctr_mount(config->mounts[i], &ret->mounts.v[ret->mounts.n++], why, sizeof(why));
        if (r == -EINVAL) {
            return err_set(e, EINVAL, ERR_INVALID, "config.mounts[%zu].%s", i, why);
        }
        if (r < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int ctr_devices(const V1(ContainerConfig) *config, struct engine_ctr_spec *ret, struct err *e)
{
    ret->devices.v = config->n_devices > 0 ? calloc(config->n_devices, sizeof(*ret->devices.v)) : NULL;
    if (config->n_devices > 0 && !ret->devices.v) {
        return err_oom(e);
    }
    for (size_t i = 0; i < config->n_devices; i++) {
        const V1(Device) *d = config->devices[i];
        struct engine_device *to = &ret->devices.v[ret->devices.n++];
        if (d->host_path[0] != '/') {
            return err_set(e, EINVAL, ERR_INVALID, "config.devices[%zu].host_path: is no absolute path", i);
        }
        if (strspn(d->permissions, "rwm") != strlen(d->permissions)) {
            return err_set(e, EINVAL, ERR_INVALID, "config.devices[%zu].permissions: is not of r, w and m", i);
        }
        int r = copy_str(&to->host_path, d->host_path, e);
        if (r == 0) {
            r = copy_str(&to->container_path, str_empty(d->container_path) ? d->host_path : d->container_path, e);
        }
        if (r == 0) {
            r = copy_str(&to->permissions, str_empty(d->permissions) ? "rwm" : d->permissions, e);
        }
        if (r < 0) {
            return r;
        }
    }
    for (size_t i = 0; i < config->n_cdi_devices; i++) {
        if (strv_push(&ret->cdi_devices, config->cdi_devices[i]->name) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int ctr_process(const V1(ContainerConfig) *config, struct engine_ctr_spec *ret, struct err *e)
{
    ret->has_entrypoint = config->n_command > 0;
    int r = copy_strs(&ret->entrypoint, config->n_command, config->command, e);
    if (r == 0) {
        r = copy_strs(&ret->command, config->n_args, config->args, e);
    }
    for (size_t i = 0; i < config->n_envs && r == 0; i++) {
        const char *key = config->envs[i]->key;
        if (str_empty(key) || strchr(key, '=')) {
            return err_set(e, EINVAL, ERR_INVALID, "config.envs[%zu].key: is empty or has a '='", i);
        }
        CLEANUP_FREE char *env = str_printf("%s=%s", key, config->envs[i]->value);
        r = env && strv_push(&ret->env, env) == 0 ? 0 : err_oom(e);
    }
    if (r == 0 && !str_empty(config->working_dir) && config->working_dir[0] != '/') {
        return bad_field(e, "config.working_dir", "is no absolute path");
    }
    if (r == 0) {
        r = copy_str(&ret->working_dir, config->working_dir, e);
    }
    ret->tty = config->tty;
    ret->stdin_open = config->stdin;
    ret->stdin_once = config->stdin_once;
    if ((unsigned)config->stop_signal > RUNTIME__V1__SIGNAL__SIGRTMAX) {
        return bad_field(e, "config.stop_signal", "is unknown");
    }
    ret->stop_signal = convert_signal_name(config->stop_signal);
    return r;
}

#define SC "config.linux.security_context."

static int id_of(const V1(Int64Value) *v, const char *field, bool *has, uint32_t *ret, struct err *e)
{
    if (v && (v->value < 0 || v->value >= UINT32_MAX)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s: %lld is no id", field, (long long)v->value);
    }
    *has = v != NULL;
    *ret = v ? (uint32_t)v->value : 0;
    return 0;
}

static int ctr_user(const V1(LinuxContainerSecurityContext) *s, struct engine_ctr_spec *ret, struct err *e)
{
    int r = id_of(s->run_as_user, SC "run_as_user", &ret->has_uid, &ret->uid, e);
    if (r == 0) {
        r = id_of(s->run_as_group, SC "run_as_group", &ret->has_gid, &ret->gid, e);
    }
    if (r < 0) {
        return r;
    }
    if (ret->has_uid && !str_empty(s->run_as_username)) {
        return bad_field(e, SC "run_as_username", "excludes run_as_user");
    }
    if (ret->has_gid && !ret->has_uid && str_empty(s->run_as_username)) {
        return bad_field(e, SC "run_as_group", "needs run_as_user or run_as_username");
    }
    if ((unsigned)s->supplemental_groups_policy > RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Strict) {
        return bad_field(e, SC "supplemental_groups_policy", "is unknown");
    }
    ret->groups_strict = s->supplemental_groups_policy == RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Strict;
    ret->groups.v = s->n_supplemental_groups > 0 ? calloc(s->n_supplemental_groups, sizeof(*ret->groups.v)) : NULL;
    for (size_t i = 0; i < s->n_supplemental_groups; i++) {
        if (!ret->groups.v) {
            return err_oom(e);
        }
        if (s->supplemental_groups[i] < 0 || s->supplemental_groups[i] >= UINT32_MAX) {
            return err_set(e, EINVAL, ERR_INVALID, SC "supplemental_groups[%zu]: is no id", i);
        }
        ret->groups.v[ret->groups.n++] = (uint32_t)s->supplemental_groups[i];
    }
    return copy_str(&ret->user, s->run_as_username, e);
}

static int ctr_namespaces(const V1(NamespaceOption) *o, struct engine_ctr_spec *ret, struct err *e)
{
    if (!o) {
        ret->pid = ENGINE_NS_CONTAINER;
        return 0;
    }
    int r = ns_mode(o->network, 0x5, SC "namespace_options.network", &ret->net, e);
    if (r == 0) {
        r = ns_mode(o->ipc, 0x5, SC "namespace_options.ipc", &ret->ipc, e);
    }
    if (r == 0) {
        r = ns_mode(o->pid, 0xf, SC "namespace_options.pid", &ret->pid, e);
    }
    if (r == 0 && ret->pid == ENGINE_NS_TARGET) {
        r = str_empty(o->target_id) ? bad_field(e, SC "namespace_options.target_id", "is required") :
                                      copy_str(&ret->pid_target, o->target_id, e);
    }
    return r;
}

/* The old field says the same in words. */
static int seccomp_by_path(const char *path, struct engine_ctr_spec *ret, struct err *e)
{
    if (str_eq(path, "runtime/default") || str_eq(path, "docker/default")) {
        ret->seccomp = ENGINE_SECCOMP_DEFAULT;
        return 0;
    }
    if (str_starts(path, "localhost/") && path[10] != '\0') {
        ret->seccomp = ENGINE_SECCOMP_PROFILE;
        return copy_str(&ret->seccomp_profile, path + 10, e);
    }
    return str_empty(path) || str_eq(path, "unconfined") ? 0 : bad_field(e, SC "seccomp_profile_path", "is unknown");
}

static int ctr_seccomp(const V1(LinuxContainerSecurityContext) *s, struct engine_ctr_spec *ret, struct err *e)
{
    ret->seccomp = ENGINE_SECCOMP_UNCONFINED;
    if (s->privileged) {
        return 0; /* profiles are for the confined */
    }
    if (!s->seccomp) {
        return seccomp_by_path(s->seccomp_profile_path, ret, e);
    }
    switch (s->seccomp->profile_type) {
    case RUNTIME__V1__PROFILE_TYPE__RuntimeDefault:
        ret->seccomp = ENGINE_SECCOMP_DEFAULT;
        return 0;
    case RUNTIME__V1__PROFILE_TYPE__Unconfined:
        return 0;
    case RUNTIME__V1__PROFILE_TYPE__Localhost:
        ret->seccomp = ENGINE_SECCOMP_PROFILE;
        if (s->seccomp->localhost_ref[0] != '/' && !str_starts(s->seccomp->localhost_ref, "localhost/")) {
            return bad_field(e, SC "seccomp.localhost_ref", "is no absolute path");
        }
        return copy_str(&ret->seccomp_profile, s->seccomp->localhost_ref + (s->seccomp->localhost_ref[0] == '/' ? 0 : 10), e);
    default:
        return bad_field(e, SC "seccomp.profile_type", "is unknown");
    }
}

static int ctr_apparmor(const V1(LinuxContainerSecurityContext) *s, struct engine_ctr_spec *ret, struct err *e)
{
    const V1(SecurityProfile) *p = s->apparmor;
    if (s->privileged || !p || p->profile_type == RUNTIME__V1__PROFILE_TYPE__RuntimeDefault) {
        return 0;
    }
    if (p->profile_type == RUNTIME__V1__PROFILE_TYPE__Unconfined) {
        return copy_str(&ret->apparmor_profile, "unconfined", e);
    }
    if (str_empty(p->localhost_ref)) {
        return bad_field(e, SC "apparmor.localhost_ref", "is required");
    }
    return copy_str(&ret->apparmor_profile, p->localhost_ref + (str_starts(p->localhost_ref, "localhost/") ? 10 : 0), e);
}

static int ctr_selinux(const V1(SELinuxOption) *o, struct engine_ctr_spec *ret, struct err *e)
{
    if (!o || (str_empty(o->user) && str_empty(o->role) && str_empty(o->type) && str_empty(o->level))) {
        return 0;
    }
    free(ret->selinux_label);
    ret->selinux_label = str_printf("%s:%s:%s:%s", str_empty(o->user) ? "system_u" : o->user,
                                    str_empty(o->role) ? "system_r" : o->role, str_empty(o->type) ? "container_t" : o->type,
                                    str_empty(o->level) ? "s0" : o->level);
    return ret->selinux_label ? 0 : err_oom(e);
}

static int ctr_security(const V1(LinuxContainerSecurityContext) *s, struct engine_ctr_spec *ret, struct err *e)
{
    /* What is masked is for the caller to say: nothing named, nothing masked. */
    ret->has_paths = true;
    if (!s) {
        ret->seccomp = ENGINE_SECCOMP_UNCONFINED;
        ret->pid = ENGINE_NS_CONTAINER;
        return 0;
    }
    ret->privileged = s->privileged;
    ret->readonly_rootfs = s->readonly_rootfs;
    ret->no_new_privs = s->no_new_privs;
    int r = 0;
    if (!s->privileged) {
        r = copy_strs(&ret->masked_paths, s->n_masked_paths, s->masked_paths, e);
        r = r < 0 ? r : copy_strs(&ret->readonly_paths, s->n_readonly_paths, s->readonly_paths, e);
    }
    if (r == 0 && s->capabilities) {
        const V1(Capability) *c = s->capabilities;
        r = copy_strs(&ret->cap_add, c->n_add_capabilities, c->add_capabilities, e);
        r = r < 0 ? r : copy_strs(&ret->cap_drop, c->n_drop_capabilities, c->drop_capabilities, e);
        r = r < 0 ? r : copy_strs(&ret->cap_ambient, c->n_add_ambient_capabilities, c->add_ambient_capabilities, e);
    }
    r = r < 0 ? r : ctr_user(s, ret, e);
    r = r < 0 ? r : ctr_namespaces(s->namespace_options, ret, e);
    r = r < 0 ? r : ctr_seccomp(s, ret, e);
    r = r < 0 ? r : ctr_apparmor(s, ret, e);
    return r < 0 ? r : ctr_selinux(s->selinux_options, ret, e);
}

static int ctr_log(const V1(ContainerConfig) *config, const V1(PodSandboxConfig) *pod, struct engine_ctr_spec *ret, struct err *e)
{
    ret->log_format = ENGINE_LOG_CRI;
    const char *dir = pod ? pod->log_directory : "";
    if (str_empty(config->log_path) || (str_empty(dir) && config->log_path[0] != '/')) {
        ret->log_max_size = UNNAMED_LOG_MAX;
        ret->log_max_files = 2;
        return 0;
    }
    const char *p = config->log_path;
    for (const char *at = strstr(p, ".."); at; at = strstr(at + 2, "..")) {
        if ((at == p || at[-1] == '/') && (at[2] == '/' || at[2] == '\0')) {
            return bad_field(e, "config.log_path", "climbs out of the pod's log directory");
        }
    }
    ret->log_path = str_empty(dir) ? strdup(p) : str_printf("%s/%s", dir, p);
    return ret->log_path ? 0 : err_oom(e);
}

int convert_ctr(const V1(ContainerConfig) *config, const V1(PodSandboxConfig) *pod, struct engine_ctr_spec *ret, struct err *e)
{
    ret->stop_timeout = -1;
    if (!config) {
        return bad_field(e, "config", "is required");
    }
    if (!config->metadata || str_empty(config->metadata->name)) {
        return bad_field(e, config->metadata ? "config.metadata.name" : "config.metadata", "is required");
    }
    if (!config->image || str_empty(config->image->image)) {
        return bad_field(e, "config.image.image", "is required");
    }
    ret->attempt = config->metadata->attempt;
    int r = copy_str(&ret->name, config->metadata->name, e);
    r = r < 0 ? r : copy_str(&ret->image, config->image->image, e);
    r = r < 0 ? r : ctr_process(config, ret, e);
    r = r < 0 ? r : ctr_mounts(config, ret, e);
    r = r < 0 ? r : ctr_devices(config, ret, e);
    r = r < 0 ? r : ctr_security(config->linux ? config->linux->security_context : NULL, ret, e);
    r = r < 0 ? r : convert_resources(config->linux ? config->linux->resources : NULL, "config.linux.resources", &ret->resources, e);
    r = r < 0 ? r : ctr_log(config, pod, ret, e);
    if (r < 0) {
        return r;
    }
    CLEANUP_BUF struct buf packed = { 0 };
    pb_pack(config, &packed);
    if (buf_failed(&packed) || pb_map_copy(&ret->labels, config->n_labels, config->labels) < 0 ||
        pb_map_copy(&ret->annotations, config->n_annotations, config->annotations) < 0) {
        return err_oom(e);
    }
    ret->cri_config_len = packed.len;
    ret->cri_config = buf_steal(&packed);
    return 0;
}
