/* cmd/tare-pod.c: pods at the shell. */
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/human.h"
#include "cmd/parse.h"

#include <errno.h>
#include <stdio.h>

struct pod_args {
    const char *name, *hostname, *network, *cgroup_parent, *format;
    bool force, quiet, no_trunc, all, share_pid;
    char **label, **publish, **add_host, **dns, **filter, **sysctl;
};

static int pod_spec(const struct pod_args *a, const char *operand, struct engine_pod_spec *s, struct err *e)
{
    const char *name = a->name ? a->name : operand;
    const char *net = a->network;
    s->kind = ENGINE_POD_SANDBOX;
    s->name = name ? strdup(name) : str_printf("pod-%llx", (unsigned long long)human_now());
    s->uid = str_printf("%llx", (unsigned long long)human_now());
    s->k8s_namespace = strdup("default");
    const char *hostname = a->hostname ? a->hostname : s->name;
    s->hostname = hostname ? strdup(hostname) : NULL;
    s->cgroup_parent = a->cgroup_parent ? strdup(a->cgroup_parent) : NULL;
    s->net = str_eq(net, "host") ? ENGINE_NS_HOST : ENGINE_NS_POD;
    s->pid = a->share_pid ? ENGINE_NS_POD : ENGINE_NS_CONTAINER;
    s->network = net && s->net == ENGINE_NS_POD && strcmp(net, "bridge") != 0 ? strdup(net) : NULL;
    s->extra_hosts = a->add_host ? strv_copy(a->add_host) : NULL;
    s->dns_servers = a->dns ? strv_copy(a->dns) : NULL;
    s->has_dns = a->dns != NULL;
    int r = !s->name || !s->uid || !s->k8s_namespace ? err_oom(e) : 0;
    for (size_t i = 0; r == 0 && a->label && a->label[i]; i++) {
        r = parse_label(a->label[i], &s->labels, "label", e);
    }
    for (size_t i = 0; r == 0 && a->sysctl && a->sysctl[i]; i++) {
        r = parse_label(a->sysctl[i], &s->sysctls, "sysctl", e);
    }
    for (size_t i = 0; r == 0 && a->publish && a->publish[i]; i++) {
        r = parse_publish(a->publish[i], &s->ports.v, &s->ports.n, e);
    }
    return r;
}

/* CRI tells pods of one name apart by their uid; people cannot. */
static int name_is_free(struct cli *c, const char *name, struct err *e)
{
    struct engine_pod *p = NULL;
    struct err le = { 0 };
    int r = 0;
    if (engine_pod_get(c->g, name, &p, &le) == 0 && str_eq(p->spec.name, name)) {
        r = err_set(e, EEXIST, ERR_EXISTS, "the pod name \"%.128s\" is in use by pod %.12s", name, p->id);
    }
    engine_pod_free(p);
    return r;
}

static int run_pod_run(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct engine_pod_spec s = { 0 };
    struct err e = { 0 };
    CLEANUP_FREE char *id = NULL;
    int r = pod_spec(args, argc > 0 ? argv[0] : NULL, &s, &e);
    if (r == 0) {
        r = cli_engine(c, &e);
    }
    if (r == 0) {
        r = name_is_free(c, s.name, &e);
    }
    if (r == 0) {
        r = engine_pod_run(c->g, &s, &id, &e);
    }
    engine_pod_spec_done(&s);
    return r < 0 ? cli_fail(c, &e, 1) : cli_puts(id);
}

static const struct view_column pod_columns[] = {
    { "ID", "POD ID" },   { "Name", "NAME" },      { "Namespace", "NAMESPACE" }, { "Status", "STATUS" }, { "Created", "CREATED" },
    { "Containers", "# OF CONTAINERS" }, { "IPs", "IPS" }, { "Labels", "LABELS" },
};
static const struct view pod_view = { pod_columns, ARRAY_LEN(pod_columns),
                                      "{{.ID}}\t{{.Name}}\t{{.Namespace}}\t{{.Status}}\t{{.Created}}\t{{.Containers}}\t{{.IPs}}", "{{.ID}}" };

static json_t *pod_row(const struct pod_args *a, const struct engine_pod *p, const struct engine_ctrs *ctrs)
{
    static const char *const states[] = { "Creating", "Ready", "NotReady" };
    CLEANUP_BUF struct buf b = { 0 };
    json_t *o = json_object();
    size_t n = 0;
    for (size_t i = 0; i < ctrs->n; i++) {
        n += str_eq(ctrs->v[i]->pod_id, p->id);
    }
    json_object_set_new(o, "ID", cli_id(p->id, a->no_trunc));
    json_object_set_new(o, "Name", json_string(p->spec.name ? p->spec.name : ""));
    json_object_set_new(o, "Namespace", json_string(p->spec.k8s_namespace ? p->spec.k8s_namespace : ""));
    json_object_set_new(o, "Status", json_string(states[p->state]));
    human_duration(human_now() - p->created_at, &b);
    buf_adds(&b, " ago");
    json_object_set_new(o, "Created", cli_text(&b));
    buf_addf(&b, "%zu", n);
    json_object_set_new(o, "Containers", cli_text(&b));
    for (size_t i = 0; p->ips && p->ips[i]; i++) {
        buf_addf(&b, "%s%s", i ? "," : "", p->ips[i]);
    }
    json_object_set_new(o, "IPs", cli_text(&b));
    json_object_set_new(o, "Labels", cli_pairs(&p->spec.labels));
    return o;
}

static bool by_label(const void *o, const char *v)
{
    return cli_label_match(&((const struct engine_pod *)o)->spec.labels, v);
}

static bool by_name(const void *o, const char *v)
{
    const struct engine_pod *p = o;
    return p->spec.name && strstr(p->spec.name, v);
}

static bool by_id(const void *o, const char *v)
{
    return str_starts(((const struct engine_pod *)o)->id, v);
}

static int run_pod_ls(void *globals, void *args, int argc, char **argv)
{
    static const char *const known[] = { "label", "name", "id" };
    struct cli *c = globals;
    const struct pod_args *a = args;
    struct engine_pods list = { 0 };
    struct engine_ctrs ctrs = { 0 };
    struct err e = { 0 };
    (void)argc, (void)argv;
    if (cli_filters_check(a->filter, known, ARRAY_LEN(known), &e) < 0 || cli_engine(c, &e) < 0 || engine_pod_list(c->g, &list, &e) < 0 ||
        engine_ctr_list(c->g, &ctrs, &e) < 0) {
        engine_pods_done(&list);
        return cli_fail(c, &e, 1);
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < list.n; i++) {
        const struct engine_pod *p = list.v[i];
        bool kind = a->all || p->spec.kind == ENGINE_POD_SANDBOX;
        if (kind && cli_filter(a->filter, "label", by_label, p) && cli_filter(a->filter, "name", by_name, p) &&
            cli_filter(a->filter, "id", by_id, p)) {
            json_array_append_new(rows, pod_row(a, p, &ctrs));
        }
    }
    engine_pods_done(&list);
    engine_ctrs_done(&ctrs);
    return cli_view(c, &pod_view, a->format, a->quiet, a->no_trunc, rows);
}

static int stop_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    (void)args;
    return engine_pod_stop(c->g, ref, e);
}

static int run_pod_stop(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, stop_one, args, false);
}

static int rm_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    const struct pod_args *a = args;
    struct engine_pod *p = NULL;
    int r = engine_pod_get(c->g, ref, &p, e);
    if (r < 0) {
        return a->force && e->kind == ERR_NOT_FOUND ? 0 : r;
    }
    if (p->state == ENGINE_POD_READY && !a->force) {
        r = err_set(e, EBUSY, ERR_BUSY, "pod %.100s is running; stop it first, or try 'tare pod rm -f %.100s'", ref, ref);
    } else {
        r = engine_pod_remove(c->g, p->id, e);
    }
    engine_pod_free(p);
    return r;
}

static int run_pod_rm(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, rm_one, args, false);
}

#define P(member) offsetof(struct pod_args, member)
static const struct opt run_opts[] = {
    OPT_STR('\0', "name", P(name), "call the pod `NAME`"),
    OPT_STR('\0', "hostname", P(hostname), "host name `NAME`"),
    OPT_STR('\0', "network", P(network), "bridge, host, none, or `NET` by name"),
    OPT_STR('\0', "cgroup-parent", P(cgroup_parent), "put it below cgroup `PATH`"),
    OPT_STRS('l', "label", P(label), "set label `K=V`"),
    OPT_STRS('p', "publish", P(publish), "publish a port, `[[IP:]HOST:]CTR[/PROTO]`"),
    OPT_STRS('\0', "add-host", P(add_host), "add `NAME:IP` to /etc/hosts"),
    OPT_STRS('\0', "dns", P(dns), "name server `IP`"),
    OPT_STRS('\0', "sysctl", P(sysctl), "kernel parameter `K=V`"),
    OPT_FLAG('\0', "share-pid", P(share_pid), "one PID namespace for its containers"),
};
static const struct opt ls_opts[] = {
    OPT_FLAG('a', "all", P(all), "also the pods of stand-alone containers"),
    OPT_STRS('f', "filter", P(filter), "only those with `KEY=VALUE`: id, name, label"),
    OPT_STR('\0', "format", P(format), "`FORMAT`: json, a template, or 'table TEMPLATE'"),
    OPT_FLAG('q', "quiet", P(quiet), "only ids"),
    OPT_FLAG('\0', "no-trunc", P(no_trunc), "nothing shortened"),
};
static const struct opt rm_opts[] = { OPT_FLAG('f', "force", P(force), "stop it first; a missing one is fine") };
#define POD(fn, table) .opts = OPTS(table), .args_size = sizeof(struct pod_args), .run = fn
const struct command command_pod_run = { .name = "run", .operands = "[NAME]", .summary = "Make a pod and print its id",
                                         .examples = "tare pod run --name web -p 8080:80\ntare run -d --pod web busybox httpd -f",
                                         POD(run_pod_run, run_opts), .max_operands = 1 };
const struct command command_pod_ls = { .name = "ls", .summary = "List pods", POD(run_pod_ls, ls_opts) };
const struct command command_pod_stop = { .name = "stop", .operands = "POD [POD...]", .summary = "Stop pods", .min_operands = 1,
                                          .max_operands = OPTS_ANY, .run = run_pod_stop };
const struct command command_pod_rm = { .name = "rm", .operands = "POD [POD...]", .summary = "Remove pods and their containers",
                                        POD(run_pod_rm, rm_opts), .min_operands = 1, .max_operands = OPTS_ANY };
