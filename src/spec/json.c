/* spec/json.c: see json.h. */
#include "spec/json.h"

#include <errno.h>
#include <sys/auxv.h>

/* Where decoding stands, for error messages: a chain of names on the stack. */
struct where {
    const struct where *up;
    const char *name;
    size_t index; /* of a list's element when name is NULL */
};

const char *str_map_get(const struct str_map *m, const char *key)
{
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->v[i].key, key) == 0) {
            return m->v[i].value;
        }
    }
    return NULL;
}

int str_map_set(struct str_map *m, const char *key, const char *value)
{
    char *v = strdup(value);
    if (!v) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->v[i].key, key) == 0) {
            free(m->v[i].value);
            m->v[i].value = v;
            return 0;
        }
    }
    char *k = strdup(key);
    struct str_pair *p = k ? reallocarray(m->v, m->n + 1, sizeof(*p)) : NULL;
    if (!p) {
        free(k);
        free(v);
        return -ENOMEM;
    }
    p[m->n] = (struct str_pair){ k, v };
    m->v = p;
    m->n++;
    return 0;
}

int str_map_copy(struct str_map *to, const struct str_map *from)
{
    for (size_t i = 0; i < from->n; i++) {
        int r = str_map_set(to, from->v[i].key, from->v[i].value);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

void str_map_done(struct str_map *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->v[i].key);
        free(m->v[i].value);
    }
    free(m->v);
    *m = (struct str_map){ 0 };
}

static void where_add(struct buf *b, const struct where *w)
{
    if (!w) {
        return;
    }
    where_add(b, w->up);
    if (!w->name) {
        buf_addf(b, "[%zu]", w->index);
    } else {
        buf_addf(b, "%s%s", b->len ? "." : "", w->name);
    }
}

static const char *json_type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "array";
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
        return "integer";
    case JSON_REAL:
        return "fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    case JSON_NULL:
        return "null";
    }
    return "?";
}

static int fail(struct err *e, const struct where *w, const char *what)
{
    CLEANUP_BUF struct buf b = { 0 };
    where_add(&b, w);
    return err_set(e, EINVAL, ERR_INVALID, "%s: %s", b.len ? buf_str(&b) : "document", what);
}

static int fail_kind(struct err *e, const struct where *w, const char *want, const json_t *got)
{
    char text[96];
    snprintf(text, sizeof(text), "expected %s, got %s", want, json_type_name(got));
    return fail(e, w, text);
}

static int decode_object(const struct json_type *t, const json_t *v, void *out, const struct where *w,
                         struct err *e);

static int decode_string(const json_t *v, char **out, const struct where *w, struct err *e)
{
    if (!json_is_string(v)) {
        return fail_kind(e, w, "string", v);
    }
    const char *s = json_string_value(v);
    if (strlen(s) != json_string_length(v)) {
        return fail(e, w, "a NUL character is not allowed");
    }
    char *copy = strdup(s);
    if (!copy) {
        return err_oom(e);
    }
    free(*out); /* a field given twice: the last one counts */
    *out = copy;
    return 0;
}

static int decode_strings(const json_t *v, char ***out, const struct where *w, struct err *e)
{
    if (!json_is_array(v)) {
        return fail_kind(e, w, "array of strings", v);
    }
    size_t n = json_array_size(v);
    char **list = calloc(n + 1, sizeof(*list));
    if (!list) {
        return err_oom(e);
    }
    for (size_t i = 0; i < n; i++) {
        struct where at = { w, NULL, i };
        int r = decode_string(json_array_get(v, i), &list[i], &at, e);
        if (r < 0) {
            strv_free(list);
            return r;
        }
    }
    strv_free(*out);
    *out = list;
    return 0;
}

static int decode_map(const json_t *v, struct str_map *out, const struct where *w, struct err *e)
{
    if (!json_is_object(v)) {
        return fail_kind(e, w, "object of strings", v);
    }
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)v, key, item) {
        struct where at = { w, key, 0 };
        if (!json_is_string(item)) {
            return fail_kind(e, &at, "string", item);
        }
        if (str_map_set(out, key, json_string_value(item)) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int number_in(const json_t *v, json_int_t min, json_int_t max, json_int_t *ret,
                     const struct where *w, struct err *e)
{
    if (!json_is_integer(v)) {
        return fail_kind(e, w, "integer", v);
    }
    json_int_t n = json_integer_value(v);
    if (n < min || n > max) {
        char text[96];
        snprintf(text, sizeof(text), "%lld is out of range (%lld to %lld)", (long long)n, (long long)min,
                 (long long)max);
        return fail(e, w, text);
    }
    *ret = n;
    return 0;
}

/* Unsigned 64-bit values above INT64_MAX arrive from jansson as reals. */
static int decode_u64(const json_t *v, uint64_t *out, const struct where *w, struct err *e)
{
    if (json_is_real(v) && json_real_value(v) >= 9.2e18 && json_real_value(v) <= 18446744073709551615.0) {
        *out = json_real_value(v) >= 18446744073709549568.0 ? UINT64_MAX : (uint64_t)json_real_value(v);
        return 0;
    }
    json_int_t n;
    int r = number_in(v, 0, INT64_MAX, &n, w, e);
    if (r == 0) {
        *out = (uint64_t)n;
    }
    return r;
}

static int decode_scalar(enum json_kind kind, const json_t *v, void *out, const struct where *w,
                         struct err *e)
{
    json_int_t n = 0;
    int r = 0;
    switch (kind) {
    case JSON_K_BOOL:
        if (!json_is_boolean(v)) {
            return fail_kind(e, w, "boolean", v);
        }
        *(bool *)out = json_is_true(v);
        return 0;
    case JSON_K_I32:
        r = number_in(v, INT32_MIN, INT32_MAX, &n, w, e);
        if (r == 0) {
            *(int32_t *)out = (int32_t)n;
        }
        return r;
    case JSON_K_U32:
        r = number_in(v, 0, UINT32_MAX, &n, w, e);
        if (r == 0) {
            *(uint32_t *)out = (uint32_t)n;
        }
        return r;
    case JSON_K_U16:
    case JSON_K_OPT_U16:
        r = number_in(v, 0, UINT16_MAX, &n, w, e);
        if (r == 0) {
            *(uint16_t *)out = (uint16_t)n;
        }
        return r;
    case JSON_K_I64:
        r = number_in(v, INT64_MIN, INT64_MAX, &n, w, e);
        if (r == 0) {
            *(int64_t *)out = n;
        }
        return r;
    case JSON_K_U64:
        return decode_u64(v, out, w, e);
    default:
        return err_set(e, EINVAL, ERR_INTERNAL, "field table: kind %d is no scalar", (int)kind);
    }
}

/* The scalar behind an optional one, and its size. */
static const struct {
    enum json_kind scalar;
    size_t size;
} optional[] = {
    [JSON_K_OPT_BOOL] = { JSON_K_BOOL, sizeof(bool) },   [JSON_K_OPT_I32] = { JSON_K_I32, sizeof(int32_t) },
    [JSON_K_OPT_U32] = { JSON_K_U32, sizeof(uint32_t) }, [JSON_K_OPT_I64] = { JSON_K_I64, sizeof(int64_t) },
    [JSON_K_OPT_U64] = { JSON_K_U64, sizeof(uint64_t) }, [JSON_K_OPT_U16] = { JSON_K_OPT_U16, sizeof(uint16_t) },
};

static int decode_optional(enum json_kind kind, const json_t *v, void **out, const struct where *w,
                           struct err *e)
{
    void *p = *out ? *out : calloc(1, optional[kind].size);
    if (!p) {
        return err_oom(e);
    }
    *out = p;
    return decode_scalar(optional[kind].scalar, v, p, w, e);
}

struct any_array {
    void *v;
    size_t n;
};

static int decode_objects(const struct json_type *t, const json_t *v, struct any_array *out,
                          const struct where *w, struct err *e)
{
    if (!json_is_array(v)) {
        return fail_kind(e, w, "array of objects", v);
    }
    size_t n = json_array_size(v);
    out->v = n ? calloc(n, t->size) : NULL;
    if (n && !out->v) {
        return err_oom(e);
    }
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        struct where at = { w, NULL, i };
        int r = decode_object(t, json_array_get(v, i), (char *)out->v + i * t->size, &at, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int decode_u32s(const json_t *v, struct any_array *out, const struct where *w, struct err *e)
{
    if (!json_is_array(v)) {
        return fail_kind(e, w, "array of integers", v);
    }
    size_t n = json_array_size(v);
    free(out->v);
    out->v = n ? calloc(n, sizeof(uint32_t)) : NULL;
    if (n && !out->v) {
        out->n = 0;
        return err_oom(e);
    }
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        struct where at = { w, NULL, i };
        int r = decode_scalar(JSON_K_U32, json_array_get(v, i), (uint32_t *)out->v + i, &at, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int decode_field(const struct json_field *f, const json_t *v, void *p, const struct where *w,
                        struct err *e)
{
    switch (f->kind) {
    case JSON_K_STR:
        return decode_string(v, p, w, e);
    case JSON_K_STRS:
        return decode_strings(v, p, w, e);
    case JSON_K_MAP:
        return decode_map(v, p, w, e);
    case JSON_K_OBJ:
        return decode_object(f->type, v, p, w, e);
    case JSON_K_OPT_OBJ:
        *(void **)p = calloc(1, f->type->size);
        return *(void **)p ? decode_object(f->type, v, *(void **)p, w, e) : err_oom(e);
    case JSON_K_OBJS:
        return decode_objects(f->type, v, p, w, e);
    case JSON_K_U32S:
        return decode_u32s(v, p, w, e);
    case JSON_K_RAW:
        *(json_t **)p = json_incref((json_t *)(uintptr_t)v);
        return 0;
    case JSON_K_OPT_BOOL:
    case JSON_K_OPT_I32:
    case JSON_K_OPT_U32:
    case JSON_K_OPT_I64:
    case JSON_K_OPT_U64:
    case JSON_K_OPT_U16:
        return decode_optional(f->kind, v, p, w, e);
    default:
        return decode_scalar(f->kind, v, p, w, e);
    }
}

static int check_strict(const struct json_type *t, const json_t *v, const struct where *w, struct err *e)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)v, key, item) {
        size_t i = 0;
        while (i < t->n_fields && strcmp(t->fields[i].name, key) != 0) {
            i++;
        }
        if (i == t->n_fields) {
            struct where at = { w, key, 0 };
            return fail(e, &at, "unknown field");
        }
    }
    return 0;
}

static int decode_object(const struct json_type *t, const json_t *v, void *out, const struct where *w,
                         struct err *e)
{
    if (!json_is_object(v)) {
        return fail_kind(e, w, "object", v);
    }
    int r = t->strict ? check_strict(t, v, w, e) : 0;
    for (size_t i = 0; r == 0 && i < t->n_fields; i++) {
        const struct json_field *f = &t->fields[i];
        struct where at = { w, f->name, 0 };
        const json_t *item = json_object_get(v, f->name);
        if (item && !json_is_null(item)) {
            r = decode_field(f, item, (char *)out + f->offset, &at, e);
        } else if (f->flags & JSON_REQUIRED) {
            r = fail(e, &at, "required field is missing");
        }
    }
    return r;
}

int json_decode(const struct json_type *type, const json_t *value, void *out, struct err *e)
{
    int r = decode_object(type, value, out, NULL, e);
    if (r < 0) {
        json_free(type, out);
    }
    return r;
}

int json_parse(const struct json_type *type, const char *text, size_t len, void *out, struct err *e)
{
    if (len > JSON_TEXT_MAX) {
        return err_set(e, EFBIG, ERR_INVALID, "JSON of %zu bytes exceeds %d", len, JSON_TEXT_MAX);
    }
    json_error_t je;
    /* The 16 random bytes that the kernel gives each program: jansson itself would open /dev/urandom. Only the first call counts. */
    const void *random = (const void *)getauxval(AT_RANDOM);
    if (random) {
        size_t seed;
        memcpy(&seed, random, sizeof(seed));
        json_object_seed(seed);
    }
    json_t *v = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!v) {
        return err_set(e, EINVAL, ERR_INVALID, "line %d column %d: %s", je.line, je.column, je.text);
    }
    int r = json_decode(type, v, out, e);
    json_decref(v);
    return r;
}

static json_t *encode_u64(uint64_t n)
{
    return n > INT64_MAX ? json_real((double)n) : json_integer((json_int_t)n);
}

static json_t *encode_scalar(enum json_kind kind, const void *p)
{
    switch (kind) {
    case JSON_K_BOOL:
        return json_boolean(*(const bool *)p);
    case JSON_K_I32:
        return json_integer(*(const int32_t *)p);
    case JSON_K_U32:
        return json_integer(*(const uint32_t *)p);
    case JSON_K_U16:
    case JSON_K_OPT_U16:
        return json_integer(*(const uint16_t *)p);
    case JSON_K_I64:
        return json_integer(*(const int64_t *)p);
    case JSON_K_U64:
        return encode_u64(*(const uint64_t *)p);
    default:
        return NULL;
    }
}

static json_t *encode_strings(char *const *v)
{
    json_t *a = json_array();
    for (; v && *v; v++) {
        /* A path that is not UTF-8 cannot be said in JSON: encoding as a whole fails. */
        if (json_array_append_new(a, json_string(*v)) < 0) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

static json_t *encode_map(const struct str_map *m)
{
    json_t *o = json_object();
    for (size_t i = 0; i < m->n; i++) {
        if (json_object_set_new(o, m->v[i].key, json_string(m->v[i].value)) < 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static json_t *encode_list(const struct json_field *f, const struct any_array *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n; i++) {
        json_t *item = f->kind == JSON_K_U32S ? json_integer(((const uint32_t *)a->v)[i])
                                              : json_encode(f->type, (const char *)a->v + i * f->type->size);
        if (json_array_append_new(list, item) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static bool is_empty(const struct json_field *f, const void *p)
{
    switch (f->kind) {
    case JSON_K_STR:
        return str_empty(*(char *const *)p);
    case JSON_K_STRS:
        return strv_len(*(char **const *)p) == 0;
    case JSON_K_BOOL:
        return !*(const bool *)p;
    case JSON_K_U16:
        return *(const uint16_t *)p == 0;
    case JSON_K_I32:
    case JSON_K_U32:
        return *(const uint32_t *)p == 0;
    case JSON_K_I64:
    case JSON_K_U64:
        return *(const uint64_t *)p == 0;
    case JSON_K_OBJS:
    case JSON_K_U32S:
        return ((const struct any_array *)p)->n == 0;
    case JSON_K_MAP:
        return ((const struct str_map *)p)->n == 0;
    case JSON_K_OBJ:
        return false;
    default:
        return *(void *const *)p == NULL;
    }
}

static json_t *encode_field(const struct json_field *f, const void *p)
{
    switch (f->kind) {
    case JSON_K_STR:
        return json_string(*(char *const *)p ?: "");
    case JSON_K_STRS:
        return encode_strings(*(char **const *)p);
    case JSON_K_MAP:
        return encode_map(p);
    case JSON_K_OBJ:
        return json_encode(f->type, p);
    case JSON_K_OPT_OBJ:
        return *(void *const *)p ? json_encode(f->type, *(void *const *)p) : json_null();
    case JSON_K_OBJS:
    case JSON_K_U32S:
        return encode_list(f, p);
    case JSON_K_RAW:
        return *(json_t *const *)p ? json_incref(*(json_t *const *)p) : json_null();
    case JSON_K_OPT_BOOL:
    case JSON_K_OPT_I32:
    case JSON_K_OPT_U32:
    case JSON_K_OPT_I64:
    case JSON_K_OPT_U64:
    case JSON_K_OPT_U16:
        return *(void *const *)p ? encode_scalar(optional[f->kind].scalar, *(void *const *)p) : json_null();
    default:
        return encode_scalar(f->kind, p);
    }
}

json_t *json_encode(const struct json_type *type, const void *in)
{
    json_t *o = json_object();
    for (size_t i = 0; o && i < type->n_fields; i++) {
        const struct json_field *f = &type->fields[i];
        const void *p = (const char *)in + f->offset;
        if (is_empty(f, p) && !(f->flags & (JSON_REQUIRED | JSON_KEEP_EMPTY))) {
            continue;
        }
        if (json_object_set_new(o, f->name, encode_field(f, p)) < 0) {
            json_decref(o);
            return NULL;
        }
        json_t *child = json_object_get(o, f->name);
        if (f->kind == JSON_K_OBJ && json_object_size(child) == 0 && !(f->flags & JSON_KEEP_EMPTY)) {
            json_object_del(o, f->name);
        }
    }
    return o;
}

static int dump_to_buf(const char *text, size_t len, void *data)
{
    struct buf *b = data;
    buf_add(b, text, len);
    return buf_failed(b) ? -1 : 0;
}

int json_format(const struct json_type *type, const void *in, int indent, struct buf *out, struct err *e)
{
    json_t *v = json_encode(type, in);
    if (!v) {
        return err_set(e, EILSEQ, ERR_INVALID, "cannot be written as JSON: a string is not UTF-8");
    }
    size_t flags = indent ? (size_t)JSON_INDENT(indent) : (size_t)JSON_COMPACT;
    int r = json_dump_callback(v, dump_to_buf, out, flags);
    json_decref(v);
    return r < 0 ? err_oom(e) : 0;
}

static void free_field(const struct json_field *f, void *p)
{
    switch (f->kind) {
    case JSON_K_STRS:
        strv_free(*(char ***)p);
        break;
    case JSON_K_MAP:
        str_map_done(p);
        break;
    case JSON_K_OBJ:
        json_free(f->type, p);
        break;
    case JSON_K_OPT_OBJ:
        if (*(void **)p) {
            json_free(f->type, *(void **)p);
        }
        free(*(void **)p);
        break;
    case JSON_K_OBJS: {
        struct any_array *a = p;
        for (size_t i = 0; i < a->n; i++) {
            json_free(f->type, (char *)a->v + i * f->type->size);
        }
        free(a->v);
        break;
    }
    case JSON_K_U32S:
        free(((struct any_array *)p)->v);
        break;
    case JSON_K_RAW:
        json_decref(*(json_t **)p);
        break;
    case JSON_K_BOOL:
    case JSON_K_I32:
    case JSON_K_U32:
    case JSON_K_U16:
    case JSON_K_I64:
    case JSON_K_U64:
        break;
    default:
        free(*(void **)p);
    }
}

void json_free(const struct json_type *type, void *obj)
{
    if (!obj) {
        return;
    }
    for (size_t i = 0; i < type->n_fields; i++) {
        free_field(&type->fields[i], (char *)obj + type->fields[i].offset);
    }
    memset(obj, 0, type->size);
}
