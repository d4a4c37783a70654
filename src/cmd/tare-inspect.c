/* cmd/tare-inspect.c: docker's JSON of containers, images, pods and volumes. */
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/tmpl.h"

#include <errno.h>
#include <stdio.h>

struct inspect_args {
    const char *format, *type;
    bool size;
};

static json_t *text(const char *s)
{
    return json_string(s ? s : "");
}

static json_t *state_of(const struct engine_ctr *t)
{
    bool running = t->state == ENGINE_CTR_RUNNING || t->state == ENGINE_CTR_PAUSED;
    return json_pack("{s:s,s:b,s:b,s:b,s:b,s:b,s:i,s:i,s:s,s:s,s:o,s:o}", "Status", engine_ctr_state_name(t->state), "Running", running,
                     "Paused", t->state == ENGINE_CTR_PAUSED, "Restarting", 0, "OOMKilled", t->oom_killed, "Dead", 0, "Pid",
                     running ? t->pid : 0, "ExitCode", t->exit_code, "Error", t->message ? t->message : "", "Reason",
                     t->reason ? t->reason : "", "StartedAt", cli_when(t->started_at), "FinishedAt", cli_when(t->finished_at));
}

static json_t *mounts_of(const struct engine_ctr *t)
{
    static const char *const kinds[] = { "bind", "tmpfs", "volume", "image" };
    json_t *list = json_array();
    for (size_t i = 0; i < t->spec.mounts.n; i++) {
        const struct engine_mount *m = &t->spec.mounts.v[i];
        json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:b,s:s}", "Type", kinds[m->kind], "Source", m->source ? m->source : "", "Destination",
                              m->target, "Mode", m->options ? m->options : "", "RW", !m->readonly, "Propagation",
                              m->propagation ? m->propagation : "rprivate");
        if (m->kind == ENGINE_MOUNT_VOLUME) {
            json_object_set_new(o, "Name", text(m->source));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *config_of(const struct engine_ctr *t, const struct engine_pod *p)
{
    const struct engine_ctr_spec *s = &t->spec;
    json_t *o = json_pack("{s:s,s:s,s:s,s:b,s:b,s:b}", "Hostname", p && p->spec.hostname ? p->spec.hostname : "", "Domainname",
                          p && p->spec.domainname ? p->spec.domainname : "", "User", s->user ? s->user : "", "Tty", s->tty, "OpenStdin",
                          s->stdin_open, "StdinOnce", s->stdin_once);
    json_object_set_new(o, "Env", cli_strs(s->env));
    json_object_set_new(o, "Cmd", cli_strs(s->command));
    json_object_set_new(o, "Entrypoint", s->has_entrypoint ? cli_strs(s->entrypoint) : json_null());
    json_object_set_new(o, "Image", text(s->image));
    json_object_set_new(o, "WorkingDir", text(s->working_dir));
    json_object_set_new(o, "Labels", cli_map(&s->labels));
    json_object_set_new(o, "Annotations", cli_map(&s->annotations));
    json_object_set_new(o, "StopSignal", text(s->stop_signal));
    return o;
}

static json_t *ports_of(const struct engine_pod *p)
{
    json_t *o = json_object();
    for (size_t i = 0; p && i < p->spec.ports.n; i++) {
        const struct engine_port *q = &p->spec.ports.v[i];
        char key[32], port[8];
        snprintf(key, sizeof(key), "%u/%s", q->container_port, q->protocol);
        snprintf(port, sizeof(port), "%u", q->host_port);
        json_t *list = json_object_get(o, key);
        if (!list) {
            json_object_set_new(o, key, json_array());
            list = json_object_get(o, key);
        }
        json_array_append_new(list, json_pack("{s:s,s:s}", "HostIp", str_empty(q->host_ip) ? "0.0.0.0" : q->host_ip, "HostPort", port));
    }
    return o;
}

static const char *network_mode(const struct engine_pod *p)
{
    if (!p || p->spec.net == ENGINE_NS_POD) {
        return p && p->spec.network ? p->spec.network : "bridge";
    }
    return p->spec.net == ENGINE_NS_HOST ? "host" : "container";
}

static json_t *restart_of(const char *policy)
{
    const char *s = policy ? policy : "no";
    size_t n = strcspn(s, ":");
    return json_pack("{s:s#,s:i}", "Name", s, (int)n, "MaximumRetryCount", s[n] ? (int)strtol(s + n + 1, NULL, 10) : 0);
}

static json_t *host_config_of(const struct engine_ctr *t, const struct engine_pod *p)
{
    const struct engine_ctr_spec *s = &t->spec;
    const struct engine_resources *r = &s->resources;
    json_t *o = json_pack("{s:s,s:b,s:b,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "NetworkMode", network_mode(p), "AutoRemove",
                          s->auto_remove, "Privileged", s->privileged, "ReadonlyRootfs", s->readonly_rootfs, "Init", s->init, "Memory",
                          (json_int_t)r->memory_limit, "MemorySwap", (json_int_t)r->memory_swap, "MemoryReservation",
                          (json_int_t)r->memory_reservation, "CpuShares", (json_int_t)r->cpu_shares, "CpuPeriod",
                          (json_int_t)r->cpu_period, "CpuQuota", (json_int_t)r->cpu_quota, "PidsLimit", (json_int_t)r->pids_limit);
    json_object_set_new(o, "NanoCpus",
                        json_integer(r->cpu_period > 0 && r->cpu_quota > 0 ? r->cpu_quota * 1000000000 / r->cpu_period : 0));
    json_object_set_new(o, "CpusetCpus", text(r->cpuset_cpus));
    json_object_set_new(o, "CpusetMems", text(r->cpuset_mems));
    json_object_set_new(o, "CapAdd", s->cap_add ? cli_strs(s->cap_add) : json_null());
    json_object_set_new(o, "CapDrop", s->cap_drop ? cli_strs(s->cap_drop) : json_null());
    json_object_set_new(o, "PortBindings", ports_of(p));
    json_object_set_new(o, "RestartPolicy", restart_of(s->restart_policy));
    json_object_set_new(o, "Runtime", json_string(s->runtime ? s->runtime : "tare"));
    json_object_set_new(o, "CgroupParent", text(p ? p->spec.cgroup_parent : NULL));
    json_object_set_new(o, "LogConfig", json_pack("{s:s}", "Type", s->log_format == ENGINE_LOG_NONE ? "none"
                                                                   : s->log_format == ENGINE_LOG_CRI ? "cri" : "json-file"));
    return o;
}

json_t *inspect_ctr(struct cli *c, const struct engine_ctr *t)
{
    struct engine_pod *p = NULL;
    struct err e = { 0 };
    CLEANUP_FREE char *name = str_printf("/%s", t->spec.name ? t->spec.name : "");
    if (t->pod_id && engine_pod_get(c->g, t->pod_id, &p, &e) < 0) {
        p = NULL;
    }
    json_t *o = json_pack("{s:s,s:o,s:s,s:o}", "Id", t->id, "Created", cli_when(t->created_at), "Path",
                          t->args && t->args[0] ? t->args[0] : "", "Args", cli_strs(t->args && t->args[0] ? t->args + 1 : NULL));
    json_object_set_new(o, "State", state_of(t));
    json_object_set_new(o, "Image", text(t->image_id));
    json_object_set_new(o, "ImageName", text(t->image_name));
    json_object_set_new(o, "Pod", text(t->pod_id));
    json_object_set_new(o, "LogPath", text(t->log_path));
    json_object_set_new(o, "Name", text(name));
    json_object_set_new(o, "RestartCount", json_integer(t->restart_count));
    json_object_set_new(o, "Platform", json_string("linux"));
    json_object_set_new(o, "HostConfig", host_config_of(t, p));
    json_object_set_new(o, "Mounts", mounts_of(t));
    json_object_set_new(o, "Config", config_of(t, p));
    const char *ip = p && p->ips && p->ips[0] ? p->ips[0] : "";
    json_t *net = json_pack("{s:s,s:s,s:o,s:{s:{s:s}}}", "SandboxKey", p && p->netns_path ? p->netns_path : "", "IPAddress", ip, "Ports",
                            ports_of(p), "Networks", network_mode(p), "IPAddress", ip);
    json_object_set_new(o, "NetworkSettings", net);
    engine_pod_free(p);
    return o;
}

json_t *inspect_pod(const struct engine_pod *p)
{
    static const char *const states[] = { "creating", "ready", "notready" };
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:o}", "Id", p->id, "Name", p->spec.name ? p->spec.name : "", "Namespace",
                          p->spec.k8s_namespace ? p->spec.k8s_namespace : "", "Uid", p->spec.uid ? p->spec.uid : "", "Attempt",
                          (int)p->spec.attempt, "State", states[p->state], "Created", cli_when(p->created_at));
    json_object_set_new(o, "Hostname", text(p->spec.hostname));
    json_object_set_new(o, "Labels", cli_map(&p->spec.labels));
    json_object_set_new(o, "Annotations", cli_map(&p->spec.annotations));
    json_object_set_new(o, "NetworkMode", json_string(network_mode(p)));
    json_object_set_new(o, "IPs", cli_strs(p->ips));
    json_object_set_new(o, "NetNS", text(p->netns_path));
    json_object_set_new(o, "Ports", ports_of(p));
    return o;
}

json_t *inspect_image(struct cli *c, const struct engine_image *i)
{
    struct err e = { 0 };
    CLEANUP_FREE char *config = NULL, *manifest = NULL;
    json_t *doc = engine_image_config(c->g, i->id, &config, &manifest, &e) == 0 ? json_loads(config, 0, NULL) : NULL;
    json_t *o = json_pack("{s:s,s:o,s:o,s:o,s:I}", "Id", i->id, "RepoTags", cli_strs(i->tags), "RepoDigests", cli_strs(i->digests),
                          "Created", cli_when(i->created_at), "Size", (json_int_t)i->size);
    static const char *const copied[][2] = { { "config", "Config" }, { "author", "Author" }, { "history", "History" } };
    for (size_t k = 0; k < ARRAY_LEN(copied); k++) {
        json_t *v = json_object_get(doc, copied[k][0]);
        json_object_set(o, copied[k][1], v ? v : json_null());
    }
    json_object_set_new(o, "Os", text(i->os));
    json_object_set_new(o, "Architecture", text(i->architecture));
    json_object_set_new(o, "Variant", text(i->variant));
    json_t *layers = json_object_get(json_object_get(doc, "rootfs"), "diff_ids");
    json_object_set_new(o, "RootFS", json_pack("{s:s,s:O?}", "Type", "layers", "Layers", layers));
    json_decref(doc);
    return o;
}

json_t *inspect_volume(const struct engine_volume *v)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:o}", "Name", v->name, "Driver", "local", "Mountpoint", v->path, "Scope", "local",
                     "CreatedAt", cli_when(v->created_at), "Labels", cli_map(&v->labels), "Options", cli_map(&v->options));
}

int inspect_print(struct cli *c, const char *format, json_t *list)
{
    CLEANUP_BUF struct buf out = { 0 };
    struct err e = { 0 };
    int r = 0;
    if (!format || strcmp(format, "json") == 0) {
        CLEANUP_FREE char *s = json_dumps(list, format ? JSON_COMPACT : JSON_INDENT(4));
        buf_addf(&out, "%s\n", s ? s : "[]");
    }
    for (size_t i = 0; r == 0 && format && strcmp(format, "json") != 0 && i < json_array_size(list); i++) {
        r = tmpl_run(format, json_array_get(list, i), &out, &e);
        buf_addc(&out, '\n');
    }
    json_decref(list);
    return r < 0 ? cli_fail(c, &e, 1) : cli_put(&out);
}

/* ---- the kinds, in the order in which a name is looked for ------------------------------------- */

typedef json_t *find_fn(struct cli *c, const char *ref, struct err *e);

static json_t *find_ctr(struct cli *c, const char *ref, struct err *e)
{
    struct engine_ctr *t = NULL;
    json_t *o = engine_ctr_get(c->g, ref, &t, e) == 0 ? inspect_ctr(c, t) : NULL;
    engine_ctr_free(t);
    return o;
}

static json_t *find_image(struct cli *c, const char *ref, struct err *e)
{
    struct engine_image *i = NULL;
    json_t *o = engine_image_get(c->g, ref, &i, e) == 0 ? inspect_image(c, i) : NULL;
    engine_image_free(i);
    return o;
}

static json_t *find_pod(struct cli *c, const char *ref, struct err *e)
{
    struct engine_pod *p = NULL;
    json_t *o = engine_pod_get(c->g, ref, &p, e) == 0 ? inspect_pod(p) : NULL;
    engine_pod_free(p);
    return o;
}

static json_t *find_volume(struct cli *c, const char *ref, struct err *e)
{
    struct engine_volume *v = NULL;
    json_t *o = engine_volume_get(c->g, ref, &v, e) == 0 ? inspect_volume(v) : NULL;
    engine_volume_free(v);
    return o;
}

static const struct {
    const char *name;
    find_fn *fn;
} kinds[] = { { "container", find_ctr }, { "pod", find_pod }, { "image", find_image }, { "volume", find_volume } };

static json_t *find(struct cli *c, const char *type, const char *ref, struct err *e)
{
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (type && strcmp(type, kinds[i].name) != 0) {
            continue;
        }
        known = true;
        err_clear(e);
        json_t *o = kinds[i].fn(c, ref, e);
        if (o || e->kind != ERR_NOT_FOUND) {
            return o;
        }
    }
    if (!known) {
        err_set(e, EINVAL, ERR_INVALID, "\"%.40s\" is not a valid value for --type (container, pod, image, volume)", type);
    } else if (!type) {
        err_set(e, ENOENT, ERR_NOT_FOUND, "no such object: %.200s", ref);
    }
    return NULL;
}

static int inspect(struct cli *c, const struct inspect_args *a, const char *type, int argc, char **argv)
{
    struct err e = { 0 };
    int failed = 0;
    if (cli_engine(c, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    json_t *list = json_array();
    for (int i = 0; i < argc; i++) {
        json_t *o = find(c, type, argv[i], &e);
        if (o) {
            json_array_append_new(list, o);
        } else {
            failed = cli_fail(c, &e, 1);
        }
    }
    if (failed && a->format) {
        if (json_array_size(list) == 0) {
            json_decref(list);
            return 1;
        }
    }
    int code = inspect_print(c, a->format, list);
    return failed ? 1 : code;
}

static int run_inspect(void *globals, void *args, int argc, char **argv)
{
    const struct inspect_args *a = args;
    return inspect(globals, a, a->type, argc, argv);
}

static int run_ctr_inspect(void *globals, void *args, int argc, char **argv)
{
    return inspect(globals, args, "container", argc, argv);
}

static int run_image_inspect(void *globals, void *args, int argc, char **argv)
{
    return inspect(globals, args, "image", argc, argv);
}

static int run_pod_inspect(void *globals, void *args, int argc, char **argv)
{
    return inspect(globals, args, "pod", argc, argv);
}

static int run_volume_inspect(void *globals, void *args, int argc, char **argv)
{
    return inspect(globals, args, "volume", argc, argv);
}

static const struct opt inspect_opts[] = {
    OPT_STR('f', "format", offsetof(struct inspect_args, format), "`TEMPLATE` for each, or json"),
    OPT_FLAG('s', "size", offsetof(struct inspect_args, size), NULL),
    OPT_STR('\0', "type", offsetof(struct inspect_args, type), "only a `TYPE`: container, pod, image, volume"),
};
static const struct opt kind_opts[] = { OPT_STR('f', "format", offsetof(struct inspect_args, format), "`TEMPLATE` for each, or json") };
#define INSPECT(what, text, table, fn)                                                                                          \
    { .name = "inspect", .operands = what " [" what "...]", .summary = text, .opts = OPTS(table),                               \
      .args_size = sizeof(struct inspect_args), .min_operands = 1, .max_operands = OPTS_ANY, .run = fn }
const struct command command_inspect = INSPECT("NAME|ID", "Show everything about objects as JSON", inspect_opts, run_inspect);
const struct command command_container_inspect = INSPECT("CONTAINER", "Show everything about containers", kind_opts, run_ctr_inspect);
const struct command command_image_inspect = INSPECT("IMAGE", "Show everything about images", kind_opts, run_image_inspect);
const struct command command_pod_inspect = INSPECT("POD", "Show everything about pods", kind_opts, run_pod_inspect);
const struct command command_volume_inspect = INSPECT("VOLUME", "Show everything about volumes", kind_opts, run_volume_inspect);
