/* http/grpc-codec.c: see grpc-codec.h. */
#include "http/grpc-codec.h"

#include <errno.h>

const char *grpc_status_name(enum grpc_status s)
{
    static const char *const names[] = {
        "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
        "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
        "DataLoss", "Unauthenticated",
    };
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "Unknown";
}

enum grpc_status grpc_status_of(enum err_kind kind)
{
    static const enum grpc_status table[] = {
        [ERR_INTERNAL] = GRPC_INTERNAL,
        [ERR_NOT_FOUND] = GRPC_NOT_FOUND,
        [ERR_EXISTS] = GRPC_ALREADY_EXISTS,
        [ERR_INVALID] = GRPC_INVALID_ARGUMENT,
        [ERR_DENIED] = GRPC_PERMISSION_DENIED,
        [ERR_BUSY] = GRPC_FAILED_PRECONDITION,
        [ERR_UNAVAILABLE] = GRPC_UNAVAILABLE,
        [ERR_UNSUPPORTED] = GRPC_UNIMPLEMENTED,
        [ERR_TIMEOUT] = GRPC_DEADLINE_EXCEEDED,
        [ERR_EXHAUSTED] = GRPC_RESOURCE_EXHAUSTED,
    };
    return (size_t)kind < ARRAY_LEN(table) ? table[kind] : GRPC_UNKNOWN;
}

void grpc_prefix_put(uint8_t out[static GRPC_PREFIX], uint32_t len)
{
    out[0] = 0;
    out[1] = (uint8_t)(len >> 24);
    out[2] = (uint8_t)(len >> 16);
    out[3] = (uint8_t)(len >> 8);
    out[4] = (uint8_t)len;
}

uint32_t grpc_prefix_get(const uint8_t in[static GRPC_PREFIX], bool *ret_compressed)
{
    *ret_compressed = in[0] != 0;
    return (uint32_t)in[1] << 24 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 8 | in[4];
}

int grpc_timeout_parse(const char *s, size_t len, uint64_t *ret_ns)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {
        { 'H', 3600000000000u }, { 'M', 60000000000u }, { 'S', 1000000000u }, { 'm', 1000000u }, { 'u', 1000u }, { 'n', 1u },
    };
    if (len < 2 || len > 9) {
        return -EINVAL;
    }
    uint64_t n = 0;
    for (size_t i = 0; i + 1 < len; i++) {
        if (s[i] < '0' || s[i] > '9') {
            return -EINVAL;
        }
        n = n * 10 + (uint64_t)(s[i] - '0');
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (units[i].unit == s[len - 1]) {
            /* 99999999 hours do not fit into 64 bits of nanoseconds: capped, as "for ever". */
            *ret_ns = n > INT64_MAX / units[i].ns ? INT64_MAX : n * units[i].ns;
            return 0;
        }
    }
    return -EINVAL;
}

void grpc_percent_encode(struct buf *out, const char *s, size_t max)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t start = out->len; *s && out->len - start + 3 <= max; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 0x20 && c < 0x7f && c != '%') {
            buf_addc(out, *s);
        } else {
            char x[3] = { '%', hex[c >> 4], hex[c & 15] };
            buf_add(out, x, sizeof(x));
        }
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void grpc_percent_decode(struct buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '%' && len - i >= 3) {
            int hi = hex_digit(s[i + 1]);
            int lo = hex_digit(s[i + 2]);
            if (hi >= 0 && lo >= 0) {
                buf_addc(out, (char)(hi << 4 | lo));
                i += 2;
                continue;
            }
        }
        buf_addc(out, s[i]);
    }
}
