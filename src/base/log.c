/* base/log.c: see log.h. */
#include "base/log.h"

#include "base/fd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static const char *const level_names[] = { "error", "warn", "info", "debug" };

int log_level_parse(const char *s, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (str_eq(s, level_names[i]) || (i == LOG_WARN && str_eq(s, "warning"))) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

static void add_quoted(struct buf *b, const char *s)
{
    buf_addc(b, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            buf_addf(b, "\\%c", c);
        } else if (c == '\n') {
            buf_adds(b, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            buf_addf(b, "\\u%04x", c);
        } else {
            buf_addc(b, (char)c);
        }
    }
    buf_addc(b, '"');
}

static void add_pair(struct buf *b, bool json, const char *key, const char *value)
{
    if (json) {
        buf_addf(b, "%s\"%s\":", b->len > 1 ? "," : "", key);
    } else {
        buf_addf(b, "%s%s=", b->len ? " " : "", key);
    }
    if (!json && *value && value[strcspn(value, " \t\n\"=\\")] == '\0') {
        buf_adds(b, value);
    } else {
        add_quoted(b, value);
    }
}

void log_event(const struct log *l, enum log_level level, const char *event, ...)
{
    if (!l || level > l->level) {
        return;
    }
    CLEANUP_BUF struct buf b = { .max = 64 * 1024 };
    struct timespec now;
    struct tm tm;
    char day[32], stamp[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(stamp, sizeof(stamp), "%s.%06ldZ", day, now.tv_nsec / 1000);
    bool json = l->format == LOG_JSON;
    if (json) {
        buf_addc(&b, '{');
    }
    add_pair(&b, json, "time", stamp);
    add_pair(&b, json, "level", level_names[level]);
    add_pair(&b, json, "msg", event);
    va_list ap;
    va_start(ap, event);
    for (const char *key; (key = va_arg(ap, const char *));) {
        const char *value = va_arg(ap, const char *);
        add_pair(&b, json, key, value ? value : "");
    }
    va_end(ap);
    buf_adds(&b, json ? "}\n" : "\n");
    if (!buf_failed(&b)) {
        (void)!fd_write_all(l->fd, b.data, b.len);
    }
}
