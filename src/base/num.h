/* base/num.h: strict numbers, sizes and durations. The whole string has to be the number. */
#pragma once

#include "base/err.h"

/* Decimal only, no sign, no space. Returns 0, -EINVAL or -ERANGE; *ret untouched on failure. */
MUST_USE int num_u64(const char *s, uint64_t *ret);
MUST_USE int num_u32(const char *s, uint32_t *ret);
/* Decimal with an optional '-'. */
MUST_USE int num_i64(const char *s, int64_t *ret);
/* "512", "64k", "10m", "2g", "1.5gb", "1Ki": powers of 1024, as docker reads sizes. Bytes. */
MUST_USE int num_size(const char *s, uint64_t *ret);
/* "10s", "1m30s", "250ms", "2h", as Go writes durations; "10" alone is seconds. Nanoseconds. */
MUST_USE int num_duration(const char *s, int64_t *ret);
