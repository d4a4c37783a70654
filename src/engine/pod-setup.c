/*
 * engine/pod-setup.c: what a pod has outside of the database: folders, files, network namespace, network, monitor, cgroup; made in
 * this order and taken away backwards. Each step finds out for itself whether it is done, so the whole can be run again.
 */
#include "engine/internal.h"

#include "base/fault.h"
#include "net/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <linux/magic.h>
#include <unistd.h>

static int set_str(char **to, char *value, struct err *e)
{
    if (!value) {
        return err_oom(e);
    }
    free(*to);
    *to = value;
    return 0;
}

static bool own_netns(const struct pod *p)
{
    return p->spec.net != ENGINE_NS_HOST && str_empty(p->spec.netns_of);
}

static bool wants_network(const struct pod *p)
{
    return own_netns(p) && !str_eq(p->spec.network, "none");
}

/* ---- steps ---------------------------------------------------------------------------------------------- */

static int up_dirs(struct engine *g, struct pod *p, struct err *e)
{
    CLEANUP_FREE char *ctr = str_printf("pods/%s/ctr", p->row.id), *data = str_printf("pods/%s", p->row.id);
    int r = ctr && data ? dir_make_all(store_run_fd(g->store), ctr, 0711, e) : err_oom(e);
    if (r == 0) {
        r = dir_make_all(store_root_fd(g->store), data, 0711, e);
    }
    const char *parent = str_empty(p->spec.cgroup_parent) ? g->cgroup_parent : p->spec.cgroup_parent;
    if (r == 0) {
        r = set_str(&p->st.cgroup, str_printf("%s/tare-%s", str_eq(parent, "/") ? "" : parent, p->row.id), e);
    }
    if (r == 0) {
        r = set_str(&p->st.boot_id, strdup(store_boot_id(g->store)), e);
    }
    return r;
}

/* The namespace of another pod or container; its host's network is ours too. */
static int shared_netns(struct engine *g, struct pod *p, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_POD struct pod o = { 0 };
    struct err le = { 0 };
    const char *id = p->spec.netns_of;
    if (ctr_load(g, id, &c, &le) == 0) {
        id = c.row.pod_id;
    }
    int r = pod_load(g, id, &o, e);
    if (r < 0) {
        return err_wrap(e, "network of %.64s", p->spec.netns_of);
    }
    free(PTR_STEAL(p->st.netns));
    return o.st.netns ? set_str(&p->st.netns, strdup(o.st.netns), e) : 0;
}

static int up_netns(struct engine *g, struct pod *p, struct err *e)
{
    if (!str_empty(p->spec.netns_of)) {
        return shared_netns(g, p, e);
    }
    if (!own_netns(p)) {
        return 0;
    }
    int r = set_str(&p->st.netns, str_printf("%s/netns", p->dir), e);
    /* A user namespace has to own it: then the monitor makes it. */
    return r < 0 || p->spec.userns ? r : netns_create(p->st.netns, e);
}

static int take_ips(struct pod *p, const struct cni_result *res, struct err *e)
{
    strv_free(PTR_STEAL(p->st.ips));
    for (size_t i = 0; i < res->ips.n; i++) {
        CLEANUP_FREE char *ip = strdup(res->ips.v[i].address);
        if (!ip) {
            return err_oom(e);
        }
        ip[strcspn(ip, "/")] = '\0';
        if (strv_push(&p->st.ips, ip) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int up_network(struct engine *g, struct pod *p, struct err *e)
{
    const struct engine_pod_spec *s = &p->spec;
    struct cni_result res = { 0 };
    if (!wants_network(p)) {
        return 0;
    }
    if (net_cached(g->net, p->row.id, &res, NULL) < 0) {
        struct net_port *ports = calloc(s->ports.n + 1, sizeof(*ports));
        if (!ports) {
            return err_oom(e);
        }
        for (size_t i = 0; i < s->ports.n; i++) {
            const struct engine_port *q = &s->ports.v[i];
            ports[i] = (struct net_port){ q->protocol, q->host_ip, q->host_port, q->container_port };
        }
        struct net_attach a = { .id = p->row.id, .netns = p->st.netns, .ifname = "eth0", .network = s->network, .ports = ports,
                                .n_ports = s->ports.n, .k8s_name = s->kind == ENGINE_POD_SANDBOX ? s->name : NULL,
                                .k8s_namespace = s->k8s_namespace, .k8s_uid = s->uid, .dns_servers = s->dns_servers,
                                .dns_searches = s->dns_searches, .dns_options = s->dns_options };
        int r = net_add(g->net, &a, &res, e);
        free(ports);
        if (r < 0) {
            return r;
        }
    }
    int r = take_ips(p, &res, e);
    cni_result_done(&res);
    return r;
}

static int up_files(struct engine *g, struct pod *p, struct err *e)
{
    return files_write(g, p, e);
}

static bool own_ipc(const struct pod *p)
{
    return p->spec.kind == ENGINE_POD_SANDBOX && p->spec.ipc == ENGINE_NS_POD;
}

static bool is_tmpfs(const char *path)
{
    struct statfs st;
    struct stat a, b;
    CLEANUP_FREE char *up = str_printf("%s/..", path);
    return up && statfs(path, &st) == 0 && st.f_type == TMPFS_MAGIC && stat(path, &a) == 0 && stat(up, &b) == 0 && a.st_dev != b.st_dev;
}

static int up_shm(struct engine *g, struct pod *p, struct err *e)
{
    (void)g;
    if (!own_ipc(p)) {
        return 0;
    }
    CLEANUP_FREE char *path = str_printf("%s/shm", p->dir);
    CLEANUP_FREE char *opts = str_printf("mode=1777,size=%lld", (long long)(p->spec.shm_size > 0 ? p->spec.shm_size : 64 << 20));
    if (!path || !opts) {
        return err_oom(e);
    }
    if (mkdir(path, 01777) < 0 && errno != EEXIST) {
        return err_sys(e, errno, "make %s", path);
    }
    p->st.shm = true;
    if (!is_tmpfs(path) && mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, opts) < 0) {
        return err_sys(e, errno, "mount %s", path);
    }
    return 0;
}

/* ---- the monitor --------------------------------------------------------------------------------------------- */

int pod_monitor(const struct pod *p, struct mon **ret, struct err *e)
{
    return mon_connect(p->dir, MON_CALL_MS, ret, e);
}

static int add_maps(char ***out, const struct engine_id_map *v, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        CLEANUP_FREE char *line = str_printf("%u %u %u", v[i].container_id, v[i].host_id, v[i].length);
        if (!line || strv_push(out, line) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int describe(struct engine *g, const struct pod *p, struct mon_pod *m, struct err *e)
{
    const struct engine_pod_spec *s = &p->spec;
    bool sandbox = s->kind == ENGINE_POD_SANDBOX;
    m->netns = p->st.netns ? strdup(p->st.netns) : NULL;
    m->new_net = own_netns(p) && s->userns;
    m->new_ipc = own_ipc(p);
    m->new_uts = sandbox && s->net != ENGINE_NS_HOST;
    m->pid_init = sandbox && s->pid == ENGINE_NS_POD;
    m->hostname = m->new_uts && !str_empty(s->hostname) ? strdup(s->hostname) : NULL;
    m->domainname = m->new_uts && !str_empty(s->domainname) ? strdup(s->domainname) : NULL;
    m->notify = str_printf("%s/tared.sock", g->run);
    m->oom_score_adj = -999;
    int r = 0;
    if (s->userns) {
        r = add_maps(&m->uid_map, s->uid_map.v, s->uid_map.n, e);
        if (r == 0) {
            r = add_maps(&m->gid_map, s->gid_map.v, s->gid_map.n, e);
        }
    }
    for (size_t i = 0; sandbox && r == 0 && i < s->sysctls.n; i++) {
        CLEANUP_FREE char *kv = str_printf("%s=%s", s->sysctls.v[i].key, s->sysctls.v[i].value);
        r = kv && strv_push(&m->sysctls, kv) == 0 ? 0 : err_oom(e);
    }
    /* With v2 alone the monitor gets a leaf of its own; moving it costs an RCU grace period on v1, and gains nothing there. */
    if (r == 0 && cg_machine_mode(&g->cg) == CG_V2 && !g->systemd_cgroup) {
        CLEANUP_FREE char *path = str_printf("%s/monitor", p->st.cgroup);
        CLEANUP_FREE char *abs = path ? str_printf("%s%s", g->cg.h[0].mount, path) : NULL;
        r = abs ? dir_make_all(AT_FDCWD, abs, 0755, e) : err_oom(e);
        if (r == 0 && strv_push(&m->cgroups, abs) < 0) {
            r = err_oom(e);
        }
    }
    return r;
}

/* Paths of our own namespaces come back as NULL or as paths; only what the pod has is kept. */
static void take_paths(struct pod *p, struct mon_pod_state *ms)
{
    struct {
        char **to, **from;
    } v[] = { { &p->st.ns_net, &ms->ns_net }, { &p->st.ns_ipc, &ms->ns_ipc }, { &p->st.ns_uts, &ms->ns_uts },
              { &p->st.ns_pid, &ms->ns_pid }, { &p->st.ns_user, &ms->ns_user } };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        free(*v[i].to);
        *v[i].to = PTR_STEAL(*v[i].from);
    }
    p->st.monitor_pid = ms->pid;
}

static int up_monitor(struct engine *g, struct pod *p, struct err *e)
{
    struct mon_pod m;
    struct mon_pod_state ms;
    mon_struct_init(&mon_pod_type, &m);
    mon_struct_init(&mon_pod_state_type, &ms);
    CLEANUP_MON struct mon *there = NULL;
    int r;
    if (pod_monitor(p, &there, NULL) == 0) {
        r = mon_pod_state(there, MON_CALL_MS, &ms, e);
    } else {
        r = describe(g, p, &m, e);
        if (r == 0) {
            r = mon_spawn(g->monitor_path, p->dir, &m, MON_CALL_MS, &ms, e);
        }
    }
    if (r == 0) {
        take_paths(p, &ms);
    }
    mon_struct_done(&mon_pod_type, &m);
    mon_struct_done(&mon_pod_state_type, &ms);
    return r;
}

bool pod_is_up(struct engine *g, const struct pod *p)
{
    if (!str_eq(p->st.boot_id, store_boot_id(g->store)) || !pid_alive(p->st.monitor_pid, 0)) {
        return false;
    }
    return !p->st.netns || netns_is(p->st.netns);
}

typedef int step_fn(struct engine *g, struct pod *p, struct err *e);

int pod_up(struct engine *g, struct pod *p, uint64_t op, struct err *e)
{
    static const struct {
        const char *name;
        step_fn *run;
        bool userns_after; /* with a user namespace: only after the monitor, which makes the network namespace */
        bool stage;
    } steps[] = {
        { "dirs", up_dirs, false, false },     { "netns", up_netns, false, false }, { "cni-add", up_network, true, true },
        { "files", up_files, true, false },    { "shm", up_shm, false, false },     { "monitor", up_monitor, false, true },
    };
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
            if ((p->spec.userns && steps[i].userns_after) != (pass == 1)) {
                continue;
            }
            bool named = steps[i].stage && op != 0 && (steps[i].run != up_network || wants_network(p));
            int r = named ? op_stage(g->store, op, steps[i].name, NULL, e) : 0;
            if (r == 0) {
                r = steps[i].run(g, p, e);
                fault_point("pod-up", steps[i].name);
            }
            if (r < 0) {
                return err_wrap(e, "%s", steps[i].name);
            }
        }
    }
    return 0;
}

/* ---- down -------------------------------------------------------------------------------------------------------- */

static int down_monitor(struct engine *g, struct pod *p, struct err *e)
{
    CLEANUP_MON struct mon *m = NULL;
    (void)g;
    int r = pod_monitor(p, &m, e);
    if (r < 0) {
        return e->kind == ERR_UNAVAILABLE || e->kind == ERR_NOT_FOUND ? 0 : r;
    }
    struct mon_pod_state ms;
    mon_struct_init(&mon_pod_state_type, &ms);
    r = mon_pod_state(m, MON_CALL_MS, &ms, e);
    for (size_t i = 0; r == 0 && ms.containers && ms.containers[i]; i++) {
        r = monitor_forget(m, ms.containers[i], e);
    }
    mon_struct_done(&mon_pod_state_type, &ms);
    if (r == 0) {
        r = mon_shutdown(m, MON_CALL_MS, e);
    }
    return r < 0 && e->kind == ERR_UNAVAILABLE ? 0 : r;
}

static int down_network(struct engine *g, struct pod *p, struct err *e)
{
    return net_del(g->net, p->row.id, p->st.netns, e);
}

static int down_netns(struct engine *g, struct pod *p, struct err *e)
{
    (void)g;
    CLEANUP_FREE char *path = str_printf("%s/netns", p->dir);
    return path ? netns_remove(path, e) : err_oom(e);
}

static int down_shm(struct engine *g, struct pod *p, struct err *e)
{
    (void)g;
    CLEANUP_FREE char *path = str_printf("%s/shm", p->dir);
    if (!path) {
        return err_oom(e);
    }
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
    }
    return errno == EINVAL || errno == ENOENT ? 0 : err_sys(e, errno, "unmount %s", path);
}

static int down_cgroup(struct engine *g, struct pod *p, struct err *e)
{
    return p->st.cgroup ? cgroup_remove(g, p->st.cgroup, e) : 0;
}

int pod_down(struct engine *g, struct pod *p, struct err *e)
{
    static const struct {
        const char *name;
        step_fn *run;
    } steps[] = { { "monitor", down_monitor }, { "cni-del", down_network }, { "netns", down_netns }, { "shm", down_shm }, { "cgroup", down_cgroup } };
    struct err le = { 0 };
    e = e ? e : &le;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int r = steps[i].run(g, p, e);
        fault_point("pod-down", steps[i].name);
        if (r < 0) {
            return err_wrap(e, "%s", steps[i].name);
        }
        err_clear(e);
    }
    p->st.monitor_pid = 0;
    return 0;
}
