/*
 * base/log.h: structured events to one sink (standard error, or a file descriptor that was handed in): one event a line,
 * key=value or JSON. Rooms below the doors return errors instead of logging them.
 */
#pragma once

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log {
    int fd;
    enum log_level level;
    enum log_format format;
};

/* "error", "warn", "info", "debug" (and "warning"). Returns 0 or -EINVAL. */
MUST_USE int log_level_parse(const char *s, enum log_level *ret);
/* Key and value strings in pairs, then NULL. Written with one write(); values are quoted. */
void log_event(const struct log *l, enum log_level level, const char *event, ...)
        __attribute__((sentinel));
