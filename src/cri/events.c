/* cri/events.c: GetContainerEvents. */
#include "cri/cri-internal.h"
#include "cri/list.h"

struct events_reader {
    struct cri_cache *cache;
    bool stop;
};

static void on_gone(void *data)
{
    struct events_reader *r = data;
    cache_interrupt(r->cache, &r->stop);
}

int cri_events(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    (void)request;
    struct events_reader reader = { c->cache, false };
    uint64_t cursor = cache_subscribe(c->cache);
    int r = 0;
    grpc_on_cancel(call, on_gone, &reader);
    while (r == 0) {
        CLEANUP_BUF struct buf out = { 0 };
        list_begin(&out);
        r = cache_event_next(c->cache, &cursor, &reader.stop, &out, e);
        if (r == 0) {
            r = grpc_send_buf(call, &out, e);
        }
    }
    grpc_on_cancel(call, NULL, NULL);
    cache_unsubscribe(c->cache);
    return r;
}
