/* cmd/run-args.c: from the options of run and create to the engine's specs, a step a subject. See run-args.h. */
#include "cmd/run-args.h"

#include "base/num.h"
#include "cmd/parse.h"
#include "cmd/session.h"

#include <errno.h>
#include <stdio.h>

/* What the steps work on. */
struct making {
    const struct cli *c;
    const struct run_args *a;
    int argc;
    char **argv;
    struct engine_ctr_spec *ctr;
    struct engine_pod_spec *pod;
    struct err *e;
};

static int dup_str(char **to, const char *s, struct err *e)
{
    if (!s) {
        return 0;
    }
    free(*to);
    *to = strdup(s);
    return *to ? 0 : err_oom(e);
}

static int dup_list(char ***to, char *const *v, struct err *e)
{
    if (!v) {
        return 0;
    }
    strv_free(*to);
    *to = strv_copy(v);
    return *to ? 0 : err_oom(e);
}

/* Room for one more element at the end of a list; NULL when out of memory. */
static void *more(void *v, size_t n, size_t size, struct err *e)
{
    void **list = v;
    char *grown = realloc(*list, (n + 1) * size);
    if (!grown) {
        err_oom(e);
        return NULL;
    }
    *list = grown;
    memset(grown + n * size, 0, size);
    return grown + n * size;
}

static int step_process(struct making *m)
{
    const struct run_args *a = m->a;
    struct engine_ctr_spec *s = m->ctr;
    int r = dup_str(&s->image, m->argv[0], m->e);
    for (int i = 1; r == 0 && i < m->argc; i++) {
        r = strv_push(&s->command, m->argv[i]) < 0 ? err_oom(m->e) : 0;
    }
    if (r == 0 && a->entrypoint) {
        s->has_entrypoint = true;
        r = *a->entrypoint && strv_push(&s->entrypoint, a->entrypoint) < 0 ? err_oom(m->e) : 0;
    }
    if (r == 0) {
        r = dup_str(&s->name, a->name, m->e);
    }
    if (r == 0) {
        r = dup_str(&s->working_dir, a->workdir, m->e);
    }
    if (r == 0) {
        r = dup_str(&s->user, a->user, m->e);
    }
    s->tty = a->tty;
    s->stdin_open = a->interactive;
    s->stdin_once = a->interactive && !a->detach;
    s->init = a->init;
    s->auto_remove = a->rm;
    s->readonly_rootfs = a->read_only;
    session_size(&s->tty_rows, &s->tty_cols);
    if (r == 0 && a->workdir && a->workdir[0] != '/') {
        r = err_set(m->e, EINVAL, ERR_INVALID, "the working directory '%.200s' is invalid, it needs to be an absolute path", a->workdir);
    }
    return r;
}

static int step_env(struct making *m)
{
    int r = 0;
    for (size_t i = 0; r == 0 && m->a->env_file && m->a->env_file[i]; i++) {
        r = parse_env_file(m->a->env_file[i], &m->ctr->env, m->e);
    }
    for (size_t i = 0; r == 0 && m->a->env && m->a->env[i]; i++) {
        r = parse_env(m->a->env[i], &m->ctr->env, m->e);
    }
    return r;
}

static int step_labels(struct making *m)
{
    int r = 0;
    for (size_t i = 0; r == 0 && m->a->label_file && m->a->label_file[i]; i++) {
        r = parse_label_file(m->a->label_file[i], &m->ctr->labels, m->e);
    }
    for (size_t i = 0; r == 0 && m->a->label && m->a->label[i]; i++) {
        r = parse_label(m->a->label[i], &m->ctr->labels, "label", m->e);
    }
    for (size_t i = 0; r == 0 && m->a->annotation && m->a->annotation[i]; i++) {
        r = parse_label(m->a->annotation[i], &m->ctr->annotations, "annotation", m->e);
    }
    for (size_t i = 0; r == 0 && m->a->sysctl && m->a->sysctl[i]; i++) {
        r = parse_label(m->a->sysctl[i], &m->pod->sysctls, "sysctl", m->e);
    }
    return r;
}

typedef int mount_fn(const char *s, struct engine_mount *ret, struct err *e);

static int add_mounts(struct making *m, char *const *v, mount_fn *fn, const char *option)
{
    for (size_t i = 0; v && v[i]; i++) {
        struct engine_mount *to = more(&m->ctr->mounts.v, m->ctr->mounts.n, sizeof(*to), m->e);
        if (!to) {
            return -ENOMEM;
        }
        int r = fn(v[i], to, m->e);
        if (r < 0) {
            return err_wrap(m->e, "invalid argument \"%.200s\" for \"%s\"", v[i], option);
        }
        m->ctr->mounts.n++;
    }
    return 0;
}

static int step_mounts(struct making *m)
{
    int r = add_mounts(m, m->a->volume, parse_volume, "--volume");
    if (r == 0) {
        r = add_mounts(m, m->a->mount, parse_mount, "--mount");
    }
    return r == 0 ? add_mounts(m, m->a->tmpfs, parse_tmpfs, "--tmpfs") : r;
}

static int step_devices(struct making *m)
{
    int r = 0;
    for (size_t i = 0; r == 0 && m->a->device && m->a->device[i]; i++) {
        const char *d = m->a->device[i];
        if (d[0] != '/' && strchr(d, '=') && strchr(d, '/')) { /* vendor.com/class=name */
            r = strv_push(&m->ctr->cdi_devices, d) < 0 ? err_oom(m->e) : 0;
            continue;
        }
        struct engine_device *to = more(&m->ctr->devices.v, m->ctr->devices.n, sizeof(*to), m->e);
        r = to ? parse_device(d, to, m->e) : -ENOMEM;
        m->ctr->devices.n += r == 0;
    }
    for (size_t i = 0; r == 0 && m->a->ulimit && m->a->ulimit[i]; i++) {
        struct engine_rlimit *to = more(&m->ctr->rlimits.v, m->ctr->rlimits.n, sizeof(*to), m->e);
        r = to ? parse_ulimit(m->a->ulimit[i], to, m->e) : -ENOMEM;
        m->ctr->rlimits.n += r == 0;
    }
    return r;
}

static int security_opt(struct making *m, const char *o)
{
    struct engine_ctr_spec *s = m->ctr;
    size_t n = strcspn(o, "=:");
    const char *value = o[n] ? o + n + 1 : "";
    if (strncmp(o, "no-new-privileges", n) == 0 && n == 17) {
        s->no_new_privs = strcmp(value, "false") != 0;
        return 0;
    }
    if (n == 7 && strncmp(o, "seccomp", n) == 0) {
        bool off = strcmp(value, "unconfined") == 0, own = strcmp(value, "builtin") == 0;
        s->seccomp = off ? ENGINE_SECCOMP_UNCONFINED : own ? ENGINE_SECCOMP_DEFAULT : ENGINE_SECCOMP_PROFILE;
        return off || own ? 0 : dup_str(&s->seccomp_profile, value, m->e);
    }
    if (n == 8 && strncmp(o, "apparmor", n) == 0) {
        return dup_str(&s->apparmor_profile, value, m->e);
    }
    if (n == 5 && strncmp(o, "label", n) == 0) {
        return strcmp(value, "disable") == 0 ? 0 : dup_str(&s->selinux_label, value, m->e);
    }
    if ((n == 6 && strncmp(o, "unmask", n) == 0 && strcmp(value, "ALL") == 0) ||
        (n == 12 && strncmp(o, "systempaths", n) == 0 && strcmp(value, "unconfined") == 0)) {
        s->has_paths = true;
        return 0;
    }
    return err_set(m->e, EINVAL, ERR_INVALID, "invalid --security-opt: \"%.200s\"", o);
}

static int step_security(struct making *m)
{
    const struct run_args *a = m->a;
    m->ctr->privileged = m->pod->privileged = a->privileged;
    int r = dup_list(&m->ctr->cap_add, a->cap_add, m->e);
    if (r == 0) {
        r = dup_list(&m->ctr->cap_drop, a->cap_drop, m->e);
    }
    for (size_t i = 0; r == 0 && a->security_opt && a->security_opt[i]; i++) {
        r = security_opt(m, a->security_opt[i]);
    }
    for (size_t i = 0; r == 0 && a->group_add && a->group_add[i]; i++) {
        uint32_t *gid = more(&m->ctr->groups.v, m->ctr->groups.n, sizeof(*gid), m->e);
        r = gid ? 0 : -ENOMEM;
        if (r == 0 && num_u32(a->group_add[i], gid) < 0) {
            r = err_set(m->e, EINVAL, ERR_INVALID, "--group-add %.100s: a number is wanted", a->group_add[i]);
        }
        m->ctr->groups.n += r == 0;
    }
    return r;
}

int run_resources(const struct run_args *a, struct engine_resources *r, struct err *e)
{
    *r = (struct engine_resources){
        .cpu_period = a->cpu_period,
        .cpu_quota = a->cpu_quota,
        .cpu_shares = a->cpu_shares,
        .memory_limit = a->memory,
        .memory_swap = a->memory_swap,
        .memory_reservation = a->memory_reservation,
        .pids_limit = a->pids_limit,
        .oom_score_adj = a->oom_score_adj,
        .has_oom_score_adj = a->oom_score_adj != INT64_MIN,
    };
    r->oom_score_adj = r->has_oom_score_adj ? r->oom_score_adj : 0;
    if (r->has_oom_score_adj && (r->oom_score_adj < -1000 || r->oom_score_adj > 1000)) {
        return err_set(e, EINVAL, ERR_INVALID, "--oom-score-adj must be between -1000 and 1000");
    }
    if (a->memory > 0 && a->memory < 6 << 20) {
        return err_set(e, EINVAL, ERR_INVALID, "minimum memory limit allowed is 6MB");
    }
    if (a->memory_swap > 0 && a->memory_swap < a->memory) {
        return err_set(e, EINVAL, ERR_INVALID, "minimum memoryswap limit should be larger than memory limit");
    }
    if (a->cpus && (a->cpu_period || a->cpu_quota)) {
        return err_set(e, EINVAL, ERR_INVALID, "conflicting options: --cpus and --cpu-period or --cpu-quota");
    }
    if (a->cpus) {
        int rc = parse_cpus(a->cpus, &r->cpu_quota, e);
        if (rc < 0) {
            return rc;
        }
        r->cpu_period = 100000;
    }
    int rc = dup_str(&r->cpuset_cpus, a->cpuset_cpus, e);
    return rc == 0 ? dup_str(&r->cpuset_mems, a->cpuset_mems, e) : rc;
}

static int step_resources(struct making *m)
{
    m->pod->shm_size = m->a->shm_size;
    int r = run_resources(m->a, &m->ctr->resources, m->e);
    return r == 0 ? dup_str(&m->pod->cgroup_parent, m->a->cgroup_parent, m->e) : r;
}

static int step_network(struct making *m)
{
    const char *net = m->a->network;
    struct engine_pod_spec *p = m->pod;
    int r = 0;
    if (!net || strcmp(net, "bridge") == 0 || strcmp(net, "default") == 0) {
        p->net = ENGINE_NS_POD;
    } else if (strcmp(net, "host") == 0) {
        p->net = ENGINE_NS_HOST;
    } else if (str_starts(net, "container:")) {
        p->net = ENGINE_NS_TARGET;
        r = dup_str(&p->netns_of, net + 10, m->e);
    } else {
        r = dup_str(&p->network, net, m->e);
    }
    m->ctr->net = p->net == ENGINE_NS_HOST ? ENGINE_NS_HOST : ENGINE_NS_POD;
    for (size_t i = 0; r == 0 && m->a->publish && m->a->publish[i]; i++) {
        r = parse_publish(m->a->publish[i], &p->ports.v, &p->ports.n, m->e);
        if (r < 0) {
            return err_wrap(m->e, "invalid argument \"%.100s\" for \"--publish\"", m->a->publish[i]);
        }
    }
    if (r == 0 && p->ports.n > 0 && p->net != ENGINE_NS_POD) {
        p->ports.n = p->net == ENGINE_NS_HOST ? p->ports.n : 0;
        r = p->net == ENGINE_NS_HOST ? 0 : err_set(m->e, EINVAL, ERR_INVALID, "conflicting options: port publishing and the container type network mode");
    }
    return r;
}

static int step_names(struct making *m)
{
    const struct run_args *a = m->a;
    struct engine_pod_spec *p = m->pod;
    int r = dup_str(&p->hostname, a->hostname, m->e);
    if (r == 0) {
        r = dup_str(&p->domainname, a->domainname, m->e);
    }
    if (r == 0) {
        r = dup_list(&p->extra_hosts, a->add_host, m->e);
    }
    for (size_t i = 0; r == 0 && a->add_host && a->add_host[i]; i++) {
        if (!strchr(a->add_host[i], ':')) {
            r = err_set(m->e, EINVAL, ERR_INVALID, "bad format for add-host: \"%.100s\" (NAME:IP)", a->add_host[i]);
        }
    }
    p->has_dns = a->dns || a->dns_search || a->dns_option;
    if (r == 0) {
        r = dup_list(&p->dns_servers, a->dns, m->e);
    }
    if (r == 0) {
        r = dup_list(&p->dns_searches, a->dns_search, m->e);
    }
    return r == 0 ? dup_list(&p->dns_options, a->dns_option, m->e) : r;
}

static int ns_mode(struct making *m, const char *value, const char *option, enum engine_ns_mode *mode, char **target)
{
    if (!value || strcmp(value, "private") == 0 || strcmp(value, "shareable") == 0) {
        return 0;
    }
    if (strcmp(value, "host") == 0) {
        *mode = ENGINE_NS_HOST;
        return 0;
    }
    if (str_starts(value, "container:")) {
        *mode = ENGINE_NS_TARGET;
        return dup_str(target, value + 10, m->e);
    }
    return err_set(m->e, EINVAL, ERR_INVALID, "--%s: invalid mode %.100s", option, value);
}

static int step_namespaces(struct making *m)
{
    const struct run_args *a = m->a;
    m->ctr->pid = ENGINE_NS_CONTAINER;
    m->pod->pid = ENGINE_NS_CONTAINER;
    m->ctr->ipc = m->pod->ipc = ENGINE_NS_POD;
    int r = ns_mode(m, a->pid, "pid", &m->ctr->pid, &m->ctr->pid_target);
    if (r == 0) {
        m->pod->pid = m->ctr->pid == ENGINE_NS_HOST ? ENGINE_NS_HOST : m->pod->pid;
        r = ns_mode(m, a->ipc, "ipc", &m->pod->ipc, &m->pod->ipcns_of);
        m->ctr->ipc = m->pod->ipc == ENGINE_NS_HOST ? ENGINE_NS_HOST : ENGINE_NS_POD;
    }
    if (r == 0 && a->cgroupns && strcmp(a->cgroupns, "host") != 0 && strcmp(a->cgroupns, "private") != 0) {
        r = err_set(m->e, EINVAL, ERR_INVALID, "--cgroupns: invalid mode %.100s (private, host)", a->cgroupns);
    }
    m->ctr->cgroup_host = str_eq(a->cgroupns, "host");
    if (r == 0 && a->userns && strcmp(a->userns, "host") != 0 && strcmp(a->userns, "auto") != 0) {
        r = err_set(m->e, EINVAL, ERR_INVALID, "--userns: invalid mode %.100s (host, auto)", a->userns);
    }
    if (r == 0 && a->uts && strcmp(a->uts, "host") != 0) {
        r = err_set(m->e, EINVAL, ERR_INVALID, "--uts: invalid mode %.100s (host)", a->uts);
    }
    m->pod->userns = str_eq(a->userns, "auto");
    return r;
}

static int step_logs(struct making *m)
{
    const char *driver = m->a->log_driver;
    m->ctr->log_format = ENGINE_LOG_JSON;
    if (str_eq(driver, "none")) {
        m->ctr->log_format = ENGINE_LOG_NONE;
    } else if (driver && strcmp(driver, "json-file") != 0) {
        return err_set(m->e, EINVAL, ERR_UNSUPPORTED, "log driver '%.100s' is not supported (json-file, none)", driver);
    }
    for (size_t i = 0; m->a->log_opt && m->a->log_opt[i]; i++) {
        const char *o = m->a->log_opt[i];
        uint64_t size;
        if (str_starts(o, "max-size=") && num_size(o + 9, &size) == 0 && size <= INT64_MAX) {
            m->ctr->log_max_size = (int64_t)size;
        } else if (!str_starts(o, "max-file=") || num_u32(o + 9, &m->ctr->log_max_files) < 0) {
            return err_set(m->e, EINVAL, ERR_INVALID, "unknown log opt '%.100s' (max-size=, max-file=)", o);
        }
    }
    return 0;
}

static bool valid_restart(const char *s)
{
    uint32_t n;
    return !s || !strcmp(s, "no") || !strcmp(s, "always") || !strcmp(s, "unless-stopped") || !strcmp(s, "on-failure") ||
           (str_starts(s, "on-failure:") && num_u32(s + 11, &n) == 0);
}

static int step_life(struct making *m)
{
    const struct run_args *a = m->a;
    int sig, r = a->stop_signal ? parse_signal(a->stop_signal, &sig, m->e) : 0;
    m->ctr->stop_timeout = a->stop_timeout;
    if (r == 0 && !valid_restart(a->restart)) {
        r = err_set(m->e, EINVAL, ERR_INVALID, "invalid restart policy '%.100s' (no, on-failure[:N], always, unless-stopped)", a->restart);
    }
    if (r == 0 && a->rm && a->restart && strcmp(a->restart, "no") != 0) {
        r = err_set(m->e, EINVAL, ERR_INVALID, "conflicting options: cannot specify both --restart and --rm");
    }
    if (r == 0) {
        r = dup_str(&m->ctr->stop_signal, a->stop_signal, m->e);
    }
    if (r == 0) {
        r = dup_str(&m->ctr->restart_policy, a->restart, m->e);
    }
    if (r == 0) {
        r = dup_str(&m->ctr->runtime, a->runtime, m->e);
    }
    if (r == 0) {
        r = dup_str(&m->ctr->detach_keys, a->detach_keys, m->e);
    }
    return r;
}

static int step_systemd(struct making *m)
{
    return run_in_unit(m->ctr, m->pod, m->e);
}

int run_specs(const struct cli *c, const struct run_args *a, int argc, char **argv, struct engine_ctr_spec *ctr,
              struct engine_pod_spec *pod, struct err *e)
{
    static int (*const steps[])(struct making *m) = {
        step_process, step_env,     step_labels,     step_mounts, step_devices, step_security, step_resources,
        step_network, step_names, step_namespaces, step_logs,   step_life,    step_systemd,
    };
    struct making m = { c, a, argc, argv, ctr, pod, e };
    pod->kind = ENGINE_POD_CONTAINER;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int r = steps[i](&m);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}
