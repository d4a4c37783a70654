/* cmd/tmpl-func.c: how values print and test in a template, and the functions that it may call. See tmpl-func.h. */
#include "cmd/tmpl-func.h"

#include <ctype.h>
#include <errno.h>

bool tmpl_is_true(const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT:
        return json_object_size(v) > 0;
    case JSON_ARRAY:
        return json_array_size(v) > 0;
    case JSON_STRING:
        return json_string_length(v) > 0;
    case JSON_INTEGER:
        return json_integer_value(v) != 0;
    case JSON_REAL:
        return json_real_value(v) < 0 || json_real_value(v) > 0;
    case JSON_TRUE:
        return true;
    default:
        return false;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **tmpl_sorted_keys(json_t *object, size_t *ret_n)
{
    size_t n = 0;
    const char **keys = calloc(json_object_size(object) + 1, sizeof(*keys)), *key;
    json_t *value;
    if (keys) {
        json_object_foreach(object, key, value) {
            keys[n++] = key;
        }
        qsort(keys, n, sizeof(*keys), by_name);
    }
    *ret_n = n;
    return keys;
}

void tmpl_print(struct buf *out, json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_STRING:
        buf_add(out, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        buf_addf(out, "%lld", (long long)json_integer_value(v));
        break;
    case JSON_REAL:
        buf_addf(out, "%g", json_real_value(v));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        buf_adds(out, json_is_true(v) ? "true" : "false");
        break;
    case JSON_NULL:
        buf_adds(out, "<no value>");
        break;
    case JSON_ARRAY:
        buf_addc(out, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            buf_adds(out, i ? " " : "");
            tmpl_print(out, json_array_get(v, i));
        }
        buf_addc(out, ']');
        break;
    case JSON_OBJECT: {
        size_t n;
        const char **keys = tmpl_sorted_keys(v, &n);
        buf_adds(out, "map[");
        for (size_t i = 0; keys && i < n; i++) {
            buf_addf(out, "%s%s:", i ? " " : "", keys[i]);
            tmpl_print(out, json_object_get(v, keys[i]));
        }
        buf_addc(out, ']');
        free(keys);
        break;
    }
    }
}

typedef json_t *func_fn(json_t **v, size_t n);

static json_t *fn_json(json_t **v, size_t n)
{
    (void)n;
    CLEANUP_FREE char *s = json_dumps(v[0], JSON_ENCODE_ANY | JSON_COMPACT);
    return s ? json_string(s) : NULL;
}

static json_t *fn_len(json_t **v, size_t n)
{
    (void)n;
    size_t len = json_is_array(v[0]) ? json_array_size(v[0])
                 : json_is_object(v[0]) ? json_object_size(v[0]) : json_string_length(v[0]);
    return json_integer((json_int_t)len);
}

static json_t *fn_index(json_t **v, size_t n)
{
    json_t *at = v[0];
    for (size_t i = 1; i < n; i++) {
        at = json_is_array(at) ? json_array_get(at, (size_t)json_integer_value(v[i]))
                               : json_object_get(at, json_is_string(v[i]) ? json_string_value(v[i]) : "");
    }
    return at ? json_incref(at) : json_null();
}

static json_t *fn_join(json_t **v, size_t n)
{
    CLEANUP_BUF struct buf out = { 0 };
    (void)n;
    for (size_t i = 0; i < json_array_size(v[0]); i++) {
        buf_adds(&out, i && json_is_string(v[1]) ? json_string_value(v[1]) : "");
        tmpl_print(&out, json_array_get(v[0], i));
    }
    return json_string(buf_str(&out));
}

static json_t *fn_split(json_t **v, size_t n)
{
    (void)n;
    json_t *list = json_array();
    const char *s = json_string_value(v[0]), *sep = json_string_value(v[1]);
    while (s && sep && *sep) {
        const char *hit = strstr(s, sep);
        json_array_append_new(list, json_stringn(s, hit ? (size_t)(hit - s) : strlen(s)));
        s = hit ? hit + strlen(sep) : NULL;
    }
    return list;
}

static json_t *cased(json_t *v, int (*first)(int), int (*rest)(int))
{
    CLEANUP_BUF struct buf out = { 0 };
    tmpl_print(&out, v);
    for (size_t i = 0; i < out.len; i++) {
        unsigned char c = (unsigned char)out.data[i];
        int (*fn)(int) = i == 0 ? first : rest;
        out.data[i] = (char)(fn ? fn(c) : c);
    }
    return json_string(buf_str(&out));
}

static json_t *fn_upper(json_t **v, size_t n)
{
    (void)n;
    return cased(v[0], toupper, toupper);
}

static json_t *fn_lower(json_t **v, size_t n)
{
    (void)n;
    return cased(v[0], tolower, tolower);
}

static json_t *fn_title(json_t **v, size_t n)
{
    (void)n;
    return cased(v[0], toupper, NULL);
}

static json_t *fn_eq(json_t **v, size_t n)
{
    bool any = false;
    for (size_t i = 1; i < n; i++) {
        any |= json_equal(v[0], v[i]) != 0;
    }
    return json_boolean(any);
}

static json_t *fn_ne(json_t **v, size_t n)
{
    (void)n;
    return json_boolean(!json_equal(v[0], v[1]));
}

static json_t *fn_and(json_t **v, size_t n)
{
    size_t i = 0;
    while (i + 1 < n && tmpl_is_true(v[i])) {
        i++;
    }
    return json_incref(v[i]);
}

static json_t *fn_or(json_t **v, size_t n)
{
    size_t i = 0;
    while (i + 1 < n && !tmpl_is_true(v[i])) {
        i++;
    }
    return json_incref(v[i]);
}

static json_t *fn_not(json_t **v, size_t n)
{
    (void)n;
    return json_boolean(!tmpl_is_true(v[0]));
}

static json_t *fn_println(json_t **v, size_t n)
{
    CLEANUP_BUF struct buf out = { 0 };
    for (size_t i = 0; i < n; i++) {
        buf_adds(&out, i ? " " : "");
        tmpl_print(&out, v[i]);
    }
    buf_addc(&out, '\n');
    return json_string(buf_str(&out));
}

/* Verbs print their value whatever they are; %q quotes it. */
static json_t *fn_printf(json_t **v, size_t n)
{
    CLEANUP_BUF struct buf out = { 0 };
    size_t next = 1;
    for (const char *f = json_string_value(v[0]); f && *f; f++) {
        if (*f != '%' || !f[1]) {
            buf_addc(&out, *f);
            continue;
        }
        f++;
        if (*f == '%') {
            buf_addc(&out, '%');
        } else if (next < n) {
            buf_adds(&out, *f == 'q' ? "\"" : "");
            tmpl_print(&out, v[next++]);
            buf_adds(&out, *f == 'q' ? "\"" : "");
        }
    }
    return json_string(buf_str(&out));
}

static const struct {
    const char *name;
    func_fn *fn;
    size_t min, max;
} funcs[] = {
    { "json", fn_json, 1, 1 },   { "len", fn_len, 1, 1 },     { "index", fn_index, 1, TMPL_ARGS_MAX }, { "join", fn_join, 2, 2 },
    { "split", fn_split, 2, 2 }, { "upper", fn_upper, 1, 1 }, { "lower", fn_lower, 1, 1 },        { "title", fn_title, 1, 1 },
    { "eq", fn_eq, 2, TMPL_ARGS_MAX }, { "ne", fn_ne, 2, 2 },      { "and", fn_and, 1, TMPL_ARGS_MAX },     { "or", fn_or, 1, TMPL_ARGS_MAX },
    { "not", fn_not, 1, 1 },     { "println", fn_println, 0, TMPL_ARGS_MAX }, { "printf", fn_printf, 1, TMPL_ARGS_MAX },
};

int tmpl_call(const char *name, json_t **args, size_t n, json_t **ret, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(funcs); i++) {
        if (strcmp(funcs[i].name, name) != 0) {
            continue;
        }
        if (n < funcs[i].min || n > funcs[i].max) {
            return err_set(e, EINVAL, ERR_INVALID, "template: wrong number of arguments for: %.200s", name);
        }
        *ret = funcs[i].fn(args, n);
        return *ret ? 0 : err_oom(e);
    }
    return err_set(e, EINVAL, ERR_INVALID, "template: function not defined: %.200s", name);
}
