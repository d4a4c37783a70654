/* monitor/ctrlog-json.c: see ctrlog-json.h. Bytes that are not UTF-8 become U+FFFD, one each, as docker writes them. */
#include "monitor/ctrlog-json.h"

size_t ctrlog_json_max(size_t len)
{
    return 6 * len + 128;
}

/* Length of the well-formed UTF-8 sequence at p, or 0. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char lead, mask, len;
        unsigned least;
    } forms[] = { { 0xc0, 0xe0, 2, 0x80 }, { 0xe0, 0xf0, 3, 0x800 }, { 0xf0, 0xf8, 4, 0x10000 } };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if ((p[0] & forms[i].mask) != forms[i].lead || forms[i].len > left) {
            continue;
        }
        unsigned v = p[0] & (unsigned char)~forms[i].mask;
        for (size_t k = 1; k < forms[i].len; k++) {
            if ((p[k] & 0xc0) != 0x80) {
                return 0;
            }
            v = v << 6 | (p[k] & 0x3f);
        }
        bool fine = v >= forms[i].least && v <= 0x10ffff && !(v >= 0xd800 && v <= 0xdfff);
        return fine ? forms[i].len : 0;
    }
    return 0;
}

static char *put(char *o, const char *s, size_t n)
{
    memcpy(o, s, n);
    return o + n;
}

static char *put_control(char *o, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char names[] = "\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof(names); i += 2) {
        if ((unsigned char)names[i] == c) {
            *o++ = '\\';
            *o++ = names[i + 1];
            return o;
        }
    }
    o = put(o, "\\u00", 4);
    *o++ = hex[c >> 4];
    *o++ = hex[c & 15];
    return o;
}

static char *put_escaped(char *o, const unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len;) {
        unsigned char c = p[i];
        if (c == '"' || c == '\\') {
            *o++ = '\\';
            *o++ = (char)c;
            i++;
        } else if (c < 0x20 || c == 0x7f) {
            o = put_control(o, c);
            i++;
        } else if (c < 0x80) {
            *o++ = (char)c;
            i++;
        } else {
            size_t n = utf8_len(p + i, len - i);
            o = n ? put(o, (const char *)p + i, n) : put(o, "\\ufffd", 6);
            i += n ? n : 1;
        }
    }
    return o;
}

size_t ctrlog_json_record(char *out, const char *line, size_t len, bool whole, const char *stream, const char *time)
{
    char *o = put(out, "{\"log\":\"", 8);
    o = put_escaped(o, (const unsigned char *)line, len);
    if (whole) {
        o = put(o, "\\n", 2);
    }
    o = put(o, "\",\"stream\":\"", 12);
    o = put(o, stream, strlen(stream));
    o = put(o, "\",\"time\":\"", 10);
    o = put(o, time, strlen(time));
    o = put(o, "\"}\n", 3);
    return (size_t)(o - out);
}
