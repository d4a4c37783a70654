/* cmd/tare-image.c: images, rmi, tag, history, load, save, prune. */
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/human.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct image_args {
    bool all, quiet, no_trunc, digests, force, human;
    const char *format, *input, *output;
    char **filter;
};
static const struct image_args image_defaults = { .human = true };

static const struct view_column image_columns[] = {
    { "Repository", "REPOSITORY" }, { "Tag", "TAG" },          { "ID", "IMAGE ID" }, { "CreatedSince", "CREATED" },
    { "CreatedAt", "CREATED AT" },  { "Digest", "DIGEST" },    { "Size", "SIZE" },
};
static const struct view image_view = { image_columns, ARRAY_LEN(image_columns),
                                        "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}", "{{.ID}}" };
static const struct view digest_view = { image_columns, ARRAY_LEN(image_columns),
                                         "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}", "{{.ID}}" };

/* docker leaves its own registry out of names. */
static const char *familiar(const char *name)
{
    static const char *const prefixes[] = { "docker.io/library/", "docker.io/" };
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (str_starts(name, prefixes[i])) {
            return name + strlen(prefixes[i]);
        }
    }
    return name;
}

/* The digest under which this repository knows it. */
static const char *digest_of(const struct engine_image *i, const char *repo, size_t len)
{
    for (size_t k = 0; i->digests && i->digests[k]; k++) {
        if (strncmp(i->digests[k], repo, len) == 0 && i->digests[k][len] == '@') {
            return i->digests[k] + len + 1;
        }
    }
    return "<none>";
}

static json_t *image_row(const struct image_args *a, const struct engine_image *i, const char *tag)
{
    CLEANUP_BUF struct buf b = { 0 };
    const char *name = tag ? tag : i->digests && i->digests[0] ? i->digests[0] : NULL;
    const char *colon = tag ? strrchr(tag, ':') : name ? strchr(name, '@') : NULL;
    size_t len = name ? colon ? (size_t)(colon - name) : strlen(name) : 0;
    json_t *o = json_object();
    const char *shown = name ? familiar(name) : "<none>";
    json_object_set_new(o, "Repository", name ? json_stringn(shown, len - (size_t)(shown - name)) : json_string(shown));
    json_object_set_new(o, "Tag", json_string(tag && colon ? colon + 1 : "<none>"));
    json_object_set_new(o, "ID", cli_id(i->id, a->no_trunc));
    json_object_set_new(o, "Digest", json_string(name ? digest_of(i, name, len) : "<none>"));
    human_duration(human_now() - i->created_at, &b);
    buf_adds(&b, " ago");
    json_object_set_new(o, "CreatedSince", cli_text(&b));
    human_date(i->created_at, &b);
    json_object_set_new(o, "CreatedAt", cli_text(&b));
    human_size(i->size, &b);
    json_object_set_new(o, "Size", cli_text(&b));
    return o;
}

static bool by_dangling(const void *o, const char *v)
{
    const struct engine_image *i = o;
    return (strv_len(i->tags) == 0) == (strcmp(v, "true") == 0 || strcmp(v, "1") == 0);
}

static bool by_label(const void *o, const char *v)
{
    return cli_label_match(&((const struct engine_image *)o)->labels, v);
}

static bool by_reference(const void *o, const char *v)
{
    const struct engine_image *i = o;
    size_t n = strlen(v), stem = n > 0 && v[n - 1] == '*' ? n - 1 : n;
    for (size_t k = 0; i->tags && i->tags[k]; k++) {
        const char *name = familiar(i->tags[k]);
        if ((strncmp(name, v, stem) == 0 && (stem < n || !name[n] || name[n] == ':')) || strcmp(i->tags[k], v) == 0) {
            return true;
        }
    }
    return false;
}

static const struct {
    const char *key;
    bool (*match)(const void *o, const char *v);
} image_filters[] = { { "dangling", by_dangling }, { "label", by_label }, { "reference", by_reference } };

static int newest_first(const void *a, const void *b)
{
    const struct engine_image *x = *(const struct engine_image *const *)a, *y = *(const struct engine_image *const *)b;
    return x->created_at < y->created_at ? 1 : x->created_at > y->created_at ? -1 : strcmp(x->id, y->id);
}

static void add_rows(const struct image_args *a, char *const *filter, const struct engine_image *i, json_t *rows)
{
    for (size_t k = 0; k < ARRAY_LEN(image_filters); k++) {
        if (!cli_filter(filter, image_filters[k].key, image_filters[k].match, i)) {
            return;
        }
    }
    if (a->quiet || strv_len(i->tags) == 0) {
        json_array_append_new(rows, image_row(a, i, i->tags ? i->tags[0] : NULL));
        return;
    }
    for (size_t k = 0; i->tags[k]; k++) {
        json_array_append_new(rows, image_row(a, i, i->tags[k]));
    }
}

static int run_images(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct image_args *a = args;
    struct engine_images list = { 0 };
    struct err e = { 0 };
    const char *known[ARRAY_LEN(image_filters)];
    for (size_t i = 0; i < ARRAY_LEN(image_filters); i++) {
        known[i] = image_filters[i].key;
    }
    if (argc > 0) {
        CLEANUP_FREE char *f = str_printf("reference=%s", argv[0]);
        if (!f || strv_push(&a->filter, f) < 0) {
            err_oom(&e);
            return cli_fail(c, &e, 1);
        }
    }
    if (cli_filters_check(a->filter, known, ARRAY_LEN(known), &e) < 0 || cli_engine(c, &e) < 0 || engine_image_list(c->g, &list, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    if (list.n > 0) {
        qsort(list.v, list.n, sizeof(struct engine_image *), newest_first);
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < list.n; i++) {
        add_rows(a, a->filter, list.v[i], rows);
    }
    engine_images_done(&list);
    return cli_view(c, a->digests ? &digest_view : &image_view, a->format, a->quiet, a->no_trunc, rows);
}

static void put_lines(char **lines)
{
    for (size_t i = 0; lines && lines[i]; i++) {
        cli_puts(lines[i]);
    }
    strv_free(lines);
}

static int rmi_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    const struct image_args *a = args;
    char **lines = NULL;
    int r = engine_image_remove(c->g, ref, a->force, false, &lines, e);
    put_lines(lines);
    return r < 0 && a->force && e->kind == ERR_NOT_FOUND ? 0 : r;
}

static int run_rmi(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, rmi_one, args, true);
}

static int run_tag(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct err e = { 0 };
    (void)args, (void)argc;
    if (cli_engine(c, &e) < 0 || engine_image_tag(c->g, argv[0], argv[1], &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    return 0;
}

/* ---- history ------------------------------------------------------------------------------------ */

static const struct view_column history_columns[] = {
    { "ID", "IMAGE" },  { "CreatedSince", "CREATED" }, { "CreatedAt", "CREATED AT" }, { "CreatedBy", "CREATED BY" },
    { "Size", "SIZE" }, { "Comment", "COMMENT" },
};
static const struct view history_view = { history_columns, ARRAY_LEN(history_columns),
                                          "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", "{{.ID}}" };

static json_t *history_row(const struct image_args *a, json_t *h, json_t *id, json_t *layer)
{
    CLEANUP_BUF struct buf b = { 0 };
    json_t *o = json_object();
    const char *by = json_string_value(json_object_get(h, "created_by")), *at = json_string_value(json_object_get(h, "created"));
    const char *comment = json_string_value(json_object_get(h, "comment"));
    int64_t when = 0;
    json_object_set_new(o, "ID", id);
    if (at && human_when(at, 0, &when) == 0) {
        human_duration(human_now() - when, &b);
        buf_adds(&b, " ago");
    } else {
        buf_adds(&b, "N/A");
    }
    json_object_set_new(o, "CreatedSince", cli_text(&b));
    json_object_set_new(o, "CreatedAt", json_string(at ? at : ""));
    size_t len = by ? strlen(by) : 0;
    buf_addf(&b, "%.*s%s", a->no_trunc || len <= 45 ? (int)len : 44, by ? by : "", a->no_trunc || len <= 45 ? "" : "…");
    json_object_set_new(o, "CreatedBy", cli_text(&b));
    human_size(layer ? (uint64_t)json_integer_value(json_object_get(layer, "size")) : 0, &b);
    json_object_set_new(o, "Size", cli_text(&b));
    json_object_set_new(o, "Comment", json_string(comment ? comment : ""));
    return o;
}

static int run_history(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct image_args *a = args;
    struct engine_image *img = NULL;
    struct err e = { 0 };
    CLEANUP_FREE char *config = NULL, *manifest = NULL;
    (void)argc;
    if (cli_engine(c, &e) < 0 || engine_image_get(c->g, argv[0], &img, &e) < 0 ||
        engine_image_config(c->g, argv[0], &config, &manifest, &e) < 0) {
        engine_image_free(img);
        return cli_fail(c, &e, 1);
    }
    json_t *doc = json_loads(config, 0, NULL), *m = manifest ? json_loads(manifest, 0, NULL) : NULL, *rows = json_array();
    json_t *history = json_object_get(doc, "history"), *layers = json_object_get(m, "layers");
    size_t layer = json_array_size(layers);
    for (size_t i = json_array_size(history); i-- > 0;) {
        json_t *h = json_array_get(history, i), *l = NULL;
        if (!json_is_true(json_object_get(h, "empty_layer")) && layer > 0) {
            l = json_array_get(layers, --layer);
        }
        bool top = i + 1 == json_array_size(history);
        json_array_append_new(rows, history_row(a, h, top ? cli_id(img->id, a->no_trunc) : json_string("<missing>"), l));
    }
    json_decref(doc);
    json_decref(m);
    engine_image_free(img);
    return cli_view(c, &history_view, a->format, a->quiet, a->no_trunc, rows);
}

/* ---- load, save, prune ---------------------------------------------------------------------------- */

static int run_load(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct image_args *a = args;
    struct err e = { 0 };
    struct stat st;
    char **names = NULL;
    const char *path = a->input ? a->input : argc > 0 ? argv[0] : NULL;
    CLEANUP_FD int fd = path && strcmp(path, "-") != 0 ? open(path, O_RDONLY | O_CLOEXEC) : dup(STDIN_FILENO);
    if (fd < 0 || fstat(fd, &st) < 0) {
        err_sys(&e, errno, "open %.200s", path ? path : "standard input");
        return cli_fail(c, &e, 1);
    }
    if (!path && isatty(STDIN_FILENO)) {
        cli_note(c, "requested load from stdin, but stdin is a terminal; try 'tare load -i FILE'");
        return 1;
    }
    bool dir = S_ISDIR(st.st_mode);
    if (cli_engine(c, &e) < 0 || engine_image_load(c->g, dir ? -1 : fd, dir ? path : NULL, &names, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    for (size_t i = 0; names && names[i]; i++) {
        CLEANUP_FREE char *line = a->quiet ? strdup(names[i]) : str_printf("Loaded image%s: %s", str_starts(names[i], "sha256:") ? " ID" : "", familiar(names[i]));
        cli_puts(line ? line : names[i]);
    }
    strv_free(names);
    return 0;
}

static int run_save(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct image_args *a = args;
    struct err e = { 0 };
    enum engine_archive format = ENGINE_ARCHIVE_DOCKER;
    (void)argc;
    if (str_eq(a->format, "oci-archive")) {
        format = ENGINE_ARCHIVE_OCI;
    } else if (a->format && strcmp(a->format, "docker-archive") != 0) {
        cli_note(c, "unknown format '%.40s' (docker-archive, oci-archive)", a->format);
        return 1;
    }
    if (!a->output && isatty(STDOUT_FILENO)) {
        cli_note(c, "cowardly refusing to save to a terminal; use the -o flag or redirect");
        return 1;
    }
    int r = cli_engine(c, &e);
    /* Before the first byte is written. */
    for (char **ref = argv; r == 0 && *ref; ref++) {
        struct engine_image *img = NULL;
        r = engine_image_get(c->g, *ref, &img, &e);
        engine_image_free(img);
    }
    if (r < 0) {
        return cli_fail(c, &e, 1);
    }
    CLEANUP_FREE char *tmp = a->output ? str_printf("%s.tmp-%d", a->output, (int)getpid()) : NULL;
    CLEANUP_FD int fd = a->output ? open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : dup(STDOUT_FILENO);
    if (fd < 0) {
        err_sys(&e, errno, "open %.200s", a->output ? a->output : "standard output");
        return cli_fail(c, &e, 1);
    }
    r = engine_image_save(c->g, argv, format, fd, &e);
    if (r == 0 && a->output && rename(tmp, a->output) < 0) {
        r = err_sys(&e, errno, "rename to %.200s", a->output);
    }
    if (r < 0 && a->output) {
        unlink(tmp);
    }
    return r < 0 ? cli_fail(c, &e, 1) : 0;
}

static int run_image_prune(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct image_args *a = args;
    struct err e = { 0 };
    char **lines = NULL;
    uint64_t bytes = 0;
    CLEANUP_BUF struct buf out = { 0 };
    (void)argc, (void)argv;
    if (cli_engine(c, &e) < 0 || engine_image_prune(c->g, a->all, &lines, &bytes, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    put_lines(lines);
    buf_adds(&out, "Total reclaimed space: ");
    human_size(bytes, &out);
    return cli_puts(buf_str(&out));
}

#define I(member) offsetof(struct image_args, member)
static const struct opt images_opts[] = {
    OPT_FLAG('a', "all", I(all), NULL),
    OPT_STRS('f', "filter", I(filter), "only those with `KEY=VALUE`: dangling, label, reference"),
    OPT_STR('\0', "format", I(format), "`FORMAT`: json, a template, or 'table TEMPLATE'"),
    OPT_FLAG('q', "quiet", I(quiet), "only ids"),
    OPT_FLAG('\0', "no-trunc", I(no_trunc), "nothing shortened"),
    OPT_FLAG('\0', "digests", I(digests), "show digests"),
};
static const struct opt rmi_opts[] = { OPT_FLAG('f', "force", I(force), "even if containers use it; a missing one is fine"),
                                       OPT_FLAG('\0', "no-prune", I(all), NULL) };
static const struct opt history_opts[] = {
    OPT_STR('\0', "format", I(format), "`FORMAT`: json, a template, or 'table TEMPLATE'"),
    OPT_FLAG('H', "human", I(human), "sizes and times for people (default true)"),
    OPT_FLAG('q', "quiet", I(quiet), "only ids"),
    OPT_FLAG('\0', "no-trunc", I(no_trunc), "nothing shortened"),
};
static const struct opt load_opts[] = { OPT_STR('i', "input", I(input), "read `FILE` (or the folder of an OCI layout)"),
                                        OPT_FLAG('q', "quiet", I(quiet), "only names") };
static const struct opt save_opts[] = { OPT_STR('o', "output", I(output), "write to `FILE`"),
                                        OPT_STR('\0', "format", I(format), "`docker-archive` or oci-archive") };
static const struct opt prune_opts[] = { OPT_FLAG('a', "all", I(all), "all that no container uses, not only untagged ones"),
                                         OPT_FLAG('f', "force", I(force), "accepted; tare never asks") };
#define IMAGE(table, fn) .opts = OPTS(table), .args_size = sizeof(struct image_args), .defaults = &image_defaults, .run = fn
const struct command command_images = { .name = "images", .operands = "[REPOSITORY[:TAG]]", .summary = "List images",
                                        IMAGE(images_opts, run_images), .max_operands = 1 };
const struct command command_rmi = { .name = "rmi", .operands = "IMAGE [IMAGE...]", .summary = "Remove images", IMAGE(rmi_opts, run_rmi),
                                     .min_operands = 1, .max_operands = OPTS_ANY };
const struct command command_tag = { .name = "tag", .operands = "IMAGE NEW_NAME[:TAG]", .summary = "Give an image another name",
                                     .min_operands = 2, .max_operands = 2, .run = run_tag };
const struct command command_history = { .name = "history", .operands = "IMAGE", .summary = "Show how an image was made",
                                         IMAGE(history_opts, run_history), .min_operands = 1, .max_operands = 1 };
const struct command command_load = { .name = "load", .operands = "[FILE]", .summary = "Load images from an archive or an OCI layout",
                                      .examples = "tare load -i busybox.tar", IMAGE(load_opts, run_load), .max_operands = 1 };
const struct command command_save = { .name = "save", .operands = "IMAGE [IMAGE...]", .summary = "Save images to an archive",
                                      .examples = "tare save -o busybox.tar busybox\ntare save --format oci-archive -o b.tar busybox",
                                      IMAGE(save_opts, run_save), .min_operands = 1, .max_operands = OPTS_ANY };
const struct command command_image_prune = { .name = "prune", .summary = "Remove images that nothing uses",
                                             IMAGE(prune_opts, run_image_prune) };
