/* cmd/tare-life.c: stop, restart, kill, pause, rm, wait, rename, update, and the monitor's exit command. */
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/human.h"
#include "cmd/parse.h"
#include "cmd/run-args.h"

#include <errno.h>
#include <stdio.h>

struct life_args {
    int64_t time;
    const char *signal;
    bool force, volumes, all, link;
    char **filter;
};
static const struct life_args life_defaults = { .time = -1 };

/* A signal of the caller's choice in place of the container's stop signal, then as stop does. */
static int stop_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    const struct life_args *a = args;
    int sig, r = 0;
    if (a->signal) {
        r = parse_signal(a->signal, &sig, e);
        if (r == 0) {
            r = engine_ctr_kill(c->g, ref, sig, e);
        }
        int32_t code;
        if (r == 0 && engine_ctr_wait(c->g, ref, (int)(a->time < 0 ? 10 : a->time) * 1000, &code, e) == 0) {
            return 0;
        }
        r = r == -ETIMEDOUT ? 0 : r;
    }
    return r < 0 ? r : engine_ctr_stop(c->g, ref, a->time, e);
}

static int run_stop(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, stop_one, args, false);
}

static int restart_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    int r = stop_one(c, ref, args, e);
    return r < 0 ? r : engine_ctr_start(c->g, ref, e);
}

static int run_restart(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, restart_one, args, false);
}

static int kill_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    const struct life_args *a = args;
    int sig = 0;
    int r = parse_signal(a->signal ? a->signal : "KILL", &sig, e);
    return r < 0 ? r : engine_ctr_kill(c->g, ref, sig, e);
}

static int run_kill(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, kill_one, args, false);
}

static int pause_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    (void)args;
    return engine_ctr_pause(c->g, ref, e);
}

static int run_pause(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, pause_one, args, false);
}

static int unpause_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    (void)args;
    return engine_ctr_unpause(c->g, ref, e);
}

static int run_unpause(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, unpause_one, args, false);
}

static int rm_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    const struct life_args *a = args;
    struct engine_ctr *ctr = NULL;
    int r = engine_ctr_get(c->g, ref, &ctr, e);
    if (r < 0) {
        return a->force && e->kind == ERR_NOT_FOUND ? 0 : r;
    }
    r = engine_ctr_remove(c->g, ctr->id, a->force, e);
    if (r < 0 && e->kind == ERR_BUSY && !a->force) {
        size_t n = strlen(e->text);
        snprintf(e->text + n, sizeof(e->text) - n, "; stop it first, or try 'tare rm -f %.100s'", ref);
    }
    if (r == 0 && (a->volumes || ctr->spec.auto_remove)) {
        volumes_forget(c, ctr);
    }
    engine_ctr_free(ctr);
    return r;
}

static int run_rm(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, rm_one, args, false);
}

static int wait_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    int32_t code;
    char text[16];
    (void)args;
    int r = engine_ctr_wait(c->g, ref, -1, &code, e);
    if (r == 0) {
        snprintf(text, sizeof(text), "%d", code);
        cli_puts(text);
    }
    return r;
}

static int run_wait(void *globals, void *args, int argc, char **argv)
{
    return cli_each(globals, argc, argv, wait_one, args, true);
}

static int run_rename(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct err e = { 0 };
    (void)args, (void)argc;
    if (cli_engine(c, &e) < 0 || engine_ctr_rename(c->g, argv[0], argv[1], &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    return 0;
}

static int update_one(struct cli *c, const char *ref, const void *args, struct err *e)
{
    return engine_ctr_update(c->g, ref, args, e);
}

static int run_update(void *globals, void *args, int argc, char **argv)
{
    struct engine_resources res = { 0 };
    struct err e = { 0 };
    if (run_resources(args, &res, &e) < 0) {
        engine_resources_done(&res);
        return cli_fail(globals, &e, 1);
    }
    int code = cli_each(globals, argc, argv, update_one, &res, false);
    engine_resources_done(&res);
    return code;
}

/* What the monitor runs when a container has ended: --rm, restart policy, network. */
static int run_cleanup(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct engine_ctr *ctr = NULL;
    struct err e = { 0 };
    (void)args, (void)argc;
    int r = cli_engine(c, &e);
    if (r == 0) {
        r = engine_ctr_get(c->g, argv[0], &ctr, &e);
    }
    if (r == 0) {
        r = engine_ctr_cleanup(c->g, argv[0], &e);
    }
    if (r == 0 && ctr->spec.auto_remove) {
        volumes_forget(c, ctr);
    }
    engine_ctr_free(ctr);
    return r < 0 && e.kind != ERR_NOT_FOUND ? cli_fail(c, &e, 1) : 0;
}

static int run_container_prune(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct engine_ctrs list = { 0 };
    struct err e = { 0 };
    int code = 0;
    (void)args, (void)argc, (void)argv;
    if (cli_engine(c, &e) < 0 || engine_ctr_list(c->g, &list, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    for (size_t i = 0; i < list.n; i++) {
        bool idle = list.v[i]->state == ENGINE_CTR_EXITED || list.v[i]->state == ENGINE_CTR_CREATED;
        if (!idle || list.v[i]->spec.cri_config_len > 0) {
            continue;
        }
        err_clear(&e);
        if (engine_ctr_remove(c->g, list.v[i]->id, false, &e) < 0) {
            code = e.kind == ERR_NOT_FOUND ? code : cli_fail(c, &e, 1);
        } else {
            cli_puts(list.v[i]->id);
        }
    }
    engine_ctrs_done(&list);
    return code;
}

#define L(member) offsetof(struct life_args, member)
static const struct opt stop_opts[] = {
    OPT_I64('t', "time", L(time), "`SECONDS` to wait before it is killed"),
    OPT_I64('\0', "timeout", L(time), NULL),
    OPT_STR('s', "signal", L(signal), "`SIGNAL` to send in place of its stop signal"),
};
static const struct opt kill_opts[] = { OPT_STR('s', "signal", L(signal), "`SIGNAL` to send (default KILL)") };
static const struct opt rm_opts[] = {
    OPT_FLAG('f', "force", L(force), "stop it first if it runs"),
    OPT_FLAG('v', "volumes", L(volumes), "remove its anonymous volumes too"),
};
static const struct opt prune_opts[] = { OPT_FLAG('f', "force", L(force), "accepted; tare never asks") };
#define U(member) offsetof(struct run_args, member)
static const struct opt update_opts[] = {
    OPT_SIZE('m', "memory", U(memory), "limit of memory"),
    OPT_SIZE('\0', "memory-swap", U(memory_swap), "limit of memory and swap; -1: none"),
    OPT_SIZE('\0', "memory-reservation", U(memory_reservation), "soft limit of memory"),
    OPT_STR('\0', "cpus", U(cpus), "number of CPUs, `1.5`"),
    OPT_I64('c', "cpu-shares", U(cpu_shares), "relative weight"),
    OPT_I64('\0', "cpu-period", U(cpu_period), "CFS period in `µs`"),
    OPT_I64('\0', "cpu-quota", U(cpu_quota), "CFS quota in `µs`"),
    OPT_STR('\0', "cpuset-cpus", U(cpuset_cpus), "run on CPUs `0-3,5`"),
    OPT_STR('\0', "cpuset-mems", U(cpuset_mems), "use memory nodes `0,1`"),
    OPT_I64('\0', "pids-limit", U(pids_limit), "limit of processes; -1: none"),
};
static const struct run_args update_defaults = { .oom_score_adj = INT64_MIN };

#define MANY "CONTAINER [CONTAINER...]"
#define LIFE(n, text, table)                                                                                                    \
    .operands = MANY, .summary = text, .opts = table, .args_size = sizeof(struct life_args), .defaults = &life_defaults,        \
    .min_operands = 1, .max_operands = OPTS_ANY, .run = run_##n
const struct command command_stop = { .name = "stop", LIFE(stop, "Stop running containers", OPTS(stop_opts)) };
const struct command command_restart = { .name = "restart", LIFE(restart, "Restart containers", OPTS(stop_opts)) };
const struct command command_kill = { .name = "kill", LIFE(kill, "Kill running containers, or send them a signal", OPTS(kill_opts)) };
const struct command command_rm = { .name = "rm", .aliases = "remove", LIFE(rm, "Remove containers", OPTS(rm_opts)) };
const struct command command_pause = { .name = "pause", .operands = MANY, .summary = "Pause all processes of containers",
                                       .min_operands = 1, .max_operands = OPTS_ANY, .run = run_pause };
const struct command command_unpause = { .name = "unpause", .operands = MANY, .summary = "Let paused containers go on",
                                         .min_operands = 1, .max_operands = OPTS_ANY, .run = run_unpause };
const struct command command_wait = { .name = "wait", .operands = MANY, .summary = "Wait until containers stop, print their exit codes",
                                      .min_operands = 1, .max_operands = OPTS_ANY, .run = run_wait };
const struct command command_rename = { .name = "rename", .operands = "CONTAINER NEW_NAME", .summary = "Rename a container",
                                        .min_operands = 2, .max_operands = 2, .run = run_rename };
const struct command command_update = { .name = "update", .operands = MANY, .summary = "Change the limits of containers",
                                        .examples = "tare update --memory 128m --pids-limit 50 web", .opts = OPTS(update_opts),
                                        .args_size = sizeof(struct run_args), .defaults = &update_defaults, .min_operands = 1,
                                        .max_operands = OPTS_ANY, .run = run_update };
const struct command command_cleanup = { .name = "cleanup", .operands = "ID", .min_operands = 1, .max_operands = 1, .run = run_cleanup };
const struct command command_container_prune = { .name = "prune", .summary = "Remove all containers that do not run",
                                                 .opts = OPTS(prune_opts), .args_size = sizeof(struct life_args), .run = run_container_prune };
