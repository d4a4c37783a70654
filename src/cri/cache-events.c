/*
 * cri/cache-events.c: a ring of the last events, each with the pod's and its containers' status at that moment. Nothing is made
 * while nobody reads.
 */
#include "cri/cache-internal.h"

#include <errno.h>
#include <time.h>

enum {
    EV_CREATED = RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT,
    EV_STARTED = RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT,
    EV_STOPPED = RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT,
    EV_DELETED = RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT,
    /* fields of ContainerEventResponse */
    F_ID = 1,
    F_TYPE,
    F_TIME,
    F_POD,
    F_CTR,
};

/* Never the same twice and never back, whatever the clock does. */
static int64_t event_time(struct cri_cache *c)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    c->last_time = now > c->last_time ? now : c->last_time + 1;
    return c->last_time;
}

static void emit(struct cri_cache *c, const struct cache_entry *n, int type)
{
    if (c->n_readers == 0) {
        return;
    }
    const char *pod = n->pod ? n->pod : n->id;
    struct cache_event *ev = &c->events[c->next_event % CACHE_EVENTS];
    buf_reset(&ev->packed);
    pb_put_bytes(&ev->packed, F_ID, n->id, strlen(n->id));
    pb_put_u64(&ev->packed, F_TYPE, (uint64_t)type);
    pb_put_u64(&ev->packed, F_TIME, (uint64_t)event_time(c));
    for (size_t i = 0; i < c->pods.n; i++) {
        if (strcmp(c->pods.v[i]->id, pod) == 0) {
            pb_put_bytes(&ev->packed, F_POD, c->pods.v[i]->status.data, c->pods.v[i]->status.len);
        }
    }
    for (size_t i = 0; i < c->ctrs.n; i++) {
        /* Of one that is gone the others remain. */
        if (strcmp(c->ctrs.v[i]->pod, pod) == 0 && (type != EV_DELETED || c->ctrs.v[i] != n)) {
            pb_put_bytes(&ev->packed, F_CTR, c->ctrs.v[i]->status.data, c->ctrs.v[i]->status.len);
        }
    }
    ev->seq = c->next_event++;
    pthread_cond_broadcast(&c->event_cond);
}

void event_changed(struct cri_cache *c, const struct cache_entry *n, int was, bool is_pod)
{
    if (was < 0) {
        emit(c, n, EV_CREATED);
    }
    if (is_pod) {
        emit(c, n, n->state == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY ? EV_STARTED : EV_STOPPED);
        return;
    }
    bool started = n->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
    bool exited = n->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
    bool missed = exited && was == RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED;
    if (started || missed) {
        emit(c, n, EV_STARTED);
    }
    if (exited) {
        emit(c, n, EV_STOPPED);
    }
}

void event_gone(struct cri_cache *c, const struct cache_entry *n, bool is_pod)
{
    int ended = is_pod ? (int)RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY :
                         (int)RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
    if (n->state != ended) {
        emit(c, n, EV_STOPPED);
    }
    emit(c, n, EV_DELETED);
}

uint64_t cache_subscribe(struct cri_cache *c)
{
    pthread_mutex_lock(&c->lock);
    c->n_readers++;
    uint64_t at = c->next_event;
    pthread_mutex_unlock(&c->lock);
    return at;
}

void cache_unsubscribe(struct cri_cache *c)
{
    pthread_mutex_lock(&c->lock);
    if (--c->n_readers == 0) {
        for (size_t i = 0; i < CACHE_EVENTS; i++) {
            buf_done(&c->events[i].packed);
            c->events[i] = (struct cache_event){ 0 };
        }
    }
    pthread_mutex_unlock(&c->lock);
}

int cache_event_next(struct cri_cache *c, uint64_t *cursor, const bool *stop, struct buf *out, struct err *e)
{
    int r = 0;
    pthread_mutex_lock(&c->lock);
    while (!*stop && *cursor == c->next_event) {
        pthread_cond_wait(&c->event_cond, &c->lock);
    }
    const struct cache_event *ev = &c->events[*cursor % CACHE_EVENTS];
    if (*stop) {
        r = err_set(e, ECANCELED, ERR_UNAVAILABLE, "reader has gone");
    } else if (ev->seq != *cursor) {
        r = err_set(e, EOVERFLOW, ERR_UNAVAILABLE, "reader is more than %d events behind: list again", (int)CACHE_EVENTS);
    } else {
        buf_add(out, ev->packed.data, ev->packed.len);
        (*cursor)++;
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

void cache_interrupt(struct cri_cache *c, bool *set_stop)
{
    pthread_mutex_lock(&c->lock);
    if (set_stop) {
        *set_stop = true;
    }
    pthread_cond_broadcast(&c->event_cond);
    pthread_mutex_unlock(&c->lock);
}
