/* cmd/human.h: sizes, ages and points in time as people read and write them; docker's forms. */
#pragma once

#include "base/buf.h"

/* "4.26MB": decimal units, three digits. */
void human_size(uint64_t bytes, struct buf *out);
/* "1.5MiB": binary units. */
void human_size_binary(uint64_t bytes, struct buf *out);
/* "2 minutes", "About an hour". */
void human_duration(int64_t ns, struct buf *out);
/* RFC 3339 with nanoseconds, UTC; the zero time for 0. */
void human_time(int64_t ns, struct buf *out);
/* "2026-11-23 13:00:00 +0000 UTC", as docker's lists show it. */
void human_date(int64_t ns, struct buf *out);
int64_t human_now(void);
/* A duration back from now ("10m"), RFC 3339 or a part of it (local time), or seconds since the epoch. Returns 0 or -EINVAL. */
MUST_USE int human_when(const char *s, int64_t now, int64_t *ret);
