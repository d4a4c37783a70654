/*
 * cri/streaming.h: what Exec, Attach and PortForward hand out a URL for. A ticket is kept for a minute under a random token; who
 * comes with the token, once, gets the ticket's streams and nothing else. One thread serves all connections (http/stream-server.h);
 * calls of the engine, which block, are made on a few threads of a pool (cri/jobs.h).
 */
#pragma once

#include "cri/cri.h"
#include "http/stream-server.h"

#include <pthread.h>

enum { TICKETS_MAX = 1000, TICKET_S = 60, TOKEN_LEN = 32 };

enum ticket_kind { TICKET_EXEC, TICKET_ATTACH, TICKET_FORWARD };

struct ticket {
    struct ticket *next;
    unsigned refs; /* once it is taken: of the streaming thread alone */
    enum ticket_kind kind;
    char token[TOKEN_LEN + 1];
    uint64_t expires;
    char *id;      /* container or pod */
    char **args;
    uint16_t *ports;
    size_t n_ports;
    bool has_stdin, has_stdout, has_stderr, tty;
};
/* NULL is fine. */
void ticket_unref(struct ticket *t);

struct streaming;
/* Binds the socket. */
MUST_USE int streaming_new(struct engine *g, const struct cri_streaming *o, struct streaming **ret, struct err *e);
MUST_USE int streaming_start(struct streaming *s, struct err *e);
/* Ends all connections. Returns how many calls of the engine still run after timeout_ms: only if 0 may it be freed. */
unsigned streaming_stop(struct streaming *s, int timeout_ms);
void streaming_free(struct streaming *s);
/* Takes the ticket over, also on failure. */
MUST_USE int streaming_url(struct streaming *s, struct ticket *t, char **ret_url, struct err *e);
