/* cmd/human.c: sizes, ages, points in time. See human.h. */
#include "cmd/human.h"

#include "base/num.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define SECOND INT64_C(1000000000)

static void scaled(uint64_t bytes, double base, const char *const *units, size_t n, int digits, struct buf *out)
{
    double v = (double)bytes;
    size_t i = 0;
    while (v >= base && i + 1 < n) {
        v /= base;
        i++;
    }
    buf_addf(out, "%.*g%s", digits, v, units[i]);
}

void human_size(uint64_t bytes, struct buf *out)
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
    scaled(bytes, 1000, units, ARRAY_LEN(units), 3, out);
}

void human_size_binary(uint64_t bytes, struct buf *out)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    scaled(bytes, 1024, units, ARRAY_LEN(units), 4, out);
}

void human_duration(int64_t ns, struct buf *out)
{
    static const struct {
        int64_t below; /* hours, rounded */
        int64_t per;
        const char *unit;
    } spans[] = { { 48, 1, "hours" }, { 336, 24, "days" }, { 1440, 168, "weeks" }, { 17520, 720, "months" } };
    int64_t s = ns / SECOND, minutes = s / 60, hours = (s + 1800) / 3600;
    if (s < 1) {
        buf_adds(out, "Less than a second");
    } else if (s < 60) {
        buf_addf(out, "%lld second%s", (long long)s, s == 1 ? "" : "s");
    } else if (minutes == 1) {
        buf_adds(out, "About a minute");
    } else if (minutes < 60) {
        buf_addf(out, "%lld minutes", (long long)minutes);
    } else if (hours == 1) {
        buf_adds(out, "About an hour");
    } else {
        for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
            if (hours < spans[i].below) {
                buf_addf(out, "%lld %s", (long long)(hours / spans[i].per), spans[i].unit);
                return;
            }
        }
        buf_addf(out, "%lld years", (long long)(s / 3600 / 24 / 365));
    }
}

void human_time(int64_t ns, struct buf *out)
{
    time_t t = (time_t)(ns / SECOND);
    struct tm tm;
    char text[64];
    if (ns == 0) {
        buf_adds(out, "0001-01-01T00:00:00Z");
        return;
    }
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm));
    buf_addf(out, "%s.%09lldZ", text, (long long)(ns % SECOND));
}

void human_date(int64_t ns, struct buf *out)
{
    time_t t = (time_t)(ns / SECOND);
    struct tm tm;
    char text[64];
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z %Z", localtime_r(&t, &tm));
    buf_adds(out, text);
}

int64_t human_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * SECOND + ts.tv_nsec;
}

/* ".123" up to nine digits; *s moves behind it. */
static int64_t fraction(const char **s)
{
    int64_t v = 0, unit = SECOND / 10;
    if (**s != '.') {
        return 0;
    }
    for ((*s)++; **s >= '0' && **s <= '9'; (*s)++) {
        v += (**s - '0') * unit;
        unit /= 10;
    }
    return v;
}

/* "Z", "+02:00" or nothing (local time). */
static int zoned(struct tm *tm, const char *s, time_t *ret)
{
    if (!*s) {
        tm->tm_isdst = -1;
        *ret = mktime(tm);
        return 0;
    }
    *ret = timegm(tm);
    if (str_eq(s, "Z")) {
        return 0;
    }
    struct tm off = { 0 };
    const char *end = strptime(s + 1, "%H:%M", &off);
    if ((*s != '+' && *s != '-') || !end || *end) {
        return -EINVAL;
    }
    time_t shift = off.tm_hour * 3600 + off.tm_min * 60;
    *ret += *s == '-' ? shift : -shift;
    return 0;
}

static int parse_date(const char *s, int64_t *ret)
{
    static const char *const forms[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d" };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct tm tm = { 0 };
        const char *end = strptime(s, forms[i], &tm);
        time_t t;
        if (!end) {
            continue;
        }
        int64_t ns = fraction(&end);
        if (zoned(&tm, end, &t) == 0) {
            *ret = t * SECOND + ns;
            return 0;
        }
    }
    return -EINVAL;
}

int human_when(const char *s, int64_t now, int64_t *ret)
{
    int64_t v;
    size_t digits = strspn(s, "0123456789");
    if (digits > 0 && digits < 12 && (s[digits] == '\0' || s[digits] == '.')) {
        const char *rest = s + digits;
        char whole[16];
        snprintf(whole, sizeof(whole), "%.*s", (int)digits, s);
        if (num_i64(whole, &v) < 0) {
            return -EINVAL;
        }
        v = v * SECOND + fraction(&rest);
        if (*rest) {
            return -EINVAL;
        }
        *ret = v;
        return 0;
    }
    if (parse_date(s, ret) == 0) {
        return 0;
    }
    if (num_duration(s, &v) < 0) {
        return -EINVAL;
    }
    *ret = now - v;
    return 0;
}
