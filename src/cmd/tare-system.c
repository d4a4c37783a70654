/* cmd/tare-system.c: info, version, df, prune, why, fsck. */
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/human.h"
#include "cmd/tmpl.h"

#include <stdio.h>
#include <sys/utsname.h>

struct system_args {
    const char *format;
    bool all, force, volumes, repair, verbose;
};

/* An object by a template or json. Steals it. */
static int put_object(struct cli *c, const char *format, json_t *o)
{
    CLEANUP_BUF struct buf out = { 0 };
    struct err e = { 0 };
    int r = tmpl_run(strcmp(format, "json") == 0 ? "{{json .}}" : format, o, &out, &e);
    json_decref(o);
    return r < 0 ? cli_fail(c, &e, 1) : cli_puts(buf_str(&out));
}

static json_t *info_json(const struct engine_info *i)
{
    json_t *o = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:s,s:s,s:s}", "Containers", (json_int_t)i->n_containers,
                          "ContainersRunning", (json_int_t)i->n_running, "ContainersPaused", (json_int_t)i->n_paused,
                          "ContainersStopped", (json_int_t)(i->n_containers - i->n_running - i->n_paused), "Images",
                          (json_int_t)i->n_images, "Pods", (json_int_t)i->n_pods, "Driver", i->snapshotter ? i->snapshotter : "overlay",
                          "CgroupDriver", i->cgroup_driver ? i->cgroup_driver : "", "CgroupVersion",
                          i->cgroup_version ? i->cgroup_version : "", "KernelVersion", i->kernel ? i->kernel : "", "OperatingSystem",
                          i->os ? i->os : "", "Architecture", i->architecture ? i->architecture : "");
    json_object_set_new(o, "NCPU", json_integer(i->cpus));
    json_object_set_new(o, "MemTotal", json_integer((json_int_t)i->memory));
    json_object_set_new(o, "Name", json_string(i->hostname ? i->hostname : ""));
    json_object_set_new(o, "RootDir", json_string(i->root ? i->root : ""));
    json_object_set_new(o, "RunDir", json_string(i->run ? i->run : ""));
    json_object_set_new(o, "ServerVersion", json_string(TARE_VERSION));
    json_object_set_new(o, "Runtimes", cli_strs(i->runtimes));
    json_object_set_new(o, "Networks", cli_strs(i->networks));
    json_object_set_new(o, "NetworkReady", json_boolean(i->network_ready));
    json_object_set_new(o, "NetworkReason", json_string(i->network_reason ? i->network_reason : ""));
    json_object_set_new(o, "Warnings", cli_strs(i->warnings));
    return o;
}

static const char info_text[] =
        "Containers: {{.Containers}}\n Running: {{.ContainersRunning}}\n Paused: {{.ContainersPaused}}\n"
        " Stopped: {{.ContainersStopped}}\nPods: {{.Pods}}\nImages: {{.Images}}\nVersion: {{.ServerVersion}}\n"
        "Snapshotter: {{.Driver}}\nCgroup Driver: {{.CgroupDriver}}\nCgroup Version: {{.CgroupVersion}}\n"
        "Runtimes: {{join .Runtimes \" \"}}\nNetworks: {{join .Networks \" \"}}"
        "{{if not .NetworkReady}}\nNetwork: not ready: {{.NetworkReason}}{{end}}\n"
        "Kernel Version: {{.KernelVersion}}\nOperating System: {{.OperatingSystem}}\nArchitecture: {{.Architecture}}\n"
        "CPUs: {{.NCPU}}\nTotal Memory: {{.Memory}}\nName: {{.Name}}\nRoot Dir: {{.RootDir}}\nRun Dir: {{.RunDir}}"
        "{{range .Warnings}}\nWARNING: {{.}}{{end}}";

static int run_info(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct system_args *a = args;
    struct engine_info i = { 0 };
    struct err e = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    (void)argc, (void)argv;
    if (cli_engine(c, &e) < 0 || engine_info(c->g, &i, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    json_t *o = info_json(&i);
    human_size_binary(i.memory, &b);
    engine_info_done(&i);
    if (!a->format) {
        json_object_set_new(o, "Memory", cli_text(&b));
    }
    return put_object(c, a->format ? a->format : info_text, o);
}

static int run_version(void *globals, void *args, int argc, char **argv)
{
    const struct system_args *a = args;
    struct utsname u;
    (void)argc, (void)argv;
    uname(&u);
    json_t *client = json_pack("{s:s,s:s,s:s,s:s}", "Version", TARE_VERSION, "Os", "linux", "Arch", u.machine, "KernelVersion", u.release);
    json_t *o = json_pack("{s:o,s:O}", "Client", client, "Server", client);
    return put_object(globals, a->format ? a->format
                                         : "Version: {{.Client.Version}}\nOS/Arch: {{.Client.Os}}/{{.Client.Arch}}\n"
                                           "Kernel: {{.Client.KernelVersion}}", o);
}

static const struct view_column df_columns[] = { { "Type", "TYPE" }, { "TotalCount", "TOTAL" }, { "Active", "ACTIVE" }, { "Size", "SIZE" },
                                                 { "Reclaimable", "RECLAIMABLE" } };
static const struct view df_view = { df_columns, ARRAY_LEN(df_columns), "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}", NULL };

static json_t *df_row(const char *type, uint64_t n, uint64_t active, uint64_t bytes, uint64_t reclaimable)
{
    CLEANUP_BUF struct buf b = { 0 };
    json_t *o = json_pack("{s:s,s:I,s:I}", "Type", type, "TotalCount", (json_int_t)n, "Active", (json_int_t)active);
    human_size(bytes, &b);
    json_object_set_new(o, "Size", cli_text(&b));
    human_size(reclaimable, &b);
    if (bytes > 0) {
        buf_addf(&b, " (%llu%%)", (unsigned long long)(reclaimable * 100 / bytes));
    }
    json_object_set_new(o, "Reclaimable", cli_text(&b));
    return o;
}

/* Images that a container, running or not, was made from. */
static uint64_t images_used(const struct engine_ctrs *ctrs)
{
    uint64_t n = 0;
    for (size_t i = 0; i < ctrs->n; i++) {
        size_t k = 0;
        while (k < i && !str_eq(ctrs->v[k]->image_id, ctrs->v[i]->image_id)) {
            k++;
        }
        n += k == i;
    }
    return n;
}

static int run_df(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct system_args *a = args;
    struct engine_usage u = { 0 };
    struct engine_ctrs ctrs = { 0 };
    struct engine_volumes volumes = { 0 };
    struct err e = { 0 };
    uint64_t used = 0;
    (void)argc, (void)argv;
    if (cli_engine(c, &e) < 0 || engine_usage(c->g, &u, &e) < 0 || engine_ctr_list(c->g, &ctrs, &e) < 0 ||
        engine_volume_list(c->g, &volumes, &e) < 0) {
        engine_ctrs_done(&ctrs);
        engine_usage_done(&u);
        return cli_fail(c, &e, 1);
    }
    for (size_t i = 0; i < volumes.n; i++) {
        used += volumes.v[i]->users > 0;
    }
    json_t *rows = json_array();
    json_array_append_new(rows, df_row("Images", u.n_images, images_used(&ctrs), u.images.bytes, u.images_reclaimable));
    json_array_append_new(rows, df_row("Containers", u.n_containers, u.n_running, u.containers.bytes, u.containers_reclaimable));
    json_t *v = df_row("Local Volumes", volumes.n, used, 0, 0);
    json_object_set_new(v, "Size", json_string("N/A"));
    json_object_set_new(v, "Reclaimable", json_string("N/A"));
    json_array_append_new(rows, v);
    engine_ctrs_done(&ctrs);
    engine_volumes_done(&volumes);
    engine_usage_done(&u);
    return cli_view(c, &df_view, a->format, false, false, rows);
}

/* One of the prune commands with its own arguments. */
static int prune(struct cli *c, const struct command *command, bool all)
{
    void *args = calloc(1, command->args_size);
    char *none[] = { NULL };
    if (!args) {
        return 1;
    }
    for (size_t i = 0; all && i < command->opts.n; i++) {
        if (str_eq(command->opts.v[i].name, "all")) {
            *(bool *)((char *)args + command->opts.v[i].offset) = true;
        }
    }
    int code = command->run(c, args, 0, none);
    free(args);
    return code;
}

static int run_prune(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct system_args *a = args;
    (void)argc, (void)argv;
    int code = prune(c, &command_container_prune, false);
    if (a->volumes) {
        code |= prune(c, &command_volume_prune, a->all);
    }
    return code | prune(c, &command_image_prune, a->all);
}

static int put_op(void *data, const struct engine_op *op)
{
    json_t *rows = data;
    CLEANUP_BUF struct buf b = { 0 };
    json_t *o = json_pack("{s:s,s:s,s:s}", "Operation", op->kind ? op->kind : "", "Stage", op->stage ? op->stage : "", "Error",
                          op->error ? op->error : "");
    json_object_set_new(o, "Object", cli_id(op->object, false));
    json_object_set_new(o, "Started", cli_when(op->started));
    buf_addf(&b, "%.3fs", (double)((op->finished ? op->finished : human_now()) - op->started) / 1e9);
    json_object_set_new(o, "Took", cli_text(&b));
    buf_addf(&b, "%.3fs", (double)((op->finished ? op->finished : human_now()) - op->stage_since) / 1e9);
    json_object_set_new(o, "InStage", cli_text(&b));
    json_object_set_new(o, "State", json_string(op->finished ? op->error && *op->error ? "failed" : "done" : "running"));
    json_array_append_new(rows, o);
    return 0;
}

static const struct view_column why_columns[] = { { "Started", "STARTED" }, { "Operation", "OPERATION" }, { "Object", "OBJECT" }, { "State", "STATE" },
                                                  { "Stage", "STAGE" }, { "Took", "TOOK" }, { "InStage", "IN STAGE" }, { "Error", "ERROR" } };
static const struct view why_view = { why_columns, ARRAY_LEN(why_columns),
                                      "{{.Started}}\t{{.Operation}}\t{{.Object}}\t{{.State}}\t{{.Stage}}\t{{.Took}}\t{{.Error}}", NULL };

static int run_why(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct system_args *a = args;
    struct err e = { 0 };
    json_t *rows = json_array();
    if (cli_engine(c, &e) < 0 || engine_why(c->g, argc > 0 ? argv[0] : NULL, put_op, rows, &e) < 0) {
        json_decref(rows);
        return cli_fail(c, &e, 1);
    }
    if (argc > 0 && json_array_size(rows) == 0) {
        json_decref(rows);
        cli_note(c, "no operation on %s is recorded", argv[0]);
        return 1;
    }
    return cli_view(c, &why_view, a->format, false, true, rows);
}

static void put_finding(void *data, const char *object, const char *finding, bool repaired)
{
    (void)data;
    CLEANUP_FREE char *line = str_printf("%s: %s%s", object, finding, repaired ? " (repaired)" : "");
    cli_puts(line ? line : object);
}

static int run_fsck(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct system_args *a = args;
    struct err e = { 0 };
    size_t problems = 0;
    (void)argc, (void)argv;
    if (cli_engine(c, &e) < 0 || engine_fsck(c->g, a->repair, put_finding, NULL, &problems, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    if (problems == 0) {
        return cli_puts("clean");
    }
    cli_note(c, "%zu problem%s left%s", problems, problems == 1 ? "" : "s", a->repair ? "" : "; try 'tare fsck --repair'");
    return 1;
}

#define Y(member) offsetof(struct system_args, member)
static const struct opt format_opts[] = { OPT_STR('f', "format", Y(format), "`FORMAT`: json or a template") };
static const struct opt df_opts[] = { OPT_STR('\0', "format", Y(format), "`FORMAT`: json, a template, or 'table TEMPLATE'"),
                                      OPT_FLAG('v', "verbose", Y(verbose), NULL) };
static const struct opt prune_opts[] = { OPT_FLAG('a', "all", Y(all), "all unused images, not only untagged ones"),
                                         OPT_FLAG('\0', "volumes", Y(volumes), "volumes too"),
                                         OPT_FLAG('f', "force", Y(force), "accepted; tare never asks") };
static const struct opt fsck_opts[] = { OPT_FLAG('\0', "repair", Y(repair), "put right what can be") };
#define SYSTEM(fn, table) .opts = OPTS(table), .args_size = sizeof(struct system_args), .run = fn
const struct command command_info = { .name = "info", .summary = "Show what this machine and store are", SYSTEM(run_info, format_opts) };
const struct command command_version = { .name = "version", .summary = "Show the version", SYSTEM(run_version, format_opts) };
const struct command command_df = { .name = "df", .summary = "Show what takes space", SYSTEM(run_df, df_opts) };
const struct command command_prune = { .name = "prune", .summary = "Remove what nothing uses", SYSTEM(run_prune, prune_opts) };
const struct command command_why = { .name = "why", .operands = "[CONTAINER|POD|IMAGE]", .summary = "Show operations and where they stand",
                                     .description = "Prints the journal: each operation with its stage and times.",
                                     SYSTEM(run_why, df_opts), .max_operands = 1 };
const struct command command_fsck = { .name = "fsck", .summary = "Check the store", SYSTEM(run_fsck, fsck_opts) };
