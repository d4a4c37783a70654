/* engine/spec-gen.c: config.json as Docker's default has it: process, namespaces, capabilities, seccomp, limits. Mounts: spec-mounts.c. */
#include "engine/internal.h"

#include "engine/seccomp-default.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *const default_caps[] = { "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
                                            "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
                                            "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE" };
static const char *const all_caps[] = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
    "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE" };

static int add(char ***v, const char *s, struct err *e)
{
    return strv_push(v, s) < 0 ? err_oom(e) : 0;
}

int spec_env(char ***env, const char *kv, struct err *e)
{
    size_t n = strcspn(kv, "=");
    for (char **v = *env; v && *v; v++) {
        if (strncmp(*v, kv, n) == 0 && (*v)[n] == '=') {
            char *copy = strdup(kv);
            if (!copy) {
                return err_oom(e);
            }
            free(*v);
            *v = copy;
            return 0;
        }
    }
    return add(env, kv, e);
}

/* ---- capabilities --------------------------------------------------------------------------------------------- */

static bool listed(char *const *v, const char *cap)
{
    for (; v && *v; v++) {
        if (strcasecmp(*v, "ALL") == 0 || strcasecmp(*v, cap) == 0 || strcasecmp(*v, cap + 4) == 0) {
            return true;
        }
    }
    return false;
}

static bool named(char *const *v, const char *cap)
{
    for (; v && *v; v++) {
        if (strcasecmp(*v, cap) == 0 || strcasecmp(*v, cap + 4) == 0) {
            return true;
        }
    }
    return false;
}

static bool by_default(const char *cap)
{
    for (size_t i = 0; i < ARRAY_LEN(default_caps); i++) {
        if (str_eq(default_caps[i], cap)) {
            return true;
        }
    }
    return false;
}

static int check_caps(char *const *v, struct err *e)
{
    for (; v && *v; v++) {
        bool known = strcasecmp(*v, "ALL") == 0;
        for (size_t i = 0; i < ARRAY_LEN(all_caps) && !known; i++) {
            known = strcasecmp(*v, all_caps[i]) == 0 || strcasecmp(*v, all_caps[i] + 4) == 0;
        }
        if (!known) {
            return err_set(e, EINVAL, ERR_INVALID, "unknown capability \"%.64s\"", *v);
        }
    }
    return 0;
}

int spec_caps(const struct engine_ctr_spec *s, struct oci_process *p, struct err *e)
{
    int r = check_caps(s->cap_add, e);
    if (r == 0) {
        r = check_caps(s->cap_drop, e);
    }
    if (!p->capabilities) {
        p->capabilities = calloc(1, sizeof(*p->capabilities));
    }
    struct oci_capabilities *c = p->capabilities;
    if (r < 0 || !c) {
        return r < 0 ? r : err_oom(e);
    }
    strv_free(PTR_STEAL(c->bounding));
    strv_free(PTR_STEAL(c->effective));
    strv_free(PTR_STEAL(c->permitted));
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(all_caps); i++) {
        const char *cap = all_caps[i];
        /* A capability by name wins over ALL of the other list. */
        bool on = s->privileged || (by_default(cap) && !listed(s->cap_drop, cap)) || named(s->cap_add, cap) ||
                  (listed(s->cap_add, cap) && !named(s->cap_drop, cap));
        bool root = p->user.uid == 0;
        if (on) {
            r = add(&c->bounding, cap, e);
            if (r == 0 && (root || listed(s->cap_ambient, cap))) {
                r = add(&c->permitted, cap, e);
                r = r == 0 ? add(&c->effective, cap, e) : r;
            }
            if (r == 0 && listed(s->cap_ambient, cap)) {
                r = add(&c->ambient, cap, e);
                r = r == 0 ? add(&c->inheritable, cap, e) : r;
            }
        }
    }
    return r;
}

/* ---- seccomp --------------------------------------------------------------------------------------------------- */

enum { PROFILE_MAX = 4 << 20 };

int spec_seccomp(const struct engine_ctr_spec *s, struct oci_spec *out, struct err *e)
{
    char *const *caps = out->process->capabilities->bounding;
    if (s->privileged || s->seccomp == ENGINE_SECCOMP_UNCONFINED) {
        return 0;
    }
    if (s->seccomp == ENGINE_SECCOMP_DEFAULT) {
        return seccomp_default(caps, &out->linux->seccomp, e);
    }
    CLEANUP_BUF struct buf b = { 0 };
    int r = file_read(AT_FDCWD, s->seccomp_profile ? s->seccomp_profile : "", PROFILE_MAX, &b, e);
    if (r == 0) {
        r = seccomp_profile_resolve(buf_str(&b), b.len, caps, &out->linux->seccomp, e);
    }
    return r < 0 ? err_wrap(e, "seccomp profile %.256s", s->seccomp_profile ? s->seccomp_profile : "") : 0;
}

/* ---- process ----------------------------------------------------------------------------------------------------- */

static int set_env(const struct spec_in *in, struct oci_process *p, struct err *e)
{
    const struct engine_ctr_spec *s = &in->ctr->spec;
    CLEANUP_FREE char *home = str_printf("HOME=%s", in->home ? in->home : "/");
    const char *name = !str_empty(s->hostname) ? s->hostname : in->pod->spec.hostname;
    CLEANUP_FREE char *host = str_empty(name) ? str_printf("HOSTNAME=%.12s", in->pod->row.id) : str_printf("HOSTNAME=%s", name);
    int r = home && host ? spec_env(&p->env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", e) : err_oom(e);
    if (r == 0) {
        r = spec_env(&p->env, host, e);
    }
    if (r == 0) {
        r = spec_env(&p->env, home, e);
    }
    if (r == 0 && s->tty) {
        r = spec_env(&p->env, "TERM=xterm", e);
    }
    for (char **v = in->image ? in->image->config.env : NULL; r == 0 && v && *v; v++) {
        r = spec_env(&p->env, *v, e);
    }
    for (char **v = s->env; r == 0 && v && *v; v++) {
        r = strchr(*v, '=') ? spec_env(&p->env, *v, e) : 0;
    }
    return r;
}

static int set_rlimits(const struct engine_ctr_spec *s, struct oci_process *p, struct err *e)
{
    p->rlimits.v = s->rlimits.n ? calloc(s->rlimits.n, sizeof(*p->rlimits.v)) : NULL;
    for (size_t i = 0; i < s->rlimits.n; i++) {
        struct oci_rlimit *o = p->rlimits.v ? &p->rlimits.v[i] : NULL;
        if (!o || !(o->type = str_printf("RLIMIT_%s", s->rlimits.v[i].name))) {
            return err_oom(e);
        }
        for (char *c = o->type; *c; c++) {
            *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
        }
        o->soft = s->rlimits.v[i].soft;
        o->hard = s->rlimits.v[i].hard;
        p->rlimits.n = i + 1;
    }
    return 0;
}

static int set_process(const struct spec_in *in, struct oci_spec *o, struct err *e)
{
    const struct engine_ctr_spec *s = &in->ctr->spec;
    const struct ctr_status *st = &in->ctr->st;
    struct oci_process *p = o->process = calloc(1, sizeof(*p));
    if (!p) {
        return err_oom(e);
    }
    const char *cwd = !str_empty(s->working_dir) ? s->working_dir : in->image && !str_empty(in->image->config.working_dir) ? in->image->config.working_dir : "/";
    p->terminal = s->tty;
    if (s->init && strv_push(&p->args, INIT_TARGET) < 0) {
        return err_oom(e);
    }
    for (size_t i = 0; st->args && st->args[i]; i++) {
        if (strv_push(&p->args, st->args[i]) < 0) {
            return err_oom(e);
        }
    }
    p->cwd = strdup(cwd);
    p->user.uid = st->uid;
    p->user.gid = st->gid;
    p->user.additional_gids.v = st->groups.n ? calloc(st->groups.n, sizeof(uint32_t)) : NULL;
    for (size_t i = 0; p->user.additional_gids.v && i < st->groups.n; i++) {
        p->user.additional_gids.v[i] = st->groups.v[i];
        p->user.additional_gids.n = i + 1;
    }
    p->no_new_privileges = s->no_new_privs;
    p->apparmor_profile = str_empty(s->apparmor_profile) ? NULL : strdup(s->apparmor_profile);
    p->selinux_label = str_empty(s->selinux_label) ? NULL : strdup(s->selinux_label);
    if (s->resources.has_oom_score_adj && (p->oom_score_adj = malloc(sizeof(int32_t)))) {
        *p->oom_score_adj = (int32_t)s->resources.oom_score_adj;
    }
    if (!p->args || !p->cwd) {
        return err_oom(e);
    }
    int r = set_env(in, p, e);
    if (r == 0) {
        r = set_rlimits(s, p, e);
    }
    return r < 0 ? r : spec_caps(s, p, e);
}

/* ---- namespaces ---------------------------------------------------------------------------------------------------- */

static int add_ns(struct oci_linux *l, const char *type, const char *path, struct err *e)
{
    struct oci_namespace *v = reallocarray(l->namespaces.v, l->namespaces.n + 1, sizeof(*v));
    if (!v) {
        return err_oom(e);
    }
    l->namespaces.v = v;
    v[l->namespaces.n] = (struct oci_namespace){ strdup(type), path ? strdup(path) : NULL };
    return v[l->namespaces.n++].type ? 0 : err_oom(e);
}

static int set_namespaces(const struct spec_in *in, struct oci_spec *o, struct err *e)
{
    const struct engine_ctr_spec *s = &in->ctr->spec;
    const struct engine_pod_spec *ps = &in->pod->spec;
    const struct pod_status *st = &in->pod->st;
    struct oci_linux *l = o->linux;
    int r = add_ns(l, "mount", NULL, e);
    if (r == 0 && !s->cgroup_host) {
        r = add_ns(l, "cgroup", NULL, e);
    }
    if (r == 0 && s->pid != ENGINE_NS_HOST) {
        r = add_ns(l, "pid", s->pid == ENGINE_NS_TARGET ? in->target_pid_ns : s->pid == ENGINE_NS_POD ? st->ns_pid : NULL, e);
    }
    if (r == 0 && ps->net != ENGINE_NS_HOST && (st->netns || st->ns_net)) {
        r = add_ns(l, "network", st->netns ? st->netns : st->ns_net, e);
    }
    if (r == 0 && s->ipc != ENGINE_NS_HOST && ps->ipc != ENGINE_NS_HOST) {
        r = add_ns(l, "ipc", in->ipc_ns ? in->ipc_ns : st->ns_ipc, e);
    }
    bool own_uts = ps->kind == ENGINE_POD_CONTAINER && ps->net != ENGINE_NS_HOST;
    if (r == 0 && (own_uts || st->ns_uts)) {
        r = add_ns(l, "uts", st->ns_uts, e);
    }
    if (own_uts) {
        const char *name = !str_empty(s->hostname) ? s->hostname : ps->hostname;
        o->hostname = str_empty(name) ? str_printf("%.12s", in->pod->row.id) : strdup(name);
        o->domainname = str_empty(ps->domainname) ? NULL : strdup(ps->domainname);
    }
    return r == 0 && ps->userns ? add_ns(l, "user", st->ns_user, e) : r;
}

static int set_maps(const struct engine_id_map *from, size_t n, struct oci_id_map **to, size_t *to_n, struct err *e)
{
    *to = n ? calloc(n, sizeof(**to)) : NULL;
    if (n && !*to) {
        return err_oom(e);
    }
    for (size_t i = 0; i < n; i++) {
        (*to)[i] = (struct oci_id_map){ from[i].container_id, from[i].host_id, from[i].length };
    }
    *to_n = n;
    return 0;
}

/* ---- limits ------------------------------------------------------------------------------------------------------------ */

static int opt_i64(int64_t **to, int64_t v, struct err *e)
{
    if (v == 0) {
        return 0;
    }
    *to = malloc(sizeof(**to));
    if (!*to) {
        return err_oom(e);
    }
    **to = v;
    return 0;
}

static int opt_u64(uint64_t **to, int64_t v, struct err *e)
{
    return v <= 0 ? 0 : opt_i64((int64_t **)(void *)to, v, e);
}

static int set_hugepages(const struct engine_resources *r, struct oci_resources *out, struct err *e)
{
    out->hugepage_limits.v = r->hugepages.n ? calloc(r->hugepages.n, sizeof(*out->hugepage_limits.v)) : NULL;
    for (size_t i = 0; i < r->hugepages.n; i++) {
        if (!out->hugepage_limits.v) {
            return err_oom(e);
        }
        out->hugepage_limits.v[i].page_size = strdup(r->hugepages.v[i].key);
        out->hugepage_limits.v[i].limit = strtoull(r->hugepages.v[i].value, NULL, 10);
        out->hugepage_limits.n = i + 1;
    }
    return 0;
}

int spec_resources(const struct engine_resources *r, struct oci_resources *out, struct err *e)
{
    out->memory = calloc(1, sizeof(*out->memory));
    out->cpu = calloc(1, sizeof(*out->cpu));
    out->pids = calloc(1, sizeof(*out->pids));
    if (!out->memory || !out->cpu || !out->pids) {
        return err_oom(e);
    }
    int rc = opt_i64(&out->memory->limit, r->memory_limit, e);
    rc = rc ? rc : opt_i64(&out->memory->swap, r->memory_swap, e);
    rc = rc ? rc : opt_i64(&out->memory->reservation, r->memory_reservation, e);
    rc = rc ? rc : opt_i64(&out->cpu->quota, r->cpu_quota, e);
    rc = rc ? rc : opt_u64(&out->cpu->period, r->cpu_period, e);
    rc = rc ? rc : opt_u64(&out->cpu->shares, r->cpu_shares, e);
    rc = rc ? rc : opt_i64(&out->pids->limit, r->pids_limit, e);
    out->cpu->cpus = str_empty(r->cpuset_cpus) ? NULL : strdup(r->cpuset_cpus);
    out->cpu->mems = str_empty(r->cpuset_mems) ? NULL : strdup(r->cpuset_mems);
    if (rc == 0 && str_map_copy(&out->unified, &r->unified) < 0) {
        rc = err_oom(e);
    }
    return rc ? rc : set_hugepages(r, out, e);
}

static int add_rule(struct oci_resources *res, bool allow, const char *type, int64_t major, int64_t minor, const char *access, struct err *e)
{
    struct oci_device_rule *v = reallocarray(res->devices.v, res->devices.n + 1, sizeof(*v));
    if (!v) {
        return err_oom(e);
    }
    res->devices.v = v;
    struct oci_device_rule *d = &v[res->devices.n++];
    *d = (struct oci_device_rule){ .allow = allow, .type = type ? strdup(type) : NULL, .access = strdup(access) };
    if (!d->access || (type && !d->type)) {
        return err_oom(e);
    }
    if (major >= 0 && (d->major = malloc(sizeof(int64_t)))) {
        *d->major = major;
    }
    if (minor >= 0 && (d->minor = malloc(sizeof(int64_t)))) {
        *d->minor = minor;
    }
    return 0;
}

static int add_device(struct oci_spec *o, const struct engine_device *d, struct err *e)
{
    struct stat st;
    if (stat(d->host_path, &st) < 0) {
        return err_sys(e, errno, "device %s", d->host_path);
    }
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s is no device", d->host_path);
    }
    struct oci_linux *l = o->linux;
    struct oci_device *v = reallocarray(l->devices.v, l->devices.n + 1, sizeof(*v));
    if (!v) {
        return err_oom(e);
    }
    l->devices.v = v;
    struct oci_device *n = &v[l->devices.n++];
    *n = (struct oci_device){ .type = strdup(S_ISCHR(st.st_mode) ? "c" : "b"), .path = strdup(str_empty(d->container_path) ? d->host_path : d->container_path),
                              .major = major(st.st_rdev), .minor = minor(st.st_rdev) };
    n->file_mode = malloc(sizeof(uint32_t));
    n->uid = malloc(sizeof(uint32_t));
    n->gid = malloc(sizeof(uint32_t));
    if (!n->type || !n->path || !n->file_mode || !n->uid || !n->gid) {
        return err_oom(e);
    }
    *n->file_mode = st.st_mode & 0777;
    *n->uid = st.st_uid;
    *n->gid = st.st_gid;
    return add_rule(l->resources, true, n->type, n->major, n->minor, str_empty(d->permissions) ? "rwm" : d->permissions, e);
}

int spec_devices(const struct spec_in *in, struct oci_spec *o, struct err *e)
{
    static const struct {
        const char *type;
        int64_t major, minor;
    } usual[] = { { "c", 1, 3 }, { "c", 1, 5 }, { "c", 1, 7 }, { "c", 1, 8 }, { "c", 1, 9 }, { "c", 5, 0 }, { "c", 5, 1 }, { "c", 5, 2 }, { "c", 136, -1 } };
    const struct engine_ctr_spec *s = &in->ctr->spec;
    if (s->privileged) {
        return add_rule(o->linux->resources, true, NULL, -1, -1, "rwm", e);
    }
    int r = add_rule(o->linux->resources, false, NULL, -1, -1, "rwm", e);
    r = r ? r : add_rule(o->linux->resources, true, "c", -1, -1, "m", e);
    r = r ? r : add_rule(o->linux->resources, true, "b", -1, -1, "m", e);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(usual); i++) {
        r = add_rule(o->linux->resources, true, usual[i].type, usual[i].major, usual[i].minor, "rwm", e);
    }
    for (size_t i = 0; r == 0 && i < s->devices.n; i++) {
        r = add_device(o, &s->devices.v[i], e);
    }
    return r;
}

static int set_paths(const struct spec_in *in, struct oci_linux *l, struct err *e)
{
    static const char *const masked[] = { "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                                          "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                                          "/sys/devices/virtual/powercap" };
    static const char *const ro[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
    const struct engine_ctr_spec *s = &in->ctr->spec;
    int r = 0;
    if (s->has_paths || s->privileged) {
        for (char **v = s->has_paths ? s->masked_paths : NULL; r == 0 && v && *v; v++) {
            r = add(&l->masked_paths, *v, e);
        }
        for (char **v = s->has_paths ? s->readonly_paths : NULL; r == 0 && v && *v; v++) {
            r = add(&l->readonly_paths, *v, e);
        }
        return r;
    }
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(masked); i++) {
        r = add(&l->masked_paths, masked[i], e);
    }
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(ro); i++) {
        r = add(&l->readonly_paths, ro[i], e);
    }
    return r;
}

static int set_linux(const struct spec_in *in, struct oci_spec *o, struct err *e)
{
    const struct engine_ctr_spec *s = &in->ctr->spec;
    const struct engine_pod_spec *ps = &in->pod->spec;
    struct oci_linux *l = o->linux;
    l->resources = calloc(1, sizeof(*l->resources));
    const char *parent = str_empty(ps->cgroup_parent) ? "system.slice" : ps->cgroup_parent;
    l->cgroups_path = in->g->systemd_cgroup ? str_printf("%s:tare:%s", parent, in->ctr->row.id) : strdup(in->ctr->st.cgroup);
    if (!l->resources || !l->cgroups_path) {
        return err_oom(e);
    }
    int r = set_namespaces(in, o, e);
    if (r == 0 && ps->userns) {
        r = set_maps(ps->uid_map.v, ps->uid_map.n, &l->uid_mappings.v, &l->uid_mappings.n, e);
        r = r ? r : set_maps(ps->gid_map.v, ps->gid_map.n, &l->gid_mappings.v, &l->gid_mappings.n, e);
    }
    r = r ? r : spec_resources(&s->resources, l->resources, e);
    r = r ? r : spec_devices(in, o, e);
    r = r ? r : set_paths(in, l, e);
    /* A sandbox's sysctls are set once, in its namespaces, by the monitor. */
    if (r == 0 && ps->kind == ENGINE_POD_CONTAINER && str_map_copy(&l->sysctl, &ps->sysctls) < 0) {
        r = err_oom(e);
    }
    return r ? r : spec_seccomp(s, o, e);
}

int spec_generate(const struct spec_in *in, struct oci_spec **ret, struct err *e)
{
    const struct engine_ctr_spec *s = &in->ctr->spec;
    CLEANUP_OCI_SPEC struct oci_spec *o = calloc(1, sizeof(*o));
    /* Older runtimes refuse a version that they do not know, whatever the document holds. */
    const char *version = in->ctr->st.runtime ? "1.0.2" : OCI_VERSION;
    if (!o || !(o->oci_version = strdup(version)) || !(o->root = calloc(1, sizeof(*o->root))) ||
        !(o->linux = calloc(1, sizeof(*o->linux))) || !(o->root->path = strdup("rootfs"))) {
        return err_oom(e);
    }
    if (s->cdi_devices && s->cdi_devices[0]) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "CDI devices are not supported");
    }
    o->root->readonly = s->readonly_rootfs;
    int r = set_process(in, o, e);
    r = r ? r : set_linux(in, o, e);
    r = r ? r : spec_mounts(in, o, e);
    if (r == 0 && str_map_copy(&o->annotations, &s->annotations) < 0) {
        r = err_oom(e);
    }
    if (r == 0) {
        *ret = PTR_STEAL(o);
    }
    return r;
}
