/*
 * base/util.h: attributes and tiny helpers that every room uses.
 *
 * Cleanup attributes make ownership visible at the declaration: a variable marked CLEANUP_x is
 * released when it leaves scope, unless its value was moved out with x_steal().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_USE __attribute__((warn_unused_result))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void free_p(void *p)
{
    free(*(void **)p);
}
#define CLEANUP_FREE CLEANUP(free_p)

/* Moves a pointer out of a CLEANUP variable: returns it and leaves NULL behind. */
#define PTR_STEAL(p)                                                                               \
    ({                                                                                             \
        __typeof__(p) stolen_ = (p);                                                               \
        (p) = NULL;                                                                                \
        stolen_;                                                                                   \
    })

static inline bool str_eq(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static inline bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix);
static inline bool str_empty(const char *s)
{
    return !s || !*s;
}

/* Allocating printf; NULL when out of memory. The caller frees. */
char *str_printf(const char *fmt, ...) PRINTF(1, 2);

/*
 * Grows *array (of *cap elements of size each) so that it holds at least want elements.
 * Returns 0 or -ENOMEM; on failure the array is untouched. New elements are zeroed.
 */
MUST_USE int array_grow(void *array, size_t *cap, size_t want, size_t size);

/* NULL-terminated vector of strings, owned. */
void strv_free(char **v);
static inline void strv_free_p(char ***v)
{
    strv_free(*v);
}
#define CLEANUP_STRV CLEANUP(strv_free_p)
size_t strv_len(char *const *v);
/* Appends a copy of s. Returns 0 or -ENOMEM. */
MUST_USE int strv_push(char ***v, const char *s);
/* Deep copy; NULL when out of memory. NULL in gives an empty vector. */
char **strv_copy(char *const *v);
