/* base/util.c: see util.h. */
#include "base/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

char *str_printf(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : s;
}

int array_grow(void *array, size_t *cap, size_t want, size_t size)
{
    void **p = array;
    if (want <= *cap) {
        return 0;
    }
    size_t n = *cap ? *cap : 4;
    while (n < want) {
        if (n > SIZE_MAX / 2) {
            return -ENOMEM;
        }
        n *= 2;
    }
    char *q = reallocarray(*p, n, size);
    if (!q) {
        return -ENOMEM;
    }
    memset(q + *cap * size, 0, (n - *cap) * size);
    *p = q;
    *cap = n;
    return 0;
}

void strv_free(char **v)
{
    for (char **p = v; p && *p; p++) {
        free(*p);
    }
    free(v);
}

size_t strv_len(char *const *v)
{
    size_t n = 0;
    while (v && v[n]) {
        n++;
    }
    return n;
}

int strv_push(char ***v, const char *s)
{
    size_t n = strv_len(*v);
    char *copy = strdup(s);
    if (!copy) {
        return -ENOMEM;
    }
    char **q = reallocarray(*v, n + 2, sizeof(*q));
    if (!q) {
        free(copy);
        return -ENOMEM;
    }
    q[n] = copy;
    q[n + 1] = NULL;
    *v = q;
    return 0;
}

char **strv_copy(char *const *v)
{
    size_t n = strv_len(v);
    char **q = calloc(n + 1, sizeof(*q));
    for (size_t i = 0; q && i < n; i++) {
        q[i] = strdup(v[i]);
        if (!q[i]) {
            strv_free(q);
            return NULL;
        }
    }
    return q;
}
