/*
 * monitor/ctrlog.h: the log file of a container, in CRI's format or docker's json-file. Whole records are gathered and written
 * with one write(); a record is never split over two files. A disk that is full costs lines, counted and told in the log as soon
 * as it can be written again; it never blocks.
 */
#pragma once

#include "base/buf.h"

enum { CTRLOG_LINE_MAX = 16 << 10 };

enum ctrlog_format { CTRLOG_CRI, CTRLOG_JSON };

/* Memory for gathering, shared by all logs of a program: they are used one after another. */
struct ctrlog_scratch {
    char *data;
    size_t cap; /* at least 8 * CTRLOG_LINE_MAX */
};

struct ctrlog;

/* max_size 0: no rotation of its own. max_files counts the current one too; at 1 or 0 the file is emptied instead. */
MUST_USE int ctrlog_open(const char *path, enum ctrlog_format format, uint64_t max_size, unsigned max_files,
                         struct ctrlog_scratch *scratch, struct ctrlog **ret, struct err *e);
/* Writes what is left of unfinished lines. NULL is fine. */
void ctrlog_free(struct ctrlog *l);
/* stream: 1 stdout, 2 stderr. What does not end a line is kept until the rest comes. */
void ctrlog_write(struct ctrlog *l, int stream, const char *data, size_t len);
/* The stream has ended: an unfinished line is written as such. */
void ctrlog_end(struct ctrlog *l, int stream);
/* Goes on in a new file at path; it exists when this returns. On failure the old file stays in use. */
MUST_USE int ctrlog_reopen(struct ctrlog *l, struct err *e);
/* Records that could not be written since the log was opened. */
uint64_t ctrlog_lost(const struct ctrlog *l);
/* "2026-11-23T13:00:00.123456789Z": 30 bytes and a NUL. */
enum { CTRLOG_TIME_LEN = 30 };
void ctrlog_format_time(int64_t sec, long nsec, char out[static CTRLOG_TIME_LEN + 1]);
