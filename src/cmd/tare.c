/* cmd/tare.c: main of tare: global options, the tree of commands, docker's management groups. */
#include "cmd/cli.h"
#include "cmd/commands.h"

#include <stdio.h>
#include <unistd.h>

/* A command in a group, under the group's name for it; name NULL: its own. */
struct entry {
    const struct command *command;
    const char *name, *aliases;
};

struct group {
    const char *name, *aliases, *summary;
    const struct entry *entries;
    size_t n;
};

static const struct entry container_entries[] = {
    { &command_ps, "ls", "ps list" },  { &command_run, NULL, NULL },     { &command_create, NULL, NULL },
    { &command_start, NULL, NULL },    { &command_stop, NULL, NULL },    { &command_restart, NULL, NULL },
    { &command_kill, NULL, NULL },     { &command_pause, NULL, NULL },   { &command_unpause, NULL, NULL },
    { &command_rm, NULL, "remove" },   { &command_logs, NULL, NULL },    { &command_exec, NULL, NULL },
    { &command_attach, NULL, NULL },   { &command_wait, NULL, NULL },    { &command_top, NULL, NULL },
    { &command_stats, NULL, NULL },    { &command_cp, NULL, NULL },      { &command_rename, NULL, NULL },
    { &command_port, NULL, NULL },     { &command_update, NULL, NULL },  { &command_diff, NULL, NULL },
    { &command_container_inspect, NULL, NULL }, { &command_container_prune, NULL, NULL }, { &command_cleanup, NULL, NULL },
};
static const struct entry image_entries[] = {
    { &command_images, "ls", "list" }, { &command_pull, NULL, NULL },    { &command_push, NULL, NULL },
    { &command_rmi, "rm", "remove" },  { &command_tag, NULL, NULL },     { &command_history, NULL, NULL },
    { &command_load, NULL, NULL },     { &command_save, NULL, NULL },    { &command_image_inspect, NULL, NULL },
    { &command_image_prune, NULL, NULL },
};
static const struct entry pod_entries[] = {
    { &command_pod_run, "run", "create" }, { &command_pod_ls, "ls", "ps list" },  { &command_pod_inspect, NULL, NULL },
    { &command_pod_stop, NULL, NULL },     { &command_pod_rm, NULL, "remove" },   { &command_pod_logs, NULL, NULL },
};
static const struct entry volume_entries[] = {
    { &command_volume_create, NULL, NULL }, { &command_volume_ls, NULL, "list" }, { &command_volume_inspect, NULL, NULL },
    { &command_volume_rm, NULL, "remove" }, { &command_volume_prune, NULL, NULL },
};
static const struct entry network_entries[] = { { &command_network_ls, NULL, "list" } };
static const struct entry registry_entries[] = { { &command_registry_explain, NULL, NULL }, { &command_login, NULL, NULL },
                                                 { &command_logout, NULL, NULL } };
static const struct entry system_entries[] = {
    { &command_info, NULL, NULL },  { &command_df, NULL, NULL },  { &command_prune, NULL, NULL },
    { &command_events, NULL, NULL }, { &command_fsck, NULL, NULL },
};
static const struct entry plain_entries[] = {
    { &command_run, NULL, NULL },      { &command_create, NULL, NULL },  { &command_start, NULL, NULL },  { &command_stop, NULL, NULL },
    { &command_restart, NULL, NULL },  { &command_kill, NULL, NULL },    { &command_pause, NULL, NULL },  { &command_unpause, NULL, NULL },
    { &command_rm, NULL, NULL },       { &command_ps, NULL, NULL },      { &command_logs, NULL, NULL },   { &command_exec, NULL, NULL },
    { &command_attach, NULL, NULL },   { &command_wait, NULL, NULL },    { &command_top, NULL, NULL },    { &command_stats, NULL, NULL },
    { &command_cp, NULL, NULL },       { &command_rename, NULL, NULL },  { &command_port, NULL, NULL },   { &command_update, NULL, NULL },
    { &command_diff, NULL, NULL },     { &command_inspect, NULL, NULL }, { &command_events, NULL, NULL }, { &command_pull, NULL, NULL },
    { &command_push, NULL, NULL },     { &command_images, NULL, NULL },  { &command_rmi, NULL, NULL },    { &command_tag, NULL, NULL },
    { &command_history, NULL, NULL },  { &command_load, NULL, NULL },    { &command_save, NULL, NULL },   { &command_login, NULL, NULL },
    { &command_logout, NULL, NULL },   { &command_info, NULL, NULL },    { &command_version, NULL, NULL }, { &command_df, NULL, NULL },
    { &command_prune, NULL, NULL },    { &command_why, NULL, NULL },     { &command_fsck, NULL, NULL },   { &command_completion, NULL, NULL },
};
#define GROUP(name, aliases, summary, table) { name, aliases, summary, table, ARRAY_LEN(table) }
static const struct group groups[] = {
    GROUP("container", NULL, "Manage containers", container_entries), GROUP("image", NULL, "Manage images", image_entries),
    GROUP("pod", "pods", "Manage pods", pod_entries),                 GROUP("volume", NULL, "Manage volumes", volume_entries),
    GROUP("network", NULL, "Manage networks", network_entries),       GROUP("registry", NULL, "Manage registries", registry_entries),
    GROUP("system", NULL, "Manage the whole", system_entries),
};

static const struct opt global_opts[] = {
    OPT_STR('\0', "root", offsetof(struct cli, root), "`DIR` of what lasts (default /var/lib/tare)"),
    OPT_STR('\0', "run", offsetof(struct cli, run), "`DIR` of what runs (default /run/tare)"),
    OPT_STR('\0', "config", offsetof(struct cli, config_path), "read `FILE` (default " CONFIG_PATH ")"),
    OPT_STR('\0', "log-level", offsetof(struct cli, log_level), "`LEVEL`: error, warn, info, debug"),
    OPT_FLAG('D', "debug", offsetof(struct cli, debug), "as --log-level debug"),
    OPT_STR('\0', "namespace", offsetof(struct cli, ns), "`NAME` space of names (default \"default\")"),
    OPT_FLAG('v', "version", offsetof(struct cli, version), "print the version"),
};

static void place(struct command *to, const struct entry *from)
{
    *to = *from->command;
    to->name = from->name ? from->name : to->name;
    to->aliases = from->name || from->aliases ? from->aliases : to->aliases;
}

enum { TREE_MAX = ARRAY_LEN(plain_entries) + ARRAY_LEN(groups), GROUPED_MAX = 64 };

struct tree {
    struct command root, top[TREE_MAX], grouped[GROUPED_MAX];
};

static void grow_tree(struct tree *t)
{
    size_t n = 0, used = 0;
    for (; n < ARRAY_LEN(plain_entries); n++) {
        place(&t->top[n], &plain_entries[n]);
    }
    for (size_t g = 0; g < ARRAY_LEN(groups); g++) {
        struct command *first = &t->grouped[used];
        for (size_t i = 0; i < groups[g].n && used < GROUPED_MAX; i++) {
            place(&t->grouped[used++], &groups[g].entries[i]);
        }
        t->top[n++] = (struct command){ .name = groups[g].name, .aliases = groups[g].aliases, .summary = groups[g].summary,
                                        .commands = first, .n_commands = groups[g].n };
    }
    t->root = (struct command){
        .name = "tare", .summary = "Containers, pods and images, with no daemon", .opts = OPTS(global_opts), .commands = t->top,
        .n_commands = n, .examples = "tare run -it --rm busybox\ntare ps -a\ntare logs -f web",
    };
}

static void warn(void *data, const char *text)
{
    (void)data;
    fprintf(stderr, "tare: %s\n", text);
}

static int configure(struct cli *c, struct err *e)
{
    int r = config_load(c->config_path, warn, c, &c->config, e);
    if (r < 0) {
        return r;
    }
    const char *level = c->debug ? "debug" : c->log_level ? c->log_level : c->config.log_level ? c->config.log_level : "warn";
    c->log = (struct log){ STDERR_FILENO, LOG_WARN, str_eq(c->config.log_format, "json") ? LOG_JSON : LOG_TEXT };
    if (log_level_parse(level, &c->log.level) < 0) {
        return err_set(e, 22, ERR_INVALID, "invalid log level '%.40s' (error, warn, info, debug)", level);
    }
    c->self = realpath("/proc/self/exe", NULL);
    return 0;
}

static int help(const struct command_line *l)
{
    CLEANUP_BUF struct buf text = { 0 };
    command_help(l->command, l->path, &text);
    return cli_put(&text);
}

/* docker exits 125 when the command line of run is wrong, 1 otherwise; 64 and up are not used. */
static int usage_code(const char *path)
{
    return str_ends(path, " run") || str_ends(path, " create") ? 125 : 1;
}

int main(int argc, char **argv)
{
    struct tree tree = { 0 };
    struct cli c = { .path = "tare" };
    CLEANUP_COMMAND_LINE struct command_line line = { 0 };
    struct err e = { 0 };
    int code;
    grow_tree(&tree);
    c.tree = &tree.root;
    int r = command_parse(&tree.root, &c, argc, argv, &line, &e);
    c.path = line.path;
    if (c.version) {
        return cli_puts("tare version " TARE_VERSION);
    }
    if (r < 0) {
        return cli_fail(&c, &e, usage_code(line.path));
    }
    if (line.help) {
        return help(&line);
    }
    code = configure(&c, &e) < 0 ? cli_fail(&c, &e, usage_code(line.path)) : line.command->run(&c, line.args, line.argc, line.argv);
    engine_close(c.g);
    config_done(&c.config);
    free(c.self);
    return code;
}
