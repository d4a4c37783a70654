/* net/cache.c: what was attached, in files whose names begin with the pod's id, so that it can be undone without any configuration. */
#include "net/internal.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void attachment_done(struct attachment *a)
{
    free(a->id);
    free(a->netns);
    free(a->ifname);
    free(a->args);
    json_decref(a->capabilities);
    json_decref(a->result);
    cni_list_free(a->list);
    *a = (struct attachment){ 0 };
}

static char *file_of(const struct net *n, const struct attachment *a)
{
    return str_printf("%s/%s:%s:%s", n->cache_dir, a->id, a->list->name, a->ifname);
}

int cache_put(const struct net *n, const struct attachment *a, struct err *e)
{
    CLEANUP_FREE char *file = file_of(n, a);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:o, s:O?, s:O?}", "id", a->id, "netns", a->netns ? a->netns : "", "ifname",
                          a->ifname, "args", a->args ? a->args : "", "config", cni_list_encode(a->list), "capabilities",
                          a->capabilities, "result", a->result);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    int r = !file || !text ? err_oom(e) : file_replace(AT_FDCWD, file, text, strlen(text), 0600, false, e);
    free(text);
    return r;
}

int cache_drop(const struct net *n, const struct attachment *a, struct err *e)
{
    CLEANUP_FREE char *file = file_of(n, a);
    if (!file) {
        return err_oom(e);
    }
    return unlink(file) < 0 && errno != ENOENT ? err_sys(e, errno, "remove %s", file) : 0;
}

static char *string_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return strdup(s ? s : "");
}

static json_t *object_of(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    return json_is_object(v) ? json_incref(v) : NULL;
}

static int decode(const json_t *o, struct attachment *a, struct err *e)
{
    a->id = string_of(o, "id");
    a->netns = string_of(o, "netns");
    a->ifname = string_of(o, "ifname");
    a->args = string_of(o, "args");
    a->capabilities = object_of(o, "capabilities");
    a->result = object_of(o, "result");
    if (!a->id || !a->netns || !a->ifname || !a->args) {
        return err_oom(e);
    }
    char *config = json_dumps(json_object_get(o, "config"), JSON_COMPACT);
    int r = config ? cni_list_parse(config, strlen(config), &a->list, e)
                   : err_set(e, EINVAL, ERR_INVALID, "config: expected object");
    free(config);
    return r;
}

static int load(const char *path, struct attachment *a, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    int r = file_read(AT_FDCWD, path, RESULT_MAX + CONF_MAX, &b, e);
    if (r < 0) {
        return r;
    }
    json_t *o = json_loadb(buf_str(&b), b.len, 0, NULL);
    r = o ? decode(o, a, e) : err_set(e, EINVAL, ERR_INVALID, "no JSON");
    json_decref(o);
    return r < 0 ? err_wrap(e, "%s", path) : 0;
}

static bool belongs(const char *name, const char *id)
{
    size_t n = id ? strlen(id) : 0;
    return name[0] != '.' && strchr(name, ':') && (!id || (strncmp(name, id, n) == 0 && name[n] == ':'));
}

/* Names first: fn may remove files. */
static int names_of(const struct net *n, const char *id, char ***names, struct err *e)
{
    DIR *d = opendir(n->cache_dir);
    if (!d) {
        return errno == ENOENT ? 0 : err_sys(e, errno, "read %s", n->cache_dir);
    }
    int r = 0;
    for (struct dirent *de = readdir(d); de && r == 0; de = readdir(d)) {
        if (belongs(de->d_name, id) && strv_push(names, de->d_name) < 0) {
            r = err_oom(e);
        }
    }
    closedir(d);
    return r;
}

int cache_each(const struct net *n, const char *id, cache_fn *fn, void *data, struct buf *problems, struct err *e)
{
    CLEANUP_STRV char **names = NULL;
    int r = names_of(n, id, &names, e);
    for (size_t i = 0; r == 0 && names && names[i]; i++) {
        CLEANUP_ATTACHMENT struct attachment a = { 0 };
        CLEANUP_FREE char *path = str_printf("%s/%s", n->cache_dir, names[i]);
        struct err le = { 0 };
        if (!path) {
            return err_oom(e);
        }
        if (load(path, &a, &le) < 0) {
            if (problems) {
                buf_addf(problems, "%s%s", problems->len > 0 ? "; " : "", le.text);
            }
            continue;
        }
        r = fn(data, &a, e);
    }
    return r;
}
