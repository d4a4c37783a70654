/*
 * http/http1.h: the head of an HTTP/1.1 request that asks for an upgrade, read strictly, and short answers.
 *
 * Own and small rather than libmicrohttpd: that library wants a loop and a socket of its own, and hands a connection over only
 * from inside its thread, while these connections have to live on sys/loop.h from the first byte. All that is needed of HTTP/1.1
 * here is one head without a body; what a head of that kind cannot have (bodies, folded lines, bare line feeds) is refused.
 */
#pragma once

#include "base/buf.h"

enum { HTTP1_HEAD_MAX = 16 << 10, HTTP1_HEADERS_MAX = 64, HTTP1_TOKEN_MAX = 128 };

struct http1_header {
    const char *name, *value; /* names in lower case */
};

struct http1_request {
    const char *method, *path; /* the path without the query, which is dropped */
    struct http1_header headers[HTTP1_HEADERS_MAX];
    size_t n_headers;
    char *text; /* owns the strings */
};
void http1_request_done(struct http1_request *q);

/*
 * Returns the length of the head and fills *ret, 0 when more bytes are needed, or < 0: -EMSGSIZE (431), else 400. *ret is to be
 * released with http1_request_done() after success only.
 */
MUST_USE ssize_t http1_parse(const char *data, size_t len, struct http1_request *ret, struct err *e);
/* The only header of that name (lower case); NULL when there is none or more than one. */
const char *http1_get(const struct http1_request *q, const char *name);
/*
 * Walks the comma-separated values of all headers of a name, in order: *at is 0 at first. False at the end. A value that is too
 * long comes as "".
 */
bool http1_next(const struct http1_request *q, const char *name, size_t *at, char ret[static HTTP1_TOKEN_MAX]);
/* True when one of those values is this one, in any case. */
bool http1_has(const struct http1_request *q, const char *name, const char *value);
/* A whole answer with a text body that closes the connection. */
void http1_refuse(struct buf *out, unsigned status, const char *text);
/* "Bad Request" */
const char *http1_reason(unsigned status);
