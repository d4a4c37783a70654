/*
 * image/layer.h: from a stream to a committed image, for whoever brings the bytes (a pull, an archive).
 *
 *     struct image_new n; image_new_init(&n, store, ns)     takes a lease
 *     image_new_blob(&n, …)                                 manifest, config, index: small blobs
 *     image_new_layer(&n, …) per layer, from any threads    unpacks, unless the layer is there already
 *     image_new_keep(&n, digest)                            a compressed blob (ingested by the caller) that is to stay
 *     image_new_commit(&n, …)                               one flush, renames, one transaction with the event
 *     image_new_done(&n)                                    removes what was not committed, ends the lease
 */
#pragma once

#include "image/unpack.h"
#include "store/layers.h"

#include <pthread.h>

struct image_new {
    struct store *store;
    const char *ns; /* borrowed */
    uint64_t lease;
    pthread_mutex_t lock;
    struct image_new_layer {
        struct store_layer row;
        char *tmp; /* NULL: was there already */
    } *layers;
    size_t n_layers, cap_layers;
    struct image_new_blob {
        char *digest, *media_type;
        uint64_t size;
    } *blobs;
    size_t n_blobs, cap_blobs;
    bool committed;
    bool resume; /* it failed, but a later try may go on with what arrived */
};
MUST_USE int image_new_init(struct image_new *n, struct store *s, const char *ns, struct err *e);
void image_new_done(struct image_new *n);
#define CLEANUP_IMAGE_NEW CLEANUP(image_new_done)

/* Writes a small blob under its digest (checked) and keeps it with the image. */
MUST_USE int image_new_blob(struct image_new *n, const char *digest, const char *media_type, const void *data, size_t len, struct err *e);
/* Leases a blob before it is ingested. */
MUST_USE int image_new_lease_blob(struct image_new *n, const char *digest, struct err *e);
/* Keeps a blob that is in blobs/ by ingest_finish() (or was before). */
MUST_USE int image_new_keep(struct image_new *n, const char *digest, const char *media_type, uint64_t size, struct err *e);

struct layer_desc {
    const char *diff_id;     /* of the config's rootfs.diff_ids */
    const char *blob_digest, *media_type;
    uint64_t blob_size;      /* 0: unknown */
    const char *source;      /* "registry/repository"; NULL: none */
};
/* 1: this layer is in the store (and now leased for this image), 0: it has to be brought by image_new_layer(), or -errno. */
MUST_USE int image_new_have_layer(struct image_new *n, const struct layer_desc *d, struct err *e);
/* Reads the compressed stream to its end, checks both digests, unpacks. Thread-safe; layers in any order. ret may be NULL. */
MUST_USE int image_new_layer(struct image_new *n, const struct layer_desc *d, unpack_read_fn *read, void *data,
                             struct unpack_result *ret, struct err *e);

/*
 * i: id, manifest_digest, manifest_media_type, layers (diff ids in order), tags, digests, pinned; ns, blobs and created are set here. action: of the
 * event ("pull", "load", "import"); NULL: none is appended.
 */
MUST_USE int image_new_commit(struct image_new *n, const struct store_image *i, const char *action, struct err *e);
