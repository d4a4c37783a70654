/* spec/test-json.c: the generic decoder and encoder. */
#include "base/test.h"
#include "spec/json.h"

#include <errno.h>

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
    int64_t num;
    uint64_t big;
    struct inner in;
    struct inner *maybe;
    JSON_ARRAY(struct inner) list;
    JSON_ARRAY(uint32_t) nums;
    struct str_map map;
    json_t *raw;
};
static const struct json_field outer_fields[] = {
    JSON_FIELD(struct outer, args, "args", STRS, 0, NULL),
    JSON_FIELD(struct outer, flag, "flag", BOOL, 0, NULL),
    JSON_FIELD(struct outer, num, "num", I64, JSON_KEEP_EMPTY, NULL),
    JSON_FIELD(struct outer, big, "big", U64, 0, NULL),
    JSON_FIELD(struct outer, in, "in", OBJ, 0, &inner_type),
    JSON_FIELD(struct outer, maybe, "maybe", OPT_OBJ, 0, &inner_type),
    JSON_FIELD(struct outer, list, "list", OBJS, 0, &inner_type),
    JSON_FIELD(struct outer, nums, "nums", U32S, 0, NULL),
    JSON_FIELD(struct outer, map, "map", MAP, 0, NULL),
    JSON_FIELD(struct outer, raw, "raw", RAW, 0, NULL),
};
static const struct json_type outer_type = JSON_TYPE(struct outer, outer_fields);

static void test_roundtrip(void **state)
{
    (void)state;
    static const char text[] = "{\"args\":[\"a\",\"\"],\"flag\":true,\"num\":-3,\"big\":5,\"in\":{\"name\":\"x\",\"limit\":0},"
                               "\"list\":[{\"name\":\"y\"},{\"name\":\"z\",\"limit\":4294967295}],\"nums\":[1,2],"
                               "\"map\":{\"k\":\"v\"},\"raw\":[null,{}]}";
    struct outer o = { 0 };
    struct err e = { 0 };
    CHECK_EQ(json_parse(&outer_type, text, strlen(text), &o, &e), 0);
    CHECK_EQ(strv_len(o.args), 2);
    assert_non_null(o.in.limit);
    CHECK_EQ(*o.in.limit, 0);
    assert_null(o.maybe);
    CHECK_EQ(o.list.n, 2);
    CHECK_EQ(*o.list.v[1].limit, UINT32_MAX);
    assert_string_equal(str_map_get(&o.map, "k"), "v");
    CLEANUP_BUF struct buf b = { 0 };
    CHECK_EQ(json_format(&outer_type, &o, 0, &b, &e), 0);
    assert_string_equal(buf_str(&b), text);
    json_free(&outer_type, &o);
    assert_null(o.args);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } t[] = {
        { "{", "line 1 column 1" },
        { "[]", "document: expected object, got array" },
        { "{\"in\":{}}", "in.name: required field is missing" },
        { "{\"in\":{\"name\":\"a\"},\"args\":[\"x\",7]}", "args[1]: expected string, got integer" },
        { "{\"in\":{\"name\":\"a\"},\"list\":[{\"name\":\"b\"},{\"name\":\"c\",\"limit\":-1}]}",
          "list[1].limit: -1 is out of range (0 to 4294967295)" },
        { "{\"in\":{\"name\":\"a\"},\"num\":1.5}", "num: expected integer, got fraction" },
        { "{\"in\":{\"name\":\"a\"},\"map\":{\"k\":1}}", "map.k: expected string, got integer" },
        { "{\"in\":{\"name\":\"a\"},\"flag\":\"yes\"}", "flag: expected boolean, got string" },
        { "{\"in\":{\"name\":\"a\\u0000b\"}}", "\\u0000 is not allowed" },
        { "{\"in\":{\"name\":\"a\"},\"in\":{}}", "duplicate object key" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct outer o = { 0 };
        struct err e = { 0 };
        CHECK_EQ(json_parse(&outer_type, t[i].in, strlen(t[i].in), &o, &e), -EINVAL);
        CHECK_EQ(e.kind, ERR_INVALID);
        if (!strstr(e.text, t[i].want)) {
            fail_msg("%s: got '%s', want '%s'", t[i].in, e.text, t[i].want);
        }
        assert_null(o.args);
    }
}

static void test_null_is_absent(void **state)
{
    (void)state;
    static const char text[] = "{\"in\":{\"name\":\"a\"},\"args\":null,\"maybe\":null,\"num\":null,\"extra\":{\"a\":1}}";
    struct outer o = { 0 };
    struct err e = { 0 };
    CHECK_EQ(json_parse(&outer_type, text, strlen(text), &o, &e), 0);
    assert_null(o.args);
    assert_null(o.maybe);
    json_free(&outer_type, &o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roundtrip),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_null_is_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
