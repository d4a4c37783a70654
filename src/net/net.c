/* net/net.c: the handle, and what is asked about networks without attaching to one. */
#include "net/internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>

enum { TIMEOUT_MS = 60000 };

static char *join_colon(char *const *v)
{
    CLEANUP_BUF struct buf b = { 0 };
    for (size_t i = 0; v && v[i]; i++) {
        buf_addf(&b, "%s%s", i > 0 ? ":" : "", v[i]);
    }
    return buf_steal(&b);
}

int net_open(const struct net_options *o, struct net **ret, struct err *e)
{
    struct net *n = calloc(1, sizeof(*n));
    if (!n) {
        return err_oom(e);
    }
    n->conf_dir = strdup(o->conf_dir);
    n->cache_dir = strdup(o->cache_dir);
    n->data_dir = strdup(o->data_dir);
    n->bin_dirs = strv_copy(o->bin_dirs);
    n->path = join_colon(o->bin_dirs);
    n->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : TIMEOUT_MS;
    int r = n->conf_dir && n->cache_dir && n->data_dir && n->bin_dirs && n->path ? 0 : err_oom(e);
    if (r == 0) {
        r = dir_make_all(AT_FDCWD, n->cache_dir, 0700, e);
    }
    if (r < 0) {
        net_close(n);
        return r;
    }
    *ret = n;
    return 0;
}

void net_close(struct net *n)
{
    if (n) {
        free(n->conf_dir);
        free(n->cache_dir);
        free(n->data_dir);
        strv_free(n->bin_dirs);
        free(n->path);
        free(n);
    }
}

void net_infos_done(struct net_infos *i)
{
    for (size_t k = 0; k < i->n; k++) {
        free(i->v[k].name);
        free(i->v[k].type);
        free(i->v[k].file);
        free(i->v[k].subnet);
    }
    free(i->v);
    *i = (struct net_infos){ 0 };
}

/* ipam.subnet, or the first of ipam.ranges. */
static const char *subnet_of(const struct cni_list *l)
{
    const json_t *ipam = json_object_get(l->plugins.v[0].conf, "ipam");
    const char *s = json_string_value(json_object_get(ipam, "subnet"));
    const json_t *range = json_array_get(json_array_get(json_object_get(ipam, "ranges"), 0), 0);
    return s ? s : json_string_value(json_object_get(range, "subnet"));
}

struct listing {
    struct net_infos out;
    size_t cap;
};

static int list_one(void *data, const struct cni_list *l, const char *file)
{
    struct listing *g = data;
    const char *subnet = subnet_of(l);
    if (array_grow(&g->out.v, &g->cap, g->out.n + 1, sizeof(*g->out.v)) < 0) {
        return -1;
    }
    struct net_info *i = &g->out.v[g->out.n++];
    i->name = strdup(l->name);
    i->type = strdup(l->plugins.v[0].type);
    i->file = file ? strdup(file) : NULL;
    i->subnet = subnet ? strdup(subnet) : NULL;
    return 0;
}

int net_list(struct net *n, struct net_infos *ret, struct err *e)
{
    struct listing g = { 0 };
    int r = conf_each(n, list_one, &g, NULL, e);
    if (r == 0 && g.out.n == 0) {
        CLEANUP_CNI_LIST struct cni_list *l = NULL;
        if (conf_builtin(n, &l, NULL) == 0) {
            r = list_one(&g, l, NULL);
        }
    }
    if (r < 0) {
        net_infos_done(&g.out);
        return r;
    }
    *ret = g.out;
    return 0;
}

int net_status(struct net *n, struct err *e)
{
    CLEANUP_CNI_LIST struct cni_list *l = NULL;
    CLEANUP_FREE char *path = NULL;
    int r = conf_find(n, NULL, &l, NULL, e);
    for (size_t i = 0; r == 0 && i < l->plugins.n; i++) {
        r = plugin_find(n, l->plugins.v[i].type, &path, e);
        free(PTR_STEAL(path));
    }
    for (size_t i = 0; r == 0 && cni_version_has_gc(l->version) && i < l->plugins.n; i++) {
        struct plugin_call c = { .net = n, .command = "STATUS" };
        json_t *in = cni_plugin_input(l, &l->plugins.v[i], NULL, NULL);
        r = in ? plugin_run(&c, l->plugins.v[i].type, in, NULL, e) : err_oom(e);
        json_decref(in);
    }
    if (r < 0 && e) {
        e->kind = ERR_UNAVAILABLE;
    }
    return r;
}

/* ---- the cache, asked -------------------------------------------------------------------------------------- */

static int cached_one(void *data, struct attachment *a, struct err *e)
{
    struct cni_result *out = data;
    if (!a->result || out->ips.n > 0) {
        return 0;
    }
    cni_result_done(out);
    return cni_result_decode(a->result, out, e);
}

int net_cached(struct net *n, const char *id, struct cni_result *ret, struct err *e)
{
    struct cni_result out = { 0 };
    int r = cache_each(n, id, cached_one, &out, NULL, e);
    if (r < 0) {
        return r;
    }
    if (!out.version && out.ips.n == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "nothing is attached for %.12s", id);
    }
    *ret = out;
    return 0;
}

static int id_one(void *data, struct attachment *a, struct err *e)
{
    return strv_push(data, a->id) < 0 ? err_oom(e) : 0;
}

int net_cached_ids(struct net *n, char ***ret, struct err *e)
{
    CLEANUP_STRV char **ids = NULL;
    int r = cache_each(n, NULL, id_one, &ids, NULL, e);
    if (r == 0) {
        *ret = PTR_STEAL(ids);
    }
    return r;
}
