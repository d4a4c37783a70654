/* cmd/test-view.c: templates and tables. */
#include "cmd/tmpl.h"
#include "cmd/view.h"

#include "base/test.h"

#include <errno.h>

static const char sample[] = "{\"Name\":\"web\",\"N\":3,\"On\":true,\"Tags\":[\"a\",\"b\"],\"M\":{\"y\":\"2\",\"x\":\"1\"},"
                             "\"State\":{\"Pid\":7,\"Err\":\"\"}}";

static void test_templates(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want, *error;
    } t[] = {
        { "{{.Name}}", "web", NULL },
        { "{{ .State.Pid }}!", "7!", NULL },
        { "{{json .Tags}}", "[\"a\",\"b\"]", NULL },
        { "{{.Tags}} {{.M}}", "[a b] map[x:1 y:2]", NULL },
        { "{{range .Tags}}<{{.}}>{{end}}", "<a><b>", NULL },
        { "{{range $k, $v := .M}}{{$k}}={{$v}};{{end}}", "x=1;y=2;", NULL },
        { "{{range $i, $t := .Tags}}{{if $i}},{{end}}{{$t}}{{end}}", "a,b", NULL },
        { "{{range .State.Err}}x{{else}}none{{end}}", "none", NULL },
        { "{{if .On}}yes{{else}}no{{end}}", "yes", NULL },
        { "{{if .State.Err}}bad{{else if .On}}on{{else}}off{{end}}.", "on.", NULL },
        { "{{if eq .Name \"web\"}}W{{end}}{{if ne .N 3}}X{{end}}", "W", NULL },
        { "{{if and .On (not .State.Err)}}ok{{end}}", "ok", NULL },
        { "{{with .State}}{{.Pid}}{{end}}", "7", NULL },
        { "{{index .M \"y\"}}{{index .Tags 1}}", "2b", NULL },
        { "{{join .Tags \", \"}} {{len .Tags}} {{upper .Name}} {{.Name | title | json}}", "a, b 2 WEB \"Web\"", NULL },
        { "{{printf \"%s-%d\" .Name .N}}", "web-3", NULL },
        { "a {{- .N -}} b", "a3b", NULL },
        { "{{.State.Missing}}", "<no value>", NULL },
        { "{{/* note */}}x", "x", NULL },
        { "{{range .Tags}}{{$.Name}}{{end}}", "webweb", NULL },
        { "{{.Nothing}}", NULL, "no field .Nothing here; there are: .M .N .Name" },
        { "{{.Name", NULL, "unclosed action" },
        { "{{range .Tags}}", NULL, "{{end}} is missing" },
        { "{{end}}", NULL, "unexpected" },
        { "{{foo .}}", NULL, "function not defined: foo" },
        { "{{json}}", NULL, "wrong number of arguments" },
        { "{{\"a}}", NULL, "cannot be parsed" },
        { "{{$x}}", NULL, "undefined variable" },
    };
    json_t *v = json_loads(sample, 0, NULL);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        CLEANUP_BUF struct buf out = { 0 };
        struct err e = { 0 };
        CHECK_EQ(tmpl_run(t[i].in, v, &out, &e), t[i].error ? -EINVAL : 0);
        if (t[i].error) {
            assert_non_null(strstr(e.text, t[i].error));
        } else {
            assert_string_equal(buf_str(&out), t[i].want);
        }
    }
    json_decref(v);
}

static void test_tables(void **state)
{
    (void)state;
    static const struct view_column columns[] = { { "ID", "CONTAINER ID" }, { "Name", "NAMES" }, { "Cmd", "COMMAND" } };
    static const struct view v = { columns, ARRAY_LEN(columns), "{{.ID}}\t{{.Name}}\t{{.Cmd}}", "{{.ID}}" };
    static const struct {
        struct view_options o;
        const char *want;
    } t[] = {
        { { NULL, false, 0 }, "CONTAINER ID   NAMES     COMMAND\n12             web       sleep 1000\n" },
        { { NULL, true, 0 }, "12\n" },
        { { "table {{.Name}}\\t{{.ID}}", false, 0 }, "NAMES     CONTAINER ID\nweb       12\n" },
        { { "{{.Name}}:{{.ID}}", false, 0 }, "web:12\n" },
        { { "json", false, 0 }, "{\"ID\":\"12\",\"Name\":\"web\",\"Cmd\":\"sleep 1000\"}\n" },
        { { NULL, false, 32 }, "CONTAINE…   NAMES     COMMAND\n12          web       sleep 1000\n" },
    };
    json_t *rows = json_loads("[{\"ID\":\"12\",\"Name\":\"web\",\"Cmd\":\"sleep 1000\"}]", 0, NULL);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        CLEANUP_BUF struct buf out = { 0 };
        struct err e = { 0 };
        CHECK_EQ(view_print(&v, &t[i].o, rows, &out, &e), 0);
        assert_string_equal(buf_str(&out), t[i].want);
    }
    json_decref(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_templates), cmocka_unit_test(test_tables) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
