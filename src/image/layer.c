/* image/layer.c: see layer.h: what is being brought, and its commit. */
#include "image/layer.h"

#include "base/fault.h"
#include "base/fd.h"
#include "image/snapshot.h"
#include "store/blob.h"
#include "store/journal.h"

#include <errno.h>
#include <stdio.h>

int image_new_init(struct image_new *n, struct store *s, const char *ns, struct err *e)
{
    *n = (struct image_new) { .store = s, .ns = ns };
    pthread_mutex_init(&n->lock, NULL);
    return store_lease_begin(s, 0, &n->lease, e);
}

void image_new_done(struct image_new *n)
{
    if (!n->store) {
        return;
    }
    for (size_t i = 0; i < n->n_layers; i++) {
        layer_tmp_drop(n->store, n->layers[i].tmp);
        free(n->layers[i].tmp);
        store_layer_done(&n->layers[i].row);
    }
    for (size_t i = 0; i < n->n_blobs; i++) {
        free(n->blobs[i].digest);
        free(n->blobs[i].media_type);
    }
    free(n->layers);
    free(n->blobs);
    if (n->committed) {
        store_lease_end(n->store, n->lease);
    } else {
        store_lease_abandon(n->store, n->lease, n->resume);
    }
    pthread_mutex_destroy(&n->lock);
    *n = (struct image_new) { 0 };
}

int image_new_lease_blob(struct image_new *n, const char *digest, struct err *e)
{
    return store_lease_add(n->store, n->lease, "blob", digest, e);
}

int image_new_keep(struct image_new *n, const char *digest, const char *media_type, uint64_t size, struct err *e)
{
    int r = image_new_lease_blob(n, digest, e);
    if (r < 0) {
        return r;
    }
    struct image_new_blob b = { strdup(digest), media_type ? strdup(media_type) : NULL, size };
    pthread_mutex_lock(&n->lock);
    r = b.digest && (!media_type || b.media_type) ? array_grow(&n->blobs, &n->cap_blobs, n->n_blobs + 1, sizeof(b)) : -ENOMEM;
    if (r == 0) {
        n->blobs[n->n_blobs++] = b;
    }
    pthread_mutex_unlock(&n->lock);
    if (r < 0) {
        free(b.digest);
        free(b.media_type);
        return err_oom(e);
    }
    return 0;
}

int image_new_blob(struct image_new *n, const char *digest, const char *media_type, const void *data, size_t len, struct err *e)
{
    int r = image_new_lease_blob(n, digest, e);
    if (r == 0 && blob_stat(n->store, digest, NULL, NULL) < 0) {
        r = blob_put(n->store, digest, data, len, e);
    }
    return r < 0 ? r : image_new_keep(n, digest, media_type, len, e);
}

int image_new_have_layer(struct image_new *n, const struct layer_desc *d, struct err *e)
{
    CLEANUP_STORE_LAYER struct store_layer l = { 0 };
    int r = digest_valid(d->diff_id) ? store_lease_add(n->store, n->lease, "layer", d->diff_id, e)
                                     : err_set(e, EINVAL, ERR_INVALID, "layer: malformed diff id");
    if (r < 0) {
        return r;
    }
    r = store_layer_get(n->store, d->diff_id, &l, e);
    return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

static int copy_row(const struct layer_desc *d, const struct unpack_result *u, struct store_layer *row)
{
    const struct {
        char **to;
        const char *from;
    } strings[] = { { &row->diff_id, d->diff_id }, { &row->blob_digest, u->blob_digest }, { &row->blob_media_type, d->media_type },
                    { &row->source, d->source }, { &row->snapshotter, "overlay" } };
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        *strings[i].to = strings[i].from ? strdup(strings[i].from) : NULL;
        if (strings[i].from && !*strings[i].to) {
            return -ENOMEM;
        }
    }
    row->blob_size = u->blob_size;
    row->size = u->bytes;
    row->inodes = u->inodes;
    return 0;
}

int image_new_layer(struct image_new *n, const struct layer_desc *d, unpack_read_fn *read, void *data, struct unpack_result *ret,
                    struct err *e)
{
    int r = image_new_have_layer(n, d, e);
    if (r < 0) {
        return r;
    }
    const struct unpack_options o = { .media_type = d->media_type, .blob_digest = d->blob_digest, .diff_id = d->diff_id };
    struct image_new_layer l = { 0 };
    struct unpack_result u;
    r = snapshotter_get(NULL)->prepare(n->store, read, data, &o, &l.tmp, &u, e);
    fault_point("image.unpacked", NULL);
    if (r < 0) {
        return err_wrap(e, "layer %s", d->blob_digest ? d->blob_digest : d->diff_id);
    }
    r = copy_row(d, &u, &l.row);
    pthread_mutex_lock(&n->lock);
    if (r == 0) {
        r = array_grow(&n->layers, &n->cap_layers, n->n_layers + 1, sizeof(l));
    }
    if (r == 0) {
        n->layers[n->n_layers++] = l;
    }
    pthread_mutex_unlock(&n->lock);
    if (r < 0) {
        layer_tmp_drop(n->store, l.tmp);
        free(l.tmp);
        store_layer_done(&l.row);
        return err_oom(e);
    }
    if (ret) {
        *ret = u;
    }
    return 0;
}

static int commit_rows(struct image_new *n, const struct store_image *i, const char *action, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    CLEANUP_STRV char **blobs = strv_copy(NULL);
    int r = blobs ? store_begin(n->store, &tx, e) : err_oom(e);
    for (size_t k = 0; r == 0 && k < n->n_blobs; k++) {
        const struct image_new_blob *b = &n->blobs[k];
        r = blob_add(n->store, b->digest, b->size, b->media_type, e);
        if (r == 0 && strv_push(&blobs, b->digest) < 0) {
            r = err_oom(e);
        }
    }
    struct store_image image = *i;
    image.ns = (char *)(uintptr_t)n->ns;
    image.blobs = blobs;
    image.created = store_now();
    if (r == 0) {
        r = store_image_put(n->store, &image, e);
    }
    if (r == 0 && action) {
        CLEANUP_BUF struct buf attributes = { 0 };
        const char *name = i->tags && i->tags[0] ? i->tags[0] : i->id;
        /* Names are references: nothing in them needs escaping in JSON. */
        buf_addf(&attributes, "{\"name\":\"%s\"}", strpbrk(name, "\"\\") ? "" : name);
        const struct store_event ev = { .ns = image.ns, .type = (char *)(uintptr_t)"image", .action = (char *)(uintptr_t)action,
                                        .object = i->id, .attributes = attributes.data };
        r = event_append(n->store, &ev, NULL, e);
    }
    return r < 0 ? r : store_commit(&tx, e);
}

int image_new_commit(struct image_new *n, const struct store_image *i, const char *action, struct err *e)
{
    int r = store_sync(n->store, e);
    fault_point("image.synced", NULL);
    for (size_t k = 0; r == 0 && k < n->n_layers; k++) {
        struct image_new_layer *l = &n->layers[k];
        if (l->tmp) {
            r = layer_commit(n->store, l->tmp, &l->row, e);
            fault_point("image.layer", NULL);
        }
        if (r == 0) {
            free(l->tmp);
            l->tmp = NULL;
        }
    }
    r = r < 0 ? r : commit_rows(n, i, action, e);
    n->committed = r == 0;
    fault_point("image.committed", NULL);
    return r;
}
