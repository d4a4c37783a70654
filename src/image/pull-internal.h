/* image/pull-internal.h: one pull under way, shared by its workers. */
#pragma once

#include "image/layer.h"
#include "image/pull.h"

#include <stdatomic.h>

struct pull {
    struct store *store;
    const struct pull_options *o;
    struct registry *registry;
    struct repo *repo;
    struct reference ref;
    char *name, *whole;        /* "docker.io/library/busybox", with tag or digest */
    char *top_digest;          /* what the reference names: an index or a manifest */
    struct repo_manifest top, manifest; /* manifest is empty when the top is one */
    struct image_manifest m;
    struct image_config config;
    char *config_text;
    size_t config_len;
    struct image_new image;
    pthread_mutex_t lock;      /* progress, err */
    atomic_size_t next;        /* layer to be taken */
    atomic_bool failed;
    int result;
    struct err err;            /* of the worker that failed first */
};

void pull_tell(struct pull *p, enum pull_status status, const char *id, uint64_t done, uint64_t total);
/* One layer of the manifest: there, or fetched and unpacked. */
MUST_USE int pull_layer(struct pull *p, size_t index, struct err *e);
