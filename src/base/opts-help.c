/* base/opts-help.c: help text from the tables of options and commands. See opts.h. */
#include "base/opts.h"

#include <stdio.h>

enum { WIDTH_MAX = 30 }; /* longer option forms get a line of their own */

/* The word between back-quotes in the help text, else one by kind; empty for flags. */
static void value_name(const struct opt *o, struct buf *out)
{
    static const char *const names[] = {
        [OPT_K_STR] = "STRING", [OPT_K_STRS] = "STRING",       [OPT_K_I64] = "N",       [OPT_K_U32] = "N",
        [OPT_K_SIZE] = "SIZE",  [OPT_K_DURATION] = "DURATION", [OPT_K_CALL] = "STRING",
    };
    const char *quote = o->help ? strchr(o->help, '`') : NULL;
    const char *end = quote ? strchr(quote + 1, '`') : NULL;
    if (o->kind == OPT_K_FLAG) {
        return;
    }
    buf_addc(out, ' ');
    if (end) {
        buf_add(out, quote + 1, (size_t)(end - quote - 1));
    } else {
        buf_adds(out, names[o->kind]);
    }
}

static void option_form(const struct opt *o, struct buf *out)
{
    if (o->letter) {
        buf_addf(out, "  -%c%s", o->letter, o->name ? ", " : "");
    } else {
        buf_adds(out, "      ");
    }
    if (o->name) {
        buf_addf(out, "--%s", o->name);
    }
    value_name(o, out);
}

/* The help text without back-quotes; lists say that they are. */
static void option_text(const struct opt *o, struct buf *out)
{
    for (const char *c = o->help; *c; c++) {
        if (*c != '`') {
            buf_addc(out, *c);
        }
    }
    if (o->kind == OPT_K_STRS) {
        buf_adds(out, " (repeatable)");
    }
}

static void aligned(struct buf *out, const char *left, size_t width, const char *right)
{
    if (strlen(left) > width) {
        buf_addf(out, "%s\n%*s  %s\n", left, (int)width, "", right);
    } else {
        buf_addf(out, "%-*s  %s\n", (int)width, left, right);
    }
}

static void add_options(const struct opts *opts, struct buf *out)
{
    static const struct opt help = { 'h', "help", OPT_K_FLAG, 0, NULL, "show this text" };
    CLEANUP_BUF struct buf form = { 0 }, text = { 0 };
    size_t width = strlen("  -h, --help");
    bool own_h = false;
    for (size_t i = 0; i < opts->n; i++) {
        own_h |= opts->v[i].letter == 'h';
        buf_reset(&form);
        option_form(&opts->v[i], &form);
        if (opts->v[i].help && form.len > width && form.len <= WIDTH_MAX) {
            width = form.len;
        }
    }
    buf_adds(out, "\nOptions:\n");
    for (size_t i = 0; i <= opts->n; i++) {
        struct opt o = i < opts->n ? opts->v[i] : help;
        if (i == opts->n && own_h) {
            o.letter = '\0';
        }
        if (!o.help) {
            continue;
        }
        buf_reset(&form);
        buf_reset(&text);
        option_form(&o, &form);
        option_text(&o, &text);
        aligned(out, buf_str(&form), width, buf_str(&text));
    }
}

static void add_commands(const struct command *c, struct buf *out)
{
    size_t width = 0;
    for (size_t i = 0; i < c->n_commands; i++) {
        size_t n = strlen(c->commands[i].name);
        if (c->commands[i].summary && n > width) {
            width = n;
        }
    }
    buf_adds(out, "\nCommands:\n");
    for (size_t i = 0; i < c->n_commands; i++) {
        if (c->commands[i].summary) {
            buf_addf(out, "  %-*s  %s\n", (int)width, c->commands[i].name, c->commands[i].summary);
        }
    }
}

/* Lines, indented by two. */
static void add_examples(const char *text, struct buf *out)
{
    buf_adds(out, "\nExamples:\n");
    while (*text) {
        size_t n = strcspn(text, "\n");
        buf_addf(out, "%s%.*s\n", n ? "  " : "", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

void command_help(const struct command *c, const char *path, struct buf *out)
{
    buf_addf(out, "Usage: %s [OPTIONS]", path);
    if (c->n_commands > 0) {
        buf_adds(out, " COMMAND");
    }
    if (c->operands) {
        buf_addf(out, " %s", c->operands);
    }
    buf_addc(out, '\n');
    if (c->summary) {
        buf_addf(out, "\n%s\n", c->summary);
    }
    if (c->description) {
        buf_addf(out, "\n%s\n", c->description);
    }
    if (c->aliases) {
        buf_addf(out, "\nOther names: %s\n", c->aliases);
    }
    if (c->n_commands > 0) {
        add_commands(c, out);
    }
    add_options(&c->opts, out);
    if (c->examples) {
        add_examples(c->examples, out);
    }
    if (c->n_commands > 0) {
        buf_addf(out, "\n'%s COMMAND --help' tells more of a command.\n", path);
    }
}
