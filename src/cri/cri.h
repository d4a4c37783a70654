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

struct cri_options {
    struct engine *engine;
    const struct log *log;
    /* Further handlers; "" and "tare" are always there. */
    const struct cri_handler *handlers;
    size_t n_handlers;
};

/* Reads the engine's objects once. */
MUST_USE int cri_new(const struct cri_options *o, struct cri **ret, struct err *e);
void cri_free(struct cri *c);
/* The table for grpc_options; data of the functions is the struct cri. */
const struct grpc_method *cri_methods(size_t *ret_n);
/* A datagram has come: something has changed, perhaps the objects whose ids are in the text. Does not block. */
void cri_wake(struct cri *c, const char *text, size_t len);
/* Starts and ends the thread that follows the event log. */
MUST_USE int cri_start(struct cri *c, struct err *e);
void cri_stop(struct cri *c);
