/*
 * sys/lazy.h: big libraries that only some commands need. Loading and relocating libcrypto costs as much as all other libraries of
 * 'tare exec' together, and a daemon's memory. So a program is not linked with them: a file defines each function that is used
 * with LAZY, which finds the real one at its first call.
 */
#pragma once

#include <stdatomic.h>

/* The address of name in library, found once and kept in *at; NULL with errno ELIBACC when there is none. Never unloaded. */
void *lazy_find(const char *library, const char *name, _Atomic(void *) *at);

/* LAZY("libx.so.1", -1, int, x_get, (struct x *x, int n), (x, n)): -1 is the answer when the library is missing; (void)0 for void. */
#define LAZY(library, missing, type, name, params, args)                                                               \
    type name params                                                                                                   \
    {                                                                                                                  \
        static _Atomic(void *) at;                                                                                     \
        type(*fn) params = (type(*) params)lazy_find(library, #name, &at);                                             \
        return fn ? fn args : missing;                                                                                 \
    }
