/* http/spdy-headers.c: see spdy-headers.h. */
#include "http/spdy-headers.h"

#include "http/spdy-dictionary.h"

#include <endian.h>
#include <errno.h>

/* Our own headers are empty: the smallest window that holds the dictionary is enough (a connection costs 9 KiB, not 256). */
enum { OUT_WINDOW_BITS = 11, OUT_MEM_LEVEL = 1 };

static const Bytef *dictionary(void)
{
    return (const Bytef *)spdy_dictionary;
}

int spdy_headers_init(struct spdy_headers *h, struct err *e)
{
    *h = (struct spdy_headers){ 0 };
    h->has_in = inflateInit(&h->in) == Z_OK;
    h->has_out = deflateInit2(&h->out, 1, Z_DEFLATED, OUT_WINDOW_BITS, OUT_MEM_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK &&
                 deflateSetDictionary(&h->out, dictionary(), SPDY_DICTIONARY_LEN) == Z_OK;
    if (!h->has_in || !h->has_out) {
        spdy_headers_done(h);
        return err_oom(e);
    }
    h->block.max = SPDY_BLOCK_MAX;
    return 0;
}

void spdy_headers_done(struct spdy_headers *h)
{
    if (h->has_in) {
        (void)inflateEnd(&h->in);
    }
    if (h->has_out) {
        (void)deflateEnd(&h->out);
    }
    buf_done(&h->block);
    *h = (struct spdy_headers){ 0 };
}

static int unpack(struct spdy_headers *h, const void *data, size_t len, struct err *e)
{
    h->in.next_in = (Bytef *)(uintptr_t)data;
    h->in.avail_in = (uInt)len;
    h->block.len = 0;
    for (;;) {
        char *to = buf_reserve(&h->block, 1024);
        if (!to) {
            return err_set(e, EPROTO, ERR_INVALID, "headers of more than %d bytes", SPDY_BLOCK_MAX);
        }
        h->in.next_out = (Bytef *)to;
        h->in.avail_out = 1024;
        int z = inflate(&h->in, Z_SYNC_FLUSH);
        h->block.len += 1024 - h->in.avail_out;
        if (z == Z_NEED_DICT && inflateSetDictionary(&h->in, dictionary(), SPDY_DICTIONARY_LEN) == Z_OK) {
            continue;
        }
        if (z == Z_BUF_ERROR || (z == Z_OK && h->in.avail_in == 0 && h->in.avail_out > 0)) {
            return 0;
        }
        if (z != Z_OK) {
            return err_set(e, EPROTO, ERR_INVALID, "headers that do not unpack");
        }
    }
}

static bool take_u32(const struct buf *b, size_t *at, uint32_t *ret)
{
    uint32_t v;
    if (b->len - *at < sizeof(v)) {
        return false;
    }
    memcpy(&v, b->data + *at, sizeof(v));
    *ret = be32toh(v);
    *at += sizeof(v);
    return true;
}

/* The string's end is set to NUL later: its place still holds the next string's length. */
static bool take_string(const struct buf *b, size_t *at, const char **ret, char **ret_end)
{
    uint32_t n;
    if (!take_u32(b, at, &n) || b->len - *at < n || memchr(b->data + *at, '\0', n)) {
        return false;
    }
    *ret = b->data + *at;
    *at += n;
    *ret_end = b->data + *at;
    return true;
}

ssize_t spdy_headers_read(struct spdy_headers *h, const void *data, size_t len, struct spdy_header *ret, struct err *e)
{
    char *ends[2 * SPDY_HEADERS_MAX];
    uint32_t n = 0;
    size_t at = 0;
    int r = unpack(h, data, len, e);
    if (r < 0) {
        return r;
    }
    bool ok = h->block.len > 0 && take_u32(&h->block, &at, &n) && n <= SPDY_HEADERS_MAX;
    for (uint32_t i = 0; ok && i < n; i++) {
        ok = take_string(&h->block, &at, &ret[i].name, &ends[2 * i]) && ends[2 * i] > ret[i].name &&
             take_string(&h->block, &at, &ret[i].value, &ends[2 * i + 1]);
    }
    if (!ok || at != h->block.len) {
        return err_set(e, EPROTO, ERR_INVALID, "malformed headers");
    }
    for (uint32_t i = 0; i < 2 * n; i++) {
        *ends[i] = '\0';
    }
    return (ssize_t)n;
}

void spdy_headers_write_none(struct spdy_headers *h, struct buf *out)
{
    static const char none[4] = { 0 };
    char to[64];
    h->out.next_in = (Bytef *)(uintptr_t)none;
    h->out.avail_in = sizeof(none);
    h->out.next_out = (Bytef *)to;
    h->out.avail_out = sizeof(to);
    (void)deflate(&h->out, Z_SYNC_FLUSH);
    buf_add(out, to, sizeof(to) - h->out.avail_out);
}
