/* cri/convert.c: what a request says of a pod, as the engine wants it. See convert.h; containers are in convert-ctr.c. */
#include "cri/convert.h"

#include "cri/convert-internal.h"

#include <errno.h>
#include <stdio.h>

enum { HOSTNAME_MAX = 64, NAME_MAX_LEN = 253 };

int bad_field(struct err *e, const char *field, const char *why)
{
    return err_set(e, EINVAL, ERR_INVALID, "%s: %s", field, why);
}

int copy_str(char **to, const char *from, struct err *e)
{
    if (str_empty(from)) {
        return 0;
    }
    free(*to);
    *to = strdup(from);
    return *to ? 0 : err_oom(e);
}

int copy_strs(char ***to, size_t n, char *const *from, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (strv_push(to, from[i]) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

int ns_mode(V1(NamespaceMode) mode, unsigned allowed, const char *field, enum engine_ns_mode *ret, struct err *e)
{
    static const enum engine_ns_mode table[] = { ENGINE_NS_POD, ENGINE_NS_CONTAINER, ENGINE_NS_HOST, ENGINE_NS_TARGET };
    static const char *const names[] = { "POD", "CONTAINER", "NODE", "TARGET" };
    if ((unsigned)mode >= ARRAY_LEN(table)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s: unknown namespace mode %d", field, (int)mode);
    }
    if (!(allowed & 1u << mode)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s: mode %s is not supported here", field, names[mode]);
    }
    *ret = table[mode];
    return 0;
}

int convert_resources(const V1(LinuxContainerResources) *r, const char *field, struct engine_resources *ret, struct err *e)
{
    if (!r) {
        return 0;
    }
    if (r->cpu_period < 0 || r->cpu_shares < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "%s.%s: is negative", field, r->cpu_period < 0 ? "cpu_period" : "cpu_shares");
    }
    if (r->oom_score_adj < -1000 || r->oom_score_adj > 1000) {
        return err_set(e, EINVAL, ERR_INVALID, "%s.oom_score_adj: %lld is not between -1000 and 1000", field,
                       (long long)r->oom_score_adj);
    }
    ret->cpu_period = r->cpu_period;
    ret->cpu_quota = r->cpu_quota;
    ret->cpu_shares = r->cpu_shares;
    ret->memory_limit = r->memory_limit_in_bytes;
    ret->memory_swap = r->memory_swap_limit_in_bytes;
    ret->oom_score_adj = r->oom_score_adj;
    ret->has_oom_score_adj = r->oom_score_adj != 0;
    for (size_t i = 0; i < r->n_hugepage_limits; i++) {
        char limit[24];
        (void)snprintf(limit, sizeof(limit), "%llu", (unsigned long long)r->hugepage_limits[i]->limit);
        if (str_empty(r->hugepage_limits[i]->page_size)) {
            return err_set(e, EINVAL, ERR_INVALID, "%s.hugepage_limits[%zu].page_size: is required", field, i);
        }
        if (str_map_set(&ret->hugepages, r->hugepage_limits[i]->page_size, limit) < 0) {
            return err_oom(e);
        }
    }
    if (pb_map_copy(&ret->unified, r->n_unified, r->unified) < 0 || copy_str(&ret->cpuset_cpus, r->cpuset_cpus, e) < 0 ||
        copy_str(&ret->cpuset_mems, r->cpuset_mems, e) < 0) {
        return err_oom(e);
    }
    return 0;
}

static int pod_ports(const V1(PodSandboxConfig) *config, struct engine_pod_spec *ret, struct err *e)
{
    static const char *const protocols[] = { "tcp", "udp", "sctp" };
    if (config->n_port_mappings == 0) {
        return 0;
    }
    ret->ports.v = calloc(config->n_port_mappings, sizeof(*ret->ports.v));
    if (!ret->ports.v) {
        return err_oom(e);
    }
    for (size_t i = 0; i < config->n_port_mappings; i++) {
        const V1(PortMapping) *m = config->port_mappings[i];
        struct engine_port *p = &ret->ports.v[ret->ports.n];
        if (m->container_port < 1 || m->container_port > 65535) {
            return err_set(e, EINVAL, ERR_INVALID, "config.port_mappings[%zu].container_port: %d is no port", i, m->container_port);
        }
        if (m->host_port < 0 || m->host_port > 65535) {
            return err_set(e, EINVAL, ERR_INVALID, "config.port_mappings[%zu].host_port: %d is no port", i, m->host_port);
        }
        if ((size_t)m->protocol >= ARRAY_LEN(protocols)) {
            return err_set(e, EINVAL, ERR_INVALID, "config.port_mappings[%zu].protocol: unknown protocol %d", i, (int)m->protocol);
        }
        if (m->host_port == 0) {
            continue; /* told for information only */
        }
        p->container_port = (uint16_t)m->container_port;
        p->host_port = (uint16_t)m->host_port;
        p->protocol = strdup(protocols[m->protocol]);
        ret->ports.n++;
        if (!p->protocol || copy_str(&p->host_ip, m->host_ip, e) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int id_map(const V1(IDMapping) *m, const char *field, struct engine_id_map *ret, struct err *e)
{
    if (m->length == 0) {
        return err_set(e, EINVAL, ERR_INVALID, "%s.length: is zero", field);
    }
    if (m->container_id != 0) {
        return err_set(e, EINVAL, ERR_INVALID, "%s.container_id: has to be 0, else the container would have no root", field);
    }
    *ret = (struct engine_id_map){ .container_id = m->container_id, .host_id = m->host_id, .length = m->length };
    return 0;
}

static int pod_userns(const V1(UserNamespace) *u, struct engine_pod_spec *ret, struct err *e)
{
#define USERNS "config.linux.security_context.namespace_options.userns_options"
    if (!u || u->mode == RUNTIME__V1__NAMESPACE_MODE__NODE) {
        return u && (u->n_uids > 0 || u->n_gids > 0) ? bad_field(e, USERNS, "mappings are for mode POD only") : 0;
    }
    if (u->mode != RUNTIME__V1__NAMESPACE_MODE__POD) {
        return bad_field(e, USERNS ".mode", "only POD and NODE are supported");
    }
    if (u->n_uids != 1 || u->n_gids != 1) {
        return bad_field(e, u->n_uids != 1 ? USERNS ".uids" : USERNS ".gids", "exactly one mapping is supported");
    }
    ret->uid_map.v = calloc(1, sizeof(*ret->uid_map.v));
    ret->gid_map.v = calloc(1, sizeof(*ret->gid_map.v));
    if (!ret->uid_map.v || !ret->gid_map.v) {
        return err_oom(e);
    }
    ret->userns = true;
    ret->uid_map.n = ret->gid_map.n = 1;
    int r = id_map(u->uids[0], USERNS ".uids[0]", ret->uid_map.v, e);
    if (r == 0) {
        r = id_map(u->gids[0], USERNS ".gids[0]", ret->gid_map.v, e);
    }
    if (r == 0 && (ret->uid_map.v->length != ret->gid_map.v->length || ret->uid_map.v->host_id != ret->gid_map.v->host_id)) {
        r = bad_field(e, USERNS, "uids and gids have to be mapped alike");
    }
    return r;
#undef USERNS
}

static int pod_namespaces(const V1(LinuxPodSandboxConfig) *l, struct engine_pod_spec *ret, struct err *e)
{
    const V1(LinuxSandboxSecurityContext) *s = l ? l->security_context : NULL;
    const V1(NamespaceOption) *o = s ? s->namespace_options : NULL;
    ret->privileged = s && s->privileged;
    if (!o) {
        ret->net = ret->ipc = ENGINE_NS_POD;
        ret->pid = ENGINE_NS_CONTAINER;
        return 0;
    }
#define MODE(m) (1u << RUNTIME__V1__NAMESPACE_MODE__##m)
#define FIELD "config.linux.security_context.namespace_options."
    int r = ns_mode(o->network, MODE(POD) | MODE(NODE), FIELD "network", &ret->net, e);
    if (r == 0) {
        r = ns_mode(o->ipc, MODE(POD) | MODE(NODE), FIELD "ipc", &ret->ipc, e);
    }
    if (r == 0) {
        r = ns_mode(o->pid, MODE(POD) | MODE(CONTAINER) | MODE(NODE), FIELD "pid", &ret->pid, e);
    }
    return r < 0 ? r : pod_userns(o->userns_options, ret, e);
#undef MODE
#undef FIELD
}

static int pod_linux(const V1(LinuxPodSandboxConfig) *l, struct engine_pod_spec *ret, struct err *e)
{
    if (!l) {
        return 0;
    }
    if (pb_map_copy(&ret->sysctls, l->n_sysctls, l->sysctls) < 0 || copy_str(&ret->cgroup_parent, l->cgroup_parent, e) < 0) {
        return err_oom(e);
    }
    int r = convert_resources(l->resources, "config.linux.resources", &ret->resources, e);
    return r < 0 ? r : convert_resources(l->overhead, "config.linux.overhead", &ret->overhead, e);
}

static int pod_names(const V1(PodSandboxConfig) *config, const char *handler, struct engine_pod_spec *ret, struct err *e)
{
    const V1(PodSandboxMetadata) *m = config->metadata;
    if (!m) {
        return bad_field(e, "config.metadata", "is required");
    }
    const struct {
        const char *value, *field;
        bool required;
        size_t max;
        char **to;
    } names[] = {
        { m->name, "config.metadata.name", true, NAME_MAX_LEN, &ret->name },
        { m->uid, "config.metadata.uid", true, NAME_MAX_LEN, &ret->uid },
        { m->namespace_, "config.metadata.namespace", true, NAME_MAX_LEN, &ret->k8s_namespace },
        { config->hostname, "config.hostname", false, HOSTNAME_MAX, &ret->hostname },
        { config->log_directory, "config.log_directory", false, 4095, &ret->log_directory },
        { handler, "runtime_handler", false, NAME_MAX_LEN, &ret->runtime_handler },
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].required && str_empty(names[i].value)) {
            return bad_field(e, names[i].field, "is required");
        }
        if (strlen(names[i].value) > names[i].max) {
            return err_set(e, ENAMETOOLONG, ERR_INVALID, "%s: is longer than %zu bytes", names[i].field, names[i].max);
        }
        int r = copy_str(names[i].to, names[i].value, e);
        if (r < 0) {
            return r;
        }
    }
    ret->attempt = m->attempt;
    return ret->log_directory && ret->log_directory[0] != '/' ? bad_field(e, "config.log_directory", "is no absolute path") : 0;
}

int convert_pod(const V1(PodSandboxConfig) *config, const char *handler, struct engine_pod_spec *ret, struct err *e)
{
    ret->kind = ENGINE_POD_SANDBOX;
    if (!config) {
        return bad_field(e, "config", "is required");
    }
    int r = pod_names(config, handler, ret, e);
    if (r == 0) {
        r = pod_ports(config, ret, e);
    }
    if (r == 0) {
        r = pod_namespaces(config->linux, ret, e);
    }
    if (r == 0) {
        r = pod_linux(config->linux, ret, e);
    }
    if (r < 0) {
        return r;
    }
    if (pb_map_copy(&ret->labels, config->n_labels, config->labels) < 0 ||
        pb_map_copy(&ret->annotations, config->n_annotations, config->annotations) < 0) {
        return err_oom(e);
    }
    if (config->dns_config) {
        const V1(DNSConfig) *d = config->dns_config;
        ret->has_dns = d->n_servers > 0 || d->n_searches > 0 || d->n_options > 0;
        if (copy_strs(&ret->dns_servers, d->n_servers, d->servers, e) < 0 ||
            copy_strs(&ret->dns_searches, d->n_searches, d->searches, e) < 0 ||
            copy_strs(&ret->dns_options, d->n_options, d->options, e) < 0) {
            return err_oom(e);
        }
    }
    CLEANUP_BUF struct buf packed = { 0 };
    pb_pack(config, &packed);
    if (buf_failed(&packed)) {
        return err_oom(e);
    }
    ret->cri_config_len = packed.len;
    ret->cri_config = buf_steal(&packed);
    return 0;
}
