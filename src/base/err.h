/*
 * base/err.h: the error object that is the last argument of every function that can fail.
 *
 * Functions return 0 or a negative errno; the caller owns the struct err, which has a fixed size so
 * that running out of memory cannot lose the reason. A function either returns an error or logs it,
 * never both; only cmd/ and the roots of event loops log.
 */
#pragma once

#include "base/util.h"

enum err_kind {
    ERR_INTERNAL,
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_INVALID,
    ERR_DENIED,
    ERR_BUSY,
    ERR_UNAVAILABLE,
    ERR_UNSUPPORTED,
    ERR_TIMEOUT,
    ERR_EXHAUSTED,
};

struct err {
    int code; /* positive errno of the cause; 0: no error */
    enum err_kind kind;
    char text[1024];
};

/* Starts the chain; code is a positive errno. Returns -code. e may be NULL. */
int err_set(struct err *e, int code, enum err_kind kind, const char *fmt, ...) PRINTF(4, 5);
/* As err_set with the kind chosen from errno; appends ": strerror(code)". */
int err_sys(struct err *e, int code, const char *fmt, ...) PRINTF(3, 4);
/* Puts "ctx: " in front of the text. Returns -e->code. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF(2, 3);
/* Out of memory. */
int err_oom(struct err *e);
/* "ENOENT" for 2. */
const char *err_name(int code);
/* "not-found", "invalid", ... for logs and JSON. */
const char *err_kind_name(enum err_kind kind);
void err_clear(struct err *e);
