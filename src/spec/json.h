/*
 * spec/json.h: one decoder and one encoder for every JSON document that has a C struct.
 *
 * A type is described by a table of fields (struct json_type). json_parse() turns text into the
 * struct, json_format() turns it back, json_free() releases what decoding allocated; none of them
 * knows any document. Unknown fields are skipped unless the type is strict. An error names the path
 * of the field ("process.capabilities.bounding[3]: expected string, got integer").
 *
 * In a struct: strings are char *, string lists are char ** (NULL-terminated), optional numbers and
 * booleans are pointers (NULL: absent), objects are embedded or pointers, lists of anything else are
 * JSON_ARRAY(type) members, string maps are struct str_map.
 */
#pragma once

#include "base/buf.h"

#include <jansson.h>

#define JSON_ARRAY(type)                                                                           \
    struct {                                                                                       \
        type *v;                                                                                   \
        size_t n;                                                                                  \
    }

struct str_map {
    struct str_pair {
        char *key, *value;
    } *v;
    size_t n;
};

/* The value of key, or NULL. */
const char *str_map_get(const struct str_map *m, const char *key);
/* Adds or replaces. Returns 0 or -ENOMEM. */
MUST_USE int str_map_set(struct str_map *m, const char *key, const char *value);
MUST_USE int str_map_copy(struct str_map *to, const struct str_map *from);
void str_map_done(struct str_map *m);

enum json_kind {
    JSON_K_STR,     /* char * */
    JSON_K_STRS,    /* char **, NULL-terminated */
    JSON_K_BOOL,    /* bool */
    JSON_K_I32,     /* int32_t */
    JSON_K_U32,     /* uint32_t */
    JSON_K_U16,     /* uint16_t */
    JSON_K_I64,     /* int64_t */
    JSON_K_U64,     /* uint64_t */
    JSON_K_OPT_BOOL, /* bool * */
    JSON_K_OPT_I32,
    JSON_K_OPT_U32,
    JSON_K_OPT_I64,
    JSON_K_OPT_U64,
    JSON_K_OPT_U16,
    JSON_K_OBJ,     /* embedded struct */
    JSON_K_OPT_OBJ, /* pointer to struct */
    JSON_K_OBJS,    /* JSON_ARRAY(struct) */
    JSON_K_U32S,    /* JSON_ARRAY(uint32_t) */
    JSON_K_MAP,     /* struct str_map */
    JSON_K_RAW,     /* json_t *: kept as it is */
};

enum { JSON_REQUIRED = 1, JSON_KEEP_EMPTY = 2 /* encode even if empty, zero or false */ };

struct json_type;
struct json_field {
    const char *name;
    enum json_kind kind;
    unsigned flags;
    size_t offset;
    const struct json_type *type; /* of an object or of a list's elements */
};

struct json_type {
    size_t size;
    const struct json_field *fields;
    size_t n_fields;
    bool strict; /* an unknown field is an error (CDI) */
};

/* JSON_FIELD(struct oci_process, cwd, "cwd", STR, JSON_REQUIRED, NULL) */
#define JSON_FIELD(strct, member, name, kind, flags, type)                                         \
    {                                                                                              \
        name, JSON_K_##kind, flags, offsetof(strct, member), type                                  \
    }
#define JSON_TYPE(strct, table)                                                                    \
    {                                                                                              \
        sizeof(strct), table, ARRAY_LEN(table), false                                              \
    }

/*
 * Parses text (not necessarily NUL-terminated; at most JSON_TEXT_MAX bytes, nesting limited by jansson) into *out, which has
 * to be zeroed. On failure *out is released and zeroed, and the error is ERR_INVALID with line and
 * column or the field's path.
 */
enum { JSON_TEXT_MAX = 16 << 20 };
MUST_USE int json_parse(const struct json_type *type, const char *text, size_t len, void *out,
                        struct err *e);
MUST_USE int json_decode(const struct json_type *type, const json_t *value, void *out, struct err *e);
/* A new reference, NULL when out of memory. Empty fields are left out unless JSON_KEEP_EMPTY. */
json_t *json_encode(const struct json_type *type, const void *in);
/* Appends compact text (indent 0) or indented text to out. */
MUST_USE int json_format(const struct json_type *type, const void *in, int indent, struct buf *out,
                         struct err *e);
/* Releases everything below *obj and zeroes it; not obj itself. */
void json_free(const struct json_type *type, void *obj);
