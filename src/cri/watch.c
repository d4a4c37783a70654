/*
 * cri/watch.c: the thread that keeps the cache true to changes that others make: monitors that tell of an exit, and tare at a
 * shell. It is woken by datagrams; that a datagram may be lost costs a minute at most.
 */
#include "cri/cri-internal.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

enum { ID_LEN = 64, IDS_MAX = 4096, CHECK_S = 60, WATCH_STACK = 256 << 10 };

/* Every run of 64 hex digits is an id. */
static void note_ids(struct cri *c, const char *text, size_t len)
{
    size_t run = 0;
    for (size_t i = 0; i <= len; i++) {
        bool hex = i < len && ((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'));
        if (hex) {
            run++;
            continue;
        }
        if (run == ID_LEN && c->n_ids < IDS_MAX) {
            char id[ID_LEN + 1];
            memcpy(id, text + i - ID_LEN, ID_LEN);
            id[ID_LEN] = '\0';
            c->n_ids += strv_push(&c->ids, id) == 0;
        }
        run = 0;
    }
}

void cri_wake(struct cri *c, const char *text, size_t len)
{
    pthread_mutex_lock(&c->lock);
    note_ids(c, text, len);
    c->woken = true;
    pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->lock);
}

static void warn(struct cri *c, const char *what, const char *id, const struct err *e)
{
    if (c->log) {
        log_event(c->log, LOG_WARN, what, "id", id, "error", e->text, NULL);
    }
}

/* An id may be a pod's or a container's; the cache is told about both. */
static void refresh(struct cri *c, const char *id, bool pod)
{
    struct err e = { 0 };
    int r = pod ? cache_refresh_pod(c->cache, id, &e) : cache_refresh_ctr(c->cache, id, &e);
    if (r < 0) {
        warn(c, "cache.refresh", id, &e);
    }
}

static int on_event(void *data, const struct engine_event *ev)
{
    struct cri *c = data;
    if (str_eq(ev->type, "container")) {
        refresh(c, ev->object, false);
    } else if (str_eq(ev->type, "pod")) {
        refresh(c, ev->object, true);
    }
    c->cursor = ev->id > c->cursor ? ev->id : c->cursor;
    return 0;
}

static void follow(struct cri *c)
{
    struct err e = { 0 };
    if (engine_events(c->engine, c->cursor, 0, 0, false, on_event, c, &e) < 0) {
        warn(c, "events.read", "", &e);
    }
}

/* Where the log stands now. */
static int on_skip(void *data, const struct engine_event *ev)
{
    struct cri *c = data;
    c->cursor = ev->id > c->cursor ? ev->id : c->cursor;
    return 0;
}

static void check_running(struct cri *c)
{
    CLEANUP_STRV char **ids = cache_running(c->cache);
    for (size_t i = 0; ids && ids[i]; i++) {
        refresh(c, ids[i], false);
    }
}

/* Waits for a datagram. *ret_ids: what it named. False: the end. */
static bool wait_work(struct cri *c, char ***ret_ids, bool *ret_timed_out)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CHECK_S;
    int r = 0;
    pthread_mutex_lock(&c->lock);
    while (!c->woken && !c->stopping && r == 0) {
        r = pthread_cond_timedwait(&c->cond, &c->lock, &until);
    }
    bool go = !c->stopping;
    *ret_timed_out = !c->woken;
    c->woken = false;
    *ret_ids = PTR_STEAL(c->ids);
    c->n_ids = 0;
    pthread_mutex_unlock(&c->lock);
    return go;
}

static void *watch(void *data)
{
    struct cri *c = data;
    bool timed_out = false;
    for (;;) {
        CLEANUP_STRV char **ids = NULL;
        if (!wait_work(c, &ids, &timed_out)) {
            return NULL;
        }
        for (size_t i = 0; ids && ids[i]; i++) {
            refresh(c, ids[i], false);
        }
        follow(c);
        if (timed_out) {
            check_running(c);
        }
    }
}

int cri_start(struct cri *c, struct err *e)
{
    pthread_attr_t attr;
    sigset_t all, old;
    /* First the log's end, then the objects: what happens in between is seen twice rather than never. */
    int r = engine_events(c->engine, 0, 0, 0, false, on_skip, c, e);
    if (r == 0) {
        r = cache_load(c->cache, e);
    }
    if (r < 0) {
        return r;
    }
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WATCH_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&c->thread, &attr, watch, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (r != 0) {
        return err_sys(e, r, "start thread");
    }
    c->has_thread = true;
    return streaming_start(c->streaming, e);
}

void cri_stop(struct cri *c)
{
    if (!c->has_thread) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    c->has_thread = false;
}
