/* cmd/tare-stats.c: stats: figures of running containers, redrawn every second on a terminal. */
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/human.h"

#include <stdio.h>
#include <unistd.h>

struct stats_args {
    bool all, no_stream, no_trunc;
    const char *format;
};

static const struct view_column stats_columns[] = {
    { "ID", "CONTAINER ID" },  { "Name", "NAME" },   { "CPUPerc", "CPU %" },     { "MemUsage", "MEM USAGE / LIMIT" },
    { "MemPerc", "MEM %" },    { "NetIO", "NET I/O" }, { "BlockIO", "BLOCK I/O" }, { "PIDs", "PIDS" },
    { "Container", "CONTAINER" },
};
static const struct view stats_view = {
    stats_columns, ARRAY_LEN(stats_columns),
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}", NULL
};

/* CPU time at the last look, to tell the share from. */
struct sample {
    char id[65];
    uint64_t cpu_ns;
    int64_t at;
};
struct samples {
    struct sample *v;
    size_t n, cap;
};

static struct sample *sample_of(struct samples *s, const char *id)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->v[i].id, id) == 0) {
            return &s->v[i];
        }
    }
    if (array_grow(&s->v, &s->cap, s->n + 1, sizeof(*s->v)) < 0) {
        return NULL;
    }
    snprintf(s->v[s->n].id, sizeof(s->v[0].id), "%s", id);
    return &s->v[s->n++];
}

static void percent(json_t *o, const char *key, double v)
{
    CLEANUP_BUF struct buf b = { 0 };
    buf_addf(&b, "%.2f%%", v);
    json_object_set_new(o, key, cli_text(&b));
}

/* The limit of those that have none. */
static uint64_t host_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

static json_t *row(const struct stats_args *a, const struct engine_ctr *t, const struct engine_stats *s, struct sample *last)
{
    CLEANUP_BUF struct buf b = { 0 };
    json_t *o = json_object();
    uint64_t rx = 0, tx = 0;
    for (size_t i = 0; i < s->net.n; i++) {
        rx += s->net.v[i].rx_bytes;
        tx += s->net.v[i].tx_bytes;
    }
    int64_t past = last && last->at ? s->timestamp - last->at : s->timestamp - t->started_at;
    uint64_t used = s->cpu_ns - (last && last->at && last->cpu_ns <= s->cpu_ns ? last->cpu_ns : 0);
    if (last) {
        last->at = s->timestamp;
        last->cpu_ns = s->cpu_ns;
    }
    json_object_set_new(o, "ID", cli_id(t->id, a->no_trunc));
    json_object_set_new(o, "Container", cli_id(t->id, a->no_trunc));
    json_object_set_new(o, "Name", json_string(t->spec.name ? t->spec.name : ""));
    percent(o, "CPUPerc", past > 0 ? (double)used * 100 / (double)past : 0);
    uint64_t used_memory = s->mem_working_set ? s->mem_working_set : s->mem_usage;
    uint64_t limit = s->mem_limit > 0 && s->mem_limit < host_memory() ? s->mem_limit : host_memory();
    human_size_binary(used_memory, &b);
    buf_adds(&b, " / ");
    human_size_binary(limit, &b);
    json_object_set_new(o, "MemUsage", cli_text(&b));
    percent(o, "MemPerc", limit > 0 ? (double)used_memory * 100 / (double)limit : 0);
    human_size(rx, &b);
    buf_adds(&b, " / ");
    human_size(tx, &b);
    json_object_set_new(o, "NetIO", cli_text(&b));
    human_size(s->io_read, &b);
    buf_adds(&b, " / ");
    human_size(s->io_write, &b);
    json_object_set_new(o, "BlockIO", cli_text(&b));
    buf_addf(&b, "%llu", (unsigned long long)s->pids);
    json_object_set_new(o, "PIDs", cli_text(&b));
    return o;
}

static int add_one(struct cli *c, const struct stats_args *a, const struct engine_ctr *t, struct samples *seen, json_t *rows, struct err *e)
{
    struct engine_stats s = { 0 };
    bool runs = t->state == ENGINE_CTR_RUNNING || t->state == ENGINE_CTR_PAUSED;
    int r = runs ? engine_ctr_stats(c->g, t->id, &s, e) : 0;
    if (r == 0) {
        json_array_append_new(rows, row(a, t, &s, runs ? sample_of(seen, t->id) : NULL));
    }
    engine_stats_done(&s);
    return r < 0 && e->kind != ERR_NOT_FOUND ? r : 0; /* it may end while we look */
}

static int gather_all(struct cli *c, const struct stats_args *a, struct samples *seen, json_t *rows, struct err *e)
{
    struct engine_ctrs list = { 0 };
    int r = engine_ctr_list(c->g, &list, e);
    for (size_t i = 0; r == 0 && i < list.n; i++) {
        if (a->all || list.v[i]->state == ENGINE_CTR_RUNNING || list.v[i]->state == ENGINE_CTR_PAUSED) {
            r = add_one(c, a, list.v[i], seen, rows, e);
        }
    }
    engine_ctrs_done(&list);
    return r;
}

static int gather(struct cli *c, const struct stats_args *a, int argc, char **argv, struct samples *seen, json_t *rows, struct err *e)
{
    if (argc == 0) {
        return gather_all(c, a, seen, rows, e);
    }
    for (int i = 0; i < argc; i++) {
        struct engine_ctr *t = NULL;
        int r = engine_ctr_get(c->g, argv[i], &t, e);
        if (r == 0) {
            r = add_one(c, a, t, seen, rows, e);
        }
        engine_ctr_free(t);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int run_stats(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct stats_args *a = args;
    struct samples seen = { 0 };
    struct err e = { 0 };
    bool tty = isatty(STDOUT_FILENO);
    int code = cli_engine(c, &e) < 0 ? cli_fail(c, &e, 1) : 0;
    if (code == 0 && a->no_stream) { /* a share of CPU needs two looks */
        json_t *first = json_array();
        code = gather(c, a, argc, argv, &seen, first, &e) < 0 ? cli_fail(c, &e, 1) : 0;
        json_decref(first);
        usleep(200000);
    }
    while (code == 0) {
        json_t *rows = json_array();
        if (gather(c, a, argc, argv, &seen, rows, &e) < 0) {
            json_decref(rows);
            code = cli_fail(c, &e, 1);
            break;
        }
        if (tty && !a->no_stream) {
            fputs("\033[H\033[J", stdout);
            fflush(stdout);
        }
        code = cli_view(c, &stats_view, a->format, false, a->no_trunc, rows);
        if (a->no_stream) {
            break;
        }
        sleep(1);
    }
    free(seen.v);
    return code;
}

static const struct opt stats_opts[] = {
    OPT_FLAG('a', "all", offsetof(struct stats_args, all), "also those that do not run"),
    OPT_FLAG('\0', "no-stream", offsetof(struct stats_args, no_stream), "once"),
    OPT_FLAG('\0', "no-trunc", offsetof(struct stats_args, no_trunc), "nothing shortened"),
    OPT_STR('\0', "format", offsetof(struct stats_args, format), "`FORMAT`: json, a template, or 'table TEMPLATE'"),
};
const struct command command_stats = { .name = "stats", .operands = "[CONTAINER...]", .summary = "Show what containers use",
                                       .opts = OPTS(stats_opts), .args_size = sizeof(struct stats_args), .max_operands = OPTS_ANY,
                                       .run = run_stats };
