/*
 * http/websocket.h: the server's side of a WebSocket connection over libwslay, without input or output of its own: bytes go in by
 * ws_input(), what is to be sent is appended to the buffer that was named at the start. Pings are answered, fragments are joined;
 * messages are at most WS_MESSAGE_MAX bytes.
 */
#pragma once

#include "base/buf.h"

enum { WS_MESSAGE_MAX = 1 << 20, WS_ACCEPT_LEN = 28 };

struct ws;
/* A whole message, text or binary. */
typedef void ws_message_fn(void *data, const uint8_t *bytes, size_t len);

MUST_USE int ws_new(ws_message_fn *fn, void *data, struct buf *out, struct ws **ret, struct err *e);
void ws_free(struct ws *w);
/* Takes all of it. < 0: the connection is broken (a close frame may be in the output). */
MUST_USE int ws_input(struct ws *w, const void *data, size_t len, struct err *e);
void ws_send(struct ws *w, bool text, const void *data, size_t len);
void ws_close(struct ws *w, uint16_t status);
/* The peer has sent its close frame. */
bool ws_closed(const struct ws *w);

/* Sec-WebSocket-Accept for a key; -EINVAL when it is no key. */
MUST_USE int ws_accept(const char *key, char ret[static WS_ACCEPT_LEN + 1], struct err *e);
/* Base64 both ways, as the old subprotocols use it; padding is required. */
void ws_base64(struct buf *out, const void *data, size_t len);
MUST_USE int ws_unbase64(struct buf *out, const void *data, size_t len);
