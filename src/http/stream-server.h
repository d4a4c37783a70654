/*
 * http/stream-server.h: a server of upgraded HTTP connections that carry the streams of a process, or forwarded ports, as Kubernetes'
 * clients speak them: SPDY/3.1 and WebSocket, every version of the channel protocols. What the streams are connected to is the
 * owner's business.
 *
 * All of it runs in the thread of one loop. A connection carries links: a session (exec, attach) is one link on one connection;
 * a connection that forwards ports has a link for every pair of streams. The owner writes to a link, is told when it should stop,
 * and hears when the client has gone.
 *
 *     session over SPDY        a stream each, told by the header "streamtype"; v1 to v4.channel.k8s.io
 *     session over WebSocket   first byte of a message: the channel; also in base64; v5 can close stdin (255, channel)
 *     ports over SPDY          pairs of streams, told by the headers "streamtype", "port", "requestid"
 *     ports over WebSocket     the same SPDY inside binary messages (SPDY/3.1+portforward.k8s.io), or two channels a port (v4)
 */
#pragma once

#include "sys/loop.h"

struct stream_server;
struct link;

/* The order is that of the WebSocket channels. A forwarded port has its bytes on STDIN and STDOUT. */
enum link_channel { LINK_STDIN, LINK_STDOUT, LINK_STDERR, LINK_ERROR, LINK_RESIZE, LINK_CHANNELS };
enum stream_target_kind { STREAM_SESSION, STREAM_FORWARD };
enum { STREAM_PORTS_MAX = 64 };

/* What a URL leads to. */
struct stream_target {
    enum stream_target_kind kind;
    bool has_stdin, has_stdout, has_stderr, tty; /* of a session */
    const uint16_t *ports;                       /* of a forward, for WebSocket channels */
    size_t n_ports;
    void *data;
};

/* Why a link ends: json for v4 and later, text (NULL: success) for the older versions and for forwarded ports. */
struct link_status {
    const char *json, *text;
};

struct stream_ops {
    /* A request for "/…". Fills *ret, or ERR_NOT_FOUND. */
    int (*request)(void *data, const char *path, struct stream_target *ret, struct err *e);
    void (*target_free)(void *data, void *target);
    /* The link's streams are there. Returns the owner's end of it, NULL if there is no memory. port: of a forward. */
    void *(*start)(void *data, void *target, struct link *l, uint16_t port);
    /* Input. end: nothing more comes; may come with len 0. */
    void (*input)(void *peer, enum link_channel channel, const char *bytes, size_t len, bool end);
    /* The link takes output again, after link_full() was true. */
    void (*drained)(void *peer);
    /* The client has gone; the link is no more when this returns. Not called after link_finish(). */
    void (*gone)(void *peer);
};

struct stream_limits {
    unsigned conns;        /* 2048 */
    unsigned streams;      /* of one connection: 2048 */
    unsigned request_ms;   /* until the request is there: 10 s */
    unsigned streams_ms;   /* until the streams are there: 30 s */
    uint64_t idle_ns;      /* no byte either way: 4 h */
};

struct stream_server_options {
    const struct stream_ops *ops;
    void *data;
    struct stream_limits limits; /* 0: the default above */
};

MUST_USE int stream_server_new(struct loop *l, const struct stream_server_options *o, struct stream_server **ret, struct err *e);
/* Serves a listening socket (SOCK_NONBLOCK), which stays the caller's. */
MUST_USE int stream_server_listen(struct stream_server *s, int fd, struct err *e);
/* Serves one connected socket and owns it from now on, also on failure. */
MUST_USE int stream_server_add(struct stream_server *s, int fd, struct err *e);
/* Closes every connection; their links' owners are told. NULL is fine. */
void stream_server_free(struct stream_server *s);
size_t stream_server_conns(const struct stream_server *s);

/* Sends. It takes everything; who writes on while link_full() uses memory. A channel that the client did not ask for is dropped. */
void link_write(struct link *l, enum link_channel channel, const void *data, size_t len);
/* Nothing more comes on this channel. False: the protocol has no way to say that, only link_finish(). */
bool link_end(struct link *l, enum link_channel channel);
/* True: stop until drained() comes. */
bool link_full(struct link *l);
/* Input stops for all of the connection's links while one of them is held. */
void link_hold(struct link *l, bool hold);
/* Ends it; the owner may not use it any more. A session's connection is closed when all has been sent. */
void link_finish(struct link *l, const struct link_status *status);
