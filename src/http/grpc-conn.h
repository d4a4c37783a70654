/* http/grpc-conn.h: between grpc-server.c (sockets, timers) and grpc-conn.c (HTTP/2 of one connection). Loop thread only. */
#pragma once

#include "http/grpc-internal.h"

MUST_USE int conn_session_new(struct grpc_conn *conn, struct err *e);
/* The call-backs that every session shares. */
MUST_USE int conn_callbacks_new(struct grpc_server *s, struct err *e);
/* Takes bytes that have arrived. -EPROTO: the connection is of no use any more, what is left is to be sent. */
MUST_USE int conn_feed(struct grpc_conn *conn, const uint8_t *data, size_t len);
/* Moves what HTTP/2 has to send into conn->out, up to some limit. True when conn->out holds something. */
bool conn_collect(struct grpc_conn *conn);
/* The stream of a call is over. */
void conn_call_closed(struct grpc_call *c);
