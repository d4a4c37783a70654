/*
 * engine/logs.h: reading a container's log file: CRI format ("TIME STREAM P|F TEXT") or docker's json-file, with its rotated
 * predecessors (PATH.N … PATH.1), from a time or from the last N lines on, and onwards while the container lives.
 */
#pragma once

#include "engine/engine.h"

struct logs_source {
    const char *path;
    enum engine_log_format format;
    /* Whether more may still be written; asked only at the end of the file. NULL: no. */
    bool (*alive)(void *data);
    void *data;
};
/* An absent file has no lines. fn's negative result ends the reading and is returned. */
MUST_USE int logs_read(const struct logs_source *src, const struct engine_log_query *q, engine_log_fn *fn, void *data, struct err *e);

struct log_line {
    int64_t time;
    int stream; /* 1, 2 */
    bool partial;
    const char *text;
    size_t len;
    char *owned; /* free() after use; NULL when text points into the line */
};
/* One line without its newline. Returns 0 or -EINVAL. */
MUST_USE int log_line_parse(enum engine_log_format format, const char *line, size_t len, struct log_line *ret);
/* "2026-11-23T13:34:44.754403896Z", or with an offset, as ns since the epoch. Returns 0 or -EINVAL; *ret_len: characters used. */
MUST_USE int rfc3339_parse(const char *s, size_t len, int64_t *ret, size_t *ret_len);
