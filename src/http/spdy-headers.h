/* http/spdy-headers.h: the compressed name/value blocks of a SPDY/3 session: one zlib stream in each direction. */
#pragma once

#include "http/spdy.h"

#include <zlib.h>

struct spdy_headers {
    z_stream in, out;
    bool has_in, has_out;
    struct buf block; /* the last one, unpacked; what spdy_headers_read() gave points into it */
};

MUST_USE int spdy_headers_init(struct spdy_headers *h, struct err *e);
void spdy_headers_done(struct spdy_headers *h);
/* Unpacks one block. Returns the number of headers, at most SPDY_HEADERS_MAX, or -EPROTO, after which the session cannot go on. */
MUST_USE ssize_t spdy_headers_read(struct spdy_headers *h, const void *data, size_t len, struct spdy_header *ret, struct err *e);
/* Appends an empty block. */
void spdy_headers_write_none(struct spdy_headers *h, struct buf *out);
