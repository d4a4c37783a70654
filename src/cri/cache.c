/*
 * cri/cache.c: see cache.h. Two arrays sorted by id under one lock that is only held for memory work; the engine is asked
 * outside of it.
 */
#include "cri/cache.h"

#include "cri/cache-internal.h"
#include "cri/convert.h"

#include <errno.h>
#include <signal.h>

static void entry_free(struct cache_entry *n)
{
    if (!n) {
        return;
    }
    free(n->id);
    free(n->pod);
    str_map_done(&n->labels);
    buf_done(&n->item);
    buf_done(&n->status);
    free(n);
}

static void entry_free_p(struct cache_entry **n)
{
    entry_free(*n);
}
#define CLEANUP_ENTRY CLEANUP(entry_free_p)

/* Where id is, or would be. */
static size_t table_at(const struct cache_table *t, const char *id)
{
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(t->v[mid]->id, id) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static struct cache_entry *table_get(const struct cache_table *t, const char *id)
{
    size_t at = table_at(t, id);
    return at < t->n && strcmp(t->v[at]->id, id) == 0 ? t->v[at] : NULL;
}

static int table_put(struct cache_table *t, struct cache_entry *n)
{
    size_t at = table_at(t, n->id);
    if (array_grow(&t->v, &t->cap, t->n + 1, sizeof(*t->v)) < 0) {
        return -ENOMEM;
    }
    memmove(t->v + at + 1, t->v + at, (t->n - at) * sizeof(*t->v));
    t->v[at] = n;
    t->n++;
    return 0;
}

static void table_remove(struct cache_table *t, const char *id)
{
    size_t at = table_at(t, id);
    entry_free(t->v[at]);
    memmove(t->v + at, t->v + at + 1, (t->n - at - 1) * sizeof(*t->v));
    t->n--;
}

static int table_find(const struct cache_table *t, const char *ref, const char *what, struct cache_entry **ret, struct err *e)
{
    size_t at = table_at(t, ref), len = strlen(ref);
    if (len == 0 || at == t->n || strncmp(t->v[at]->id, ref, len) != 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "%s %.80s: not found", what, ref);
    }
    if (strlen(t->v[at]->id) != len && at + 1 < t->n && strncmp(t->v[at + 1]->id, ref, len) == 0) {
        return err_set(e, EINVAL, ERR_INVALID, "%s %.80s: more than one id begins so", what, ref);
    }
    *ret = t->v[at];
    return 0;
}

int cache_new(struct engine *g, struct cri_cache **ret, struct err *e)
{
    struct cri_cache *c = calloc(1, sizeof(*c));
    if (!c) {
        return err_oom(e);
    }
    c->engine = g;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->event_cond, NULL);
    c->next_event = 1;
    *ret = c;
    return 0;
}

void cache_free(struct cri_cache *c)
{
    if (!c) {
        return;
    }
    for (size_t i = 0; i < c->pods.n; i++) {
        entry_free(c->pods.v[i]);
    }
    for (size_t i = 0; i < c->ctrs.n; i++) {
        entry_free(c->ctrs.v[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(c->events); i++) {
        buf_done(&c->events[i].packed);
    }
    free(c->pods.v);
    free(c->ctrs.v);
    pthread_cond_destroy(&c->event_cond);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static uint64_t ticket(struct cri_cache *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t t = ++c->tickets;
    pthread_mutex_unlock(&c->lock);
    return t;
}

/* Lock held. A removal that was seen by a later look than this one. */
static bool buried(const struct cri_cache *c, const char *id, uint64_t t)
{
    for (size_t i = 0; i < ARRAY_LEN(c->graves); i++) {
        if (c->graves[i].ticket > t && strncmp(c->graves[i].id, id, sizeof(c->graves[i].id)) == 0) {
            return true;
        }
    }
    return false;
}

static void bury(struct cri_cache *c, const char *id, uint64_t t)
{
    struct cache_grave *g = &c->graves[c->next_grave++ % ARRAY_LEN(c->graves)];
    size_t n = strnlen(id, sizeof(g->id) - 1);
    memcpy(g->id, id, n);
    g->id[n] = '\0';
    g->ticket = t;
}

/* ---- entries from the engine's objects -------------------------------------------------------- */

static int entry_of_pod(const struct engine_pod *p, struct cache_entry **ret, struct err *e)
{
    CLEANUP_PB V1(PodSandboxConfig) *config =
            V1_UNPACK(pod_sandbox_config, p->spec.cri_config ? p->spec.cri_config : "", p->spec.cri_config_len);
    CLEANUP_ENTRY struct cache_entry *n = calloc(1, sizeof(*n));
    if (!n) {
        return err_oom(e);
    }
    n->id = strdup(p->id);
    n->state = (int)convert_pod_state(p->state);
    n->created_at = p->created_at;
    int r = convert_pod_item(p, config, &n->item, e);
    if (r == 0) {
        r = convert_pod_status(p, config, &n->status, e);
    }
    if (r == 0 && (!n->id || str_map_copy(&n->labels, &p->spec.labels) < 0)) {
        r = err_oom(e);
    }
    if (r == 0) {
        *ret = PTR_STEAL(n);
    }
    return r;
}

/* What the image is called: an id is replaced by a tag or digest as long as the image is there. */
static char *image_name(struct engine *g, const struct engine_ctr *c)
{
    const char *name = c->image_name ? c->image_name : c->spec.image;
    if (name && !str_starts(name, "sha256:") && !str_eq(name, c->image_id)) {
        return strdup(name);
    }
    struct engine_image *i = NULL;
    char *found = NULL;
    if (c->image_id && engine_image_get(g, c->image_id, &i, NULL) == 0) {
        char **from = i->tags && i->tags[0] ? i->tags : i->digests;
        found = from && from[0] ? strdup(from[0]) : NULL;
        engine_image_free(i);
    }
    return found ? found : strdup(name ? name : "");
}

static int entry_of_ctr(struct engine *g, const struct engine_ctr *c, struct cache_entry **ret, struct err *e)
{
    CLEANUP_PB V1(ContainerConfig) *config = NULL;
    CLEANUP_FREE char *image = image_name(g, c);
    CLEANUP_ENTRY struct cache_entry *n = calloc(1, sizeof(*n));
    if (!n || !image) {
        return err_oom(e);
    }
    if (c->spec.cri_config_len > 0) {
        config = V1_UNPACK(container_config, c->spec.cri_config, c->spec.cri_config_len);
    }
    n->id = strdup(c->id);
    n->pod = strdup(c->pod_id);
    n->state = (int)convert_ctr_state(c->state);
    n->pid = c->pid;
    n->created_at = c->created_at;
    int r = convert_ctr_item(c, config, image, &n->item, e);
    if (r == 0) {
        r = convert_ctr_status(c, config, image, &n->status, e);
    }
    if (r == 0 && (!n->id || !n->pod || str_map_copy(&n->labels, &c->spec.labels) < 0)) {
        r = err_oom(e);
    }
    if (r == 0) {
        *ret = PTR_STEAL(n);
    }
    return r;
}

/* ---- changes ---------------------------------------------------------------------------------- */

/* Lock held. Takes over n if it is newer than what is there. */
static int install(struct cri_cache *c, struct cache_table *t, struct cache_entry **n, uint64_t at)
{
    struct cache_entry *old = table_get(t, (*n)->id);
    if ((old && old->ticket > at) || buried(c, (*n)->id, at)) {
        return 0;
    }
    (*n)->ticket = at;
    if (!old) {
        int r = table_put(t, *n);
        if (r == 0) {
            event_changed(c, PTR_STEAL(*n), -1, t == &c->pods);
        }
        return r;
    }
    int was = old->state;
    struct cache_entry swap = *old;
    (*n)->cpu = old->cpu;
    *old = **n;
    **n = swap;
    if (was != old->state) {
        event_changed(c, old, was, t == &c->pods);
    }
    return 0;
}

/* Lock held. */
static void drop_ctr(struct cri_cache *c, const char *id, uint64_t at)
{
    struct cache_entry *old = table_get(&c->ctrs, id);
    bury(c, id, at);
    if (old && old->ticket <= at) {
        event_gone(c, old, false);
        table_remove(&c->ctrs, id);
    }
}

static void drop_pod(struct cri_cache *c, const char *id, uint64_t at)
{
    for (size_t i = c->ctrs.n; i-- > 0;) {
        if (strcmp(c->ctrs.v[i]->pod, id) == 0) {
            CLEANUP_FREE char *ctr = strdup(c->ctrs.v[i]->id);
            if (ctr) {
                drop_ctr(c, ctr, at);
            }
        }
    }
    struct cache_entry *old = table_get(&c->pods, id);
    bury(c, id, at);
    if (old && old->ticket <= at) {
        event_gone(c, old, true);
        table_remove(&c->pods, id);
    }
}

/* Not for CRI's eyes, or still being made. */
static bool pod_hidden(const struct engine_pod *p)
{
    return p->spec.cri_config_len == 0 || p->state == ENGINE_POD_CREATING;
}

static int put_pod(struct cri_cache *c, const struct engine_pod *p, uint64_t at, struct err *e)
{
    CLEANUP_ENTRY struct cache_entry *n = NULL;
    if (pod_hidden(p)) {
        return 0;
    }
    int r = entry_of_pod(p, &n, e);
    if (r == 0) {
        pthread_mutex_lock(&c->lock);
        r = install(c, &c->pods, &n, at) < 0 ? err_oom(e) : 0;
        pthread_mutex_unlock(&c->lock);
    }
    return r;
}

static int put_ctr(struct cri_cache *c, const struct engine_ctr *ctr, uint64_t at, struct err *e)
{
    CLEANUP_ENTRY struct cache_entry *n = NULL;
    if (ctr->state == ENGINE_CTR_CREATING || !ctr->pod_id) {
        return 0;
    }
    pthread_mutex_lock(&c->lock);
    bool shown = table_get(&c->pods, ctr->pod_id) != NULL;
    pthread_mutex_unlock(&c->lock);
    int r = shown ? entry_of_ctr(c->engine, ctr, &n, e) : 0;
    if (r == 0 && shown) {
        pthread_mutex_lock(&c->lock);
        r = install(c, &c->ctrs, &n, at) < 0 ? err_oom(e) : 0;
        pthread_mutex_unlock(&c->lock);
    }
    return r;
}

int cache_refresh_ctr(struct cri_cache *c, const char *id, struct err *e)
{
    struct engine_ctr *ctr = NULL;
    struct err why = { 0 };
    uint64_t at = ticket(c);
    int r = engine_ctr_get(c->engine, id, &ctr, &why);
    if (r < 0 && why.kind == ERR_NOT_FOUND) {
        pthread_mutex_lock(&c->lock);
        drop_ctr(c, id, at);
        pthread_mutex_unlock(&c->lock);
        return 0;
    }
    if (r < 0) {
        return err_set(e, -r, why.kind, "%s", why.text);
    }
    r = put_ctr(c, ctr, at, e);
    engine_ctr_free(ctr);
    return r;
}

/* Full ids of a pod's containers. */
static char **ids_where(struct cri_cache *c, const char *pod, int state)
{
    char **ids = calloc(1, sizeof(*ids));
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; ids && i < c->ctrs.n; i++) {
        const struct cache_entry *n = c->ctrs.v[i];
        if ((!pod || strcmp(n->pod, pod) == 0) && (state < 0 || n->state == state) && strv_push(&ids, n->id) < 0) {
            strv_free(ids);
            ids = NULL;
        }
    }
    pthread_mutex_unlock(&c->lock);
    return ids;
}

char **cache_running(struct cri_cache *c)
{
    return ids_where(c, NULL, RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING);
}

int cache_refresh_pod(struct cri_cache *c, const char *id, struct err *e)
{
    struct engine_pod *p = NULL;
    struct err why = { 0 };
    uint64_t at = ticket(c);
    int r = engine_pod_get(c->engine, id, &p, &why);
    if (r < 0 && why.kind == ERR_NOT_FOUND) {
        pthread_mutex_lock(&c->lock);
        drop_pod(c, id, at);
        pthread_mutex_unlock(&c->lock);
        return 0;
    }
    if (r < 0) {
        return err_set(e, -r, why.kind, "%s", why.text);
    }
    CLEANUP_STRV char **ctrs = ids_where(c, id, -1);
    for (size_t i = 0; ctrs && ctrs[i] && r == 0; i++) {
        r = cache_refresh_ctr(c, ctrs[i], e);
    }
    if (r == 0) {
        r = put_pod(c, p, at, e);
    }
    engine_pod_free(p);
    return r;
}

int cache_load(struct cri_cache *c, struct err *e)
{
    struct engine_pods pods = { 0 };
    struct engine_ctrs ctrs = { 0 };
    uint64_t at = ticket(c);
    int r = engine_pod_list(c->engine, &pods, e);
    for (size_t i = 0; i < pods.n && r == 0; i++) {
        r = put_pod(c, pods.v[i], at, e);
    }
    if (r == 0) {
        r = engine_ctr_list(c->engine, &ctrs, e);
    }
    for (size_t i = 0; i < ctrs.n && r == 0; i++) {
        r = put_ctr(c, ctrs.v[i], at, e);
    }
    engine_pods_done(&pods);
    engine_ctrs_done(&ctrs);
    return r;
}

/* ---- questions -------------------------------------------------------------------------------- */

static bool starts(const char *id, const char *prefix)
{
    return str_empty(prefix) || str_starts(id, prefix);
}

static int table_walk(struct cri_cache *c, const struct cache_table *t, const struct cache_filter *f, cache_item_fn *fn, void *data)
{
    int r = 0;
    pthread_mutex_lock(&c->lock);
    for (size_t i = str_empty(f->id) ? 0 : table_at(t, f->id); i < t->n && r >= 0; i++) {
        const struct cache_entry *n = t->v[i];
        if (!starts(n->id, f->id)) {
            break;
        }
        if ((n->pod && !starts(n->pod, f->pod)) || (f->state >= 0 && n->state != f->state) ||
            !pb_map_matches(&n->labels, f->n_labels, f->labels)) {
            continue;
        }
        r = fn(data, n->id, &n->item);
    }
    pthread_mutex_unlock(&c->lock);
    return r < 0 ? r : 0;
}

int cache_pods(struct cri_cache *c, const struct cache_filter *f, cache_item_fn *fn, void *data)
{
    return table_walk(c, &c->pods, f, fn, data);
}

int cache_ctrs(struct cri_cache *c, const struct cache_filter *f, cache_item_fn *fn, void *data)
{
    return table_walk(c, &c->ctrs, f, fn, data);
}

static int table_id(struct cri_cache *c, const struct cache_table *t, const char *ref, const char *what, char **ret, struct err *e)
{
    struct cache_entry *n = NULL;
    pthread_mutex_lock(&c->lock);
    int r = table_find(t, ref, what, &n, e);
    char *id = r == 0 ? strdup(n->id) : NULL;
    pthread_mutex_unlock(&c->lock);
    if (r == 0 && !id) {
        return err_oom(e);
    }
    if (r == 0) {
        *ret = id;
    }
    return r;
}

int cache_pod_id(struct cri_cache *c, const char *ref, char **ret, struct err *e)
{
    return table_id(c, &c->pods, ref, "pod", ret, e);
}

int cache_ctr_id(struct cri_cache *c, const char *ref, char **ret, struct err *e)
{
    return table_id(c, &c->ctrs, ref, "container", ret, e);
}

int cache_pod_status(struct cri_cache *c, const char *ref, unsigned field, unsigned with_ctrs, struct buf *out, struct err *e)
{
    struct cache_entry *n = NULL;
    pthread_mutex_lock(&c->lock);
    int r = table_find(&c->pods, ref, "pod", &n, e);
    if (r == 0) {
        pb_put_bytes(out, field, n->status.data, n->status.len);
    }
    for (size_t i = 0; r == 0 && with_ctrs > 0 && i < c->ctrs.n; i++) {
        if (strcmp(c->ctrs.v[i]->pod, n->id) == 0) {
            pb_put_bytes(out, with_ctrs, c->ctrs.v[i]->status.data, c->ctrs.v[i]->status.len);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* True if the cache calls it running and its process is no more: the datagram about it may still be on its way. */
static bool looks_dead(struct cri_cache *c, const char *id)
{
    pthread_mutex_lock(&c->lock);
    const struct cache_entry *n = table_get(&c->ctrs, id);
    int pid = n && n->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING ? n->pid : 0;
    pthread_mutex_unlock(&c->lock);
    return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
}

int cache_ctr_status(struct cri_cache *c, const char *ref, unsigned field, struct buf *out, struct err *e)
{
    CLEANUP_FREE char *id = NULL;
    int r = cache_ctr_id(c, ref, &id, e);
    if (r == 0 && looks_dead(c, id)) {
        r = cache_refresh_ctr(c, id, e);
    }
    if (r < 0) {
        return r;
    }
    struct cache_entry *n = NULL;
    pthread_mutex_lock(&c->lock);
    r = table_find(&c->ctrs, id, "container", &n, e);
    if (r == 0) {
        pb_put_bytes(out, field, n->status.data, n->status.len);
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

uint64_t cache_cpu_rate(struct cri_cache *c, const char *id, int64_t timestamp, uint64_t cpu_ns)
{
    enum { SAMPLE_MIN_NS = 500000000 };
    uint64_t rate = 0;
    pthread_mutex_lock(&c->lock);
    struct cache_entry *n = table_get(&c->ctrs, id);
    n = n ? n : table_get(&c->pods, id);
    if (n) {
        int64_t passed = timestamp - n->cpu.timestamp;
        if (n->cpu.timestamp == 0) {
            n->cpu = (struct cache_cpu){ timestamp, cpu_ns, 0 };
        } else if (passed >= SAMPLE_MIN_NS && cpu_ns >= n->cpu.cpu_ns) {
            double r = (double)(cpu_ns - n->cpu.cpu_ns) * 1e9 / (double)passed;
            n->cpu = (struct cache_cpu){ timestamp, cpu_ns, (uint64_t)r };
        }
        rate = n->cpu.rate;
    }
    pthread_mutex_unlock(&c->lock);
    return rate;
}
