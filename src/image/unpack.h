/*
 * image/unpack.h: one layer: compressed bytes in, files below one folder out.
 *
 * One pass: the compressed bytes are hashed and inflated in the caller's thread, the tar stream is hashed and written as files in
 * a second one. Everything is created relative to descriptors of folders that were reached without following a symlink, so nothing
 * that a layer holds can be written outside of the folder. Nothing is flushed: the caller does that once for all layers.
 */
#pragma once

#include "store/store.h"

/* Returns bytes read (1…len), 0 at the end, or -errno. Blocks. */
typedef ssize_t unpack_read_fn(void *data, void *buf, size_t len);
/* For unpack_read_fn with data = pointer to an int with a descriptor. */
ssize_t unpack_read_fd(void *fd, void *buf, size_t len);

enum unpack_compression { UNPACK_PLAIN, UNPACK_GZIP, UNPACK_ZSTD };
/* What the media type says ("…tar+gzip", "…tar.gzip", "…tar+zstd", "…tar"); -EINVAL for others (ERR_UNSUPPORTED to the caller). */
int unpack_compression_of(const char *media_type);

struct unpack_limits {
    uint64_t entries, bytes; /* 0: 4,000,000 entries, 1 TiB unpacked */
    size_t name, xattr;      /* 0: 4096 bytes of path, 1 MiB of xattrs an entry */
};

struct unpack_options {
    const char *media_type; /* NULL: by the first bytes alone; else those have to agree with it */
    const char *blob_digest; /* expected of the compressed bytes; NULL: not checked */
    const char *diff_id;     /* expected of the tar; NULL: not checked */
    struct unpack_limits limits;
    bool no_devices;         /* leave out device nodes (user namespace); whiteouts are made all the same */
    bool user_xattr;         /* user.overlay.* instead of trusted.overlay.* (user namespace) */
};

struct unpack_result {
    char blob_digest[STORE_DIGEST_SIZE], diff_id[STORE_DIGEST_SIZE];
    uint64_t blob_size, diff_size; /* bytes of the stream, of the tar */
    uint64_t bytes, inodes;        /* on disk */
};

/* A mismatch of a digest is -EBADMSG (ERR_INVALID). An entry that is refused is -EPERM or -EINVAL (ERR_INVALID), named in the text. */
MUST_USE int unpack_layer(unpack_read_fn *read, void *data, int dirfd, const struct unpack_options *o, struct unpack_result *ret,
                          struct err *e);
