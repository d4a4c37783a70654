/* cri/cache-internal.h: between cache.c (objects) and cache-events.c (what GetContainerEvents tells). All under the lock. */
#pragma once

#include "cri/cache.h"

#include <pthread.h>

struct cache_cpu {
    int64_t timestamp;
    uint64_t cpu_ns, rate;
};

struct cache_entry {
    char *id, *pod; /* pod NULL: it is one */
    int state;
    int32_t pid;
    int64_t created_at;
    uint64_t ticket;
    struct str_map labels;
    struct buf item, status; /* packed */
    struct cache_cpu cpu;
};

struct cache_table {
    struct cache_entry **v; /* sorted by id */
    size_t n, cap;
};

struct cache_grave {
    char id[65];
    uint64_t ticket;
};

enum { CACHE_EVENTS = 1024 };

struct cri_cache {
    struct engine *engine;
    pthread_mutex_t lock;
    struct cache_table pods, ctrs;
    uint64_t tickets;
    struct cache_grave graves[128]; /* ids that were removed a moment ago */
    size_t next_grave;
    unsigned n_readers;
    uint64_t next_event; /* number of the next one; number N lies at events[N % CACHE_EVENTS] */
    int64_t last_time;
    pthread_cond_t event_cond;
    struct cache_event {
        uint64_t seq;
        struct buf packed;
    } events[CACHE_EVENTS];
};

/* was: the state before, -1 for a new object. */
void event_changed(struct cri_cache *c, const struct cache_entry *n, int was, bool is_pod);
void event_gone(struct cri_cache *c, const struct cache_entry *n, bool is_pod);
