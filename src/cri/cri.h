/*
 * cri/cri.h: the Kubernetes Container Runtime Interface over the engine: requests become engine calls, what the engine knows
 * becomes answers. Lists and status come from a cache in memory that follows the engine's event log.
 */
#pragma once

#include "engine/engine.h"
#include "http/grpc.h"

struct cri;

struct cri_handler {
    const char *name;    /* of a RuntimeClass */
    const char *runtime; /* program; NULL: built in */
    bool user_namespaces, recursive_readonly;
};

/* Where Exec, Attach and PortForward are served. 0 and NULL: the default. */
struct cri_streaming {
    const char *address;  /* 127.0.0.1 */
    uint16_t port;        /* one that is free */
    unsigned connections; /* 2048 */
    uint64_t idle_ns;     /* a connection without a byte for so long ends: 4 h */
};

struct cri_options {
    struct engine *engine;
    const struct log *log;
    /* Further handlers; "" and "tare" are always there. */
    const struct cri_handler *handlers;
    size_t n_handlers;
    struct cri_streaming streaming;
};

/* Reads the engine's objects once. */
MUST_USE int cri_new(const struct cri_options *o, struct cri **ret, struct err *e);
void cri_free(struct cri *c);
/* The table for grpc_options; data of the functions is the struct cri. */
const struct grpc_method *cri_methods(size_t *ret_n);
/* A datagram has come: something has changed, perhaps the objects whose ids are in the text. Does not block. */
void cri_wake(struct cri *c, const char *text, size_t len);
/* Starts and ends the threads: of the event log, of streams. */
MUST_USE int cri_start(struct cri *c, struct err *e);
void cri_stop(struct cri *c);
/* Ends the streams. Returns how many calls for them still run after timeout_ms; only if 0 may it be freed. */
unsigned cri_stop_streams(struct cri *c, int timeout_ms);
