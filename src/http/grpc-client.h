/*
 * http/grpc-client.h: a small blocking gRPC client over nghttp2 for tests, the demo and benchmarks (no server links it): one connection, one
 * call at a time. Not thread-safe: take one client a thread.
 */
#pragma once

#include "http/grpc-codec.h"

struct grpc_client;

/* Connects to a Unix socket. */
MUST_USE int grpc_client_open(const char *path, struct grpc_client **ret, struct err *e);
/* Speaks on a connected socket and owns it. */
MUST_USE int grpc_client_new(int fd, struct grpc_client **ret, struct err *e);
void grpc_client_free(struct grpc_client *c);

struct grpc_reply {
    struct buf body; /* of the last message */
    size_t n_messages;
    int status; /* -1: the stream ended without one */
    char *message;
};
void grpc_reply_done(struct grpc_reply *r);

/* Called for each message; < 0 cancels the call. */
typedef int grpc_message_fn(void *data, const uint8_t *msg, size_t len);
struct grpc_request {
    const char *path;
    const void *msg;
    size_t len;
    unsigned timeout_ms;      /* grpc-timeout; 0: none is sent */
    const void *raw;          /* instead of msg: these bytes are the body, prefix included */
    size_t raw_len;
    const char *content_type; /* NULL: application/grpc */
    grpc_message_fn *fn;
    void *data;
};
/* < 0 only when the connection failed; what the server answered is in *ret. */
MUST_USE int grpc_client_call(struct grpc_client *c, const struct grpc_request *q, struct grpc_reply *ret, struct err *e);
