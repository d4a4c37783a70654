/*
 * image/stream.h: inside the image room: compressed bytes in, plain bytes out, both hashed on the way.
 */
#pragma once

#include "image/unpack.h"

struct inflate;

/* opened with the reader of the compressed bytes; the compression is found by the first bytes and compared with media_type (NULL: not). */
MUST_USE int inflate_open(unpack_read_fn *read, void *data, const char *media_type, struct inflate **ret, struct err *e);
void inflate_free(struct inflate *i);
/* An unpack_read_fn: plain bytes; what fails is told by inflate_error(). */
ssize_t inflate_read(void *inflate, void *buf, size_t len);
const struct err *inflate_error(const struct inflate *i);
/* Reads the compressed bytes that are left (padding), then gives digest and length of all of them. */
MUST_USE int inflate_finish(struct inflate *i, char digest[static STORE_DIGEST_SIZE], uint64_t *ret_size, struct err *e);

/* sha256 of a running stream. */
struct hash;
struct hash *hash_new(void);
void hash_free(struct hash *h);
static inline void hash_free_p(struct hash **h)
{
    hash_free(*h);
}
#define CLEANUP_HASH CLEANUP(hash_free_p)
void hash_add(struct hash *h, const void *data, size_t len);
void hash_digest(struct hash *h, char out[static STORE_DIGEST_SIZE]);

/* A bounded ring between a thread that produces bytes and one that takes them. */
struct ring;
struct ring *ring_new(void);
void ring_free(struct ring *r);
/* Room to write in, at least one byte; waits. NULL once the reader has gone. */
void *ring_room(struct ring *r, size_t *len);
void ring_wrote(struct ring *r, size_t len);
/* The end, or a failure (negative errno). */
void ring_end(struct ring *r, int code);
/* Bytes to read; waits. NULL and *len 0 at the end; *code tells how it ended. They stay valid until ring_took(). */
const void *ring_bytes(struct ring *r, size_t *len, int *code);
void ring_took(struct ring *r, size_t len);
void ring_abandon(struct ring *r);

/* untar.c: writes the tar that comes out of the ring below dirfd; adds to ret's bytes and inodes. */
MUST_USE int untar(struct ring *ring, struct hash *diff, int dirfd, const struct unpack_options *o, struct unpack_result *ret, struct err *e);
