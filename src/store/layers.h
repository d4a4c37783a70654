/*
 * store/layers.h: unpacked layers and images as rows, and the folders of layers.
 *
 * A layer is unpacked into layers/HEX.tmp-PID-START-N/diff, flushed with everything else by store_sync(), and becomes layers/HEX by a rename under a
 * short lock within layer_commit(), just before its row.
 */
#pragma once

#include "store/store.h"

struct store_layer {
    char *diff_id;
    uint64_t size, inodes; /* on disk */
    char *blob_digest, *blob_media_type; /* compressed form it came from; NULL: none */
    uint64_t blob_size;
    char *source;      /* repository to fetch the blob from again; NULL: none */
    char *snapshotter; /* "overlay" */
    int64_t created;
};
void store_layer_done(struct store_layer *l);
struct store_layers {
    struct store_layer *v;
    size_t n;
};
void store_layers_done(struct store_layers *l);
#define CLEANUP_STORE_LAYER CLEANUP(store_layer_done)
#define CLEANUP_STORE_LAYERS CLEANUP(store_layers_done)

/* ERR_NOT_FOUND unless row and folder are there. */
MUST_USE int store_layer_get(struct store *s, const char *diff_id, struct store_layer *ret, struct err *e);
/* A committed layer that came from this compressed blob: spares fetching it. ERR_NOT_FOUND. */
MUST_USE int store_layer_by_blob(struct store *s, const char *blob_digest, struct store_layer *ret, struct err *e);
MUST_USE int store_layer_list(struct store *s, struct store_layers *ret, struct err *e);
/* ROOT/layers/HEX/diff; caller frees. */
char *store_layer_path(const struct store *s, const char *diff_id);

/* A folder to unpack in. *ret_name: "HEX.tmp-…", caller frees; *ret_fd: of its diff/ folder (mode 0755). */
MUST_USE int layer_tmp(struct store *s, const char *diff_id, char **ret_name, int *ret_fd, struct err *e);
/* Removes it; NULL is fine. */
void layer_tmp_drop(struct store *s, const char *name);
/* After store_sync(). Renames and writes the row; if another has committed the same layer, ours is removed and that is fine. */
MUST_USE int layer_commit(struct store *s, const char *tmp, const struct store_layer *l, struct err *e);

/* ---- images -------------------------------------------------------------------------------------- */

struct store_image {
    char *ns;
    char *id;              /* config digest */
    char *manifest_digest, *manifest_media_type;
    int64_t created;       /* when it came here */
    char **layers;         /* diff ids, lowest first */
    char **blobs;          /* blobs it keeps: config, manifest, index, compressed layers that are to stay */
    char **tags;           /* "docker.io/library/busybox:latest" */
    char **digests;        /* "docker.io/library/busybox@sha256:…" */
    bool pinned;
    uint64_t size;         /* of its layers on disk; only filled in by reading */
};
void store_image_done(struct store_image *i);
struct store_images {
    struct store_image *v;
    size_t n;
};
void store_images_done(struct store_images *i);
#define CLEANUP_STORE_IMAGE CLEANUP(store_image_done)
#define CLEANUP_STORE_IMAGES CLEANUP(store_images_done)

/* Adds or extends (blobs, tags and digests are added; a tag moves here from another image). Every layer and blob has to have its row. */
MUST_USE int store_image_put(struct store *s, const struct store_image *i, struct err *e);
/* By id. ERR_NOT_FOUND. */
MUST_USE int store_image_get(struct store *s, const char *ns, const char *id, struct store_image *ret, struct err *e);
/* By whole reference (tag or repo digest), by id, or by a prefix of the id's digits (at least 3). */
MUST_USE int store_image_find(struct store *s, const char *ns, const char *ref, struct store_image *ret, struct err *e);
/* ns NULL: all. */
MUST_USE int store_image_list(struct store *s, const char *ns, struct store_images *ret, struct err *e);
/* Points a reference at an image; digest refs hold '@'. */
MUST_USE int store_image_tag(struct store *s, const char *ns, const char *id, const char *name, struct err *e);
/* ERR_NOT_FOUND when there is no such reference. */
MUST_USE int store_image_untag(struct store *s, const char *ns, const char *name, struct err *e);
/* With its references; an absent one is fine. Layers and blobs go with store_collect(). */
MUST_USE int store_image_delete(struct store *s, const char *ns, const char *id, struct err *e);
MUST_USE int store_image_pin(struct store *s, const char *ns, const char *id, bool pinned, struct err *e);
/* Containers of the namespace that were made from it. */
MUST_USE int store_image_users(struct store *s, const char *ns, const char *id, char ***ret_ctr_ids, struct err *e);
/*
 * Blobs and layers, each once: bytes and inodes; reclaimable: layers that no container of ns needs, neither by itself nor by its
 * image.
 */
MUST_USE int store_disk_usage(struct store *s, const char *ns, uint64_t *bytes, uint64_t *inodes, uint64_t *reclaimable, struct err *e);
