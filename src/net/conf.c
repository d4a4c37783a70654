/*
 * net/conf.c: finds network configurations: files of the configuration folder in order of name, and the built-in bridge network
 * where there is none.
 */
#include "net/internal.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int is_conf(const struct dirent *d)
{
    return d->d_name[0] != '.' && (str_ends(d->d_name, ".conflist") || str_ends(d->d_name, ".conf") || str_ends(d->d_name, ".json"));
}

static int load_file(const char *path, struct cni_list **ret, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    int r = file_read(AT_FDCWD, path, CONF_MAX, &b, e);
    if (r == 0) {
        r = cni_list_parse(buf_str(&b), b.len, ret, e);
        if (r < 0) {
            err_wrap(e, "%s", path);
        }
    }
    return r;
}

/* One file: 0, or < 0 if fn wants to end. */
static int offer(const char *dir, const char *name, conf_fn *fn, void *data, struct buf *problems)
{
    struct err e = { 0 };
    CLEANUP_CNI_LIST struct cni_list *l = NULL;
    CLEANUP_FREE char *path = str_printf("%s/%s", dir, name);
    int r = path ? load_file(path, &l, &e) : err_oom(&e);
    if (r < 0) {
        if (problems) {
            buf_addf(problems, "%s%s", problems->len > 0 ? "; " : "", e.text);
        }
        return 0;
    }
    return fn(data, l, path);
}

int conf_each(const struct net *n, conf_fn *fn, void *data, struct buf *problems, struct err *e)
{
    struct dirent **v = NULL;
    int count = scandir(n->conf_dir, &v, is_conf, NULL), r = 0;
    if (count < 0) {
        return errno == ENOENT ? 0 : err_sys(e, errno, "read network configurations in %s", n->conf_dir);
    }
    for (int i = 0; i < count; i++) {
        for (int k = i + 1; k < count; k++) {
            if (strcmp(v[k]->d_name, v[i]->d_name) < 0) {
                struct dirent *t = v[i];
                v[i] = v[k];
                v[k] = t;
            }
        }
        if (r >= 0 && i < FILES_MAX) {
            r = offer(n->conf_dir, v[i]->d_name, fn, data, problems);
        }
        free(v[i]);
    }
    free(v);
    return 0;
}

/* ---- the built-in network ------------------------------------------------------------------------------ */

static bool have(const struct net *n, const char *type)
{
    CLEANUP_FREE char *path = NULL;
    return plugin_find(n, type, &path, NULL) == 0;
}

int conf_builtin(const struct net *n, struct cni_list **ret, struct err *e)
{
    CLEANUP_FREE char *path = NULL;
    static const char *const needed[] = { "bridge", "host-local" };
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        int r = plugin_find(n, needed[i], &path, e);
        if (r < 0) {
            return err_set(e, ENOENT, ERR_UNAVAILABLE,
                           "no network configuration in %s, and the CNI plugin %s that the built-in network needs is not in %s "
                           "(Debian: containernetworking-plugins); --network host and none work without",
                           n->conf_dir, needed[i], n->path);
        }
        free(PTR_STEAL(path));
    }
    json_t *plugins = json_pack("[{s:s, s:s, s:b, s:b, s:b, s:{s:s, s:s, s:[[{s:s}]], s:[{s:s}]}}]", "type", "bridge", "bridge", "tare0",
                                "isGateway", 1, "ipMasq", 1, "hairpinMode", 1, "ipam", "type", "host-local", "dataDir", n->data_dir,
                                "ranges", "subnet", "10.89.64.0/18", "routes", "dst", "0.0.0.0/0");
    if (have(n, "portmap")) {
        json_array_append_new(plugins, json_pack("{s:s, s:{s:b}}", "type", "portmap", "capabilities", "portMappings", 1));
    }
    if (have(n, "firewall")) {
        json_array_append_new(plugins, json_pack("{s:s}", "type", "firewall"));
    }
    json_t *o = json_pack("{s:s, s:s, s:o}", "cniVersion", "0.4.0", "name", NET_DEFAULT_NAME, "plugins", plugins);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    int r = text ? cni_list_parse(text, strlen(text), ret, e) : err_oom(e);
    free(text);
    return r;
}

/* ---- finding one ------------------------------------------------------------------------------------------ */

struct find {
    const char *name;
    struct cni_list *found;
    char *file;
    bool oom;
};

static int find_one(void *data, const struct cni_list *l, const char *file)
{
    struct find *f = data;
    if (f->name && !str_eq(f->name, l->name)) {
        return 0;
    }
    json_t *o = cni_list_encode(l);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    f->file = strdup(file);
    f->oom = !text || !f->file || cni_list_parse(text, strlen(text), &f->found, NULL) < 0;
    free(text);
    return -1;
}

int conf_find(const struct net *n, const char *name, struct cni_list **ret, char **ret_file, struct err *e)
{
    CLEANUP_BUF struct buf problems = { .max = 900 };
    struct find f = { .name = name };
    int r = conf_each(n, find_one, &f, &problems, e);
    if (r < 0 || f.oom) {
        cni_list_free(f.found);
        free(f.file);
        return r < 0 ? r : err_oom(e);
    }
    if (!f.found && problems.len > 0 && (!name || !str_eq(name, NET_DEFAULT_NAME))) {
        return err_set(e, EINVAL, ERR_UNAVAILABLE, "no usable network configuration: %s", buf_str(&problems));
    }
    if (!f.found && (!name || str_eq(name, NET_DEFAULT_NAME))) {
        return conf_builtin(n, ret, e);
    }
    if (!f.found) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no network \"%s\" is configured in %s", name, n->conf_dir);
    }
    *ret = f.found;
    if (ret_file) {
        *ret_file = f.file;
    } else {
        free(f.file);
    }
    return 0;
}
