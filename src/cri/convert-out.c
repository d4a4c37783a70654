/*
 * cri/convert-out.c: the engine's objects as packed answers. What the caller gave at creation is echoed as it was; messages are
 * put together from pointers into it, so nothing here owns anything but the result.
 */
#include "cri/convert-internal.h"

#include <ctype.h>
#include <stdio.h>

#include "base/num.h"

enum { MAP_MAX = 4096 };

V1(PodSandboxState) convert_pod_state(enum engine_pod_state s)
{
    return s == ENGINE_POD_READY ? RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY :
                                   RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
}

V1(ContainerState) convert_ctr_state(enum engine_ctr_state s)
{
    static const V1(ContainerState) table[] = {
        [ENGINE_CTR_CREATING] = RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED,
        [ENGINE_CTR_CREATED] = RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED,
        [ENGINE_CTR_RUNNING] = RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING,
        [ENGINE_CTR_PAUSED] = RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING,
        [ENGINE_CTR_EXITED] = RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED,
        [ENGINE_CTR_UNKNOWN] = RUNTIME__V1__CONTAINER_STATE__CONTAINER_UNKNOWN,
    };
    return (size_t)s < ARRAY_LEN(table) ? table[s] : RUNTIME__V1__CONTAINER_STATE__CONTAINER_UNKNOWN;
}

char *convert_signal_name(V1(Signal) s)
{
    if (s == RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT) {
        return NULL;
    }
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(V1_DESC(signal), (int)s);
    if (!v) {
        return NULL;
    }
    const char *plus = strstr(v->name, "PLUS"), *minus = strstr(v->name, "MINUS");
    if (plus) {
        return str_printf("%.*s+%s", (int)(plus - v->name), v->name, plus + 4);
    }
    return minus ? str_printf("%.*s-%s", (int)(minus - v->name), v->name, minus + 5) : strdup(v->name);
}

/* Numbers that people write into images. */
static const char *signal_by_number(uint32_t n)
{
    static const char *const names[] = {
        [1] = "SIGHUP", [2] = "SIGINT", [3] = "SIGQUIT", [6] = "SIGABRT", [9] = "SIGKILL", [10] = "SIGUSR1", [12] = "SIGUSR2",
        [13] = "SIGPIPE", [14] = "SIGALRM", [15] = "SIGTERM", [17] = "SIGCHLD", [18] = "SIGCONT", [19] = "SIGSTOP",
        [20] = "SIGTSTP", [28] = "SIGWINCH", [30] = "SIGPWR",
    };
    return n < ARRAY_LEN(names) ? names[n] : NULL;
}

V1(Signal) convert_signal(const char *name)
{
    char text[32] = "";
    size_t n = 0;
    uint32_t number = 0;
    if (str_empty(name)) {
        return RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT;
    }
    if (num_u32(name, &number) == 0) {
        name = signal_by_number(number);
        if (!name) {
            return RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT;
        }
    }
    if (strncasecmp(name, "SIG", 3) != 0) {
        n = (size_t)snprintf(text, sizeof(text), "SIG");
    }
    for (; *name && n < sizeof(text) - 6; name++) {
        if (*name == '+' || *name == '-') {
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", *name == '+' ? "PLUS" : "MINUS");
        } else {
            text[n++] = (char)toupper((unsigned char)*name);
        }
    }
    text[n] = '\0';
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value_by_name(V1_DESC(signal), text);
    return v ? (V1(Signal))v->value : RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT;
}

void convert_image_user(char *user, V1(Image) *image, V1(Int64Value) *uid)
{
    uint32_t n = 0;
    if (user) {
        user[strcspn(user, ":")] = '\0';
    }
    if (!str_empty(user) && num_u32(user, &n) < 0) {
        image->username = user;
        return;
    }
    V1_INIT(int64_value, uid);
    uid->value = n;
    image->uid = uid;
}

/* A message that lends a str_map's strings: entries are made here and freed with the holder. */
struct map_loan {
    struct pb_pair *pairs;
    void **v;
};

static void map_loan_done(struct map_loan *m)
{
    free(m->pairs);
    free(m->v);
}
#define CLEANUP_LOAN CLEANUP(map_loan_done)

static int map_lend(struct map_loan *l, const struct str_map *m, const ProtobufCMessageDescriptor *entry, size_t *ret_n, void *ret_v,
                    struct err *e)
{
    size_t n = m->n < MAP_MAX ? m->n : MAP_MAX;
    if (n == 0) {
        return 0;
    }
    l->pairs = calloc(n, sizeof(*l->pairs));
    l->v = calloc(n, sizeof(*l->v));
    if (!l->pairs || !l->v) {
        return err_oom(e);
    }
    for (size_t i = 0; i < n; i++) {
        protobuf_c_message_init(entry, &l->pairs[i]);
        l->pairs[i].key = m->v[i].key;
        l->pairs[i].value = m->v[i].value;
        l->v[i] = &l->pairs[i];
    }
    *ret_n = n;
    *(void **)ret_v = l->v;
    return 0;
}

static char *or_empty(const char *s)
{
    return (char *)(uintptr_t)(s ? s : "");
}

static void pod_metadata(const struct engine_pod *p, V1(PodSandboxMetadata) *m)
{
    V1_INIT(pod_sandbox_metadata, m);
    m->name = or_empty(p->spec.name);
    m->uid = or_empty(p->spec.uid);
    m->namespace_ = or_empty(p->spec.k8s_namespace);
    m->attempt = p->spec.attempt;
}

static int pack(const void *m, struct buf *ret, struct err *e)
{
    pb_pack(m, ret);
    return buf_failed(ret) ? err_oom(e) : 0;
}

int convert_pod_item(const struct engine_pod *p, const V1(PodSandboxConfig) *config, struct buf *ret, struct err *e)
{
    (void)config;
    V1(PodSandboxMetadata) meta;
    V1(PodSandbox) m;
    CLEANUP_LOAN struct map_loan labels = { 0 };
    CLEANUP_LOAN struct map_loan annotations = { 0 };
    V1_INIT(pod_sandbox, &m);
    pod_metadata(p, &meta);
    m.id = p->id;
    m.metadata = &meta;
    m.state = convert_pod_state(p->state);
    m.created_at = p->created_at;
    m.runtime_handler = or_empty(p->spec.runtime_handler);
    int r = map_lend(&labels, &p->spec.labels, V1_DESC(pod_sandbox__labels_entry), &m.n_labels, &m.labels, e);
    if (r == 0) {
        r = map_lend(&annotations, &p->spec.annotations, V1_DESC(pod_sandbox__annotations_entry), &m.n_annotations, &m.annotations, e);
    }
    return r < 0 ? r : pack(&m, ret, e);
}

static V1(NamespaceMode) mode_of(enum engine_ns_mode m)
{
    static const V1(NamespaceMode) table[] = {
        [ENGINE_NS_POD] = RUNTIME__V1__NAMESPACE_MODE__POD, [ENGINE_NS_CONTAINER] = RUNTIME__V1__NAMESPACE_MODE__CONTAINER,
        [ENGINE_NS_HOST] = RUNTIME__V1__NAMESPACE_MODE__NODE, [ENGINE_NS_TARGET] = RUNTIME__V1__NAMESPACE_MODE__TARGET,
    };
    return table[m];
}

static int pod_ips(const struct engine_pod *p, V1(PodSandboxNetworkStatus) *net, V1(PodIP) **ret_ips, V1(PodIP) ***ret_v, struct err *e)
{
    size_t n = strv_len(p->ips);
    if (n == 0 || p->spec.net == ENGINE_NS_HOST) {
        return 0;
    }
    net->ip = p->ips[0];
    *ret_ips = calloc(n, sizeof(**ret_ips));
    *ret_v = calloc(n, sizeof(**ret_v));
    if (!*ret_ips || !*ret_v) {
        return err_oom(e);
    }
    for (size_t i = 1; i < n; i++) {
        V1_INIT(pod_ip, &(*ret_ips)[i]);
        (*ret_ips)[i].ip = p->ips[i];
        (*ret_v)[i - 1] = &(*ret_ips)[i];
    }
    net->n_additional_ips = n - 1;
    net->additional_ips = *ret_v;
    return 0;
}

int convert_pod_status(const struct engine_pod *p, const V1(PodSandboxConfig) *config, struct buf *ret, struct err *e)
{
    V1(PodSandboxMetadata) meta;
    V1(PodSandboxNetworkStatus) net;
    V1(LinuxPodSandboxStatus) lin;
    V1(Namespace) ns;
    V1(NamespaceOption) own;
    V1(PodSandboxStatus) m;
    CLEANUP_LOAN struct map_loan labels = { 0 };
    CLEANUP_LOAN struct map_loan annotations = { 0 };
    CLEANUP_FREE V1(PodIP) *ips = NULL;
    CLEANUP_FREE V1(PodIP) **ips_v = NULL;
    V1_INIT(pod_sandbox_status, &m);
    V1_INIT(pod_sandbox_network_status, &net);
    V1_INIT(linux_pod_sandbox_status, &lin);
    V1_INIT(namespace, &ns);
    V1_INIT(namespace_option, &own);
    pod_metadata(p, &meta);
    const V1(LinuxSandboxSecurityContext) *sc = config && config->linux ? config->linux->security_context : NULL;
    own.network = mode_of(p->spec.net);
    own.ipc = mode_of(p->spec.ipc);
    own.pid = mode_of(p->spec.pid);
    ns.options = sc && sc->namespace_options ? sc->namespace_options : &own;
    lin.namespaces = &ns;
    m.id = p->id;
    m.metadata = &meta;
    m.state = convert_pod_state(p->state);
    m.created_at = p->created_at;
    m.network = &net;
    m.linux = &lin;
    m.runtime_handler = or_empty(p->spec.runtime_handler);
    int r = pod_ips(p, &net, &ips, &ips_v, e);
    if (r == 0) {
        r = map_lend(&labels, &p->spec.labels, V1_DESC(pod_sandbox_status__labels_entry), &m.n_labels, &m.labels, e);
    }
    if (r == 0) {
        r = map_lend(&annotations, &p->spec.annotations, V1_DESC(pod_sandbox_status__annotations_entry), &m.n_annotations,
                     &m.annotations, e);
    }
    return r < 0 ? r : pack(&m, ret, e);
}

/* The caller's image spec, under the name that the image has. */
static void ctr_image(const struct engine_ctr *c, const V1(ContainerConfig) *config, const char *name, V1(ImageSpec) *m)
{
    V1_INIT(image_spec, m);
    if (config && config->image) {
        *m = *config->image;
    }
    m->image = or_empty(name);
    (void)c;
}

static void ctr_metadata(const struct engine_ctr *c, V1(ContainerMetadata) *m)
{
    V1_INIT(container_metadata, m);
    m->name = or_empty(c->spec.name);
    m->attempt = c->spec.attempt;
}

int convert_ctr_item(const struct engine_ctr *c, const V1(ContainerConfig) *config, const char *image_name, struct buf *ret,
                     struct err *e)
{
    V1(ContainerMetadata) meta;
    V1(ImageSpec) image;
    V1(Container) m;
    CLEANUP_LOAN struct map_loan labels = { 0 };
    CLEANUP_LOAN struct map_loan annotations = { 0 };
    V1_INIT(container, &m);
    ctr_metadata(c, &meta);
    ctr_image(c, config, image_name, &image);
    m.id = c->id;
    m.pod_sandbox_id = or_empty(c->pod_id);
    m.metadata = &meta;
    m.image = &image;
    m.image_ref = m.image_id = or_empty(c->image_id);
    m.state = convert_ctr_state(c->state);
    m.created_at = c->created_at;
    int r = map_lend(&labels, &c->spec.labels, V1_DESC(container__labels_entry), &m.n_labels, &m.labels, e);
    if (r == 0) {
        r = map_lend(&annotations, &c->spec.annotations, V1_DESC(container__annotations_entry), &m.n_annotations, &m.annotations, e);
    }
    return r < 0 ? r : pack(&m, ret, e);
}

/* ---- status of a container ------------------------------------------------------------------- */

struct status_parts {
    V1(ContainerMetadata) meta;
    V1(ImageSpec) image;
    V1(ContainerUser) user;
    V1(LinuxContainerUser) user_linux;
    V1(ContainerResources) resources;
    V1(LinuxContainerResources) lin;
    struct map_loan labels, annotations, unified;
    int64_t *groups;
};

static void parts_done(struct status_parts *p)
{
    map_loan_done(&p->labels);
    map_loan_done(&p->annotations);
    map_loan_done(&p->unified);
    free(p->groups);
}

static int status_user(const struct engine_ctr *c, struct status_parts *p, V1(ContainerStatus) *m, struct err *e)
{
    V1_INIT(container_user, &p->user);
    V1_INIT(linux_container_user, &p->user_linux);
    p->groups = c->groups.n > 0 ? calloc(c->groups.n, sizeof(*p->groups)) : NULL;
    if (c->groups.n > 0 && !p->groups) {
        return err_oom(e);
    }
    for (size_t i = 0; i < c->groups.n; i++) {
        p->groups[i] = c->groups.v[i];
    }
    p->user_linux.uid = c->uid;
    p->user_linux.gid = c->gid;
    p->user_linux.n_supplemental_groups = c->groups.n;
    p->user_linux.supplemental_groups = p->groups;
    p->user.linux = &p->user_linux;
    m->user = &p->user;
    return 0;
}

static int status_resources(const struct engine_ctr *c, const V1(ContainerConfig) *config, struct status_parts *p,
                            V1(ContainerStatus) *m, struct err *e)
{
    const struct engine_resources *s = &c->spec.resources;
    V1_INIT(container_resources, &p->resources);
    V1_INIT(linux_container_resources, &p->lin);
    if (config && config->linux && config->linux->resources) {
        p->lin = *config->linux->resources; /* huge pages are shown as they were given */
    }
    p->lin.cpu_period = s->cpu_period;
    p->lin.cpu_quota = s->cpu_quota;
    p->lin.cpu_shares = s->cpu_shares;
    p->lin.memory_limit_in_bytes = s->memory_limit;
    p->lin.memory_swap_limit_in_bytes = s->memory_swap;
    p->lin.oom_score_adj = s->oom_score_adj;
    p->lin.cpuset_cpus = or_empty(s->cpuset_cpus);
    p->lin.cpuset_mems = or_empty(s->cpuset_mems);
    p->lin.n_unified = 0;
    p->lin.unified = NULL;
    p->resources.linux = &p->lin;
    m->resources = &p->resources;
    return map_lend(&p->unified, &s->unified, V1_DESC(linux_container_resources__unified_entry), &p->lin.n_unified, &p->lin.unified, e);
}

static const char *exit_reason(const struct engine_ctr *c)
{
    if (c->oom_killed) {
        return "OOMKilled";
    }
    if (!str_empty(c->reason)) {
        return c->reason;
    }
    return c->exit_code == 0 ? "Completed" : "Error";
}

static void status_life(const struct engine_ctr *c, V1(ContainerStatus) *m)
{
    m->state = convert_ctr_state(c->state);
    m->created_at = c->created_at;
    m->started_at = c->started_at;
    m->message = or_empty(c->message);
    m->reason = or_empty("");
    if (c->state == ENGINE_CTR_EXITED) {
        m->finished_at = c->finished_at;
        m->exit_code = c->exit_code;
        m->reason = or_empty(exit_reason(c));
    }
}

int convert_ctr_status(const struct engine_ctr *c, const V1(ContainerConfig) *config, const char *image_name, struct buf *ret,
                       struct err *e)
{
    CLEANUP(parts_done) struct status_parts p = { 0 };
    V1(ContainerStatus) m;
    V1_INIT(container_status, &m);
    ctr_metadata(c, &p.meta);
    ctr_image(c, config, image_name, &p.image);
    status_life(c, &m);
    m.id = c->id;
    m.metadata = &p.meta;
    m.image = &p.image;
    m.image_ref = m.image_id = or_empty(c->image_id);
    m.log_path = or_empty(c->log_path ? c->log_path : c->spec.log_path);
    m.stop_signal = convert_signal(c->spec.stop_signal);
    if (m.stop_signal == RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT) {
        m.stop_signal = RUNTIME__V1__SIGNAL__SIGTERM;
    }
    if (config) {
        m.n_mounts = config->n_mounts;
        m.mounts = config->mounts;
    }
    int r = status_user(c, &p, &m, e);
    r = r < 0 ? r : status_resources(c, config, &p, &m, e);
    r = r < 0 ? r : map_lend(&p.labels, &c->spec.labels, V1_DESC(container_status__labels_entry), &m.n_labels, &m.labels, e);
    r = r < 0 ? r :
                map_lend(&p.annotations, &c->spec.annotations, V1_DESC(container_status__annotations_entry), &m.n_annotations,
                         &m.annotations, e);
    return r < 0 ? r : pack(&m, ret, e);
}
