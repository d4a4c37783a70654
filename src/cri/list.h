/* cri/list.h: answers that are put together from packed items. */
#pragma once

#include "cri/cri-internal.h"

typedef int list_walk_fn(struct cri_cache *c, const struct cache_filter *f, cache_item_fn *fn, void *data);

/* Room for gRPC's prefix. */
void list_begin(struct buf *out);
/* All items as field 1 of one message. */
MUST_USE int list_reply(struct grpc_call *call, struct cri_cache *c, list_walk_fn *walk, const struct cache_filter *f, struct err *e);
/* The same in messages of some ten items. */
MUST_USE int list_stream(struct grpc_call *call, struct cri_cache *c, list_walk_fn *walk, const struct cache_filter *f, struct err *e);
/* Appends an entry of a map<string, string>: the value as JSON. Takes over o; NULL is out of memory. */
MUST_USE int list_put_info(struct buf *out, unsigned field, const char *key, json_t *o, struct err *e);
/* Full ids that match; NULL-terminated. */
MUST_USE int list_ids(struct cri_cache *c, list_walk_fn *walk, const struct cache_filter *f, char ***ret, struct err *e);
/* Nanoseconds since the epoch. */
int64_t list_now(void);
