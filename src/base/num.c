/* base/num.c: see num.h. */
#include "base/num.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

int num_u64(const char *s, uint64_t *ret)
{
    uint64_t v = 0;
    if (!*s) {
        return -EINVAL;
    }
    for (; *s; s++) {
        if (*s < '0' || *s > '9') {
            return -EINVAL;
        }
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v)) {
            return -ERANGE;
        }
    }
    *ret = v;
    return 0;
}

int num_u32(const char *s, uint32_t *ret)
{
    uint64_t v;
    int r = num_u64(s, &v);
    if (r < 0 || v > UINT32_MAX) {
        return r < 0 ? r : -ERANGE;
    }
    *ret = (uint32_t)v;
    return 0;
}

int num_i64(const char *s, int64_t *ret)
{
    bool neg = *s == '-';
    uint64_t v;
    int r = num_u64(s + neg, &v);
    if (r < 0) {
        return r;
    }
    if (v > (uint64_t)INT64_MAX + neg) {
        return -ERANGE;
    }
    *ret = neg ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

/* Reads "12" or "1.5" at *s; moves *s behind it. */
static int take_decimal(const char **s, double *ret)
{
    const char *p = *s;
    double v = 0, unit = 1;
    if (!isdigit((unsigned char)*p)) {
        return -EINVAL;
    }
    for (; isdigit((unsigned char)*p); p++) {
        v = v * 10 + (*p - '0');
    }
    if (*p == '.') {
        for (p++; isdigit((unsigned char)*p); p++) {
            unit /= 10;
            v += (*p - '0') * unit;
        }
    }
    *s = p;
    *ret = v;
    return 0;
}

int num_size(const char *s, uint64_t *ret)
{
    static const char units[] = "bkmgtp";
    double v;
    int r = take_decimal(&s, &v);
    if (r < 0) {
        return r;
    }
    while (*s == ' ') {
        s++;
    }
    if (*s) {
        const char *u = strchr(units, tolower((unsigned char)*s));
        if (!u) {
            return -EINVAL;
        }
        v = ldexp(v, (int)(10 * (u - units)));
        s++;
        if (u != units && (*s == 'i' || *s == 'I')) {
            s++;
        }
        if (u != units && (*s == 'b' || *s == 'B')) {
            s++;
        }
        if (*s) {
            return -EINVAL;
        }
    }
    if (v >= 9.2e18) {
        return -ERANGE;
    }
    *ret = (uint64_t)v;
    return 0;
}

int num_duration(const char *s, int64_t *ret)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = { { "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 } };
    double total = 0;
    bool neg = *s == '-';
    s += neg;
    do {
        double v;
        int r = take_decimal(&s, &v);
        if (r < 0) {
            return r;
        }
        size_t i = 0, n = 0;
        while (isalpha((unsigned char)s[n])) {
            n++;
        }
        if (n == 0 && *s == '\0' && total == 0) {
            total = v * 1e9;
            break;
        }
        while (i < ARRAY_LEN(units) && (strlen(units[i].name) != n || memcmp(units[i].name, s, n) != 0)) {
            i++;
        }
        if (i == ARRAY_LEN(units)) {
            return -EINVAL;
        }
        total += v * units[i].ns;
        s += n;
    } while (*s);
    if (total >= 9.2e18) {
        return -ERANGE;
    }
    *ret = neg ? -(int64_t)total : (int64_t)total;
    return 0;
}
