/*
 * image/archive-source.h: inside the image room: the members of an archive by name, whether they lie in a folder of somebody's or
 * were taken out of a tar into one of ours.
 */
#pragma once

#include "image/archive.h"

struct archive_source {
    struct store *store;
    int dirfd;        /* layout folder, or the folder of the members taken out */
    char *tmp;        /* its path below the root: removed at the end; NULL: somebody's folder */
    struct archive_member {
        char *name;   /* clean */
        char *link;   /* name of the member that it stands for; NULL: a file, called by its number */
    } *members;
    size_t n, cap;
};
void archive_source_done(struct archive_source *a);
#define CLEANUP_ARCHIVE_SOURCE CLEANUP(archive_source_done)

MUST_USE int archive_source_tar(struct archive_source *a, struct store *s, int fd, struct err *e);
MUST_USE int archive_source_dir(struct archive_source *a, struct store *s, const char *dir, struct err *e);
/* A regular file to read. ERR_NOT_FOUND names the member. */
MUST_USE int archive_source_open(const struct archive_source *a, const char *name, int *ret_fd, struct err *e);
/* The whole of a small one. */
MUST_USE int archive_source_read(const struct archive_source *a, const char *name, size_t max, struct buf *out, struct err *e);
bool archive_source_has(const struct archive_source *a, const char *name);
