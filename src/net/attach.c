/* net/attach.c: ADD in order of the list, DEL in reverse, CHECK and GC. */
#include "net/internal.h"

#include <errno.h>
#include <sys/stat.h>

static struct plugin_call call_of(const struct net *n, const struct attachment *a, const char *command)
{
    return (struct plugin_call){ .net = n, .command = command, .id = a->id, .netns = a->netns, .ifname = a->ifname, .args = a->args };
}

static int run_one(const struct net *n, const struct attachment *a, const char *command, size_t i, const json_t *prev, json_t **ret,
                   struct err *e)
{
    const struct cni_plugin *p = &a->list->plugins.v[i];
    struct plugin_call c = call_of(n, a, command);
    json_t *in = cni_plugin_input(a->list, p, a->capabilities, prev);
    if (!in) {
        return err_oom(e);
    }
    int r = plugin_run(&c, p->type, in, ret, e);
    json_decref(in);
    return r;
}

/* ---- what a plugin is told of the pod ------------------------------------------------------------------ */

static int add_ports(json_t *caps, const struct net_attach *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_ports; i++) {
        const struct net_port *p = &a->ports[i];
        if (p->host_port == 0) {
            continue;
        }
        json_t *o = json_pack("{s:i, s:i, s:s}", "hostPort", (int)p->host_port, "containerPort", (int)p->container_port, "protocol",
                              str_empty(p->protocol) ? "tcp" : p->protocol);
        if (!str_empty(p->host_ip) && json_object_set_new(o, "hostIP", json_string(p->host_ip)) < 0) {
            json_decref(o);
            o = NULL;
        }
        if (json_array_append_new(list, o) < 0) {
            json_decref(list);
            return -ENOMEM;
        }
    }
    if (json_array_size(list) == 0) {
        json_decref(list);
        return 0;
    }
    return json_object_set_new(caps, "portMappings", list);
}

static json_t *strings(char *const *v)
{
    json_t *a = json_array();
    for (; v && *v; v++) {
        if (json_array_append_new(a, json_string(*v)) < 0) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

static json_t *capabilities_of(const struct net_attach *a)
{
    json_t *caps = json_object();
    int r = add_ports(caps, a);
    if (r == 0 && (strv_len(a->dns_servers) > 0 || strv_len(a->dns_searches) > 0 || strv_len(a->dns_options) > 0)) {
        r = json_object_set_new(caps, "dns", json_pack("{s:o, s:o, s:o}", "servers", strings(a->dns_servers), "searches",
                                                       strings(a->dns_searches), "options", strings(a->dns_options)));
    }
    if (r == 0 && (a->ingress_rate > 0 || a->egress_rate > 0)) {
        /* The plugin wants a burst that is not 0; the largest that it takes is a limit on the rate alone. */
        r = json_object_set_new(caps, "bandwidth", json_pack("{s:I, s:I, s:I, s:I}", "ingressRate", (json_int_t)a->ingress_rate,
                                                             "ingressBurst", (json_int_t)INT32_MAX, "egressRate",
                                                             (json_int_t)a->egress_rate, "egressBurst", (json_int_t)INT32_MAX));
    }
    if (r < 0) {
        json_decref(caps);
        return NULL;
    }
    return caps;
}

static char *args_of(const struct net_attach *a)
{
    if (str_empty(a->k8s_name)) {
        return strdup("IgnoreUnknown=1");
    }
    return str_printf("IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;K8S_POD_UID=%s",
                      a->k8s_namespace ? a->k8s_namespace : "", a->k8s_name, a->id, a->k8s_uid ? a->k8s_uid : "");
}

/* ---- ADD ---------------------------------------------------------------------------------------------------- */

static int del_attachment(const struct net *n, struct attachment *a, struct err *e);

static int run_add(const struct net *n, struct attachment *a, struct err *e)
{
    for (size_t i = 0; i < a->list->plugins.n; i++) {
        json_t *answer = NULL;
        int r = run_one(n, a, "ADD", i, a->result, &answer, e);
        if (r < 0) {
            return r;
        }
        if (!json_is_object(answer)) {
            json_decref(answer);
            return err_set(e, EPROTO, ERR_INTERNAL, "CNI plugin %s ADD: no result", a->list->plugins.v[i].type);
        }
        json_decref(a->result);
        a->result = answer;
    }
    return 0;
}

static int prepare(const struct net *n, const struct net_attach *in, struct attachment *a, struct err *e)
{
    int r = conf_find(n, in->network, &a->list, NULL, e);
    if (r < 0) {
        return r;
    }
    a->id = strdup(in->id);
    a->netns = strdup(in->netns);
    a->ifname = strdup(in->ifname);
    a->args = args_of(in);
    a->capabilities = capabilities_of(in);
    return a->id && a->netns && a->ifname && a->args && a->capabilities ? 0 : err_oom(e);
}

int net_add(struct net *n, const struct net_attach *in, struct cni_result *ret, struct err *e)
{
    CLEANUP_ATTACHMENT struct attachment a = { 0 };
    int r = prepare(n, in, &a, e);
    if (r == 0) {
        r = cache_put(n, &a, e);
    }
    if (r < 0) {
        return r;
    }
    r = run_add(n, &a, e);
    if (r == 0) {
        r = cni_result_decode(a.result, ret, e);
        r = r < 0 ? err_wrap(e, "result of network %s", a.list->name) : cache_put(n, &a, e);
        if (r < 0) {
            cni_result_done(ret);
        }
    }
    if (r < 0) {
        /* What fails here stays in the cache and is tried again by net_del(). */
        struct err ignored = { 0 };
        int d = del_attachment(n, &a, &ignored);
        (void)d;
        return err_wrap(e, "attach to network %s", a.list->name);
    }
    return 0;
}

/* ---- DEL ------------------------------------------------------------------------------------------------------- */

static int del_attachment(const struct net *n, struct attachment *a, struct err *e)
{
    struct err first = { 0 };
    struct stat st;
    /* A namespace that has gone is told as an empty path: the plugins free addresses and rules all the same. */
    if (stat(a->netns, &st) < 0) {
        a->netns[0] = '\0';
    }
    for (size_t i = a->list->plugins.n; i-- > 0;) {
        struct err one = { 0 };
        if (run_one(n, a, "DEL", i, a->result, NULL, &one) < 0 && first.code == 0) {
            first = one;
        }
    }
    if (first.code != 0) {
        *e = first;
        return -first.code;
    }
    return cache_drop(n, a, e);
}

struct del {
    const struct net *net;
    const char *netns;
};

static int del_one(void *data, struct attachment *a, struct err *e)
{
    const struct del *d = data;
    return del_attachment(d->net, a, e);
}

int net_del(struct net *n, const char *id, const char *netns, struct err *e)
{
    struct err le = { 0 };
    struct del d = { .net = n, .netns = netns };
    int r = cache_each(n, id, del_one, &d, NULL, &le);
    if (r < 0) {
        if (e) {
            *e = le;
        }
        return err_wrap(e, "detach %.12s", id);
    }
    return 0;
}

/* ---- CHECK and GC --------------------------------------------------------------------------------------------------- */

static int check_one(void *data, struct attachment *a, struct err *e)
{
    const struct net *n = data;
    if (a->list->disable_check || !cni_version_has_check(a->list->version) || !a->result) {
        return 0;
    }
    for (size_t i = 0; i < a->list->plugins.n; i++) {
        int r = run_one(n, a, "CHECK", i, a->result, NULL, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int net_check(struct net *n, const char *id, struct err *e)
{
    return cache_each(n, id, check_one, n, NULL, e);
}

struct gc {
    struct net *net;
    const char *network;
    json_t *valid;
    struct err *e;
    int result;
};

static int gc_collect(void *data, struct attachment *a, struct err *e)
{
    struct gc *g = data;
    if (!str_eq(a->list->name, g->network)) {
        return 0;
    }
    return json_array_append_new(g->valid, json_pack("{s:s, s:s}", "containerID", a->id, "ifname", a->ifname)) < 0 ? err_oom(e) : 0;
}

static int gc_list(void *data, const struct cni_list *l, const char *file)
{
    struct gc *g = data;
    (void)file;
    if (l->disable_gc || !cni_version_has_gc(l->version)) {
        return 0;
    }
    g->network = l->name;
    g->valid = json_array();
    g->result = cache_each(g->net, NULL, gc_collect, g, NULL, g->e);
    for (size_t i = 0; g->result == 0 && i < l->plugins.n; i++) {
        struct plugin_call c = { .net = g->net, .command = "GC" };
        json_t *in = cni_plugin_input(l, &l->plugins.v[i], NULL, NULL);
        if (!in || json_object_set(in, "cni.dev/valid-attachments", g->valid) < 0) {
            g->result = err_oom(g->e);
        } else {
            g->result = plugin_run(&c, l->plugins.v[i].type, in, NULL, g->e);
        }
        json_decref(in);
    }
    json_decref(g->valid);
    return g->result;
}

int net_gc(struct net *n, struct err *e)
{
    struct gc g = { .net = n, .e = e };
    int r = conf_each(n, gc_list, &g, NULL, e);
    return r < 0 ? r : g.result;
}
