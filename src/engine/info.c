/* engine/info.c: the whole: figures of the machine and the store, networks, looking into a container's root. */
#include "engine/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

void engine_info_done(struct engine_info *i)
{
    char *strings[] = { i->network_reason, i->cgroup_driver, i->cgroup_version, i->root, i->run, i->kernel, i->os, i->architecture, i->hostname, i->snapshotter };
    for (size_t k = 0; k < ARRAY_LEN(strings); k++) {
        free(strings[k]);
    }
    strv_free(i->runtimes);
    strv_free(i->networks);
    strv_free(i->warnings);
    *i = (struct engine_info){ 0 };
}

static char *os_name(void)
{
    CLEANUP_BUF struct buf b = { 0 };
    if (file_read(AT_FDCWD, "/etc/os-release", 65536, &b, NULL) == 0) {
        const char *p = strstr(b.data, "PRETTY_NAME=\"");
        if (p) {
            p += sizeof("PRETTY_NAME=\"") - 1;
            return strndup(p, strcspn(p, "\"\n"));
        }
    }
    return strdup("linux");
}

static int count(struct engine *g, struct engine_info *i, struct err *e)
{
    CLEANUP_STORE_IMAGES struct store_images images = { 0 };
    CLEANUP_STORE_PODS struct store_pods pods = { 0 };
    struct engine_ctrs ctrs = { 0 };
    int r = image_list(g->store, g->ns, &images, e);
    r = r ? r : store_pod_list(g->store, g->ns, &pods, e);
    r = r ? r : engine_ctr_list(g, &ctrs, e);
    i->n_images = images.n;
    i->n_pods = pods.n;
    i->n_containers = ctrs.n;
    for (size_t k = 0; k < ctrs.n; k++) {
        i->n_running += ctrs.v[k]->state == ENGINE_CTR_RUNNING;
        i->n_paused += ctrs.v[k]->state == ENGINE_CTR_PAUSED;
    }
    engine_ctrs_done(&ctrs);
    return r;
}

int engine_info(struct engine *g, struct engine_info *ret, struct err *e)
{
    static const char *const modes[] = { "none", "1", "hybrid", "2" };
    struct engine_info i = { 0 };
    struct engine_networks nets = { 0 };
    struct utsname un;
    struct sysinfo si;
    struct err le = { 0 };
    uname(&un);
    sysinfo(&si);
    i.network_ready = net_status(g->net, &le) == 0;
    i.network_reason = i.network_ready ? NULL : strdup(le.text);
    i.cgroup_driver = strdup(g->systemd_cgroup ? "systemd" : "cgroupfs");
    i.cgroup_version = strdup(modes[cg_machine_mode(&g->cg)]);
    i.root = strdup(g->root);
    i.run = strdup(g->run);
    i.kernel = strdup(un.release);
    i.os = os_name();
    i.architecture = strdup(un.machine);
    i.hostname = strdup(un.nodename);
    i.snapshotter = strdup("overlay");
    i.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    i.memory = (uint64_t)si.totalram * si.mem_unit;
    int r = strv_push(&i.runtimes, "tare") < 0 ? err_oom(e) : count(g, &i, e);
    if (r == 0) {
        r = engine_network_list(g, &nets, e);
    }
    for (size_t k = 0; r == 0 && k < nets.n; k++) {
        r = strv_push(&i.networks, nets.v[k].name) < 0 ? err_oom(e) : 0;
    }
    engine_networks_done(&nets);
    if (r < 0) {
        engine_info_done(&i);
        return r;
    }
    *ret = i;
    return 0;
}

/* ---- networks ------------------------------------------------------------------------------------------------- */

void engine_networks_done(struct engine_networks *n)
{
    for (size_t i = 0; i < n->n; i++) {
        free(n->v[i].name);
        free(n->v[i].driver);
        free(n->v[i].file);
        free(n->v[i].subnet);
    }
    free(n->v);
    *n = (struct engine_networks){ 0 };
}

int engine_network_list(struct engine *g, struct engine_networks *ret, struct err *e)
{
    struct net_infos in = { 0 };
    struct engine_networks out = { 0 };
    int r = net_list(g->net, &in, e);
    if (r < 0) {
        return r;
    }
    out.v = calloc(in.n + 2, sizeof(*out.v));
    for (size_t i = 0; out.v && i < in.n; i++) {
        out.v[out.n++] = (struct engine_network){ .name = PTR_STEAL(in.v[i].name), .driver = PTR_STEAL(in.v[i].type),
                                                  .file = PTR_STEAL(in.v[i].file), .subnet = PTR_STEAL(in.v[i].subnet) };
    }
    net_infos_done(&in);
    if (!out.v) {
        return err_oom(e);
    }
    out.v[out.n++] = (struct engine_network){ .name = strdup("host"), .driver = strdup("host") };
    out.v[out.n++] = (struct engine_network){ .name = strdup("none"), .driver = strdup("null") };
    *ret = out;
    return 0;
}

/* ---- usage ------------------------------------------------------------------------------------------------------ */

void engine_usage_done(struct engine_usage *u)
{
    free(u->images.mountpoint);
    free(u->containers.mountpoint);
    *u = (struct engine_usage){ 0 };
}

int engine_usage(struct engine *g, struct engine_usage *ret, struct err *e)
{
    struct engine_usage u = { 0 };
    struct image_usage iu = { 0 };
    struct engine_ctrs ctrs = { 0 };
    int r = image_usage(g->store, g->ns, &iu, e);
    r = r ? r : engine_ctr_list(g, &ctrs, e);
    if (r < 0) {
        return r;
    }
    u.images = (struct engine_fs_usage){ store_now(), strdup(g->root), iu.bytes, iu.inodes };
    u.containers = (struct engine_fs_usage){ store_now(), str_printf("%s/containers", g->root), 0, 0 };
    u.n_images = iu.n_images;
    u.images_reclaimable = iu.reclaimable;
    u.n_containers = ctrs.n;
    for (size_t i = 0; i < ctrs.n; i++) {
        struct engine_stats s = { 0 };
        bool runs = ctrs.v[i]->state == ENGINE_CTR_RUNNING || ctrs.v[i]->state == ENGINE_CTR_PAUSED;
        u.n_running += runs;
        if (engine_ctr_stats(g, ctrs.v[i]->id, &s, NULL) == 0) {
            u.containers.bytes += s.rw_bytes;
            u.containers.inodes += s.rw_inodes;
            u.containers_reclaimable += runs ? 0 : s.rw_bytes;
        }
        engine_stats_done(&s);
    }
    engine_ctrs_done(&ctrs);
    *ret = u;
    return 0;
}

/* ---- looking in --------------------------------------------------------------------------------------------------- */

int engine_ctr_root(struct engine *g, const char *ref, int *ret_fd, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_STRV char **lowers = NULL;
    int r = ctr_load(g, ref, &c, e);
    if (r == 0) {
        r = ctr_refresh(g, &c, e);
    }
    if (r == 0 && ctr_lives(&c)) {
        return rootfs_of_process(c.row.pid, c.row.pid_start, ret_fd, e);
    }
    if (r == 0) {
        r = ctr_lowers(g, c.row.id, &lowers, e);
    }
    CLEANUP_FREE char *upper = r == 0 ? str_printf("%s/upper", c.data) : NULL, *work = r == 0 ? str_printf("%s/work", c.data) : NULL;
    return r < 0 ? r : upper && work ? rootfs_open(lowers, upper, work, ret_fd, e) : err_oom(e);
}
