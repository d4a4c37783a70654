/* base/buf.c: see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf){ 0 };
}

char *buf_reserve(struct buf *b, size_t len)
{
    if (b->failed || len > SIZE_MAX - b->len - 1 || (b->max && b->len + len > b->max)) {
        b->failed = true;
        return NULL;
    }
    size_t want = b->len + len + 1;
    if (want > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < want) {
            cap = cap > SIZE_MAX / 2 ? want : cap * 2;
        }
        char *p = realloc(b->data, cap);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->data = p;
        b->cap = cap;
    }
    return b->data + b->len;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    char *p = buf_reserve(b, len);
    if (p) {
        if (len) {
            memcpy(p, data, len);
        }
        b->len += len;
        b->data[b->len] = '\0';
    }
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *p = n < 0 ? NULL : buf_reserve(b, (size_t)n);
    if (p) {
        vsnprintf(p, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    } else {
        b->failed = true;
    }
    va_end(again);
    va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->len) {
        buf_reset(b);
        return;
    }
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    if (b->data) {
        b->data[0] = '\0';
    }
}

char *buf_steal(struct buf *b)
{
    if (!b->data) {
        buf_add(b, "", 0);
    }
    char *p = b->failed ? NULL : b->data;
    if (p) {
        *b = (struct buf){ 0 };
    }
    return p;
}
