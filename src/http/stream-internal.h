/*
 * http/stream-internal.h: what the files of the stream server share: stream-server.c has connections and their bytes,
 * stream-upgrade.c the request, stream-link.c the links, and stream-spdy.c and stream-ws.c what is special of either protocol.
 *
 * Nothing here frees a connection while one of its callbacks may be running: conn_fail() only marks it, and its timer ends it.
 */
#pragma once

#include "http/http1.h"
#include "http/spdy.h"
#include "http/stream-server.h"
#include "http/websocket.h"

enum {
    STREAM_OUT_HIGH = 256 << 10, /* beyond it owners stop, and so does reading from the client */
    STREAM_OUT_LOW = 64 << 10,
    STREAM_READ = 64 << 10,
    STREAM_LINGER_S = 5,
};

enum conn_state { CONN_REQUEST, CONN_OPENING, CONN_OPEN, CONN_CLOSING, CONN_LINGER };
enum conn_proto { PROTO_SPDY, PROTO_WS, PROTO_WS_SPDY };

struct link {
    struct link *next;
    struct conn *conn;
    void *peer;              /* NULL before its start */
    uint32_t ids[LINK_CHANNELS]; /* SPDY streams; 0: none. A forward's STDIN and STDOUT are one stream */
    char *request_id;        /* of a forward over SPDY */
    uint16_t port;
    unsigned first;          /* of a forward over WebSocket: its first channel */
    uint64_t since;          /* ns, of a half-made pair */
    bool held, full, in_ended, ended_early;
};

struct conn {
    struct stream_server *server;
    struct conn *prev, *next;
    int fd;
    struct loop_source *source, *timer;
    uint32_t events;
    enum conn_state state;
    enum conn_proto proto;
    bool failed;
    struct buf in;  /* the request */
    struct buf out;
    struct buf tunnel; /* SPDY's output before it is put into messages */
    struct stream_target target;
    bool has_target;
    int version;    /* of the channel protocol */
    bool base64;
    struct spdy *spdy;
    struct ws *ws;
    struct link *links;
    size_t n_links, n_held;
};

struct stream_server {
    struct loop *loop;
    const struct stream_ops *ops;
    void *data;
    struct stream_limits limits;
    struct conn *conns;
    size_t n_conns;
    int listen;
    struct loop_source *accept, *again;
    char read[STREAM_READ];
};

/* Marks it for its end, soon. */
void conn_fail(struct conn *c);
/* Sends what it can and sets what is watched. */
void conn_flush(struct conn *c);
/* Ends well when everything has been sent. */
void conn_close(struct conn *c);
void conn_set_timer(struct conn *c);
/* All of the bytes after the request. */
void conn_input(struct conn *c, const char *data, size_t len);

/* A whole head: answers it. Errors are answered, and the connection is closing. */
void upgrade(struct conn *c, const struct http1_request *q);

struct link *link_new(struct conn *c);
/* Removes without telling anybody. */
void link_free(struct link *l);
/* Hands it to the owner. */
void link_start(struct link *l);
void link_input(struct link *l, enum link_channel channel, const char *data, size_t len, bool end);
/* The client has closed it: its owner is told. */
void link_gone(struct link *l);

extern const struct spdy_ops stream_spdy_ops;
void stream_spdy_flush(struct conn *c);
void stream_ws_message(void *data, const uint8_t *bytes, size_t len);
/* Starts the links of a connection without SPDY. */
void stream_ws_start(struct conn *c);
void stream_ws_write(struct conn *c, unsigned channel, const void *data, size_t len);
uint64_t stream_now_ns(void);
