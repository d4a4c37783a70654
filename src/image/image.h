/*
 * image/image.h: images that are here, for the engine. References are normalised by the caller ("docker.io/library/busybox:latest"), or an
 * id ("sha256:HEX", HEX, or a prefix of it). Where they come from: image/layer.h (pull), image/archive.h (load).
 */
#pragma once

#include "image/snapshot.h"
#include "spec/image.h"

MUST_USE int image_list(struct store *s, const char *ns, struct store_images *ret, struct err *e);
MUST_USE int image_get(struct store *s, const char *ns, const char *ref, struct store_image *ret, struct err *e);
/* Raw texts; either may be NULL. Caller frees. */
MUST_USE int image_texts(struct store *s, const struct store_image *i, char **ret_config, char **ret_manifest, struct err *e);
MUST_USE int image_config(struct store *s, const struct store_image *i, struct image_config *ret, struct err *e);
/* Adds a name; with its event. */
MUST_USE int image_tag(struct store *s, const char *ns, const char *ref, const char *name, struct err *e);

struct image_removal {
    bool force;    /* also when containers were made from it (they keep their layers) */
    bool all_tags; /* the image with all of its names, whichever one was given */
};
/*
 * ref is a name: that name goes, and with the last one the image. ref is an id: refused (ERR_BUSY) with several names unless
 * force or all_tags. Frees bytes before it returns. *ret_lines (may be NULL): "untagged: NAME", "deleted: ID"; appended to.
 */
MUST_USE int image_remove(struct store *s, const char *ns, const char *ref, const struct image_removal *o, char ***ret_lines, struct err *e);
/* all: every image without containers, else those without a name. Pinned ones stay. */
MUST_USE int image_prune(struct store *s, const char *ns, bool all, char ***ret_lines, uint64_t *ret_bytes, struct err *e);

struct image_usage {
    uint64_t bytes, inodes;  /* blobs and layers, each once */
    uint64_t n_images, reclaimable; /* bytes of layers that only images without containers name */
};
MUST_USE int image_usage(struct store *s, const char *ns, struct image_usage *ret, struct err *e);
/* The mount description for a container of this image. */
MUST_USE int image_rootfs(struct store *s, const struct store_image *i, struct rootfs *ret, struct err *e);
