/*
 * image/pull.h: an image from a registry into the store: resolve → fetch and unpack all layers at once → one commit. Journaled as
 * operation "pull" (stages resolve, fetch, commit). Nothing of an image is visible before it is whole; what arrived of a
 * layer stays for resuming.
 */
#pragma once

#include "image/registry.h"
#include "store/store.h"

enum pull_status { PULL_RESOLVING, PULL_WAITING, PULL_DOWNLOADING, PULL_UNPACKING, PULL_EXISTS, PULL_LAYER_DONE, PULL_DONE };
struct pull_progress {
    enum pull_status status;
    const char *id;       /* digest of the layer; of the image at the end; the reference while resolving */
    uint64_t done, total; /* compressed bytes */
};
const char *pull_status_name(enum pull_status s); /* "resolving", "waiting", "downloading", "unpacking", "exists", "done", "done" */
/* From worker threads, one call at a time. */
typedef void pull_progress_fn(void *data, const struct pull_progress *p);

struct pull_options {
    const char *ns;           /* NULL: "default" */
    const char *platform;     /* NULL: this machine's */
    struct registry_options registry;
    unsigned parallel;        /* layers at once; 0: 5 */
    bool if_missing;          /* nothing is asked of a registry when the reference is in the store */
    bool drop_blobs;          /* do not keep compressed layers after they are unpacked */
    pull_progress_fn *progress; /* may be NULL */
    void *data;
};
/* ref: as people write it; short names are searched for. *ret_id: id of the image, caller frees; *ret_name: whole reference, may be NULL. */
MUST_USE int image_pull(struct store *s, const char *ref, const struct pull_options *o, char **ret_id, char **ret_name, struct err *e);

struct push_options {
    const char *ns;
    struct registry_options registry;
    const char *destination; /* NULL: the reference itself */
    unsigned parallel;
    pull_progress_fn *progress;
    void *data;
};
/*
 * Sends an image whose compressed layers are kept, byte for byte. A layer without its blob is ERR_NOT_FOUND naming it and where it came from.
 * *ret_digest: of the manifest; may be NULL.
 */
MUST_USE int image_push(struct store *s, const char *ref, const struct push_options *o, char **ret_digest, struct err *e);
