/* cmd/cli.h: what every sub-command of tare gets: global options, the engine, and how it prints and fails. */
#pragma once

#include "base/opts.h"
#include "cmd/config.h"
#include "cmd/view.h"

struct cli {
    /* global options; NULL: from the configuration */
    const char *root, *run, *config_path, *log_level, *ns;
    bool version, debug;
    /* the rest is set by main */
    const char *path; /* "tare container run" */
    struct config config;
    struct engine *g;
    struct log log;
    char *self; /* this program's path */
    const struct command *tree;
};

/* Opens the engine if that has not been done, and lets it recover. */
MUST_USE int cli_engine(struct cli *c, struct err *e);
/* "tare: run: TEXT" on standard error. Returns code. */
int cli_fail(const struct cli *c, const struct err *e, int code);
void cli_note(const struct cli *c, const char *fmt, ...) PRINTF(2, 3);
/* Writes to standard output; a closed pipe ends quietly. Returns 0 or 1, an exit code. */
int cli_put(const struct buf *b);
int cli_puts(const char *s);
/* Columns of the terminal on fd, 0 if it is none. */
size_t cli_width(int fd);
/* Whether to colour what goes to fd. */
bool cli_colour(int fd);

/* fn for each operand; what was done is printed by name unless quiet. Exit code 1 if any failed. */
typedef int cli_each_fn(struct cli *c, const char *ref, const void *args, struct err *e);
int cli_each(struct cli *c, int argc, char **argv, cli_each_fn *fn, const void *args, bool quiet);

/* Prints rows (stolen) by a view. Exit code. */
int cli_view(struct cli *c, const struct view *v, const char *format, bool quiet, bool no_trunc, json_t *rows);
/* Twelve digits of an id, or all of it; "sha256:" is taken off when it is cut. */
json_t *cli_id(const char *id, bool whole);
/* A JSON string of the buffer's text, which is emptied. */
json_t *cli_text(struct buf *b);
json_t *cli_strs(char *const *v);
json_t *cli_map(const struct str_map *m);
/* "k=v,k=v" */
json_t *cli_pairs(const struct str_map *m);
json_t *cli_when(int64_t ns);

/* --filter KEY=VALUE: values of a key; several of one key are alternatives. */
MUST_USE int cli_filters_check(char *const *filters, const char *const *known, size_t n, struct err *e);
/* Calls match with each value of the key: true if there is none or one matches. */
bool cli_filter(char *const *filters, const char *key, bool (*match)(const void *object, const char *value), const void *object);
/* "KEY" or "KEY=VALUE" against labels. */
bool cli_label_match(const struct str_map *labels, const char *want);

/* The inspect form of objects. New reference. */
json_t *inspect_ctr(struct cli *c, const struct engine_ctr *ctr);
json_t *inspect_pod(const struct engine_pod *p);
json_t *inspect_image(struct cli *c, const struct engine_image *i);
json_t *inspect_volume(const struct engine_volume *v);
/* Prints the list as an array, or each by the format. Steals list. */
int inspect_print(struct cli *c, const char *format, json_t *list);

/* Removes the anonymous volumes among the mounts of a container that is gone. */
void volumes_forget(struct cli *c, const struct engine_ctr *ctr);

/* Pulls with progress on standard error. */
struct pull_args {
    const char *platform, *progress, *creds;
    bool quiet, all_tags, tls_verify;
};
MUST_USE int pull_image(struct cli *c, const char *ref, const struct pull_args *a, char **ret_id, struct err *e);
