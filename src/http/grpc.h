/*
 * http/grpc.h: a gRPC server on stream sockets: one loop thread does all HTTP/2 framing, calls run on a pool of threads that
 * grows on demand and shrinks when idle. It knows no protobuf: a message is bytes.
 *
 * Bounded are connections, streams of a connection, bytes of headers, bytes of a message, bytes of all requests that are
 * arriving, bytes waiting for a reader, and calls at once; what is beyond a bound is refused with a status that says so. A
 * call whose client has gone or whose deadline has passed is answered at once while its function runs to its end: what it
 * began is journaled and is not undone half-way.
 */
#pragma once

#include "http/grpc-codec.h"
#include "sys/loop.h"

struct grpc_server;
struct grpc_call;

/*
 * Serves one call, on a thread of the pool. msg is the request's only message. A unary function calls grpc_send() once and
 * returns 0; a streaming one calls it any number of times. < 0: the call fails with the status of e's kind and its text.
 */
typedef int grpc_fn(struct grpc_call *c, const uint8_t *msg, size_t len, void *data, struct err *e);

struct grpc_method {
    const char *path; /* "/package.Service/Method" */
    grpc_fn *fn;
    bool streaming; /* the server's side */
    const void *tag; /* the owner's */
};

struct grpc_limits {
    unsigned conns;         /* 256 */
    unsigned streams;       /* of one connection: 1024 */
    unsigned threads;       /* calls at once: 512 */
    size_t thread_stack;    /* 256 KiB */
    size_t message;         /* 16 MiB */
    size_t requests;        /* bytes of requests that are arriving, all connections: 64 MiB */
    size_t headers;         /* of one request: 16 KiB */
    size_t unread;          /* bytes that a streaming call may have waiting for its reader: 1 MiB */
    unsigned handshake_ms;  /* until the first SETTINGS frame: 10 s */
    unsigned stall_ms;      /* a reader that takes nothing for so long loses its stream: 60 s */
};

struct grpc_options {
    const struct grpc_method *methods;
    size_t n_methods;
    void *data;                /* handed to the functions */
    struct grpc_limits limits; /* 0: the default above */
    bool in_loop;              /* run calls in the loop's thread: for tests */
    /* After each call, on its thread; NULL: nobody. */
    void (*observe)(void *data, const char *path, enum grpc_status status, uint64_t ns, const char *message);
    void *observe_data;
};

MUST_USE int grpc_server_new(struct loop *l, const struct grpc_options *o, struct grpc_server **ret, struct err *e);
/* Serves a listening socket, which stays the caller's: it has to outlive the server. */
MUST_USE int grpc_server_listen(struct grpc_server *s, int fd, struct err *e);
/* Serves one connected socket and owns it from now on, also on failure. */
MUST_USE int grpc_server_add(struct grpc_server *s, int fd, struct err *e);
/* Changes the limit of calls at once. */
void grpc_server_set_threads(struct grpc_server *s, unsigned threads);
/* Closes every connection and waits at most timeout_ms for running calls. Returns how many still run; only if 0 may it be freed. */
unsigned grpc_server_stop(struct grpc_server *s, int timeout_ms);
void grpc_server_free(struct grpc_server *s);
/* Calls that run now. */
unsigned grpc_server_running(struct grpc_server *s);

/*
 * Sends one message. A streaming call waits while its reader is too far behind. -ECANCELED when the client has gone;
 * -EMSGSIZE for a message beyond the limit.
 */
MUST_USE int grpc_send(struct grpc_call *c, const void *msg, size_t len, struct err *e);
/* As grpc_send(), and takes over the buffer's memory: its first GRPC_PREFIX bytes are reserved for the prefix. */
MUST_USE int grpc_send_buf(struct grpc_call *c, struct buf *b, struct err *e);
/* The entry of the table that is called. */
const struct grpc_method *grpc_call_method(const struct grpc_call *c);
/* True when nobody waits for the call any more. */
bool grpc_cancelled(struct grpc_call *c);
/* Called once from another thread when the call is cancelled, or at once if it already is; NULL takes it back. */
void grpc_on_cancel(struct grpc_call *c, void (*fn)(void *data), void *data);
