/* base/test-opts.c: forms of options, errors, sub-commands, help text. */
#include "base/opts.h"
#include "base/test.h"

#include <errno.h>

struct args {
    bool detach, tty;
    const char *name;
    char **env;
    int64_t memory, quota, stop;
    uint32_t n, color;
};

static int set_color(void *member, const char *value, struct err *e)
{
    if (strcmp(value, "red") != 0) {
        return err_set(e, EINVAL, ERR_INVALID, "no such colour");
    }
    *(uint32_t *)member = 1;
    return 0;
}

static const struct opt run_opts[] = {
    OPT_FLAG('d', "detach", offsetof(struct args, detach), "run in background"),
    OPT_FLAG('t', "tty", offsetof(struct args, tty), "with a terminal"),
    OPT_STR('\0', "name", offsetof(struct args, name), "name it `NAME`"),
    OPT_STRS('e', "env", offsetof(struct args, env), "set `KEY=VALUE`"),
    OPT_SIZE('m', "memory", offsetof(struct args, memory), "limit"),
    OPT_I64('\0', "cpu-quota", offsetof(struct args, quota), "quota"),
    OPT_DURATION('\0', "stop-timeout", offsetof(struct args, stop), "time"),
    OPT_U32('n', NULL, offsetof(struct args, n), "count"),
    OPT_CALL('\0', "color", offsetof(struct args, color), set_color, "red"),
    OPT_FLAG('\0', "hidden", offsetof(struct args, tty), NULL),
};

static const struct args run_defaults = { .quota = -7 };
static const struct command pod_commands[] = {
    { .name = "rm", .aliases = "remove del", .summary = "remove", .max_operands = OPTS_ANY, .min_operands = 1 },
};
static const struct command commands[] = {
    { .name = "run", .operands = "IMAGE [COMMAND]", .summary = "run one", .opts = OPTS(run_opts),
      .args_size = sizeof(struct args), .defaults = &run_defaults, .min_operands = 1, .max_operands = OPTS_ANY,
      .options_first = true, .examples = "tare run -it busybox\ntare run -d nginx" },
    { .name = "ps", .summary = "list", .opts = OPTS(run_opts), .args_size = sizeof(struct args) },
    { .name = "pod", .summary = "pods", .commands = pod_commands, .n_commands = ARRAY_LEN(pod_commands) },
    { .name = "mv", .summary = "rename", .min_operands = 2, .max_operands = 2, .opts = OPTS(run_opts),
      .args_size = sizeof(struct args) },
};
struct globals {
    const char *root;
};
static const struct opt root_opts[] = {
    OPT_STR('\0', "root", offsetof(struct globals, root), "state in `DIR`"),
};
static const struct command root = { .name = "tare", .summary = "containers", .opts = OPTS(root_opts),
                                     .commands = commands, .n_commands = ARRAY_LEN(commands) };

static int parse(struct command_line *l, struct globals *g, const char *const *words, struct err *e)
{
    static char *argv[32];
    int argc = 0;
    argv[argc++] = (char *)"tare";
    for (; words[argc - 1]; argc++) {
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    }
    argv[argc] = NULL;
    return command_parse(&root, g, argc, argv, l, e);
}
#define PARSE(l, g, e, ...) parse(l, g, (const char *const[]){ __VA_ARGS__, NULL }, e)

static void test_forms(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct globals g = { .root = "/r" };
    CLEANUP_COMMAND_LINE struct command_line l = { 0 };
    CHECK_EQ(PARSE(&l, &g, &e, "--root=/x", "run", "-dt", "-eA=1", "-e", "B=2", "--env=C=", "--name", "n", "-m", "64m",
                   "--stop-timeout", "2s", "-n=3", "--color", "red", "img", "-d", "--name=z", "--"), 0);
    struct args *a = l.args;
    assert_string_equal(g.root, "/x");
    assert_string_equal(l.path, "tare run");
    assert_true(a->detach && a->tty && a->color == 1 && a->n == 3);
    assert_string_equal(a->name, "n");
    CHECK_EQ(strv_len(a->env), 3);
    assert_string_equal(a->env[2], "C=");
    CHECK_EQ(a->memory, 64 << 20);
    CHECK_EQ(a->quota, -7);
    CHECK_EQ(a->stop, 2000000000);
    CHECK_EQ(l.argc, 4);
    assert_string_equal(l.argv[1], "-d");
    assert_string_equal(l.argv[3], "--");
    assert_null(l.argv[4]);
}

static void test_mixed(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct globals g = { 0 };
    CLEANUP_COMMAND_LINE struct command_line l = { 0 };
    CHECK_EQ(PARSE(&l, &g, &e, "mv", "a", "-d", "--tty=false", "--cpu-quota", "-1", "--memory=-1", "--", "-b"), 0);
    struct args *a = l.args;
    assert_true(a->detach && !a->tty);
    CHECK_EQ(a->quota, -1);
    CHECK_EQ(a->memory, -1);
    CHECK_EQ(l.argc, 2);
    assert_string_equal(l.argv[0], "a");
    assert_string_equal(l.argv[1], "-b");
    assert_null(l.argv[2]);
    command_line_done(&l);
    CHECK_EQ(PARSE(&l, &g, &e, "pod", "del", "x", "-"), 0);
    assert_string_equal(l.path, "tare pod rm");
    CHECK_EQ(l.argc, 2);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *words[4], *text;
    } t[] = {
        { { "run", "--foo", "x" }, "unknown flag: --foo; see 'tare run --help'" },
        { { "--foo" }, "unknown flag: --foo; see 'tare --help'" },
        { { "run", "-dz" }, "unknown shorthand flag: 'z' in -dz; see 'tare run --help'" },
        { { "run", "--name" }, "flag needs an argument: --name; see 'tare run --help'" },
        { { "run", "-de" }, "flag needs an argument: 'e' in -de; see 'tare run --help'" },
        { { "run", "-m", "lots" }, "invalid argument \"lots\" for \"--memory\": cannot be parsed; see 'tare run --help'" },
        { { "run", "--color=x" }, "invalid argument \"x\" for \"--color\": no such colour; see 'tare run --help'" },
        { { "run", "-d=maybe" }, "invalid argument \"maybe\" for \"--detach\": cannot be parsed; see 'tare run --help'" },
        { { "run", "-n", "9999999999" }, "invalid argument \"9999999999\" for \"-n\": value out of range; see 'tare run --help'" },
        { { "nope" }, "unknown command: nope; see 'tare --help'" },
        { { "pod", "nope" }, "unknown command: nope; see 'tare pod --help'" },
        { { "run" }, "'tare run' requires at least 1 argument; see 'tare run --help'" },
        { { "ps", "x" }, "'tare ps' takes no arguments; see 'tare ps --help'" },
        { { "mv", "x" }, "'tare mv' requires exactly 2 arguments; see 'tare mv --help'" },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct err e = { 0 };
        struct globals g = { 0 };
        CLEANUP_COMMAND_LINE struct command_line l = { 0 };
        assert_true(parse(&l, &g, t[i].words, &e) < 0);
        assert_string_equal(e.text, t[i].text);
        CHECK_EQ(e.kind, ERR_INVALID);
    }
}

static void test_help(void **state)
{
    (void)state;
    static const char *const asks[][4] = { { "run", "--help" }, { "help", "run" }, { "run", "-h" }, { "run", "-dh", "x" } };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct err e = { 0 };
        struct globals g = { 0 };
        CLEANUP_COMMAND_LINE struct command_line l = { 0 };
        CHECK_EQ(parse(&l, &g, asks[i], &e), 0);
        assert_true(l.help);
        assert_string_equal(l.command->name, "run");
        CLEANUP_BUF struct buf b = { 0 };
        command_help(l.command, l.path, &b);
        assert_string_equal(buf_str(&b),
                            "Usage: tare run [OPTIONS] IMAGE [COMMAND]\n\nrun one\n\nOptions:\n"
                            "  -d, --detach                 run in background\n"
                            "  -t, --tty                    with a terminal\n"
                            "      --name NAME              name it NAME\n"
                            "  -e, --env KEY=VALUE          set KEY=VALUE (repeatable)\n"
                            "  -m, --memory SIZE            limit\n"
                            "      --cpu-quota N            quota\n"
                            "      --stop-timeout DURATION  time\n"
                            "  -n N                         count\n"
                            "      --color STRING           red\n"
                            "  -h, --help                   show this text\n"
                            "\nExamples:\n  tare run -it busybox\n  tare run -d nginx\n");
    }
    struct err e = { 0 };
    struct globals g = { 0 };
    CLEANUP_COMMAND_LINE struct command_line l = { 0 };
    CHECK_EQ(PARSE(&l, &g, &e, "pod"), 0);
    assert_true(l.help);
    CLEANUP_BUF struct buf b = { 0 };
    command_help(l.command, l.path, &b);
    assert_non_null(strstr(buf_str(&b), "Usage: tare pod [OPTIONS] COMMAND\n"));
    assert_non_null(strstr(buf_str(&b), "\nCommands:\n  rm  remove\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
