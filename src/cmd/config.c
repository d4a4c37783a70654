/* cmd/config.c: reads tare.yaml and conf.d by one table of keys. See config.h. */
#include "cmd/config.h"

#include "base/fd.h"
#include "base/num.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <yaml.h>

enum { CONFIG_MAX = 1 << 20, CONFIG_DEPTH_MAX = 8 };

enum key_kind { KEY_STR, KEY_STRS, KEY_U32 };

struct key {
    const char *name;
    enum key_kind kind;
    size_t offset;
    const char *choices; /* separated by spaces; NULL: any */
};

static const struct key keys[] = {
    { "root", KEY_STR, offsetof(struct config, root), NULL },
    { "run", KEY_STR, offsetof(struct config, run), NULL },
    { "log_level", KEY_STR, offsetof(struct config, log_level), "error warn warning info debug" },
    { "log_format", KEY_STR, offsetof(struct config, log_format), "text json" },
    { "engine.monitor", KEY_STR, offsetof(struct config, monitor), NULL },
    { "engine.runtime", KEY_STR, offsetof(struct config, runtime), NULL },
    { "engine.cgroup_parent", KEY_STR, offsetof(struct config, cgroup_parent), NULL },
    { "engine.cgroup_manager", KEY_STR, offsetof(struct config, cgroup_manager), "cgroupfs systemd" },
    { "engine.detach_keys", KEY_STR, offsetof(struct config, detach_keys), NULL },
    { "network.cni_conf_dir", KEY_STRS, offsetof(struct config, cni_conf_dirs), NULL },
    { "network.cni_bin_dirs", KEY_STRS, offsetof(struct config, cni_bin_dirs), NULL },
    { "registry.hosts_dir", KEY_STR, offsetof(struct config, hosts_dir), NULL },
    { "registry.stall_seconds", KEY_U32, offsetof(struct config, stall_seconds), NULL },
    { "daemon.listen", KEY_STR, offsetof(struct config, listen), NULL },
    { "daemon.threads", KEY_U32, offsetof(struct config, threads), NULL },
    { "streaming.address", KEY_STR, offsetof(struct config, stream_address), NULL },
    { "streaming.port", KEY_U32, offsetof(struct config, stream_port), NULL },
    { "streaming.connections", KEY_U32, offsetof(struct config, stream_connections), NULL },
    { "streaming.idle_timeout", KEY_STR, offsetof(struct config, stream_idle), NULL },
};

/* One document while it is read. */
struct reading {
    const char *name;
    config_warn_fn *warn;
    void *data;
    struct config *c;
    yaml_document_t *doc;
};

static void warn_at(const struct reading *r, const yaml_node_t *n, const char *what, const char *key)
{
    char text[512];
    snprintf(text, sizeof(text), "%s:%zu: %s %.200s", r->name, n->start_mark.line + 1, what, key);
    if (r->warn) {
        r->warn(r->data, text);
    }
}

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i].name, name) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

static bool is_group(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strncmp(keys[i].name, name, n) == 0 && keys[i].name[n] == '.') {
            return true;
        }
    }
    return false;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *p = choices; p && *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (len == n && memcmp(p, value, n) == 0) {
            return true;
        }
        p += len;
    }
    return !choices;
}

static const char *scalar(const yaml_node_t *n)
{
    return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

static int set_list(const struct reading *r, const yaml_node_t *n, char ***list)
{
    CLEANUP_STRV char **v = NULL;
    int ret = scalar(n) ? strv_push(&v, scalar(n)) : 0;
    if (n->type == YAML_SEQUENCE_NODE) {
        for (yaml_node_item_t *i = n->data.sequence.items.start; ret == 0 && i < n->data.sequence.items.top; i++) {
            const char *s = scalar(yaml_document_get_node(r->doc, *i));
            ret = s ? strv_push(&v, s) : -EINVAL;
        }
    }
    if (ret == 0) {
        strv_free(*list);
        *list = PTR_STEAL(v);
    }
    return ret;
}

static int set_key(const struct reading *r, const struct key *k, const yaml_node_t *n)
{
    void *member = (char *)r->c + k->offset;
    const char *s = scalar(n);
    if (k->kind == KEY_STRS) {
        return n->type == YAML_MAPPING_NODE ? -EINVAL : set_list(r, n, member);
    }
    if (!s || !is_choice(k->choices, s)) {
        return -EINVAL;
    }
    if (k->kind == KEY_U32) {
        return num_u32(s, member);
    }
    char *copy = strdup(s);
    if (!copy) {
        return -ENOMEM;
    }
    free(*(char **)member);
    *(char **)member = copy;
    return 0;
}

static int read_map(const struct reading *r, const yaml_node_t *map, const char *prefix, int depth)
{
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *kn = yaml_document_get_node(r->doc, p->key);
        const yaml_node_t *vn = yaml_document_get_node(r->doc, p->value);
        CLEANUP_FREE char *name = str_printf("%s%s%.200s", prefix, *prefix ? "." : "", scalar(kn) ? scalar(kn) : "?");
        if (!name) {
            return -ENOMEM;
        }
        const struct key *k = find_key(name);
        int ret = 0;
        if (k) {
            ret = set_key(r, k, vn);
        } else if (vn->type == YAML_MAPPING_NODE && is_group(name) && depth < CONFIG_DEPTH_MAX) {
            ret = read_map(r, vn, name, depth + 1);
        } else {
            warn_at(r, kn, "unknown key", name);
        }
        if (ret == -ENOMEM) {
            return ret;
        }
        if (ret < 0) {
            warn_at(r, vn, "bad value for", name);
        }
    }
    return 0;
}

static int parse_error(const yaml_parser_t *p, const char *name, struct err *e)
{
    return err_set(e, EINVAL, ERR_INVALID, "%s:%zu: %s", name, p->problem_mark.line + 1,
                   p->problem ? p->problem : "not YAML");
}

int config_parse(const char *name, const char *text, size_t len, config_warn_fn *warn, void *data, struct config *c,
                 struct err *e)
{
    yaml_parser_t p;
    yaml_document_t doc;
    if (len > CONFIG_MAX) {
        return err_set(e, EFBIG, ERR_INVALID, "%s: longer than %d bytes", name, CONFIG_MAX);
    }
    if (!yaml_parser_initialize(&p)) {
        return err_oom(e);
    }
    yaml_parser_set_input_string(&p, (const unsigned char *)(text ? text : ""), len);
    int r = 0;
    if (!yaml_parser_load(&p, &doc)) {
        r = parse_error(&p, name, e);
        yaml_parser_delete(&p);
        return r;
    }
    struct reading rd = { name, warn, data, c, &doc };
    yaml_node_t *root = yaml_document_get_root_node(&doc);
    if (root && root->type == YAML_MAPPING_NODE) {
        r = read_map(&rd, root, "", 0) < 0 ? err_oom(e) : 0;
    } else if (root && !(scalar(root) && !*scalar(root))) {
        r = err_set(e, EINVAL, ERR_INVALID, "%s:1: expected a mapping of keys to values", name);
    }
    yaml_document_delete(&doc);
    yaml_parser_delete(&p);
    return r;
}

static int load_file(const char *path, config_warn_fn *warn, void *data, struct config *c, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    int r = file_read(AT_FDCWD, path, CONFIG_MAX, &text, e);
    return r < 0 ? r : config_parse(path, text.data, text.len, warn, data, c, e);
}

static int is_drop_in(const struct dirent *d)
{
    return d->d_name[0] != '.' && str_ends(d->d_name, ".yaml");
}

static void load_drop_ins(const char *main_path, config_warn_fn *warn, void *data, struct config *c)
{
    const char *slash = strrchr(main_path, '/');
    CLEANUP_FREE char *dir = str_printf("%.*s/conf.d", slash ? (int)(slash - main_path) : 1, slash ? main_path : ".");
    struct dirent **v = NULL;
    int n = dir ? scandir(dir, &v, is_drop_in, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        struct err why = { 0 };
        CLEANUP_FREE char *path = str_printf("%s/%s", dir, v[i]->d_name);
        if (path && load_file(path, warn, data, c, &why) < 0 && warn) {
            warn(data, why.text);
        }
        free(v[i]);
    }
    free(v);
}

static int set_default(char **member, const char *value)
{
    if (!*member) {
        *member = strdup(value);
    }
    return *member ? 0 : -ENOMEM;
}

int config_load(const char *path, config_warn_fn *warn, void *data, struct config *ret, struct err *e)
{
    struct err why = { 0 };
    int r = load_file(path ? path : CONFIG_PATH, warn, data, ret, &why);
    if (r < 0 && (path || r != -ENOENT)) {
        if (path) {
            if (e) {
                *e = why;
            }
            return r;
        }
        if (warn) {
            warn(data, why.text);
        }
    }
    load_drop_ins(path ? path : CONFIG_PATH, warn, data, ret);
    if (set_default(&ret->root, "/var/lib/tare") < 0 || set_default(&ret->run, "/run/tare") < 0) {
        return err_oom(e);
    }
    return 0;
}

void config_engine_options(const struct config *c, struct engine_options *o)
{
    o->root = c->root;
    o->run = c->run;
    o->monitor_path = c->monitor ? c->monitor : o->monitor_path;
    o->cni_conf_dirs = c->cni_conf_dirs ? c->cni_conf_dirs : o->cni_conf_dirs;
    o->cni_bin_dirs = c->cni_bin_dirs ? c->cni_bin_dirs : o->cni_bin_dirs;
    o->hosts_dir = c->hosts_dir ? c->hosts_dir : o->hosts_dir;
    o->default_runtime = c->runtime ? c->runtime : o->default_runtime;
    o->cgroup_parent = c->cgroup_parent ? c->cgroup_parent : o->cgroup_parent;
    o->systemd_cgroup = c->cgroup_manager ? str_eq(c->cgroup_manager, "systemd") : o->systemd_cgroup;
    o->stall_seconds = c->stall_seconds ? c->stall_seconds : o->stall_seconds;
}

void config_done(struct config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char *member = (char *)c + keys[i].offset;
        if (keys[i].kind == KEY_STR) {
            free(*(char **)(void *)member);
        } else if (keys[i].kind == KEY_STRS) {
            strv_free(*(char ***)(void *)member);
        }
    }
    *c = (struct config){ 0 };
}
