/*
 * store/blob.h: content by digest: blobs that arrive, blobs that are there.
 *
 * The row is the truth: a file in blobs/ without a row is nothing (it is overwritten, or swept). A blob arrives in ingest/HEX, which
 * survives a crash and is resumed; ingest_finish() checks the digest and moves it to blobs/; its row is written by blob_add()
 * (or image_commit()) after store_sync(). Take a lease on the digest before the first step, so that no collector takes the blob between them.
 */
#pragma once

#include "store/store.h"

struct ingest;

/*
 * Waits for another writer of the same blob. *ret_offset: bytes that are there already and are hashed in; go on writing after them.
 * size: expected size, 0 if unknown; more than that is refused by ingest_write().
 */
MUST_USE int ingest_open(struct store *s, const char *digest, uint64_t size, struct ingest **ret, uint64_t *ret_offset, struct err *e);
MUST_USE int ingest_write(struct ingest *i, const void *data, size_t len, struct err *e);
/* Throws away what is there: begin again at offset 0. */
MUST_USE int ingest_restart(struct ingest *i, struct err *e);
uint64_t ingest_offset(const struct ingest *i);
/* A read descriptor of the bytes so far (or of the finished blob). Caller closes. */
MUST_USE int ingest_reader(const struct ingest *i, int *ret_fd, struct err *e);
/* Checks size and digest; a wrong one is ERR_INVALID (-EBADMSG) and removes the bytes. Then moves it into blobs/. */
MUST_USE int ingest_finish(struct ingest *i, struct err *e);
/*
 * After ingest_finish(), of a blob that is not to be kept: removes it, unless it has its row or another lease than `lease` names it.
 */
MUST_USE int ingest_drop(struct ingest *i, uint64_t lease, struct err *e);
/* Closes; what arrived stays for resuming unless it was finished. NULL is fine. */
void ingest_free(struct ingest *i);
static inline void ingest_free_p(struct ingest **i)
{
    ingest_free(*i);
}
#define CLEANUP_INGEST CLEANUP(ingest_free_p)

struct store_blob {
    char digest[STORE_DIGEST_SIZE];
    uint64_t size;
    char *media_type; /* NULL: unknown */
    int64_t created;
};
void store_blob_done(struct store_blob *b);

/* Whole small blobs (manifests, configs): checks the digest, writes the file; no row yet. */
MUST_USE int blob_put(struct store *s, const char *digest, const void *data, size_t len, struct err *e);
/* The row, after store_sync(). Adding it again is fine. */
MUST_USE int blob_add(struct store *s, const char *digest, uint64_t size, const char *media_type, struct err *e);
/* ERR_NOT_FOUND unless row and file are there. ret may be NULL. */
MUST_USE int blob_stat(struct store *s, const char *digest, struct store_blob *ret, struct err *e);
/* Read-only descriptor of a blob that has its row. */
MUST_USE int blob_open(struct store *s, const char *digest, int *ret_fd, struct err *e);
struct buf;
/* The whole blob, at most max bytes, its digest checked. */
MUST_USE int blob_read(struct store *s, const char *digest, size_t max, struct buf *out, struct err *e);

/* ---- leases ------------------------------------------------------------------------------------ */

/* Protects what has not got its references yet. Ends at store_lease_end(), when its process dies, or at expiry (ttl_ns, 0: a day). */
MUST_USE int store_lease_begin(struct store *s, int64_t ttl_ns, uint64_t *ret_lease, struct err *e);
/* kind "blob" or "layer". */
MUST_USE int store_lease_add(struct store *s, uint64_t lease, const char *kind, const char *digest, struct err *e);
/*
 * Ends one whose work came to nothing, and takes away the blobs that only it held. resume: leaves those that are worth the while to a later
 * try.
 */
void store_lease_abandon(struct store *s, uint64_t lease, bool resume);
/* 0 is fine. */
void store_lease_end(struct store *s, uint64_t lease);

/* ---- garbage ------------------------------------------------------------------------------------- */

struct store_gc {
    uint64_t blobs, layers, bytes;
};
/*
 * Removes blobs and layers that no image, container or lease names; the bytes are free when it returns. Takes up what a dead pull,
 * load or collection left, but for bytes that a new pull can go on with. ret may be NULL.
 */
MUST_USE int store_collect(struct store *s, struct store_gc *ret, struct err *e);
/* The same, if a lease of the dead is there: cheap when not. */
MUST_USE int store_collect_after_crash(struct store *s, struct err *e);
/* Also files without rows: dead ingests older than max_age_ns, half-unpacked layers of dead owners, trash. */
MUST_USE int store_sweep(struct store *s, int64_t max_age_ns, struct store_gc *ret, struct err *e);
