/* cri/list.c: see list.h. */
#include "cri/list.h"

#include <errno.h>
#include <time.h>

enum { STREAM_BYTES = 32 << 10 };

int64_t list_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void list_begin(struct buf *out)
{
    buf_add(out, "\0\0\0\0", GRPC_PREFIX);
}

static int put_item(void *data, const char *id, const struct buf *item)
{
    (void)id;
    pb_put_bytes(data, 1, item->data, item->len);
    return 0;
}

int list_reply(struct grpc_call *call, struct cri_cache *c, list_walk_fn *walk, const struct cache_filter *f, struct err *e)
{
    CLEANUP_BUF struct buf out = { 0 };
    list_begin(&out);
    (void)walk(c, f, put_item, &out);
    return grpc_send_buf(call, &out, e);
}

/* Items are copied under the lock, with a mark where a message shall end, and sent without it. */
struct chunks {
    struct buf bytes;
    size_t *ends, n, cap, begin;
};

static int put_chunk(void *data, const char *id, const struct buf *item)
{
    (void)id;
    struct chunks *k = data;
    pb_put_bytes(&k->bytes, 1, item->data, item->len);
    if (k->bytes.len - k->begin >= STREAM_BYTES) {
        if (array_grow(&k->ends, &k->cap, k->n + 1, sizeof(*k->ends)) < 0) {
            return -ENOMEM;
        }
        k->ends[k->n++] = k->begin = k->bytes.len;
    }
    return 0;
}

int list_stream(struct grpc_call *call, struct cri_cache *c, list_walk_fn *walk, const struct cache_filter *f, struct err *e)
{
    struct chunks k = { 0 };
    int r = walk(c, f, put_chunk, &k) < 0 || buf_failed(&k.bytes) ? err_oom(e) : 0;
    size_t at = 0;
    for (size_t i = 0; i < k.n && r == 0; i++) {
        r = grpc_send(call, k.bytes.data + at, k.ends[i] - at, e);
        at = k.ends[i];
    }
    if (r == 0 && k.bytes.len > at) {
        r = grpc_send(call, k.bytes.data + at, k.bytes.len - at, e);
    }
    buf_done(&k.bytes);
    free(k.ends);
    return r;
}

int list_put_info(struct buf *out, unsigned field, const char *key, json_t *o, struct err *e)
{
    CLEANUP_FREE char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    CLEANUP_BUF struct buf entry = { 0 };
    json_decref(o);
    if (!text) {
        return err_oom(e);
    }
    pb_put_bytes(&entry, 1, key, strlen(key));
    pb_put_bytes(&entry, 2, text, strlen(text));
    pb_put_bytes(out, field, entry.data, entry.len);
    return 0;
}

static int put_id(void *data, const char *id, const struct buf *item)
{
    (void)item;
    return strv_push(data, id);
}

int list_ids(struct cri_cache *c, list_walk_fn *walk, const struct cache_filter *f, char ***ret, struct err *e)
{
    char **ids = calloc(1, sizeof(*ids));
    if (!ids || walk(c, f, put_id, &ids) < 0) {
        strv_free(ids);
        return err_oom(e);
    }
    *ret = ids;
    return 0;
}
