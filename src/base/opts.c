/* base/opts.c: the parser of command lines. See opts.h; the help text is made in opts-help.c. */
#include "base/opts.h"

#include "base/num.h"

#include <errno.h>
#include <stdio.h>

/* One parse: the table, where its values go, and what is needed to name an option in an error. */
struct parse {
    const struct opts *o;
    char *target;
    const char *path;
    bool help;
};

static int usage(const struct parse *p, struct err *e, const char *what, const char *name)
{
    return err_set(e, EINVAL, ERR_INVALID, "%s: %s; see '%s --help'", what, name, p->path);
}

static const struct opt *find_long(const struct opts *o, const char *name, size_t len)
{
    for (size_t i = 0; i < o->n; i++) {
        if (o->v[i].name && strncmp(o->v[i].name, name, len) == 0 && o->v[i].name[len] == '\0') {
            return &o->v[i];
        }
    }
    return NULL;
}

static const struct opt *find_letter(const struct opts *o, char letter)
{
    for (size_t i = 0; i < o->n; i++) {
        if (o->v[i].letter == letter && letter != '\0') {
            return &o->v[i];
        }
    }
    return NULL;
}

static int parse_bool(const char *s, bool *ret)
{
    static const struct {
        const char *name;
        bool value;
    } words[] = { { "true", true },   { "1", true },  { "t", true },  { "TRUE", true },   { "True", true },
                  { "false", false }, { "0", false }, { "f", false }, { "FALSE", false }, { "False", false } };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(s, words[i].name) == 0) {
            *ret = words[i].value;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse_size(const char *s, int64_t *ret)
{
    uint64_t v;
    if (strcmp(s, "-1") == 0) {
        *ret = -1;
        return 0;
    }
    int r = num_size(s, &v);
    if (r == 0 && v > INT64_MAX) {
        r = -ERANGE;
    }
    if (r == 0) {
        *ret = (int64_t)v;
    }
    return r;
}

/* Stores the value; -EINVAL or -ERANGE leave the error to the caller, a callback fills it itself. */
static int store(const struct opt *opt, void *member, const char *value, struct err *e)
{
    switch (opt->kind) {
    case OPT_K_FLAG:
        return parse_bool(value, member);
    case OPT_K_STR:
        *(const char **)member = value;
        return 0;
    case OPT_K_STRS:
        return strv_push(member, value);
    case OPT_K_I64:
        return num_i64(value, member);
    case OPT_K_U32:
        return num_u32(value, member);
    case OPT_K_SIZE:
        return parse_size(value, member);
    case OPT_K_DURATION:
        return num_duration(value, member);
    case OPT_K_CALL:
        return opt->fn(member, value, e);
    }
    return -EINVAL;
}

static int set_value(const struct parse *p, const struct opt *opt, const char *value, struct err *e)
{
    struct err why = { 0 };
    int r = store(opt, p->target + opt->offset, value, &why);
    if (r == -ENOMEM) {
        return err_oom(e);
    }
    if (r == 0) {
        return 0;
    }
    const char *text = why.text[0] ? why.text : r == -ERANGE ? "value out of range" : "cannot be parsed";
    char letter[2] = { opt->letter, '\0' };
    return err_set(e, -r, ERR_INVALID, "invalid argument \"%.200s\" for \"%s%s\": %s; see '%s --help'", value,
                   opt->name ? "--" : "-", opt->name ? opt->name : letter, text, p->path);
}

/* arg is behind the dashes; next is the following argument or NULL. Sets *took when next was used. */
static int take_long(struct parse *p, const char *arg, const char *next, bool *took, struct err *e)
{
    size_t len = strcspn(arg, "=");
    const char *value = arg[len] == '=' ? arg + len + 1 : NULL;
    const struct opt *opt = find_long(p->o, arg, len);
    char name[128];
    snprintf(name, sizeof(name), "--%.*s", (int)(len > 100 ? 100 : len), arg);
    if (!opt) {
        if (strcmp(name, "--help") == 0 && !value) {
            p->help = true;
            return 0;
        }
        return usage(p, e, "unknown flag", name);
    }
    if (!value && opt->kind == OPT_K_FLAG) {
        value = "true";
    } else if (!value) {
        if (!next) {
            return usage(p, e, "flag needs an argument", name);
        }
        value = next;
        *took = true;
    }
    return set_value(p, opt, value, e);
}

/* A cluster such as "it" or "p8080:80", behind the dash. */
static int take_letters(struct parse *p, const char *arg, const char *next, bool *took, struct err *e)
{
    for (const char *c = arg; *c; c++) {
        const struct opt *opt = find_letter(p->o, *c);
        char name[128];
        if (!opt && *c == 'h') {
            p->help = true;
            return 0;
        }
        if (!opt) {
            snprintf(name, sizeof(name), "'%c' in -%.100s", *c, arg);
            return usage(p, e, "unknown shorthand flag", name);
        }
        if (opt->kind == OPT_K_FLAG && c[1] != '=') {
            int r = set_value(p, opt, "true", e);
            if (r < 0) {
                return r;
            }
            continue;
        }
        const char *value = c[1] == '=' ? c + 2 : c[1] ? c + 1 : next;
        if (!value) {
            snprintf(name, sizeof(name), "'%c' in -%.100s", *c, arg);
            return usage(p, e, "flag needs an argument", name);
        }
        *took = value == next;
        return set_value(p, opt, value, e);
    }
    return 0;
}

int opts_parse(const struct opts *o, void *target, bool options_first, const char *path, int *argc, char ***argv,
               bool *ret_help, struct err *e)
{
    struct parse p = { .o = o, .target = target, .path = path };
    char **v = *argv;
    int n = *argc, kept = 1, i = 1;
    for (; i < n && !p.help; i++) {
        char *arg = v[i];
        if (arg[0] != '-' || arg[1] == '\0') { /* an operand; "-" alone is one */
            if (options_first) {
                break;
            }
            v[kept++] = arg;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            i++;
            break;
        }
        bool took = false;
        char *next = i + 1 < n ? v[i + 1] : NULL;
        int r = arg[1] == '-' ? take_long(&p, arg + 2, next, &took, e) : take_letters(&p, arg + 1, next, &took, e);
        if (r < 0) {
            return r;
        }
        i += took;
    }
    for (; i < n; i++) {
        v[kept++] = v[i];
    }
    if (kept < n) {
        v[kept] = NULL;
    }
    *argc = n > 0 ? kept - 1 : 0;
    *argv = n > 0 ? v + 1 : v;
    *ret_help = p.help;
    return 0;
}

void opts_free(const struct opts *o, void *target)
{
    for (size_t i = 0; target && i < o->n; i++) {
        if (o->v[i].kind == OPT_K_STRS) {
            char ***list = (void *)((char *)target + o->v[i].offset);
            strv_free(*list);
            *list = NULL;
        }
    }
}

static bool has_alias(const char *aliases, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = aliases; p && *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (len == n && memcmp(p, name, n) == 0) {
            return true;
        }
        p += len;
    }
    return false;
}

static const struct command *find_command(const struct command *c, const char *name)
{
    for (size_t i = 0; i < c->n_commands; i++) {
        if (strcmp(c->commands[i].name, name) == 0 || has_alias(c->commands[i].aliases, name)) {
            return &c->commands[i];
        }
    }
    return NULL;
}

static int check_operands(const struct command *c, const char *path, int n, struct err *e)
{
    if (n >= c->min_operands && n <= c->max_operands) {
        return 0;
    }
    if (c->max_operands == 0) {
        return err_set(e, EINVAL, ERR_INVALID, "'%s' takes no arguments; see '%s --help'", path, path);
    }
    bool exact = c->min_operands == c->max_operands, few = n < c->min_operands;
    int want = few ? c->min_operands : c->max_operands;
    return err_set(e, EINVAL, ERR_INVALID, "'%s' requires %s %d argument%s; see '%s --help'", path,
                   exact ? "exactly" : few ? "at least" : "at most", want, want == 1 ? "" : "s", path);
}

static int parse_command(const struct command *c, struct command_line *l, void *target, bool has_subs, struct err *e)
{
    l->command = c;
    if (c->defaults && target == l->args && c->args_size > 0) {
        memcpy(target, c->defaults, c->args_size);
    }
    return opts_parse(&c->opts, target, has_subs || c->options_first, l->path, &l->argc, &l->argv, &l->help, e);
}

int command_parse(const struct command *root, void *globals, int argc, char **argv, struct command_line *ret,
                  struct err *e)
{
    char **copy = calloc((size_t)argc + 1, sizeof(*copy));
    if (!copy) {
        *ret = (struct command_line){ 0 };
        return err_oom(e);
    }
    memcpy(copy, argv, (size_t)argc * sizeof(*copy));
    *ret = (struct command_line){ .argc = argc, .argv = copy, .words = copy };
    snprintf(ret->path, sizeof(ret->path), "%s", root->name);
    int r = parse_command(root, ret, globals, root->n_commands > 0, e);
    const struct command *c = root;
    while (r == 0 && !ret->help && c->n_commands > 0) {
        if (ret->argc == 0) {
            ret->help = !c->run;
            break;
        }
        const struct command *sub = find_command(c, ret->argv[0]);
        if (!sub && strcmp(ret->argv[0], "help") == 0) { /* "tare help run" is "tare run --help" */
            sub = ret->argc > 1 ? find_command(c, ret->argv[1]) : c;
            ret->help = true;
        }
        if (!sub) {
            return err_set(e, EINVAL, ERR_INVALID, "unknown command: %.100s; see '%s --help'", ret->argv[0], ret->path);
        }
        if (sub != c) {
            size_t len = strlen(ret->path);
            snprintf(ret->path + len, sizeof(ret->path) - len, " %s", sub->name);
        }
        ret->command = c = sub;
        if (ret->help) {
            return 0;
        }
        ret->args = calloc(1, c->args_size ? c->args_size : 1);
        if (!ret->args) {
            return err_oom(e);
        }
        r = parse_command(c, ret, ret->args, c->n_commands > 0, e);
        if (r == 0 && c->n_commands > 0) { /* a group: its options are those of its commands */
            free(PTR_STEAL(ret->args));
        }
    }
    if (r < 0 || ret->help) {
        return r;
    }
    return check_operands(c, ret->path, ret->argc, e);
}

void command_line_done(struct command_line *l)
{
    if (l->command) {
        opts_free(&l->command->opts, l->args);
    }
    free(l->args);
    free(l->words);
    l->args = NULL;
    l->words = NULL;
}
