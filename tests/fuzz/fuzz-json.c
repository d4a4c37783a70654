/* tests/fuzz/fuzz-json.c: the generic JSON decoder with a type that has every kind of field. */
#include "spec/json.h"

struct inner {
    char *name;
    uint32_t *limit;
};
static const struct json_field inner_fields[] = {
    JSON_FIELD(struct inner, name, "name", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct inner, limit, "limit", OPT_U32, 0, NULL),
};
static const struct json_type inner_type = JSON_TYPE(struct inner, inner_fields);

struct outer {
    char **args;
    bool flag;
    uint64_t big;
    struct inner *maybe;
    JSON_ARRAY(struct inner) list;
    JSON_ARRAY(uint32_t) nums;
    struct str_map map;
    json_t *raw;
};
static const struct json_field outer_fields[] = {
    JSON_FIELD(struct outer, args, "args", STRS, 0, NULL),
    JSON_FIELD(struct outer, flag, "flag", BOOL, 0, NULL),
    JSON_FIELD(struct outer, big, "big", U64, 0, NULL),
    JSON_FIELD(struct outer, maybe, "maybe", OPT_OBJ, 0, &inner_type),
    JSON_FIELD(struct outer, list, "list", OBJS, 0, &inner_type),
    JSON_FIELD(struct outer, nums, "nums", U32S, 0, NULL),
    JSON_FIELD(struct outer, map, "map", MAP, 0, NULL),
    JSON_FIELD(struct outer, raw, "raw", RAW, 0, NULL),
};
static const struct json_type outer_type = JSON_TYPE(struct outer, outer_fields);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct outer o = { 0 };
    struct err e = { 0 };
    if (json_parse(&outer_type, (const char *)data, len, &o, &e) == 0) {
        CLEANUP_BUF struct buf b = { 0 };
        if (json_format(&outer_type, &o, 0, &b, &e) < 0) {
            abort();
        }
        json_free(&outer_type, &o);
    }
    return 0;
}
