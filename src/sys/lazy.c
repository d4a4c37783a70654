/* sys/lazy.c: see lazy.h. */
#include "sys/lazy.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

void *lazy_find(const char *library, const char *name, _Atomic(void *) *at)
{
    void *p = atomic_load_explicit(at, memory_order_acquire);
    if (p) {
        return p;
    }
    /* Two threads that come here at once find the same; the library keeps a reference for each, which is all right. */
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    p = handle ? dlsym(handle, name) : NULL;
    if (!p) {
        errno = ELIBACC;
        return NULL;
    }
    atomic_store_explicit(at, p, memory_order_release);
    return p;
}
