/*
 * store/object.h: pods and containers. What is asked for in queries has a column; the rest is two opaque texts that belong to the
 * engine: spec (set once) and status (changes).
 */
#pragma once

#include "store/store.h"

struct store_pod {
    char *id, *ns;
    char *key;      /* idempotency key, unique in its namespace; NULL: none */
    char *name;     /* may repeat (CRI) */
    char *state;    /* "creating", "ready", "notready" */
    int64_t created;
    char *spec, *status; /* text, NULL: none */
};
void store_pod_done(struct store_pod *p);
struct store_pods {
    struct store_pod *v;
    size_t n;
};
void store_pods_done(struct store_pods *p);
#define CLEANUP_STORE_POD CLEANUP(store_pod_done)
#define CLEANUP_STORE_PODS CLEANUP(store_pods_done)

/* ERR_EXISTS (-EEXIST) if the id or the key is taken. */
MUST_USE int store_pod_add(struct store *s, const struct store_pod *p, struct err *e);
/* Replaces state, spec and status. ERR_NOT_FOUND. */
MUST_USE int store_pod_update(struct store *s, const struct store_pod *p, struct err *e);
/* Its containers have to be gone (ERR_BUSY). An absent one is fine. */
MUST_USE int store_pod_delete(struct store *s, const char *id, struct err *e);
/* By whole id in any namespace (ns NULL), or in ns by id, unique prefix of it, or unique name. */
MUST_USE int store_pod_get(struct store *s, const char *ns, const char *ref, struct store_pod *ret, struct err *e);
MUST_USE int store_pod_by_key(struct store *s, const char *ns, const char *key, struct store_pod *ret, struct err *e);
/* ns NULL: all. Ordered by creation. At most STORE_LIST_MAX. */
MUST_USE int store_pod_list(struct store *s, const char *ns, struct store_pods *ret, struct err *e);

enum { STORE_LIST_MAX = 100000 };

struct store_ctr {
    char *id, *ns, *pod_id;
    char *key;      /* idempotency key, unique in its namespace; NULL: none */
    char *name;     /* unique in its namespace; NULL: none (CRI) */
    char *image_id; /* "sha256:…"; NULL: none */
    char *state;    /* "creating", "created", "running", "paused", "exited", "unknown" */
    int64_t created, started, finished;
    int32_t pid;
    uint64_t pid_start; /* start time of the pid */
    int32_t exit_code;
    bool oom_killed;
    uint32_t restart_count;
    char *reason, *message;
    char *spec, *status; /* text, NULL: none */
    char **layers;  /* diff ids, lowest first, kept from garbage collection; only read by store_ctr_add() */
};
void store_ctr_done(struct store_ctr *c);
struct store_ctrs {
    struct store_ctr *v;
    size_t n;
};
void store_ctrs_done(struct store_ctrs *c);
#define CLEANUP_STORE_CTR CLEANUP(store_ctr_done)
#define CLEANUP_STORE_CTRS CLEANUP(store_ctrs_done)

/* ERR_EXISTS if id, key or name is taken; ERR_NOT_FOUND if the pod, or one of the layers, is not there. */
MUST_USE int store_ctr_add(struct store *s, const struct store_ctr *c, struct err *e);
/* Replaces everything but id, ns, pod_id, key, image_id, created and layers; a name that is taken is ERR_EXISTS. */
MUST_USE int store_ctr_update(struct store *s, const struct store_ctr *c, struct err *e);
/* An absent one is fine. */
MUST_USE int store_ctr_delete(struct store *s, const char *id, struct err *e);
/* As store_pod_get(); a name wins over a prefix of an id. layers is not filled. */
MUST_USE int store_ctr_get(struct store *s, const char *ns, const char *ref, struct store_ctr *ret, struct err *e);
MUST_USE int store_ctr_by_key(struct store *s, const char *ns, const char *key, struct store_ctr *ret, struct err *e);
/* ns, pod_id NULL: all. Ordered by creation. */
MUST_USE int store_ctr_list(struct store *s, const char *ns, const char *pod_id, struct store_ctrs *ret, struct err *e);
/* The layers that it was added with, lowest first. */
MUST_USE int store_ctr_layers(struct store *s, const char *id, char ***ret, struct err *e);

/* Last known figures of something that is dear to measure (kind "ctr", "image", …). */
struct store_usage {
    uint64_t bytes, inodes;
    int64_t time;
};
MUST_USE int store_usage_set(struct store *s, const char *kind, const char *id, const struct store_usage *u, struct err *e);
/* ERR_NOT_FOUND */
MUST_USE int store_usage_get(struct store *s, const char *kind, const char *id, struct store_usage *ret, struct err *e);
