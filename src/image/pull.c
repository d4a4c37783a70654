/* image/pull.c: see pull.h: what a reference names, its documents, the pool of workers, the commit. */
#include "base/fd.h"
#include "image/pull-internal.h"
#include "store/blob.h"
#include "store/journal.h"
#include "store/lock.h"

#include <errno.h>
#include <unistd.h>

enum { PARALLEL_DEFAULT = 5, PARALLEL_MAX = 32, INDEX_DEPTH_MAX = 3 };

const char *pull_status_name(enum pull_status s)
{
    static const char *const names[] = {
        [PULL_RESOLVING] = "resolving", [PULL_WAITING] = "waiting", [PULL_DOWNLOADING] = "downloading",
        [PULL_UNPACKING] = "unpacking", [PULL_EXISTS] = "exists",   [PULL_LAYER_DONE] = "done",
        [PULL_DONE] = "done",
    };
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "unknown";
}

void pull_tell(struct pull *p, enum pull_status status, const char *id, uint64_t done, uint64_t total)
{
    if (p->o->progress) {
        const struct pull_progress g = { status, id, done, total };
        pthread_mutex_lock(&p->lock);
        p->o->progress(p->o->data, &g);
        pthread_mutex_unlock(&p->lock);
    }
}

static const char *ns_of(const struct pull_options *o)
{
    return o->ns ? o->ns : "default";
}

/* ---- resolving -------------------------------------------------------------------------------------- */

static bool layers_there(struct store *s, const struct store_image *i)
{
    for (char **d = i->layers; d && *d; d++) {
        struct err why = { 0 };
        CLEANUP_STORE_LAYER struct store_layer l = { 0 };
        if (store_layer_get(s, *d, &l, &why) < 0) {
            return false;
        }
    }
    return true;
}

/* Is this very digest here already, whole? *ret_id is set then. */
static int find_here(struct pull *p, const char *digest, char **ret_id, struct err *e)
{
    CLEANUP_STORE_IMAGE struct store_image i = { 0 };
    CLEANUP_FREE char *at = reference_at(&p->ref, digest);
    struct err why = { 0 };
    if (!at) {
        return err_oom(e);
    }
    if (p->o->platform || store_image_find(p->store, ns_of(p->o), at, &i, &why) < 0 || !layers_there(p->store, &i)) {
        return 0;
    }
    if (!p->ref.digest[0]) {
        CLEANUP_FREE char *tag = reference_tagged(&p->ref);
        int r = tag ? store_image_tag(p->store, ns_of(p->o), i.id, tag, e) : err_oom(e);
        if (r < 0) {
            return r;
        }
    }
    *ret_id = strdup(i.id);
    return *ret_id ? 0 : err_oom(e);
}

/* Asks for the digest alone first: an image that has not changed costs one HEAD. */
static int resolve_top(struct pull *p, char **ret_id, struct err *e)
{
    const char *what = p->ref.digest[0] ? p->ref.digest : p->ref.tag;
    CLEANUP_REPO_MANIFEST struct repo_manifest head = { 0 };
    int r = 0;
    if (p->ref.digest[0]) {
        r = find_here(p, p->ref.digest, ret_id, e);
        if (r < 0 || *ret_id) {
            return r;
        }
    } else {
        struct err why = { 0 };
        r = repo_manifest_head(p->repo, what, &head, &why);
        if (r == 0 && head.digest) {
            r = find_here(p, head.digest, ret_id, e);
            if (r < 0 || *ret_id) {
                return r;
            }
        } else if (r < 0 && (why.kind == ERR_NOT_FOUND || why.kind == ERR_DENIED || r == -ECANCELED)) {
            return err_set(e, why.code, why.kind, "%s", why.text);
        }
    }
    r = repo_manifest_get(p->repo, what, &p->top, e);
    if (r == 0) {
        p->top_digest = strdup(p->top.digest);
        r = p->top_digest ? 0 : err_oom(e);
    }
    return r;
}

/* Goes through indexes to the manifest of the platform; *ret points into p. */
static int resolve_platform(struct pull *p, const struct repo_manifest **ret, struct err *e)
{
    const struct repo_manifest *at = &p->top;
    for (int depth = 0; media_type_is_index(at->media_type); depth++) {
        CLEANUP(image_index_done) struct image_index index = { 0 };
        const struct image_descriptor *d = NULL;
        struct repo_manifest next = { 0 };
        int r = image_index_parse(at->text, at->size, at->media_type, &index, e);
        r = r < 0 ? r : image_index_choose(&index, p->o->platform, &d, e);
        if (r == 0 && depth >= INDEX_DEPTH_MAX) {
            r = err_set(e, ELOOP, ERR_INVALID, "indexes are nested deeper than %d", INDEX_DEPTH_MAX);
        }
        r = r < 0 ? r : repo_manifest_get(p->repo, d->digest, &next, e);
        if (r == 0 && d->size != next.size) {
            r = err_set(e, EBADMSG, ERR_INVALID, "manifest %s has %llu bytes instead of %llu", d->digest,
                        (unsigned long long)next.size, (unsigned long long)d->size);
        }
        if (r < 0) {
            repo_manifest_done(&next);
            return r;
        }
        repo_manifest_done(&p->manifest);
        p->manifest = next;
        at = &p->manifest;
    }
    *ret = at;
    return 0;
}

/* What cannot or must not be fetched is refused before the first byte of a layer. */
static int check_layers(const struct pull *p, struct err *e)
{
    size_t n = strv_len(p->config.rootfs.diff_ids);
    if (n != p->m.layers.n) {
        return err_set(e, EINVAL, ERR_INVALID, "manifest has %zu layers, its configuration %zu", p->m.layers.n, n);
    }
    for (size_t i = 0; i < n; i++) {
        const struct image_descriptor *d = &p->m.layers.v[i];
        if (strv_len(d->urls) > 0 || strstr(d->media_type, "foreign") || strstr(d->media_type, "nondistributable")) {
            return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "layer %s is a foreign one: fetching from addresses in a manifest is refused",
                           d->digest);
        }
        if (!media_type_is_layer(d->media_type)) {
            return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "layer %s has the media type \"%s\", which is not supported", d->digest,
                           d->media_type);
        }
        if (!digest_valid(d->digest)) {
            return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "layer %s: only sha256 digests are supported", d->digest);
        }
    }
    return 0;
}

static int read_documents(struct pull *p, const struct repo_manifest *at, struct err *e)
{
    int r = image_manifest_parse(at->text, at->size, at->media_type, &p->m, e);
    if (r < 0) {
        return r;
    }
    const struct image_descriptor *c = &p->m.config;
    if (!str_eq(c->media_type, MEDIA_OCI_CONFIG) && !str_eq(c->media_type, MEDIA_DOCKER_CONFIG)) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "%s is an artifact (%s), not an image", p->whole,
                       p->m.artifact_type ? p->m.artifact_type : c->media_type);
    }
    if (!digest_valid(c->digest)) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "configuration %s: only sha256 digests are supported", c->digest);
    }
    r = repo_blob_text(p->repo, c->digest, c->size, IMAGE_CONFIG_MAX, &p->config_text, &p->config_len, e);
    r = r < 0 ? r : image_config_parse(p->config_text, p->config_len, &p->config, e);
    if (r == 0 && p->config.os && !str_eq(p->config.os, "linux")) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "%s is an image for %s, not for linux", p->whole, p->config.os);
    }
    return r < 0 ? r : check_layers(p, e);
}

/* ---- fetching ----------------------------------------------------------------------------------------- */

static bool is_first(const struct pull *p, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (str_eq(p->m.layers.v[i].digest, p->m.layers.v[index].digest)) {
            return false;
        }
    }
    return true;
}

static void *work(void *data)
{
    struct pull *p = data;
    for (size_t i; (i = atomic_fetch_add(&p->next, 1)) < p->m.layers.n && !atomic_load(&p->failed);) {
        struct err e = { 0 };
        int r = is_first(p, i) ? pull_layer(p, i, &e) : 0;
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

static int fetch_layers(struct pull *p, struct err *e)
{
    unsigned want = p->o->parallel > 0 ? p->o->parallel : PARALLEL_DEFAULT, n = 0;
    pthread_t threads[PARALLEL_MAX];
    want = want > PARALLEL_MAX ? PARALLEL_MAX : want;
    want = want > p->m.layers.n ? (unsigned)p->m.layers.n : want;
    for (size_t i = 0; i < p->m.layers.n; i++) {
        pull_tell(p, PULL_WAITING, p->m.layers.v[i].digest, 0, p->m.layers.v[i].size);
    }
    while (n < want && pthread_create(&threads[n], NULL, work, p) == 0) {
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

static int keep_documents(struct pull *p, const struct repo_manifest *at, struct err *e)
{
    int r = image_new_blob(&p->image, p->top.digest, p->top.media_type, p->top.text, p->top.size, e);
    if (r == 0 && at != &p->top) {
        r = image_new_blob(&p->image, at->digest, at->media_type, at->text, at->size, e);
    }
    return r < 0 ? r
                 : image_new_blob(&p->image, p->m.config.digest, p->m.config.media_type, p->config_text, p->config_len, e);
}

static int commit(struct pull *p, const struct repo_manifest *at, struct err *e)
{
    CLEANUP_STRV char **tags = NULL;
    CLEANUP_STRV char **digests = NULL;
    CLEANUP_FREE char *tag = p->ref.digest[0] ? NULL : reference_tagged(&p->ref);
    CLEANUP_FREE char *digest = reference_at(&p->ref, p->top_digest);
    bool fine = digest && strv_push(&digests, digest) == 0 && (!tag || strv_push(&tags, tag) == 0);
    if (fine && p->ref.digest[0] && !str_eq(p->ref.digest, p->top_digest)) {
        CLEANUP_FREE char *given = reference_at(&p->ref, p->ref.digest);
        fine = given && strv_push(&digests, given) == 0;
    }
    if (!fine) {
        return err_oom(e);
    }
    const struct store_image i = { .id = p->m.config.digest, .manifest_digest = at->digest, .manifest_media_type = at->media_type,
                                   .layers = p->config.rootfs.diff_ids, .tags = tags, .digests = digests };
    return image_new_commit(&p->image, &i, "pull", e);
}

static int bring(struct pull *p, uint64_t op, char **ret_id, struct err *e)
{
    const struct repo_manifest *at = NULL;
    pull_tell(p, PULL_RESOLVING, p->whole, 0, 0);
    int r = repo_open(p->registry, &p->ref, false, &p->repo, e);
    r = r < 0 ? r : resolve_top(p, ret_id, e);
    if (r < 0 || *ret_id) {
        return r;
    }
    r = resolve_platform(p, &at, e);
    r = r < 0 ? r : read_documents(p, at, e);
    r = r < 0 ? r : op_stage(p->store, op, "fetch", NULL, e);
    r = r < 0 ? r : image_new_init(&p->image, p->store, ns_of(p->o), e);
    r = r < 0 ? r : keep_documents(p, at, e);
    r = r < 0 ? r : fetch_layers(p, e);
    r = r < 0 ? r : op_stage(p->store, op, "commit", NULL, e);
    r = r < 0 ? r : commit(p, at, e);
    if (r == 0) {
        *ret_id = strdup(p->m.config.digest);
        r = *ret_id ? 0 : err_oom(e);
    }
    return r;
}

/* ---- the operation -------------------------------------------------------------------------------------- */

static void pull_done(struct pull *p)
{
    image_new_done(&p->image);
    repo_free(p->repo);
    repo_manifest_done(&p->top);
    repo_manifest_done(&p->manifest);
    image_manifest_done(&p->m);
    image_config_done(&p->config);
    free(p->config_text);
    free(p->name);
    free(p->whole);
    free(p->top_digest);
    pthread_mutex_destroy(&p->lock);
}

/* An operation with this key whose owner died is closed: what it left is taken up by this one. */
static int begin_op(struct store *s, const char *ns, const char *key, const char *object, uint64_t *ret_op, struct err *e)
{
    struct err why = { 0 };
    int r = op_begin(s, ns, key, "pull", object, "resolve", NULL, ret_op, &why);
    if (r != -EEXIST) {
        return r < 0 ? err_set(e, why.code, why.kind, "%s", why.text) : r;
    }
    CLEANUP_STORE_OPS struct store_ops l = { 0 };
    const struct op_query q = { .ns = ns, .key = key, .unfinished = true };
    r = op_list(s, &q, &l, e);
    for (size_t i = 0; r == 0 && i < l.n; i++) {
        r = op_adopt(s, l.v[i].id, e);
        r = r < 0 ? r : op_finish(s, l.v[i].id, "interrupted", e);
    }
    return r < 0 ? r : op_begin(s, ns, key, "pull", object, "resolve", NULL, ret_op, e);
}

/* Letters and digits that stand for a reference in the name of a lock. */
static void lock_name(const char *ns, const char *whole, char out[static 33])
{
    uint64_t h[2] = { UINT64_C(0xcbf29ce484222325), UINT64_C(0x84222325cbf29ce4) };
    const char *parts[] = { ns, "\n", whole };
    for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
        for (const char *s = parts[k]; *s; s++) {
            h[0] = (h[0] ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
            h[1] = (h[1] + (unsigned char)*s) * UINT64_C(0x9e3779b97f4a7c15);
        }
    }
    for (size_t i = 0; i < 32; i++) {
        out[i] = "0123456789abcdef"[h[i / 16] >> (i % 16 * 4) & 15];
    }
    out[32] = '\0';
}

static int pull_reference(struct store *s, struct registry *g, const char *whole, const struct pull_options *o, char **ret_id,
                          struct err *e)
{
    CLEANUP(pull_done) struct pull p = { .store = s, .o = o, .registry = g, .whole = strdup(whole) };
    CLEANUP_FREE char *key = str_printf("pull/%s", whole);
    CLEANUP_FREE char *id = NULL;
    CLEANUP_FD int lock = -1;
    char name[33];
    uint64_t op = 0;
    pthread_mutex_init(&p.lock, NULL);
    int r = reference_parse_tagged(whole, &p.ref, e);
    p.name = r < 0 ? NULL : reference_name(&p.ref);
    if (r < 0 || !p.whole || !key || !p.name) {
        return r < 0 ? r : err_oom(e);
    }
    /* Two pulls of one reference: the second one waits, and then finds everything there. */
    lock_name(ns_of(o), whole, name);
    r = lock_take(s, "pull", name, false, LOCK_WAIT, &lock, e);
    r = r < 0 ? r : begin_op(s, ns_of(o), key, whole, &op, e);
    if (r < 0) {
        return r;
    }
    struct err why = { 0 };
    r = bring(&p, op, &id, &why);
    p.image.resume = why.kind == ERR_UNAVAILABLE || why.kind == ERR_TIMEOUT || why.code == ECANCELED;
    struct err ignored = { 0 };
    (void)!op_finish(s, op, r < 0 ? why.text : NULL, &ignored);
    if (r < 0) {
        return err_set(e, why.code, why.kind, "pull %s: %s", whole, why.text);
    }
    pull_tell(&p, PULL_DONE, id, 0, 0);
    *ret_id = PTR_STEAL(id);
    return 0;
}

static int find_missing(struct store *s, char *const *names, const struct pull_options *o, char **ret_id, char **ret_name, struct err *e)
{
    for (char *const *n = names; *n; n++) {
        CLEANUP_STORE_IMAGE struct store_image i = { 0 };
        struct err why = { 0 };
        if (store_image_find(s, ns_of(o), *n, &i, &why) == 0 && layers_there(s, &i)) {
            *ret_id = strdup(i.id);
            *ret_name = strdup(*n);
            return *ret_id && *ret_name ? 0 : err_oom(e);
        }
    }
    return 0;
}

/* With a client of its own: a pull that fails cancels all that its client does. */
static int pull_fresh(struct store *s, const char *whole, const struct pull_options *o, char **ret_id, struct err *e)
{
    CLEANUP_REGISTRY struct registry *g = NULL;
    int r = registry_new(&o->registry, &g, e);
    return r < 0 ? r : pull_reference(s, g, whole, o, ret_id, e);
}

static int find_names(const struct pull_options *o, const char *ref, char ***ret, struct err *e)
{
    struct hosts *h = NULL;
    int r = hosts_open(&o->registry.hosts, &h, e);
    r = r < 0 ? r : hosts_candidates(h, ref, ret, e);
    hosts_free(h);
    return r;
}

int image_pull(struct store *s, const char *ref, const struct pull_options *o, char **ret_id, char **ret_name, struct err *e)
{
    CLEANUP_STRV char **names = NULL;
    CLEANUP_FREE char *id = NULL;
    CLEANUP_FREE char *name = NULL;
    int r = find_names(o, ref, &names, e);
    if (r == 0 && o->if_missing && !o->platform) {
        r = find_missing(s, names, o, &id, &name, e);
    }
    for (char **n = names; r == 0 && !id && *n; n++) {
        struct err why = { 0 };
        int f = pull_fresh(s, *n, o, &id, &why);
        name = f == 0 ? strdup(*n) : NULL;
        /* A short name that one registry does not have may be at the next. */
        if (f < 0 && (!n[1] || why.kind == ERR_INVALID)) {
            r = err_set(e, why.code, why.kind, "%s", why.text);
        }
    }
    if (r < 0) {
        return r;
    }
    *ret_id = PTR_STEAL(id);
    if (ret_name) {
        *ret_name = PTR_STEAL(name);
    }
    return 0;
}
