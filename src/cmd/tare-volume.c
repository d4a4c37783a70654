/* cmd/tare-volume.c: volumes and networks. */
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/parse.h"

#include <stdio.h>

struct volume_args {
    bool quiet, force, all;
    const char *format, *driver;
    char **label, **filter;
};

static int run_create(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct volume_args *a = args;
    struct str_map labels = { 0 };
    struct err e = { 0 };
    CLEANUP_FREE char *name = NULL;
    int r = a->driver && strcmp(a->driver, "local") != 0
                ? err_set(&e, 95, ERR_UNSUPPORTED, "volume driver '%.40s' is not supported (local)", a->driver)
                : cli_engine(c, &e);
    for (size_t i = 0; r == 0 && a->label && a->label[i]; i++) {
        r = parse_label(a->label[i], &labels, "label", &e);
    }
    if (r == 0) {
        r = engine_volume_create(c->g, argc > 0 ? argv[0] : NULL, &labels, &name, &e);
    }
    str_map_done(&labels);
    return r < 0 ? cli_fail(c, &e, 1) : cli_puts(name);
}

static const struct view_column volume_columns[] = { { "Driver", "DRIVER" }, { "Name", "VOLUME NAME" }, { "Mountpoint", "MOUNTPOINT" },
                                                     { "Labels", "LABELS" }, { "Scope", "SCOPE" },      { "Links", "LINKS" } };
static const struct view volume_view = { volume_columns, ARRAY_LEN(volume_columns), "{{.Driver}}\t{{.Name}}", "{{.Name}}" };

static bool by_name(const void *o, const char *v)
{
    return strstr(((const struct engine_volume *)o)->name, v) != NULL;
}

static bool by_label(const void *o, const char *v)
{
    return cli_label_match(&((const struct engine_volume *)o)->labels, v);
}

static bool by_dangling(const void *o, const char *v)
{
    return (((const struct engine_volume *)o)->users == 0) == (strcmp(v, "true") == 0 || strcmp(v, "1") == 0);
}

static int run_ls(void *globals, void *args, int argc, char **argv)
{
    static const char *const known[] = { "name", "label", "dangling" };
    struct cli *c = globals;
    const struct volume_args *a = args;
    struct engine_volumes list = { 0 };
    struct err e = { 0 };
    (void)argc, (void)argv;
    if (cli_filters_check(a->filter, known, ARRAY_LEN(known), &e) < 0 || cli_engine(c, &e) < 0 || engine_volume_list(c->g, &list, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < list.n; i++) {
        const struct engine_volume *v = list.v[i];
        if (cli_filter(a->filter, "name", by_name, v) && cli_filter(a->filter, "label", by_label, v) &&
            cli_filter(a->filter, "dangling", by_dangling, v)) {
            char links[16];
            snprintf(links, sizeof(links), "%u", v->users);
            json_array_append_new(rows, json_pack("{s:s,s:s,s:s,s:o,s:s,s:s}", "Driver", "local", "Name", v->name, "Mountpoint", v->path,
                                                  "Labels", cli_pairs(&v->labels), "Scope", "local", "Links", links));
        }
    }
    engine_volumes_done(&list);
    return cli_view(c, &volume_view, a->format, a->quiet, false, rows);
}

static int rm_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    return engine_volume_remove(c->g, ref, ((const struct volume_args *)args)->force, e);
}

static int run_rm(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, rm_one, args, false);
}

static int run_prune(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct volume_args *a = args;
    struct engine_volumes list = { 0 };
    struct err e = { 0 };
    int code = 0;
    (void)argc, (void)argv;
    if (cli_engine(c, &e) < 0 || engine_volume_list(c->g, &list, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    for (size_t i = 0; i < list.n; i++) {
        if (list.v[i]->users > 0 || (!a->all && !list.v[i]->anonymous)) {
            continue;
        }
        if (engine_volume_remove(c->g, list.v[i]->name, true, &e) < 0) {
            code = cli_fail(c, &e, 1);
        } else {
            cli_puts(list.v[i]->name);
        }
    }
    engine_volumes_done(&list);
    return code;
}

static const struct view_column network_columns[] = { { "Name", "NAME" }, { "Driver", "DRIVER" }, { "Subnet", "SUBNET" }, { "File", "FILE" } };
static const struct view network_view = { network_columns, ARRAY_LEN(network_columns), "{{.Name}}\t{{.Driver}}\t{{.Subnet}}\t{{.File}}", "{{.Name}}" };

static int run_network_ls(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct volume_args *a = args;
    struct engine_networks list = { 0 };
    struct err e = { 0 };
    (void)argc, (void)argv;
    if (cli_engine(c, &e) < 0 || engine_network_list(c->g, &list, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < list.n; i++) {
        const struct engine_network *n = &list.v[i];
        json_array_append_new(rows, json_pack("{s:s,s:s,s:s,s:s}", "Name", n->name, "Driver", n->driver ? n->driver : "", "Subnet",
                                              n->subnet ? n->subnet : "", "File", n->file ? n->file : ""));
    }
    engine_networks_done(&list);
    return cli_view(c, &network_view, a->format, a->quiet, false, rows);
}

#define V(member) offsetof(struct volume_args, member)
static const struct opt create_opts[] = { OPT_STRS('\0', "label", V(label), "set label `K=V`"),
                                          OPT_STR('d', "driver", V(driver), "`local`") };
static const struct opt ls_opts[] = { OPT_STRS('f', "filter", V(filter), "only those with `KEY=VALUE`: name, label, dangling"),
                                      OPT_STR('\0', "format", V(format), "`FORMAT`: json, a template, or 'table TEMPLATE'"),
                                      OPT_FLAG('q', "quiet", V(quiet), "only names") };
static const struct opt rm_opts[] = { OPT_FLAG('f', "force", V(force), "a missing one is fine") };
static const struct opt prune_opts[] = { OPT_FLAG('a', "all", V(all), "named ones too"),
                                         OPT_FLAG('f', "force", V(force), "accepted; tare never asks") };
static const struct opt network_opts[] = { OPT_STR('\0', "format", V(format), "`FORMAT`: json, a template, or 'table TEMPLATE'"),
                                           OPT_FLAG('q', "quiet", V(quiet), "only names") };
#define VOLUME(fn, table) .opts = OPTS(table), .args_size = sizeof(struct volume_args), .run = fn
const struct command command_volume_create = { .name = "create", .operands = "[NAME]", .summary = "Make a volume",
                                               VOLUME(run_create, create_opts), .max_operands = 1 };
const struct command command_volume_ls = { .name = "ls", .summary = "List volumes", VOLUME(run_ls, ls_opts) };
const struct command command_volume_rm = { .name = "rm", .operands = "VOLUME [VOLUME...]", .summary = "Remove volumes",
                                           VOLUME(run_rm, rm_opts), .min_operands = 1, .max_operands = OPTS_ANY };
const struct command command_volume_prune = { .name = "prune", .summary = "Remove volumes that no container uses",
                                              VOLUME(run_prune, prune_opts) };
const struct command command_network_ls = { .name = "ls", .summary = "List networks", VOLUME(run_network_ls, network_opts) };
