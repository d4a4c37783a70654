/*
 * http/spdy.h: the server's side of a SPDY/3.1 connection: frames, compressed headers, flow control, pings. It does no input or
 * output: bytes go in by spdy_input(), and what is to be sent is appended to the buffer that was named at the start.
 *
 * Bounded are control frames, headers, and streams. Data frames are passed on as their bytes come, so their length costs nothing.
 * A breach of the protocol ends the session with GOAWAY.
 *
 * Flow control: the peer is told of room for what was consumed. Its own windows bind only once it has shown that it keeps any (a
 * WINDOW_UPDATE, or SETTINGS with an initial window): the library that all Kubernetes clients use never gives room back, so that
 * a strict sender would stop after 64 KiB for ever. For such peers TCP is what holds the sender up.
 */
#pragma once

#include "base/buf.h"

#include <sys/types.h>

enum { SPDY_CONTROL_MAX = 16 << 10, SPDY_HEADERS_MAX = 64, SPDY_BLOCK_MAX = 16 << 10, SPDY_WINDOW = 64 << 10 };

enum spdy_reset { SPDY_PROTOCOL_ERROR = 1, SPDY_INVALID_STREAM, SPDY_REFUSED_STREAM, SPDY_UNSUPPORTED, SPDY_CANCEL, SPDY_INTERNAL };

struct spdy;
struct spdy_header {
    const char *name, *value;
};

struct spdy_ops {
    /* The peer opens a stream. 0: accepted, SYN_REPLY is sent; else the enum spdy_reset that it is refused with. */
    unsigned (*open)(void *data, uint32_t id, const struct spdy_header *h, size_t n);
    /* fin: the peer's half is closed; may come with len 0. */
    void (*data)(void *data, uint32_t id, const void *bytes, size_t len, bool fin);
    /* The peer has reset the stream, which is forgotten. */
    void (*reset)(void *data, uint32_t id);
};

MUST_USE int spdy_new(const struct spdy_ops *ops, void *data, struct buf *out, unsigned max_streams, struct spdy **ret, struct err *e);
void spdy_free(struct spdy *s);
/* Takes all of it. < 0: the session is broken; GOAWAY is in the output. */
MUST_USE int spdy_input(struct spdy *s, const void *data, size_t len, struct err *e);
/* Sends, or keeps what does not fit into the peer's window. Unknown ids and closed halves are ignored. fin closes our half. */
void spdy_send(struct spdy *s, uint32_t id, const void *data, size_t len, bool fin);
/* Bytes that wait for the peer's windows: of one stream, of all. */
size_t spdy_waiting(const struct spdy *s, uint32_t id);
size_t spdy_waiting_all(const struct spdy *s);
/* Gives the peer room for what came and was not yet acknowledged on all streams. */
void spdy_acknowledge(struct spdy *s);
/* Resets and forgets a stream. */
void spdy_reset(struct spdy *s, uint32_t id, enum spdy_reset why);
void spdy_goaway(struct spdy *s, uint32_t status);
