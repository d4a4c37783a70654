/* engine/engine.c: the handle, ids, locks, and how changes are told. */
#include "engine/internal.h"

#include "sys/proc.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* The program beside ours, so that a build folder works as it is. */
static char *find_monitor(const char *given)
{
    char self[4096];
    if (given) {
        return strdup(given);
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0) {
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        CLEANUP_FREE char *path = slash ? str_printf("%.*s/tare-monitor", (int)(slash - self), self) : NULL;
        if (path && access(path, X_OK) == 0) {
            return PTR_STEAL(path);
        }
    }
    static const char *const places[] = { "/usr/libexec/tare/tare-monitor", "/usr/lib/tare/tare-monitor" };
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (access(places[i], X_OK) == 0) {
            return strdup(places[i]);
        }
    }
    return strdup("tare-monitor");
}

static int open_net(struct engine *g, const struct engine_options *o, struct err *e)
{
    static const char *const conf[] = { "/etc/cni/net.d", NULL };
    static const char *const bins[] = { "/opt/cni/bin", "/usr/lib/cni", NULL };
    char *const *dirs = o->cni_conf_dirs && o->cni_conf_dirs[0] ? o->cni_conf_dirs : (char *const *)(uintptr_t)conf;
    CLEANUP_FREE char *cache = str_printf("%s/cni/cache", g->root), *data = str_printf("%s/cni/networks", g->root);
    if (!cache || !data) {
        return err_oom(e);
    }
    struct net_options no = { .conf_dir = dirs[0], .cache_dir = cache, .data_dir = data,
                              .bin_dirs = o->cni_bin_dirs && o->cni_bin_dirs[0] ? o->cni_bin_dirs : (char *const *)(uintptr_t)bins };
    return net_open(&no, &g->net, e);
}

static int fill(struct engine *g, const struct engine_options *o, struct err *e)
{
    g->root = strdup(o->root ? o->root : "/var/lib/tare");
    g->run = strdup(o->run ? o->run : "/run/tare");
    g->ns = strdup(o->ns ? o->ns : "default");
    g->monitor_path = find_monitor(o->monitor_path);
    g->self_path = o->self_path ? strdup(o->self_path) : NULL;
    g->hosts_dir = o->hosts_dir ? strdup(o->hosts_dir) : NULL;
    g->default_runtime = o->default_runtime && !str_eq(o->default_runtime, "tare") ? strdup(o->default_runtime) : NULL;
    g->cgroup_parent = strdup(o->cgroup_parent ? o->cgroup_parent : "/tare");
    g->systemd_cgroup = o->systemd_cgroup;
    g->stall_seconds = o->stall_seconds;
    g->log = o->log;
    return g->root && g->run && g->ns && g->monitor_path && g->cgroup_parent ? 0 : err_oom(e);
}

static int make_dirs(struct engine *g, struct err *e)
{
    static const char *const in_root[] = { "pods", "containers", "volumes", "cni" };
    int r = dir_make_all(store_run_fd(g->store), "pods", 0711, e);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(in_root); i++) {
        r = dir_make_all(store_root_fd(g->store), in_root[i], 0711, e);
    }
    return r;
}

int engine_open(const struct engine_options *o, struct engine **ret, struct err *e)
{
    struct engine *g = calloc(1, sizeof(*g));
    if (!g) {
        return err_oom(e);
    }
    int r = fill(g, o, e);
    if (r == 0) {
        r = store_open(g->root, g->run, &g->store, e);
    }
    if (r == 0) {
        r = make_dirs(g, e);
    }
    if (r == 0) {
        r = open_net(g, o, e);
    }
    if (r == 0) {
        r = cg_machine_read(&g->cg, e);
    }
    if (r < 0) {
        engine_close(g);
        return r;
    }
    *ret = g;
    return 0;
}

void engine_close(struct engine *g)
{
    if (!g) {
        return;
    }
    cg_machine_done(&g->cg);
    net_close(g->net);
    store_close(g->store);
    free(g->root);
    free(g->run);
    free(g->ns);
    free(g->monitor_path);
    free(g->self_path);
    free(g->hosts_dir);
    free(g->default_runtime);
    free(g->cgroup_parent);
    free(g);
}

int new_id(char ret[static ID_SIZE], struct err *e)
{
    unsigned char raw[32];
    if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw)) {
        return err_sys(e, errno, "getrandom");
    }
    for (size_t i = 0; i < sizeof(raw); i++) {
        snprintf(ret + 2 * i, 3, "%02x", raw[i]);
    }
    return 0;
}

bool id_whole(const char *ref)
{
    return strlen(ref) == 64 && strspn(ref, "0123456789abcdef") == 64;
}

int key_lock(struct engine *g, const char *key, int *ret_fd, struct err *e)
{
    /* FNV-1a: two keys with one hash only wait for each other. */
    uint64_t h = 14695981039346656037u;
    char name[17];
    for (const char *p = key; *p; p++) {
        h = (h ^ (unsigned char)*p) * 1099511628211u;
    }
    snprintf(name, sizeof(name), "%016llx", (unsigned long long)h & 0xfff);
    return lock_take(g->store, "key", name, false, LOCK_WAIT, ret_fd, e);
}

int pod_lock(struct engine *g, const char *id, bool shared, int *ret_fd, struct err *e)
{
    return lock_take(g->store, "pod", id, shared, LOCK_WAIT, ret_fd, e);
}

int ctr_lock(struct engine *g, const char *id, int *ret_fd, struct err *e)
{
    return lock_take(g->store, "ctr", id, false, LOCK_WAIT, ret_fd, e);
}

int journal_take(struct engine *g, const char *kind, const char *object, const char *stage, uint64_t *ret_op, struct err *e)
{
    CLEANUP_STORE_OPS struct store_ops left = { 0 };
    CLEANUP_FREE char *key = str_printf("%s/%s", kind, object);
    struct err le = { 0 };
    int r = key ? op_begin(g->store, g->ns, key, kind, object, stage, NULL, ret_op, &le) : err_oom(&le);
    if (r == -EEXIST) {
        struct op_query q = { .ns = g->ns, .key = key, .unfinished = true };
        err_clear(&le);
        r = op_list(g->store, &q, &left, &le);
        for (size_t i = 0; r == 0 && i < left.n; i++) {
            r = op_finish(g->store, left.v[i].id, "interrupted", &le);
            r = r < 0 ? r : 0;
        }
        r = r < 0 ? r : op_begin(g->store, g->ns, key, kind, object, stage, NULL, ret_op, &le);
    }
    if (r < 0 && e) {
        *e = le;
    }
    return r;
}

void journal_end(struct engine *g, uint64_t op, int r, const struct err *why)
{
    struct err ignored = { 0 };
    int f = r == 0 ? op_finish(g->store, op, NULL, &ignored) : op_stage(g->store, op, "cleanup", why->text, &ignored);
    (void)f; /* the next start finds it */
}

int event_put(struct engine *g, const char *type, const char *action, const char *object, const char *pod, struct err *e, ...)
{
    json_t *o = json_object();
    va_list ap;
    va_start(ap, e);
    for (const char *k = va_arg(ap, const char *); k; k = va_arg(ap, const char *)) {
        const char *v = va_arg(ap, const char *);
        if (!str_empty(v) && json_object_set_new(o, k, json_string(v)) < 0) {
            json_decref(o);
            o = NULL;
        }
    }
    va_end(ap);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text) {
        return err_oom(e);
    }
    struct store_event ev = { .ns = g->ns, .type = (char *)(uintptr_t)type, .action = (char *)(uintptr_t)action,
                              .object = (char *)(uintptr_t)object, .pod = (char *)(uintptr_t)pod, .attributes = text };
    int r = event_append(g->store, &ev, NULL, e);
    free(text);
    return r;
}

void engine_wake(struct engine *g)
{
    CLEANUP_FREE char *path = str_printf("%s/tared.sock", g->run);
    if (path) {
        sock_notify(path, "event", 5);
    }
}

bool pid_alive(int32_t pid, uint64_t start)
{
    uint64_t now = 0;
    char state = 0;
    return pid > 0 && proc_start_time(pid, &now, &state) == 0 && (start == 0 || now == start) && state != 'Z';
}
