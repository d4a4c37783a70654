/* cmd/tare-ps.c: ps, port, top, diff. */
#include "base/fd.h"
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/human.h"
#include "base/num.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

struct ps_args {
    bool all, quiet, no_trunc, latest, size;
    int64_t last;
    const char *format;
    char **filter;
};

static const struct view_column ps_columns[] = {
    { "ID", "CONTAINER ID" }, { "Image", "IMAGE" },   { "Command", "COMMAND" },   { "CreatedAt", "CREATED AT" },
    { "RunningFor", "CREATED" }, { "Status", "STATUS" }, { "State", "STATE" },    { "Ports", "PORTS" },
    { "Names", "NAMES" },     { "Labels", "LABELS" }, { "Mounts", "MOUNTS" },     { "Networks", "NETWORKS" },
    { "Size", "SIZE" },       { "Pod", "POD ID" },    { "LocalVolumes", "LOCAL VOLUMES" },
};
#define PS_TABLE "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
static const struct view ps_view = { ps_columns, ARRAY_LEN(ps_columns), PS_TABLE, "{{.ID}}" };
static const struct view ps_size_view = { ps_columns, ARRAY_LEN(ps_columns), PS_TABLE "\t{{.Size}}", "{{.ID}}" };

static json_t *status_text(const struct engine_ctr *t)
{
    CLEANUP_BUF struct buf b = { 0 };
    int64_t now = human_now();
    switch (t->state) {
    case ENGINE_CTR_RUNNING:
    case ENGINE_CTR_PAUSED:
        buf_adds(&b, "Up ");
        human_duration(now - t->started_at, &b);
        buf_adds(&b, t->state == ENGINE_CTR_PAUSED ? " (Paused)" : "");
        break;
    case ENGINE_CTR_EXITED:
        buf_addf(&b, "Exited (%d) ", t->exit_code);
        human_duration(now - t->finished_at, &b);
        buf_adds(&b, " ago");
        break;
    case ENGINE_CTR_CREATED:
        buf_adds(&b, "Created");
        break;
    default:
        buf_adds(&b, engine_ctr_state_name(t->state));
        break;
    }
    return cli_text(&b);
}

static json_t *command_text(const struct engine_ctr *t, bool whole)
{
    CLEANUP_BUF struct buf b = { 0 };
    for (size_t i = 0; t->args && t->args[i]; i++) {
        buf_addf(&b, "%s%s", i ? " " : "", t->args[i]);
    }
    size_t width = view_width(buf_str(&b));
    CLEANUP_BUF struct buf quoted = { 0 };
    if (!whole && width > 20) {
        size_t cut = 19;
        while (cut > 0 && ((unsigned char)b.data[cut] & 0xc0) == 0x80) {
            cut--;
        }
        buf_addf(&quoted, "\"%.*s…\"", (int)cut, b.data);
    } else {
        buf_addf(&quoted, "\"%s\"", buf_str(&b));
    }
    return cli_text(&quoted);
}

/* None while it does not run: nothing is published then. */
static json_t *ports_text(const struct engine_ctr *t, const struct engine_pod *p)
{
    CLEANUP_BUF struct buf b = { 0 };
    bool runs = t->state == ENGINE_CTR_RUNNING || t->state == ENGINE_CTR_PAUSED;
    for (size_t i = 0; runs && p && p->spec.net == ENGINE_NS_POD && i < p->spec.ports.n; i++) {
        const struct engine_port *o = &p->spec.ports.v[i];
        const char *ip = str_empty(o->host_ip) ? "0.0.0.0" : o->host_ip;
        buf_adds(&b, i ? ", " : "");
        if (o->host_port) {
            buf_addf(&b, strchr(ip, ':') ? "[%s]:%u->" : "%s:%u->", ip, o->host_port);
        }
        buf_addf(&b, "%u/%s", o->container_port, o->protocol);
    }
    return cli_text(&b);
}

static json_t *mounts_text(const struct engine_ctr *t, bool whole)
{
    CLEANUP_BUF struct buf b = { 0 };
    for (size_t i = 0; i < t->spec.mounts.n; i++) {
        const char *s = t->spec.mounts.v[i].source ? t->spec.mounts.v[i].source : "";
        buf_addf(&b, "%s%.*s", i ? "," : "", whole ? 4096 : 15, s);
    }
    return cli_text(&b);
}

static json_t *row(struct cli *c, const struct ps_args *a, const struct engine_ctr *t, const struct engine_pod *p)
{
    CLEANUP_BUF struct buf b = { 0 };
    json_t *o = json_object();
    const char *network = !p || p->spec.net == ENGINE_NS_POD ? (p && p->spec.network ? p->spec.network : "bridge")
                          : p->spec.net == ENGINE_NS_HOST ? "host" : "container";
    json_object_set_new(o, "ID", cli_id(t->id, a->no_trunc));
    json_object_set_new(o, "Image", t->image_name ? json_string(t->image_name) : cli_id(t->image_id, a->no_trunc));
    json_object_set_new(o, "Command", command_text(t, a->no_trunc));
    human_date(t->created_at, &b);
    json_object_set_new(o, "CreatedAt", cli_text(&b));
    human_duration(human_now() - t->created_at, &b);
    buf_adds(&b, " ago");
    json_object_set_new(o, "RunningFor", cli_text(&b));
    json_object_set_new(o, "Status", status_text(t));
    json_object_set_new(o, "State", json_string(engine_ctr_state_name(t->state)));
    json_object_set_new(o, "Ports", ports_text(t, p));
    json_object_set_new(o, "Names", json_string(t->spec.name ? t->spec.name : ""));
    json_object_set_new(o, "Labels", cli_pairs(&t->spec.labels));
    json_object_set_new(o, "Mounts", mounts_text(t, a->no_trunc));
    json_object_set_new(o, "LocalVolumes", json_string("0"));
    json_object_set_new(o, "Networks", json_string(network));
    json_object_set_new(o, "Pod", cli_id(t->pod_id, a->no_trunc));
    struct engine_stats s = { 0 };
    struct err e = { 0 };
    if (a->size && engine_ctr_stats(c->g, t->id, &s, &e) == 0) {
        human_size(s.rw_bytes, &b);
    }
    engine_stats_done(&s);
    json_object_set_new(o, "Size", cli_text(&b));
    return o;
}

/* ---- filters ---------------------------------------------------------------------------------- */

static bool by_id(const void *o, const char *v)
{
    return str_starts(((const struct engine_ctr *)o)->id, v);
}

static bool by_name(const void *o, const char *v)
{
    const struct engine_ctr *t = o;
    return t->spec.name && (v[0] == '^' ? str_starts(t->spec.name, v + 1) : strstr(t->spec.name, v) != NULL);
}

static bool by_label(const void *o, const char *v)
{
    return cli_label_match(&((const struct engine_ctr *)o)->spec.labels, v);
}

static bool by_status(const void *o, const char *v)
{
    return strcmp(engine_ctr_state_name(((const struct engine_ctr *)o)->state), v) == 0;
}

static bool by_ancestor(const void *o, const char *v)
{
    const struct engine_ctr *t = o;
    const char *name = t->image_name ? t->image_name : "";
    const char *hex = t->image_id && str_starts(t->image_id, "sha256:") ? t->image_id + 7 : "";
    const char *base = strrchr(name, '/');
    base = base ? base + 1 : name;
    size_t n = strlen(v);
    return strcmp(name, v) == 0 || str_starts(hex, v) || (strncmp(base, v, n) == 0 && (!base[n] || base[n] == ':'));
}

static bool by_exited(const void *o, const char *v)
{
    const struct engine_ctr *t = o;
    int64_t code;
    return t->state == ENGINE_CTR_EXITED && num_i64(v, &code) == 0 && code == t->exit_code;
}

static bool by_volume(const void *o, const char *v)
{
    const struct engine_ctr *t = o;
    for (size_t i = 0; i < t->spec.mounts.n; i++) {
        if (str_eq(t->spec.mounts.v[i].source, v) || str_eq(t->spec.mounts.v[i].target, v)) {
            return true;
        }
    }
    return false;
}

static bool by_pod(const void *o, const char *v)
{
    return str_starts(((const struct engine_ctr *)o)->pod_id, v);
}

static const struct {
    const char *key;
    bool (*match)(const void *o, const char *v);
} ps_filters[] = { { "id", by_id },           { "name", by_name },     { "label", by_label },   { "status", by_status },
                   { "ancestor", by_ancestor }, { "exited", by_exited }, { "volume", by_volume }, { "pod", by_pod } };

/* A state that there is none of is a slip, not an empty list. */
static int check_states(char *const *filters, struct err *e)
{
    for (size_t i = 0; filters && filters[i]; i++) {
        bool known = !str_starts(filters[i], "status=");
        for (int st = ENGINE_CTR_CREATING; !known && st <= ENGINE_CTR_UNKNOWN; st++) {
            known = strcmp(filters[i] + 7, engine_ctr_state_name((enum engine_ctr_state)st)) == 0;
        }
        if (!known) {
            return err_set(e, EINVAL, ERR_INVALID, "invalid filter '%.100s': a status is creating, created, running, paused or exited", filters[i]);
        }
    }
    return 0;
}

static bool shown(const struct ps_args *a, const struct engine_ctr *t)
{
    bool explicit_state = false;
    for (size_t i = 0; a->filter && a->filter[i]; i++) {
        explicit_state |= str_starts(a->filter[i], "status=") || str_starts(a->filter[i], "exited=");
    }
    if (!a->all && !explicit_state && a->last <= 0 && t->state != ENGINE_CTR_RUNNING && t->state != ENGINE_CTR_PAUSED) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(ps_filters); i++) {
        if (!cli_filter(a->filter, ps_filters[i].key, ps_filters[i].match, t)) {
            return false;
        }
    }
    return true;
}

static int newest_first(const void *a, const void *b)
{
    const struct engine_ctr *x = *(const struct engine_ctr *const *)a, *y = *(const struct engine_ctr *const *)b;
    return x->created_at < y->created_at ? 1 : x->created_at > y->created_at ? -1 : strcmp(x->id, y->id);
}

static const struct engine_pod *pod_of(const struct engine_pods *pods, const char *id)
{
    for (size_t i = 0; i < pods->n; i++) {
        if (str_eq(pods->v[i]->id, id)) {
            return pods->v[i];
        }
    }
    return NULL;
}

static int run_ps(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct ps_args *a = args;
    struct engine_ctrs list = { 0 };
    struct engine_pods pods = { 0 };
    struct err e = { 0 };
    const char *known[ARRAY_LEN(ps_filters)];
    (void)argc, (void)argv;
    for (size_t i = 0; i < ARRAY_LEN(ps_filters); i++) {
        known[i] = ps_filters[i].key;
    }
    if (a->latest) {
        a->last = 1;
    }
    if (cli_filters_check(a->filter, known, ARRAY_LEN(known), &e) < 0 || check_states(a->filter, &e) < 0 || cli_engine(c, &e) < 0 ||
        engine_ctr_list(c->g, &list, &e) < 0 || engine_pod_list(c->g, &pods, &e) < 0) {
        engine_ctrs_done(&list);
        return cli_fail(c, &e, 1);
    }
    json_t *rows = json_array();
    if (list.n > 0) {
        qsort(list.v, list.n, sizeof(struct engine_ctr *), newest_first);
    }
    for (size_t i = 0; i < list.n && (a->last <= 0 || json_array_size(rows) < (size_t)a->last); i++) {
        if (shown(a, list.v[i])) {
            json_array_append_new(rows, row(c, a, list.v[i], pod_of(&pods, list.v[i]->pod_id)));
        }
    }
    engine_ctrs_done(&list);
    engine_pods_done(&pods);
    return cli_view(c, a->size ? &ps_size_view : &ps_view, a->format, a->quiet, a->no_trunc, rows);
}

/* ---- port, top, diff -------------------------------------------------------------------------- */

static int run_port(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct engine_ctr *t = NULL;
    struct engine_pod *p = NULL;
    struct err e = { 0 };
    CLEANUP_BUF struct buf out = { 0 };
    bool found = argc < 2;
    (void)args;
    if (cli_engine(c, &e) < 0 || engine_ctr_get(c->g, argv[0], &t, &e) < 0 || engine_pod_get(c->g, t->pod_id, &p, &e) < 0) {
        engine_ctr_free(t);
        return cli_fail(c, &e, 1);
    }
    for (size_t i = 0; i < p->spec.ports.n; i++) {
        const struct engine_port *o = &p->spec.ports.v[i];
        char name[32];
        snprintf(name, sizeof(name), "%u/%s", o->container_port, o->protocol);
        if (argc > 1 && strcmp(argv[1], name) != 0 && !(str_ends(name, "/tcp") && strncmp(argv[1], name, strlen(name) - 4) == 0 &&
                                                        argv[1][strlen(name) - 4] == '\0')) {
            continue;
        }
        found = true;
        if (argc < 2) {
            buf_addf(&out, "%s -> ", name);
        }
        buf_addf(&out, "%s:%u\n", str_empty(o->host_ip) ? "0.0.0.0" : o->host_ip, o->host_port);
    }
    engine_ctr_free(t);
    engine_pod_free(p);
    if (!found) {
        cli_note(c, "no public port '%.40s' published for %.100s", argv[1], argv[0]);
        return 1;
    }
    return cli_put(&out);
}

/* The host's ps, asked for the container's processes only. Ends as ps does. */
static int run_top(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct err e = { 0 };
    int32_t *pids = NULL;
    size_t n = 0;
    CLEANUP_BUF struct buf list = { 0 };
    CLEANUP_STRV char **cmd = NULL;
    (void)args;
    if (cli_engine(c, &e) < 0 || engine_ctr_pids(c->g, argv[0], &pids, &n, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    for (size_t i = 0; i < n; i++) {
        buf_addf(&list, "%s%d", i ? "," : "", pids[i]);
    }
    free(pids);
    if (n == 0) {
        cli_note(c, "no process runs in %.100s", argv[0]);
        return 1;
    }
    int r = strv_push(&cmd, "ps");
    for (int i = 1; r == 0 && i < argc; i++) {
        r = strv_push(&cmd, argv[i]);
    }
    if (r == 0 && argc < 2) {
        r = strv_push(&cmd, "-f");
    }
    if (r == 0) {
        r = strv_push(&cmd, "-p");
    }
    if (r == 0) {
        r = strv_push(&cmd, buf_str(&list));
    }
    if (r == 0) {
        execvp("ps", cmd);
        err_sys(&e, errno, "ps (package procps)");
    } else {
        err_oom(&e);
    }
    return cli_fail(c, &e, 1);
}

static int diff_line(void *data, char kind, const char *path)
{
    buf_addf(data, "%c %s\n", kind, path);
    return 0;
}

static int run_diff(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct err e = { 0 };
    CLEANUP_BUF struct buf out = { 0 };
    (void)args, (void)argc;
    if (cli_engine(c, &e) < 0 || engine_ctr_diff(c->g, argv[0], diff_line, &out, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    return cli_put(&out);
}

#define P(member) offsetof(struct ps_args, member)
static const struct opt ps_opts[] = {
    OPT_FLAG('a', "all", P(all), "also those that do not run"),
    OPT_STRS('f', "filter", P(filter), "only those with `KEY=VALUE`: id, name, label, status, ancestor, exited, volume, pod"),
    OPT_STR('\0', "format", P(format), "`FORMAT`: json, a template, or 'table TEMPLATE'"),
    OPT_I64('n', "last", P(last), "the `N` newest"),
    OPT_FLAG('l', "latest", P(latest), "the newest"),
    OPT_FLAG('q', "quiet", P(quiet), "only ids"),
    OPT_FLAG('\0', "no-trunc", P(no_trunc), "nothing shortened"),
    OPT_FLAG('s', "size", P(size), "size of the writable layer"),
};
const struct command command_ps = { .name = "ps", .aliases = "ls list", .summary = "List containers",
                                    .examples = "tare ps -a --filter status=exited\ntare ps --format 'table {{.Names}}\\t{{.Status}}'",
                                    .opts = OPTS(ps_opts), .args_size = sizeof(struct ps_args), .run = run_ps };
const struct command command_port = { .name = "port", .operands = "CONTAINER [PORT[/PROTO]]", .summary = "List published ports",
                                      .min_operands = 1, .max_operands = 2, .run = run_port };
const struct command command_top = { .name = "top", .operands = "CONTAINER [PS OPTIONS]", .summary = "Show the processes of a container",
                                     .min_operands = 1, .max_operands = OPTS_ANY, .options_first = true, .run = run_top };
const struct command command_diff = { .name = "diff", .operands = "CONTAINER", .summary = "List what a container changed in its file system",
                                      .min_operands = 1, .max_operands = 1, .run = run_diff };
