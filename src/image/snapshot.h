/*
 * image/snapshot.h: what turns a layer's stream into something that can be mounted. One interface, so that the overlay folders that
 * are built here, and others, can be chosen by name.
 */
#pragma once

#include "image/unpack.h"
#include "store/layers.h"

struct snapshotter {
    const char *name; /* in the rows of its layers */
    /* Unpacks a stream into a new, uncommitted layer. *ret_tmp for layer_commit(). */
    int (*prepare)(struct store *s, unpack_read_fn *read, void *data, const struct unpack_options *o, char **ret_tmp,
                   struct unpack_result *ret, struct err *e);
    /* Where a committed layer is mounted from: a folder. Caller frees. */
    int (*lower)(struct store *s, const char *diff_id, char **ret_path, struct err *e);
};
/* NULL: the default one. NULL is returned for an unknown name. */
const struct snapshotter *snapshotter_get(const char *name);

/* The root file system of a container: an overlay mount. */
struct rootfs {
    char **lowers; /* folders, lowest first (overlay's option wants them the other way round) */
};
void rootfs_done(struct rootfs *r);
#define CLEANUP_ROOTFS CLEANUP(rootfs_done)
/* layers: diff ids, lowest first. ERR_NOT_FOUND when one is not in the store. */
MUST_USE int rootfs_get(struct store *s, char *const *layers, struct rootfs *ret, struct err *e);
