/*
 * tests/tools/fake-engine.c: as much of engine.h as tared links, in memory: pods and containers change their state as they
 * should, nothing runs. With it the CRI side is tested call by call, without root and without images. What a test wants to go
 * wrong it says in names: a pod "slow" takes a second, a container "broken" does not start.
 */
#include "engine/engine.h"
#include "ipc/stream.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OBJECTS = 256 };

struct fake {
    struct engine_pod *pod;
    struct engine_ctr *ctr;
};

struct engine {
    pthread_mutex_t lock;
    struct engine_pod *pods[OBJECTS];
    struct engine_ctr *ctrs[OBJECTS];
    uint64_t next;
    bool image;
};

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static char *copy(const char *s)
{
    return s ? strdup(s) : NULL;
}

static char *copy_bytes(const char *s, size_t n)
{
    char *to = malloc(n + 1);
    if (to) {
        memcpy(to, s ? s : "", n);
        to[n] = '\0';
    }
    return to;
}

void engine_resources_done(struct engine_resources *r)
{
    free(r->cpuset_cpus);
    free(r->cpuset_mems);
    str_map_done(&r->unified);
    str_map_done(&r->hugepages);
}

void engine_pod_spec_done(struct engine_pod_spec *s)
{
    char **strings[] = { &s->name, &s->uid, &s->k8s_namespace, &s->hostname, &s->domainname, &s->log_directory, &s->cgroup_parent,
                         &s->runtime_handler, &s->network, &s->netns_of, &s->cri_config };
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        free(*strings[i]);
    }
    str_map_done(&s->labels);
    str_map_done(&s->annotations);
    str_map_done(&s->sysctls);
    strv_free(s->dns_servers);
    strv_free(s->dns_searches);
    strv_free(s->dns_options);
    strv_free(s->extra_hosts);
    for (size_t i = 0; i < s->ports.n; i++) {
        free(s->ports.v[i].protocol);
        free(s->ports.v[i].host_ip);
    }
    free(s->ports.v);
    free(s->uid_map.v);
    free(s->gid_map.v);
    engine_resources_done(&s->resources);
    engine_resources_done(&s->overhead);
}

void engine_ctr_spec_done(struct engine_ctr_spec *s)
{
    char **strings[] = { &s->name, &s->image, &s->image_id, &s->working_dir, &s->user, &s->hostname, &s->seccomp_profile,
                         &s->apparmor_profile, &s->selinux_label, &s->pid_target, &s->stop_signal, &s->restart_policy, &s->log_path,
                         &s->runtime, &s->detach_keys, &s->cri_config };
    char **lists[] = { (char **)s->entrypoint, (char **)s->command, s->env, s->cdi_devices, s->cap_add, s->cap_drop, s->cap_ambient,
                       s->masked_paths, s->readonly_paths };
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        free(*strings[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        strv_free(lists[i]);
    }
    for (size_t i = 0; i < s->mounts.n; i++) {
        free(s->mounts.v[i].source);
        free(s->mounts.v[i].target);
        free(s->mounts.v[i].propagation);
        free(s->mounts.v[i].options);
        free(s->mounts.v[i].sub_path);
    }
    for (size_t i = 0; i < s->devices.n; i++) {
        free(s->devices.v[i].host_path);
        free(s->devices.v[i].container_path);
        free(s->devices.v[i].permissions);
    }
    free(s->mounts.v);
    free(s->devices.v);
    free(s->groups.v);
    str_map_done(&s->labels);
    str_map_done(&s->annotations);
    engine_resources_done(&s->resources);
}

void engine_pod_free(struct engine_pod *p)
{
    if (p) {
        engine_pod_spec_done(&p->spec);
        strv_free(p->ips);
        free(p->netns_path);
        free(p->id);
        free(p);
    }
}

void engine_ctr_free(struct engine_ctr *c)
{
    if (c) {
        engine_ctr_spec_done(&c->spec);
        char *strings[] = { c->id, c->pod_id, c->reason, c->message, c->log_path, c->image_name, c->image_id };
        for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
            free(strings[i]);
        }
        strv_free(c->args);
        free(c->groups.v);
        free(c);
    }
}

static void copy_resources(struct engine_resources *to, const struct engine_resources *from)
{
    engine_resources_done(to);
    *to = *from;
    to->cpuset_cpus = copy(from->cpuset_cpus);
    to->cpuset_mems = copy(from->cpuset_mems);
    to->unified = to->hugepages = (struct str_map){ 0 };
    (void)!str_map_copy(&to->unified, &from->unified);
    (void)!str_map_copy(&to->hugepages, &from->hugepages);
}

/* What answers show of it. */
static void copy_pod_spec(struct engine_pod_spec *to, const struct engine_pod_spec *s)
{
    *to = (struct engine_pod_spec){ .name = copy(s->name), .uid = copy(s->uid), .k8s_namespace = copy(s->k8s_namespace),
                                    .attempt = s->attempt, .runtime_handler = copy(s->runtime_handler), .net = s->net, .pid = s->pid,
                                    .ipc = s->ipc, .cri_config = copy_bytes(s->cri_config, s->cri_config_len),
                                    .cri_config_len = s->cri_config_len };
    (void)!str_map_copy(&to->labels, &s->labels);
    (void)!str_map_copy(&to->annotations, &s->annotations);
}

static struct engine_pod *copy_pod(const struct engine_pod *p)
{
    struct engine_pod *to = calloc(1, sizeof(*to));
    copy_pod_spec(&to->spec, &p->spec);
    to->id = copy(p->id);
    to->state = p->state;
    to->created_at = p->created_at;
    (void)!strv_push(&to->ips, "10.1.2.3");
    (void)!strv_push(&to->ips, "fd00::3");
    return to;
}

static struct engine_ctr *copy_ctr(const struct engine_ctr *c)
{
    struct engine_ctr *to = calloc(1, sizeof(*to));
    const struct engine_ctr_spec *s = &c->spec;
    to->spec = (struct engine_ctr_spec){ .name = copy(s->name), .attempt = s->attempt, .image = copy(s->image),
                                         .stop_signal = copy(s->stop_signal),
                                         .cri_config = copy_bytes(s->cri_config, s->cri_config_len),
                                         .cri_config_len = s->cri_config_len };
    (void)!str_map_copy(&to->spec.labels, &s->labels);
    (void)!str_map_copy(&to->spec.annotations, &s->annotations);
    copy_resources(&to->spec.resources, &s->resources);
    to->id = copy(c->id);
    to->pod_id = copy(c->pod_id);
    to->state = c->state;
    to->created_at = c->created_at;
    to->started_at = c->started_at;
    to->finished_at = c->finished_at;
    to->exit_code = c->exit_code;
    to->log_path = copy(s->log_path ? s->log_path : c->log_path);
    to->image_name = copy(s->image);
    to->image_id = copy("sha256:1111");
    to->uid = s->has_uid ? s->uid : c->uid;
    return to;
}

/* ---- life ---------------------------------------------------------------------------------- */

int engine_open(const struct engine_options *o, struct engine **ret, struct err *e)
{
    (void)o;
    *ret = calloc(1, sizeof(**ret));
    if (!*ret) {
        return err_oom(e);
    }
    pthread_mutex_init(&(*ret)->lock, NULL);
    return 0;
}

void engine_close(struct engine *g)
{
    if (g) {
        for (size_t i = 0; i < OBJECTS; i++) {
            engine_pod_free(g->pods[i]);
            engine_ctr_free(g->ctrs[i]);
        }
        free(g);
    }
}

int engine_recover(struct engine *g, struct err *e)
{
    (void)g;
    (void)e;
    return 0;
}

static int new_id(struct engine *g, char **ret)
{
    *ret = str_printf("%016llx%048d", (unsigned long long)(++g->next * 0x9e3779b97f4a7c15u), 0);
    return 0;
}

static struct engine_pod **find_pod(struct engine *g, const char *ref)
{
    for (size_t i = 0; i < OBJECTS; i++) {
        if (g->pods[i] && str_eq(g->pods[i]->id, ref)) {
            return &g->pods[i];
        }
    }
    return NULL;
}

static struct engine_ctr **find_ctr(struct engine *g, const char *ref)
{
    for (size_t i = 0; i < OBJECTS; i++) {
        if (g->ctrs[i] && str_eq(g->ctrs[i]->id, ref)) {
            return &g->ctrs[i];
        }
    }
    return NULL;
}

static int missing(struct err *e, const char *what, const char *ref)
{
    return err_set(e, ENOENT, ERR_NOT_FOUND, "%s %s: not found", what, ref);
}

int engine_pod_run(struct engine *g, const struct engine_pod_spec *s, char **ret_id, struct err *e)
{
    if (str_eq(s->name, "slow")) {
        sleep(1);
    }
    pthread_mutex_lock(&g->lock);
    int r = err_set(e, ENOSPC, ERR_EXHAUSTED, "fake is full");
    for (size_t i = 0; i < OBJECTS; i++) {
        if (g->pods[i] && str_eq(g->pods[i]->spec.name, s->name) && g->pods[i]->spec.attempt == s->attempt) {
            *ret_id = copy(g->pods[i]->id);
            r = 0;
            break;
        }
        if (!g->pods[i]) {
            struct engine_pod *p = calloc(1, sizeof(*p));
            new_id(g, &p->id);
            copy_pod_spec(&p->spec, s);
            p->state = ENGINE_POD_READY;
            p->created_at = now();
            g->pods[i] = p;
            *ret_id = copy(p->id);
            r = 0;
            break;
        }
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

static int end_ctrs(struct engine *g, const char *pod, bool remove)
{
    for (size_t i = 0; i < OBJECTS; i++) {
        if (!g->ctrs[i] || !str_eq(g->ctrs[i]->pod_id, pod)) {
            continue;
        }
        if (remove) {
            engine_ctr_free(g->ctrs[i]);
            g->ctrs[i] = NULL;
        } else if (g->ctrs[i]->state == ENGINE_CTR_RUNNING) {
            g->ctrs[i]->state = ENGINE_CTR_EXITED;
            g->ctrs[i]->exit_code = 137;
            g->ctrs[i]->finished_at = now();
        }
    }
    return 0;
}

int engine_pod_stop(struct engine *g, const char *ref, struct err *e)
{
    pthread_mutex_lock(&g->lock);
    struct engine_pod **p = find_pod(g, ref);
    int r = p ? end_ctrs(g, ref, false) : missing(e, "pod", ref);
    if (p) {
        (*p)->state = ENGINE_POD_NOTREADY;
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

int engine_pod_remove(struct engine *g, const char *ref, struct err *e)
{
    pthread_mutex_lock(&g->lock);
    struct engine_pod **p = find_pod(g, ref);
    int r = p ? end_ctrs(g, ref, true) : missing(e, "pod", ref);
    if (p) {
        engine_pod_free(*p);
        *p = NULL;
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

int engine_pod_get(struct engine *g, const char *ref, struct engine_pod **ret, struct err *e)
{
    pthread_mutex_lock(&g->lock);
    struct engine_pod **p = find_pod(g, ref);
    int r = p ? 0 : missing(e, "pod", ref);
    if (p) {
        *ret = copy_pod(*p);
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

int engine_pod_list(struct engine *g, struct engine_pods *ret, struct err *e)
{
    (void)g;
    (void)e;
    *ret = (struct engine_pods){ 0 };
    return 0;
}

void engine_pods_done(struct engine_pods *p)
{
    free(p->v);
}

int engine_ctr_list(struct engine *g, struct engine_ctrs *ret, struct err *e)
{
    (void)g;
    (void)e;
    *ret = (struct engine_ctrs){ 0 };
    return 0;
}

void engine_ctrs_done(struct engine_ctrs *c)
{
    free(c->v);
}

int engine_ctr_create(struct engine *g, const char *pod, const struct engine_pod_spec *pod_spec, const struct engine_ctr_spec *s,
                      char **ret_id, struct err *e)
{
    (void)pod_spec;
    pthread_mutex_lock(&g->lock);
    int r = err_set(e, ENOSPC, ERR_EXHAUSTED, "fake is full");
    for (size_t i = 0; i < OBJECTS; i++) {
        if (!g->ctrs[i]) {
            struct engine_ctr from = { .pod_id = (char *)(uintptr_t)pod, .spec = *s, .state = ENGINE_CTR_CREATED, .created_at = now() };
            new_id(g, &from.id);
            g->ctrs[i] = copy_ctr(&from);
            *ret_id = from.id;
            r = 0;
            break;
        }
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

/* Applies fn to a container under the lock. */
static int with_ctr(struct engine *g, const char *ref, int (*fn)(struct engine_ctr **c, struct err *e), struct err *e)
{
    pthread_mutex_lock(&g->lock);
    struct engine_ctr **c = find_ctr(g, ref);
    int r = c ? fn(c, e) : missing(e, "container", ref);
    pthread_mutex_unlock(&g->lock);
    return r;
}

static int do_start(struct engine_ctr **c, struct err *e)
{
    if (str_eq((*c)->spec.name, "broken")) {
        return err_set(e, ENOENT, ERR_INVALID, "exec: no such file");
    }
    if ((*c)->state != ENGINE_CTR_CREATED) {
        return err_set(e, EBUSY, ERR_BUSY, "container is not in state created");
    }
    (*c)->state = ENGINE_CTR_RUNNING;
    (*c)->started_at = now();
    return 0;
}

static int do_stop(struct engine_ctr **c, struct err *e)
{
    (void)e;
    (*c)->state = ENGINE_CTR_EXITED;
    (*c)->exit_code = 143;
    (*c)->finished_at = now();
    return 0;
}

static int do_remove(struct engine_ctr **c, struct err *e)
{
    (void)e;
    engine_ctr_free(*c);
    *c = NULL;
    return 0;
}

static int do_look(struct engine_ctr **c, struct err *e)
{
    return (*c)->state == ENGINE_CTR_RUNNING ? 0 : err_set(e, EBUSY, ERR_BUSY, "container does not run");
}

int engine_ctr_start(struct engine *g, const char *ref, struct err *e)
{
    return with_ctr(g, ref, do_start, e);
}

int engine_ctr_stop(struct engine *g, const char *ref, int64_t timeout_s, struct err *e)
{
    (void)timeout_s;
    return with_ctr(g, ref, do_stop, e);
}

int engine_ctr_remove(struct engine *g, const char *ref, bool force, struct err *e)
{
    (void)force;
    return with_ctr(g, ref, do_remove, e);
}

int engine_ctr_reopen_log(struct engine *g, const char *ref, struct err *e)
{
    return with_ctr(g, ref, do_look, e);
}

int engine_ctr_update(struct engine *g, const char *ref, const struct engine_resources *res, struct err *e)
{
    pthread_mutex_lock(&g->lock);
    struct engine_ctr **c = find_ctr(g, ref);
    int r = c ? 0 : missing(e, "container", ref);
    if (c) {
        copy_resources(&(*c)->spec.resources, res);
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

int engine_ctr_get(struct engine *g, const char *ref, struct engine_ctr **ret, struct err *e)
{
    pthread_mutex_lock(&g->lock);
    struct engine_ctr **c = find_ctr(g, ref);
    int r = c ? 0 : missing(e, "container", ref);
    if (c) {
        *ret = copy_ctr(*c);
    }
    pthread_mutex_unlock(&g->lock);
    return r;
}

int engine_exec_sync(struct engine *g, const char *ref, char *const *args, int64_t timeout_ms, size_t max, struct buf *out,
                     struct buf *errout, int32_t *ret_code, struct err *e)
{
    (void)max;
    int r = with_ctr(g, ref, do_look, e);
    if (r < 0) {
        return r;
    }
    if (str_eq(args[0], "sleep")) {
        sleep(timeout_ms > 0 ? (unsigned)(timeout_ms / 1000) : 2);
        return timeout_ms > 0 ? err_set(e, ETIMEDOUT, ERR_TIMEOUT, "command timed out") : 0;
    }
    if (str_eq(args[0], "much")) {
        char line[1024];
        memset(line, 'x', sizeof(line));
        for (int i = 0; i < 20 << 10 && out->len + sizeof(line) <= max; i++) {
            buf_add(out, line, sizeof(line));
        }
    }
    for (size_t i = 0; args[i]; i++) {
        buf_addf(i == 0 ? errout : out, "%s\n", args[i]);
    }
    *ret_code = 7;
    return 0;
}

/*
 * A process that only pretends: writes its arguments and what comes in, and its size when that changes; at the end of input it ends
 * with 7, or with 0 if it is called "ok". "much" writes a MiB for each piece of input.
 */
struct process {
    int fd;
    char *name;
};

static int obey(const struct process *p, const struct stream_frame *f)
{
    char text[64];
    uint16_t v[2] = { 0 };
    if (f->type == STREAM_RESIZE && f->len == sizeof(v)) {
        memcpy(v, f->data, sizeof(v));
        (void)snprintf(text, sizeof(text), "%ux%u\n", v[0], v[1]);
        return stream_write(p->fd, STREAM_STDOUT, text, strlen(text));
    }
    for (int i = 0; str_eq(p->name, "much") && i < 16; i++) {
        char page[STREAM_PAYLOAD_MAX];
        memset(page, 'a' + i, sizeof(page));
        if (stream_write(p->fd, STREAM_STDOUT, page, sizeof(page)) < 0) {
            return -EPIPE;
        }
    }
    return f->type == STREAM_STDIN ? stream_write(p->fd, STREAM_STDOUT, f->data, f->len) : 0;
}

static void *pretend(void *data)
{
    struct process *p = data;
    struct stream_reader in = { 0 };
    struct stream_frame f;
    uint32_t code = htole32(str_eq(p->name, "ok") ? 0 : 7);
    while (stream_read(&in, p->fd, &f) > 0 && f.type != STREAM_STDIN_EOF && obey(p, &f) == 0) {
    }
    (void)!stream_write(p->fd, STREAM_EXIT, &code, sizeof(code));
    close(p->fd);
    stream_reader_done(&in);
    free(p->name);
    free(p);
    return NULL;
}

static int pretend_start(struct engine *g, const char *ref, const char *name, bool tty, struct engine_stream *ret, struct err *e)
{
    pthread_t thread;
    int pair[2];
    int r = with_ctr(g, ref, do_look, e);
    if (r < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return r < 0 ? r : err_sys(e, errno, "socketpair");
    }
    struct process *p = malloc(sizeof(*p));
    *p = (struct process){ pair[1], strdup(name) };
    if (pthread_create(&thread, NULL, pretend, p) != 0) {
        return err_sys(e, EAGAIN, "start thread");
    }
    pthread_detach(thread);
    *ret = (struct engine_stream){ .fd = pair[0], .tty = tty };
    return 0;
}

int engine_exec_start(struct engine *g, const char *ref, const struct engine_exec_spec *s, bool detach, struct engine_stream *ret,
                      struct err *e)
{
    (void)detach;
    if (str_eq(s->args[0], "missing")) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "exec: \"missing\": no such file");
    }
    int r = pretend_start(g, ref, s->args[0], s->tty, ret, e);
    for (size_t i = 0; r == 0 && s->args[i]; i++) {
        /* As input, which it echoes. */
        r = i == 0 ? 0 : stream_write(ret->fd, STREAM_STDIN, s->args[i], strlen(s->args[i]));
    }
    if (r == 0 && !s->stdin_open) {
        r = stream_write(ret->fd, STREAM_STDIN_EOF, NULL, 0);
    }
    return r;
}

int engine_ctr_attach(struct engine *g, const char *ref, bool with_stdin, struct engine_stream *ret, struct err *e)
{
    (void)with_stdin;
    return pretend_start(g, ref, "attached", false, ret, e);
}

/* ---- figures, images, the rest ------------------------------------------------------------- */

void engine_stats_done(struct engine_stats *s)
{
    free(s->net.v);
}

int engine_ctr_stats(struct engine *g, const char *ref, struct engine_stats *ret, struct err *e)
{
    int r = with_ctr(g, ref, do_look, e);
    *ret = (struct engine_stats){ .timestamp = now(), .cpu_ns = (uint64_t)now() / 1000, .mem_usage = 4096, .mem_working_set = 2048 };
    return r;
}

int engine_pod_stats(struct engine *g, const char *ref, struct engine_stats *ret, struct err *e)
{
    (void)g;
    (void)ref;
    (void)e;
    *ret = (struct engine_stats){ .timestamp = now(), .cpu_ns = 1, .pids = 3 };
    ret->net.v = calloc(1, sizeof(*ret->net.v));
    ret->net.n = 1;
    (void)snprintf(ret->net.v[0].name, sizeof(ret->net.v[0].name), "eth0");
    ret->net.v[0].rx_bytes = 42;
    return 0;
}

void engine_image_free(struct engine_image *i)
{
    if (i) {
        free(i->id);
        strv_free(i->tags);
        strv_free(i->digests);
        free(i->user);
        free(i);
    }
}

void engine_images_done(struct engine_images *i)
{
    for (size_t k = 0; k < i->n; k++) {
        engine_image_free(i->v[k]);
    }
    free(i->v);
}

int engine_image_pull(struct engine *g, const char *ref, const struct engine_pull_options *o, char **ret_id, struct err *e)
{
    if (str_eq(ref, "denied")) {
        return err_set(e, EACCES, ERR_DENIED, "credentials of %s were refused", o->auth ? o->auth->username : "nobody");
    }
    g->image = true;
    *ret_id = copy("sha256:1111");
    return 0;
}

int engine_image_get(struct engine *g, const char *ref, struct engine_image **ret, struct err *e)
{
    if (!g->image || (!str_starts(ref, "busybox") && !str_eq(ref, "sha256:1111"))) {
        return missing(e, "image", ref);
    }
    *ret = calloc(1, sizeof(**ret));
    (*ret)->id = copy("sha256:1111");
    (void)!strv_push(&(*ret)->tags, "docker.io/library/busybox:latest");
    (*ret)->user = copy("www-data:1004");
    (*ret)->size = 1000;
    return 0;
}

int engine_image_list(struct engine *g, struct engine_images *ret, struct err *e)
{
    *ret = (struct engine_images){ .v = calloc(1, sizeof(*ret->v)) };
    ret->n = engine_image_get(g, "busybox", ret->v, e) == 0;
    return 0;
}

int engine_image_config(struct engine *g, const char *ref, char **ret_config, char **ret_manifest, struct err *e)
{
    (void)g;
    (void)ref;
    (void)e;
    *ret_config = copy("{\"os\":\"linux\"}");
    *ret_manifest = copy("{}");
    return 0;
}

int engine_image_remove(struct engine *g, const char *ref, bool force, bool all_tags, char ***ret_deleted, struct err *e)
{
    (void)force;
    (void)all_tags;
    (void)ret_deleted;
    bool was = g->image;
    g->image = false;
    return was ? 0 : missing(e, "image", ref);
}

int engine_usage(struct engine *g, struct engine_usage *ret, struct err *e)
{
    (void)g;
    (void)e;
    *ret = (struct engine_usage){ .images = { 1, copy("/fake/images"), 10, 2 }, .containers = { 1, copy("/fake/containers"), 20, 4 } };
    return 0;
}

void engine_usage_done(struct engine_usage *u)
{
    free(u->images.mountpoint);
    free(u->containers.mountpoint);
}

int engine_events(struct engine *g, uint64_t after, int64_t since, int64_t until, bool follow, engine_event_fn *fn, void *data,
                  struct err *e)
{
    (void)g;
    (void)after;
    (void)since;
    (void)until;
    (void)follow;
    (void)fn;
    (void)data;
    (void)e;
    return 0;
}

int engine_info(struct engine *g, struct engine_info *ret, struct err *e)
{
    (void)g;
    (void)e;
    *ret = (struct engine_info){ .network_reason = copy("no network configuration"), .cgroup_driver = copy("cgroupfs") };
    return 0;
}

void engine_info_done(struct engine_info *i)
{
    free(i->network_reason);
    free(i->cgroup_driver);
}
