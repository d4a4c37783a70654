/* base/err.c: see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static enum err_kind kind_of(int code)
{
    switch (code) {
    case ENOENT:
    case ESRCH:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EINVAL:
    case ENAMETOOLONG:
    case E2BIG:
    case EMSGSIZE:
    case ELOOP:
    case ENOTDIR:
    case EISDIR:
        return ERR_INVALID;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case EBUSY:
    case EAGAIN:
        return ERR_BUSY;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
        return ERR_UNAVAILABLE;
    case ENOSYS:
    case EOPNOTSUPP:
        return ERR_UNSUPPORTED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return ERR_EXHAUSTED;
    default:
        return ERR_INTERNAL;
    }
}

int err_set(struct err *e, int code, enum err_kind kind, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        e->code = code;
        e->kind = kind;
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
    }
    return -code;
}

int err_sys(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        e->code = code;
        e->kind = kind_of(code);
        va_start(ap, fmt);
        int n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof(e->text)) {
            snprintf(e->text + n, sizeof(e->text) - (size_t)n, ": %s", strerrordesc_np(code) ?: "?");
        }
    }
    return -code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e) {
        return -EIO;
    }
    char tail[sizeof(e->text)];
    memcpy(tail, e->text, sizeof(tail));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(e->text)) {
        snprintf(e->text + n, sizeof(e->text) - (size_t)n, ": %s", tail);
    }
    return e->code ? -e->code : -EIO;
}

int err_oom(struct err *e)
{
    return err_set(e, ENOMEM, ERR_EXHAUSTED, "out of memory");
}

const char *err_name(int code)
{
    return strerrorname_np(code) ?: "?";
}

const char *err_kind_name(enum err_kind kind)
{
    static const char *const names[] = {
        [ERR_INTERNAL] = "internal",       [ERR_NOT_FOUND] = "not-found",     [ERR_EXISTS] = "exists",
        [ERR_INVALID] = "invalid",         [ERR_DENIED] = "denied",           [ERR_BUSY] = "busy",
        [ERR_UNAVAILABLE] = "unavailable", [ERR_UNSUPPORTED] = "unsupported", [ERR_TIMEOUT] = "timeout",
        [ERR_EXHAUSTED] = "exhausted",
    };
    return (size_t)kind < ARRAY_LEN(names) ? names[kind] : "?";
}

void err_clear(struct err *e)
{
    if (e) {
        e->code = 0;
        e->kind = ERR_INTERNAL;
        e->text[0] = '\0';
    }
}
