/* image/push.c: see pull.h: an image out of the store, byte for byte: layers, configuration, and last the manifest. */
#include "base/fd.h"
#include "image/pull.h"
#include "store/blob.h"
#include "store/layers.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { PARALLEL_DEFAULT = 4, PARALLEL_MAX = 16, CHUNK_NONE = 0 };

struct push {
    struct store *store;
    const struct push_options *o;
    struct registry *registry;
    struct repo *repo;
    struct reference ref;
    struct image_manifest m;
    pthread_mutex_t lock;
    atomic_size_t next;
    atomic_bool failed;
    int result;
    struct err err;
};

static void tell(struct push *p, enum pull_status status, const char *id, uint64_t done, uint64_t total)
{
    if (p->o->progress) {
        const struct pull_progress g = { status, id, done, total };
        pthread_mutex_lock(&p->lock);
        p->o->progress(p->o->data, &g);
        pthread_mutex_unlock(&p->lock);
    }
}

/* Where a layer came from, for those whose blob is gone. Allocated; NULL: unknown. */
static char *source_of(struct store *s, const char *digest)
{
    CLEANUP_STORE_LAYER struct store_layer l = { 0 };
    struct err why = { 0 };
    return store_layer_by_blob(s, digest, &l, &why) == 0 && l.source ? strdup(l.source) : NULL;
}

struct send {
    struct push *p;
    const struct image_descriptor *d;
};

static void on_sent(void *data, uint64_t done)
{
    const struct send *s = data;
    tell(s->p, PULL_DOWNLOADING, s->d->digest, done, s->d->size);
}

static int send_blob(struct push *p, const struct image_descriptor *d, struct err *e)
{
    CLEANUP_FREE char *source = source_of(p->store, d->digest);
    CLEANUP_FD int fd = -1;
    struct err why = { 0 };
    struct send s = { p, d };
    size_t n = strlen(p->ref.domain);
    bool same = source && str_starts(source, p->ref.domain) && source[n] == '/' && !str_eq(source + n + 1, p->ref.path);
    int r = blob_open(p->store, d->digest, &fd, &why);
    if (r < 0) {
        r = repo_blob_exists(p->repo, d->digest, e);
        if (r != 0) {
            return r < 0 ? r : 0;
        }
        return err_set(e, ENOENT, ERR_NOT_FOUND, "layer %s is not kept in its compressed form%s%s: pull it again to push it", d->digest,
                       source ? "; it came from " : "", source ? source : "");
    }
    const struct repo_upload u = { .digest = d->digest, .size = d->size, .fd = fd, .mount_from = same ? source + n + 1 : NULL,
                                   .chunk = CHUNK_NONE, .progress = on_sent, .data = &s };
    enum repo_upload_how how;
    r = repo_blob_put(p->repo, &u, &how, e);
    if (r == 0) {
        tell(p, how == REPO_UPLOADED ? PULL_LAYER_DONE : PULL_EXISTS, d->digest, d->size, d->size);
    }
    return r;
}

static void *work(void *data)
{
    struct push *p = data;
    /* The configuration is sent as one more blob, behind the layers. */
    for (size_t i; (i = atomic_fetch_add(&p->next, 1)) <= p->m.layers.n && !atomic_load(&p->failed);) {
        struct err e = { 0 };
        int r = send_blob(p, i < p->m.layers.n ? &p->m.layers.v[i] : &p->m.config, &e);
        if (r < 0) {
            pthread_mutex_lock(&p->lock);
            if (!atomic_exchange(&p->failed, true)) {
                p->err = e;
                p->result = r;
            }
            pthread_mutex_unlock(&p->lock);
            registry_cancel(p->registry);
        }
    }
    return NULL;
}

static int send_blobs(struct push *p, struct err *e)
{
    pthread_t threads[PARALLEL_MAX];
    unsigned want = p->o->parallel > 0 ? p->o->parallel : PARALLEL_DEFAULT, n = 0;
    want = want > PARALLEL_MAX ? PARALLEL_MAX : want;
    while (n < want && n <= p->m.layers.n && pthread_create(&threads[n], NULL, work, p) == 0) {
        n++;
    }
    if (n == 0) {
        work(p);
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
    return p->result < 0 ? err_set(e, p->err.code, p->err.kind, "%s", p->err.text) : 0;
}

static void push_done(struct push *p)
{
    image_manifest_done(&p->m);
    repo_free(p->repo);
    registry_free(p->registry);
    pthread_mutex_destroy(&p->lock);
}

static int push_image(struct push *p, const struct store_image *i, char **ret_digest, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    int r = blob_read(p->store, i->manifest_digest, IMAGE_MANIFEST_MAX, &text, e);
    r = r < 0 ? r : image_manifest_parse(buf_str(&text), text.len, i->manifest_media_type, &p->m, e);
    r = r < 0 ? r : registry_new(&p->o->registry, &p->registry, e);
    r = r < 0 ? r : repo_open(p->registry, &p->ref, true, &p->repo, e);
    r = r < 0 ? r : send_blobs(p, e);
    const char *what = p->ref.digest[0] ? p->ref.digest : p->ref.tag;
    return r < 0 ? r : repo_manifest_put(p->repo, what, i->manifest_media_type, buf_str(&text), text.len, ret_digest, e);
}

int image_push(struct store *s, const char *ref, const struct push_options *o, char **ret_digest, struct err *e)
{
    CLEANUP(push_done) struct push p = { .store = s, .o = o };
    CLEANUP_STORE_IMAGE struct store_image i = { 0 };
    struct reference from;
    struct err ignored = { 0 };
    pthread_mutex_init(&p.lock, NULL);
    int r = reference_parse_tagged(o->destination ? o->destination : ref, &p.ref, e);
    if (r < 0) {
        return r;
    }
    /* What is to be sent may be given by name or by id. */
    bool named = reference_parse_tagged(ref, &from, &ignored) == 0;
    CLEANUP_FREE char *whole = named ? reference_string(&from) : strdup(ref);
    const char *ns = o->ns ? o->ns : "default";
    r = !whole ? err_oom(e) : store_image_find(s, ns, whole, &i, e);
    if (r == -ENOENT && named) {
        r = store_image_find(s, ns, ref, &i, e);
    }
    r = r < 0 ? r : push_image(&p, &i, ret_digest, e);
    CLEANUP_FREE char *to = reference_string(&p.ref);
    return r < 0 ? err_wrap(e, "push %s", to ? to : ref) : 0;
}
