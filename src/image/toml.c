/* image/toml.c: see toml.h. Recursive descent over a bounded text; what a key names twice is an error, as TOML says. */
#include "image/toml.h"

#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct toml {
    const char *name, *p, *end;
    unsigned line;
    size_t items;
    struct err *e;
    json_t *root;
    json_t *headers; /* tables that had a [header] of their own, by path */
};

static int parse_value(struct toml *t, unsigned depth, json_t **ret);

static int fail(struct toml *t, const char *fmt, ...) PRINTF(2, 3);
static int fail(struct toml *t, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_set(t->e, EINVAL, ERR_INVALID, "%s:%u: %s", t->name, t->line, text);
}

static bool at(const struct toml *t, char c)
{
    return t->p < t->end && *t->p == c;
}

static bool at3(const struct toml *t, char c)
{
    return t->end - t->p >= 3 && t->p[0] == c && t->p[1] == c && t->p[2] == c;
}

static void skip_space(struct toml *t)
{
    while (at(t, ' ') || at(t, '\t')) {
        t->p++;
    }
}

static void skip_comment(struct toml *t)
{
    if (at(t, '#')) {
        while (t->p < t->end && *t->p != '\n') {
            t->p++;
        }
    }
}

/* Space, comments and newlines. */
static void skip_blank(struct toml *t)
{
    for (;;) {
        skip_space(t);
        skip_comment(t);
        if (at(t, '\r') && t->end - t->p >= 2 && t->p[1] == '\n') {
            t->p++;
        }
        if (!at(t, '\n')) {
            return;
        }
        t->p++;
        t->line++;
    }
}

static int end_of_line(struct toml *t)
{
    skip_space(t);
    skip_comment(t);
    if (at(t, '\r')) {
        t->p++;
    }
    if (t->p < t->end && *t->p != '\n') {
        return fail(t, "unexpected characters after the value");
    }
    return 0;
}

static int put_utf8(struct toml *t, uint32_t c, struct buf *out)
{
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return fail(t, "escape is not a character");
    }
    if (c < 0x80) {
        buf_addc(out, (char)c);
    } else if (c < 0x800) {
        buf_addc(out, (char)(0xc0 | c >> 6));
        buf_addc(out, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buf_addc(out, (char)(0xe0 | c >> 12));
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_addc(out, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_addc(out, (char)(0xf0 | c >> 18));
        buf_addc(out, (char)(0x80 | (c >> 12 & 0x3f)));
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_addc(out, (char)(0x80 | (c & 0x3f)));
    }
    return 0;
}

static int hex_escape(struct toml *t, size_t digits, struct buf *out)
{
    uint32_t c = 0;
    for (size_t i = 0; i < digits; i++) {
        char d = t->p < t->end ? *t->p++ : '\0';
        const char *at_digit = d ? strchr("0123456789abcdef", d | (d >= 'A' ? 0x20 : 0)) : NULL;
        if (!at_digit) {
            return fail(t, "escape needs %zu hex digits", digits);
        }
        c = c << 4 | (uint32_t)(at_digit - "0123456789abcdef");
    }
    return put_utf8(t, c, out);
}

/* After the backslash. */
static int escape(struct toml *t, bool multi, struct buf *out)
{
    static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
    char c = t->p < t->end ? *t->p++ : '\0';
    const char *found = c ? strchr(from, c) : NULL;
    if (found) {
        buf_addc(out, to[found - from]);
        return 0;
    }
    if (c == 'u' || c == 'U') {
        return hex_escape(t, c == 'u' ? 4 : 8, out);
    }
    if (multi && (c == '\n' || c == ' ' || c == '\t' || c == '\r')) {
        t->p--;
        while (at(t, ' ') || at(t, '\t') || at(t, '\r') || at(t, '\n')) {
            t->line += *t->p++ == '\n';
        }
        return 0;
    }
    return fail(t, "unknown escape in a string");
}

static int take_string(struct toml *t, struct buf *out)
{
    char quote = *t->p;
    bool multi = at3(t, quote);
    t->p += multi ? 3 : 1;
    if (multi && at(t, '\r')) {
        t->p++;
    }
    if (multi && at(t, '\n')) {
        t->p++;
        t->line++;
    }
    for (;;) {
        if (t->p >= t->end || (*t->p == '\n' && !multi)) {
            return fail(t, "string is not ended");
        }
        char c = *t->p;
        if (c == quote && (!multi || at3(t, quote))) {
            t->p += multi ? 3 : 1;
            return 0;
        }
        t->p++;
        t->line += c == '\n';
        if (c == '\\' && quote == '"') {
            int r = escape(t, multi, out);
            if (r < 0) {
                return r;
            }
            continue;
        }
        if (((unsigned char)c < 0x20 && c != '\t' && !(multi && (c == '\n' || c == '\r'))) || c == 0x7f) {
            return fail(t, "control character in a string");
        }
        buf_addc(out, c);
    }
}

static json_t *string_value(struct toml *t, const struct buf *b)
{
    json_t *v = buf_failed(b) ? NULL : json_stringn(buf_str(b), b->len);
    if (!v) {
        (void)fail(t, "string is not UTF-8");
    }
    return v;
}

static int parse_string(struct toml *t, json_t **ret)
{
    CLEANUP_BUF struct buf b = { 0 };
    int r = take_string(t, &b);
    if (r < 0) {
        return r;
    }
    *ret = string_value(t, &b);
    return *ret ? 0 : -EINVAL;
}

static int parse_word(struct toml *t, json_t **ret)
{
    char word[72];
    size_t n = 0;
    while (t->p < t->end && !strchr(" \t\r\n,]}#", *t->p)) {
        if (n + 1 >= sizeof(word)) {
            return fail(t, "value is too long");
        }
        word[n++] = *t->p++;
    }
    word[n] = '\0';
    if (str_eq(word, "true") || str_eq(word, "false")) {
        *ret = json_boolean(word[0] == 't');
        return 0;
    }
    char digits[72];
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (word[i] != '_') {
            digits[k++] = word[i];
        }
    }
    digits[k] = '\0';
    const char *d = digits + (digits[0] == '+' || digits[0] == '-');
    if (*d == '\0' || strspn(d, "0123456789") != strlen(d) || strlen(d) > 18 || (d[0] == '0' && d[1])) {
        return n == 0 ? fail(t, "value is missing")
                      : fail(t, "value %s is neither string, integer, boolean, array nor table", word);
    }
    *ret = json_integer(strtoll(digits, NULL, 10));
    return *ret ? 0 : -ENOMEM;
}

static int parse_array(struct toml *t, unsigned depth, json_t **ret)
{
    json_t *list = json_array();
    t->p++;
    for (;;) {
        json_t *v = NULL;
        skip_blank(t);
        if (at(t, ']')) {
            t->p++;
            *ret = list;
            return 0;
        }
        int r = parse_value(t, depth + 1, &v);
        if (r == 0 && json_array_append_new(list, v) < 0) {
            r = fail(t, "out of memory");
        }
        skip_blank(t);
        if (r == 0 && !at(t, ',') && !at(t, ']')) {
            r = fail(t, "array needs , or ]");
        }
        if (r < 0) {
            json_decref(list);
            return r;
        }
        t->p += at(t, ',');
    }
}

static bool is_bare(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static int parse_key(struct toml *t, char **ret)
{
    CLEANUP_BUF struct buf b = { 0 };
    skip_space(t);
    if (at3(t, '"') || at3(t, '\'')) {
        return fail(t, "a key has to be on one line");
    }
    if (at(t, '"') || at(t, '\'')) {
        int r = take_string(t, &b);
        if (r < 0) {
            return r;
        }
    } else {
        while (t->p < t->end && is_bare(*t->p)) {
            buf_addc(&b, *t->p++);
        }
        if (b.len == 0) {
            return fail(t, "key expected");
        }
    }
    if (memchr(buf_str(&b), '\0', b.len)) {
        return fail(t, "key holds a zero byte");
    }
    json_t *check = string_value(t, &b);
    if (!check) {
        return -EINVAL;
    }
    json_decref(check);
    *ret = strdup(buf_str(&b));
    skip_space(t);
    return *ret ? 0 : err_oom(t->e);
}

/* The table below `in` that a dotted key goes through; the last element of an array of tables. */
static int step_into(struct toml *t, json_t *in, const char *key, json_t **ret)
{
    json_t *v = json_object_get(in, key);
    if (!v) {
        v = json_object();
        if (json_object_set_new(in, key, v) < 0) {
            return fail(t, "out of memory");
        }
    } else if (json_is_array(v) && json_is_object(json_array_get(v, json_array_size(v) - 1))) {
        v = json_array_get(v, json_array_size(v) - 1);
    } else if (!json_is_object(v)) {
        return fail(t, "%s is not a table", key);
    }
    *ret = v;
    return 0;
}

static int parse_pair(struct toml *t, unsigned depth, json_t *in)
{
    CLEANUP_FREE char *key = NULL;
    int r = parse_key(t, &key);
    for (unsigned n = 0; r == 0 && at(t, '.'); n++) {
        t->p++;
        r = n + depth > TOML_DEPTH_MAX ? fail(t, "too deep") : step_into(t, in, key, &in);
        if (r == 0) {
            free(PTR_STEAL(key));
            r = parse_key(t, &key);
        }
    }
    if (r < 0) {
        return r;
    }
    if (!at(t, '=')) {
        return fail(t, "%s: = expected", key);
    }
    t->p++;
    skip_space(t);
    json_t *v = NULL;
    r = parse_value(t, depth, &v);
    if (r < 0) {
        return r;
    }
    if (json_object_get(in, key)) {
        json_decref(v);
        return fail(t, "%s is set twice", key);
    }
    return json_object_set_new(in, key, v) < 0 ? fail(t, "out of memory") : 0;
}

static int parse_inline(struct toml *t, unsigned depth, json_t **ret)
{
    json_t *table = json_object();
    int r = 0;
    t->p++;
    skip_space(t);
    while (r == 0 && !at(t, '}')) {
        r = parse_pair(t, depth + 1, table);
        skip_space(t);
        if (r == 0 && at(t, ',')) {
            t->p++;
            skip_space(t);
            r = at(t, '}') ? fail(t, "inline table ends with a comma") : 0;
        } else if (r == 0 && !at(t, '}')) {
            r = fail(t, "inline table needs , or }");
        }
    }
    if (r < 0) {
        json_decref(table);
        return r;
    }
    t->p++;
    *ret = table;
    return 0;
}

static int parse_value(struct toml *t, unsigned depth, json_t **ret)
{
    if (depth > TOML_DEPTH_MAX) {
        return fail(t, "nested deeper than %d", TOML_DEPTH_MAX);
    }
    if (++t->items > TOML_ITEMS_MAX) {
        return fail(t, "more than %d values", TOML_ITEMS_MAX);
    }
    if (at(t, '"') || at(t, '\'')) {
        return parse_string(t, ret);
    }
    if (at(t, '[')) {
        return parse_array(t, depth, ret);
    }
    return at(t, '{') ? parse_inline(t, depth, ret) : parse_word(t, ret);
}

/* Appends a new table to the array `key` of in. */
static int open_element(struct toml *t, json_t *in, const char *key, json_t **ret)
{
    json_t *list = json_object_get(in, key);
    if (!list) {
        list = json_array();
        if (json_object_set_new(in, key, list) < 0) {
            return fail(t, "out of memory");
        }
    } else if (!json_is_array(list) || !json_is_object(json_array_get(list, 0))) {
        return fail(t, "%s is not an array of tables", key);
    }
    *ret = json_object();
    return json_array_append_new(list, *ret) < 0 ? fail(t, "out of memory") : 0;
}

/* A table that has a header twice is an error, unless an array of tables above it has got a new element since. */
static int note_header(struct toml *t, json_t *table)
{
    char id[32];
    (void)snprintf(id, sizeof(id), "%p", (void *)table);
    if (json_object_get(t->headers, id)) {
        return fail(t, "table is there twice");
    }
    return json_object_set_new(t->headers, id, json_true()) < 0 ? fail(t, "out of memory") : 0;
}

/* [a."b".c] or [[a.b]] */
static int parse_header(struct toml *t, json_t **ret)
{
    json_t *in = t->root;
    bool element = t->end - t->p >= 2 && t->p[1] == '[';
    t->p += element ? 2 : 1;
    for (unsigned depth = 0;; depth++) {
        CLEANUP_FREE char *key = NULL;
        int r = parse_key(t, &key);
        if (r == 0 && (depth > TOML_DEPTH_MAX || ++t->items > TOML_ITEMS_MAX)) {
            r = fail(t, "too deep or too many tables");
        }
        if (r < 0) {
            return r;
        }
        bool last = !at(t, '.');
        r = last && element ? open_element(t, in, key, &in) : step_into(t, in, key, &in);
        if (r < 0) {
            return r;
        }
        if (last) {
            break;
        }
        t->p++;
    }
    if (!at(t, ']') || (element && !(t->end - t->p >= 2 && t->p[1] == ']'))) {
        return fail(t, "table header needs %s", element ? "]]" : "]");
    }
    t->p += element ? 2 : 1;
    *ret = in;
    return element ? 0 : note_header(t, in);
}

int toml_parse(const char *name, const char *text, size_t len, json_t **ret, struct err *e)
{
    struct toml t = { .name = name, .p = text, .end = text + len, .line = 1, .e = e };
    if (len > TOML_TEXT_MAX) {
        return err_set(e, EFBIG, ERR_INVALID, "%s: larger than %d bytes", name, TOML_TEXT_MAX);
    }
    if (len > 0 && memchr(text, '\0', len)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s: holds a zero byte", name);
    }
    t.root = json_object();
    t.headers = json_object();
    json_t *table = t.root;
    int r = t.root && t.headers ? 0 : err_oom(e);
    for (skip_blank(&t); r == 0 && t.p < t.end; skip_blank(&t)) {
        r = at(&t, '[') ? parse_header(&t, &table) : parse_pair(&t, 0, table);
        r = r == 0 ? end_of_line(&t) : r;
    }
    json_decref(t.headers);
    if (r < 0) {
        json_decref(t.root);
        return r;
    }
    *ret = t.root;
    return 0;
}
