/*
 * base/opts.h: command lines: tables of options with the member that each one sets, commands with sub-commands, and help text
 * made from the same tables, so that it cannot drift. Nothing here prints or exits.
 *
 * Forms: --name VALUE, --name=VALUE, -n VALUE, -nVALUE, -n=VALUE, flags clustered (-it), --flag=false, "--" ends the options. Where
 * an option is given twice the last one counts, lists collect. Strings point into argv.
 *
 * In a help text a back-quoted word names the value: "write the pid to `FILE`" shows as "--pid-file FILE  write the pid to FILE".
 * An option without a help text works but is not shown.
 */
#pragma once

#include "base/buf.h"

enum opt_kind {
    OPT_K_FLAG,     /* bool */
    OPT_K_STR,      /* const char * */
    OPT_K_STRS,     /* char **, NULL-terminated, owned: opts_free() */
    OPT_K_I64,      /* int64_t */
    OPT_K_U32,      /* uint32_t */
    OPT_K_SIZE,     /* int64_t, bytes, "64m"; "-1" is taken as it is */
    OPT_K_DURATION, /* int64_t, nanoseconds, "10s" */
    OPT_K_CALL,     /* fn(member, value) */
};

/* member: the target with the option's offset added. An error is wrapped with the option's name. */
typedef int opt_fn(void *member, const char *value, struct err *e);

struct opt {
    char letter;      /* '\0': none */
    const char *name; /* without dashes */
    enum opt_kind kind;
    size_t offset;
    opt_fn *fn;
    const char *help;
};

#define OPT_ENTRY(letter, name, kind, offset, fn, help)                                            \
    {                                                                                              \
        letter, name, OPT_K_##kind, offset, fn, help                                               \
    }
#define OPT_FLAG(letter, name, offset, help) OPT_ENTRY(letter, name, FLAG, offset, NULL, help)
#define OPT_STR(letter, name, offset, help) OPT_ENTRY(letter, name, STR, offset, NULL, help)
#define OPT_STRS(letter, name, offset, help) OPT_ENTRY(letter, name, STRS, offset, NULL, help)
#define OPT_I64(letter, name, offset, help) OPT_ENTRY(letter, name, I64, offset, NULL, help)
#define OPT_U32(letter, name, offset, help) OPT_ENTRY(letter, name, U32, offset, NULL, help)
#define OPT_SIZE(letter, name, offset, help) OPT_ENTRY(letter, name, SIZE, offset, NULL, help)
#define OPT_DURATION(letter, name, offset, help) OPT_ENTRY(letter, name, DURATION, offset, NULL, help)
#define OPT_CALL(letter, name, offset, fn, help) OPT_ENTRY(letter, name, CALL, offset, fn, help)

struct opts {
    const struct opt *v;
    size_t n;
};
#define OPTS(table)                                                                                \
    {                                                                                              \
        table, ARRAY_LEN(table)                                                                    \
    }

enum { OPTS_ANY = 1 << 20 };

struct command {
    const char *name;
    const char *aliases;     /* other names, separated by spaces; NULL */
    const char *operands;    /* "CONTAINER COMMAND [ARG...]" for the usage line; NULL */
    const char *summary;     /* one line; NULL hides the command from its parent's list */
    const char *description; /* more of it, for the command's own help; NULL */
    const char *examples;    /* lines; NULL */
    struct opts opts;
    size_t args_size;        /* of the struct that opts fills */
    const void *defaults;    /* copied into it first; NULL: zeroes */
    int min_operands, max_operands;
    bool options_first;      /* the first operand ends the options: run IMAGE COMMAND -x */
    const struct command *commands; /* sub-commands; NULL: none */
    size_t n_commands;
    /* Returns the exit code. globals: what the root's options filled; args: this command's struct. */
    int (*run)(void *globals, void *args, int argc, char **argv);
};

struct command_line {
    const struct command *command;
    char path[96]; /* "tare pod run" */
    void *args;    /* owned */
    int argc;      /* operands */
    char **argv;   /* NULL-terminated; the strings are those that were given */
    bool help;     /* --help was given, or a command that needs a sub-command stands alone: show command_help() */
    char **words;  /* owned: what argv points into */
};
void command_line_done(struct command_line *l);
#define CLEANUP_COMMAND_LINE CLEANUP(command_line_done)

/*
 * Parses the options of one table. argv[0] is skipped; on return *argc and *argv hold the operands alone. *ret_help is set when
 * --help (or -h, where the table does not use it) was met; parsing ends there. path: for errors, "see 'PATH --help'".
 */
MUST_USE int opts_parse(const struct opts *o, void *target, bool options_first, const char *path, int *argc,
                        char ***argv, bool *ret_help, struct err *e);
/* Releases the lists that options collected. */
void opts_free(const struct opts *o, void *target);

/*
 * Parses a whole command line. root's own options (before the command) go to globals, a struct of the caller's with defaults in
 * it; ret->args is the chosen command's struct. Errors are ERR_INVALID, one line, and name the --help to look at. ret is to be
 * released with command_line_done() in any case; after an error its path tells how far the parser came.
 */
MUST_USE int command_parse(const struct command *root, void *globals, int argc, char **argv,
                           struct command_line *ret, struct err *e);
/* The help text: usage line, description, options or commands, examples. */
void command_help(const struct command *c, const char *path, struct buf *out);
