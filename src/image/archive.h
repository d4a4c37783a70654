/*
 * image/archive.h: images in files: docker archives (docker save), OCI archives and OCI layout folders.
 *
 * Loading reads a tar once, from a pipe too; its members go through a folder of their own below ROOT/ingest, which is removed in any
 * case. Nothing of it is believed: digests are checked, names are only keys, documents are bounded.
 */
#pragma once

#include "image/image.h"

struct archive_load_options {
    const char *platform; /* "linux/amd64"; NULL: this machine's; chooses in an index */
    const char *name;     /* for images without a name in the archive; NULL: they stay without */
};
/* fd: tar, plain or compressed (gzip, zstd). *ret_names: names, or ids of those without; appended to. */
MUST_USE int archive_load(struct store *s, const char *ns, int fd, const struct archive_load_options *o, char ***ret_names, struct err *e);
/* An OCI layout folder. */
MUST_USE int archive_load_dir(struct store *s, const char *ns, const char *dir, const struct archive_load_options *o, char ***ret_names,
                              struct err *e);

enum archive_format { ARCHIVE_DOCKER, ARCHIVE_OCI };
/*
 * Writes a tar to fd. Layers whose compressed blob is kept go out as they are (OCI) and keep their digests; a layer without one is
 * ERR_NOT_FOUND naming it and where it came from, so that the caller can fetch it again.
 */
MUST_USE int archive_save(struct store *s, const char *ns, char *const *refs, enum archive_format format, int fd, struct err *e);
/* An OCI layout folder, made if need be. */
MUST_USE int archive_save_dir(struct store *s, const char *ns, char *const *refs, const char *dir, struct err *e);
