/*
 * http/grpc-codec.h: the small encodings of gRPC over HTTP/2, used by server and client: status codes, the 5-byte prefix of a
 * message, grpc-timeout, and the percent-encoding of grpc-message. Pure functions.
 */
#pragma once

#include "base/buf.h"

enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

/* "NotFound", as Go's clients print them. */
const char *grpc_status_name(enum grpc_status s);
/* The one table between errors and statuses. */
enum grpc_status grpc_status_of(enum err_kind kind);

enum { GRPC_PREFIX = 5 };
/* Writes the prefix of an uncompressed message of len bytes. */
void grpc_prefix_put(uint8_t out[static GRPC_PREFIX], uint32_t len);
/* Reads it; *ret_compressed tells the flag. */
uint32_t grpc_prefix_get(const uint8_t in[static GRPC_PREFIX], bool *ret_compressed);

/* "100m" -> nanoseconds; at most 8 digits and one of H M S m u n. Returns 0 or -EINVAL. */
MUST_USE int grpc_timeout_parse(const char *s, size_t len, uint64_t *ret_ns);
/* Appends bytes outside of printable ASCII, and '%', as %XX; at most max bytes are written. */
void grpc_percent_encode(struct buf *out, const char *s, size_t max);
/* The other way round; what is no valid escape stays as it is. */
void grpc_percent_decode(struct buf *out, const char *s, size_t len);
