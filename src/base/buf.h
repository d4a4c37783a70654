/*
 * base/buf.h: one growable byte buffer, always NUL-terminated, with sticky failure: append as often
 * as needed and check buf_failed() once at the end.
 */
#pragma once

#include "base/err.h"

struct buf {
    char *data; /* NULL while empty */
    size_t len, cap;
    size_t max; /* 0: no limit; otherwise growing past it fails */
    bool failed;
};

void buf_done(struct buf *b);
#define CLEANUP_BUF CLEANUP(buf_done)
void buf_add(struct buf *b, const void *data, size_t len);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
/* Makes room for at least len more bytes and returns where they go; NULL on failure. */
char *buf_reserve(struct buf *b, size_t len);
/* Drops the first n bytes. */
void buf_consume(struct buf *b, size_t n);
void buf_reset(struct buf *b);
static inline bool buf_failed(const struct buf *b)
{
    return b->failed;
}
/* The string, "" while empty. */
static inline const char *buf_str(const struct buf *b)
{
    return b->data ? b->data : "";
}
/* Moves the bytes out (the caller frees), never NULL unless the buffer failed. */
char *buf_steal(struct buf *b);
