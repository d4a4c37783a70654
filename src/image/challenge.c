/* image/challenge.c: see challenge.h. */
#include "image/challenge.h"

#include <errno.h>
#include <strings.h>

enum { PARAMS_MAX = 32, TEXT_MAX = 16384 };

void challenges_done(struct challenges *c)
{
    for (size_t i = 0; i < c->n; i++) {
        str_map_done(&c->v[i].params);
    }
    *c = (struct challenges){ 0 };
}

const struct challenge *challenge_get(const struct challenges *c, enum challenge_scheme scheme)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->v[i].scheme == scheme) {
            return &c->v[i];
        }
    }
    return NULL;
}

static int bad(const char *text, struct err *e)
{
    return err_set(e, EINVAL, ERR_INVALID, "Www-Authenticate \"%.100s\" cannot be read", text);
}

static size_t token_len(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~");
}

static const char *skip(const char *s, const char *what)
{
    return s + strspn(s, what);
}

static int quoted(const char **p, struct buf *out)
{
    const char *s = *p + 1;
    for (; *s && *s != '"'; s++) {
        if (*s == '\\' && s[1]) {
            s++;
        }
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f) {
            return -EINVAL;
        }
        buf_addc(out, *s);
    }
    if (*s != '"') {
        return -EINVAL;
    }
    *p = s + 1;
    return 0;
}

/* NAME=VALUE at *p. 1: taken, 0: there is none here, -EINVAL. */
static int param(const char **p, struct challenge *c)
{
    size_t n = token_len(*p);
    const char *eq = skip(*p + n, " \t");
    if (n == 0 || *eq != '=') {
        return 0;
    }
    CLEANUP_FREE char *name = strndup(*p, n);
    CLEANUP_BUF struct buf value = { 0 };
    const char *s = skip(eq + 1, " \t");
    if (!name || c->params.n >= PARAMS_MAX) {
        return -EINVAL;
    }
    for (char *k = name; *k; k++) {
        *k = (char)(*k >= 'A' && *k <= 'Z' ? *k | 0x20 : *k);
    }
    if (*s == '"') {
        if (quoted(&s, &value) < 0) {
            return -EINVAL;
        }
    } else {
        size_t len = token_len(s);
        if (len == 0) {
            return -EINVAL;
        }
        buf_add(&value, s, len);
        s += len;
    }
    if (str_map_get(&c->params, name) || buf_failed(&value) || str_map_set(&c->params, name, buf_str(&value)) < 0) {
        return -EINVAL;
    }
    *p = s;
    return 1;
}

int challenge_parse(const char *text, struct challenges *ret, struct err *e)
{
    const char *p = skip(text, " \t,");
    if (strlen(text) > TEXT_MAX) {
        return bad(text, e);
    }
    while (*p) {
        size_t n = token_len(p);
        if (n == 0 || ret->n == ARRAY_LEN(ret->v) || (p[n] && !strchr(" \t,", p[n]))) {
            return bad(text, e);
        }
        struct challenge *c = &ret->v[ret->n++];
        *c = (struct challenge){ .scheme = n == 5 && strncasecmp(p, "basic", 5) == 0    ? CHALLENGE_BASIC
                                           : n == 6 && strncasecmp(p, "bearer", 6) == 0 ? CHALLENGE_BEARER
                                                                                        : CHALLENGE_OTHER };
        p = skip(p + n, " \t");
        for (int r = 1; r == 1;) {
            r = param(&p, c);
            if (r < 0) {
                return bad(text, e);
            }
            const char *after = skip(p, " \t");
            if (*after && *after != ',' && r == 1) {
                return bad(text, e);
            }
            p = r == 1 ? skip(after, " \t,") : p;
        }
        p = skip(p, " \t,");
    }
    return 0;
}
