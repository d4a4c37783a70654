/* cmd/tare-logs.c: logs and events. */
#include "base/fd.h"
#include "base/num.h"
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "cmd/human.h"
#include "cmd/tmpl.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

struct log_args {
    bool follow, timestamps, details, no_trunc;
    const char *since, *until, *tail, *format;
    char **filter;
};

static int when(const char *s, const char *option, int64_t *ret, struct err *e)
{
    if (!s || human_when(s, human_now(), ret) == 0) {
        return 0;
    }
    return err_set(e, EINVAL, ERR_INVALID, "--%s %.100s: a time (2026-01-02T15:04:05Z), seconds, or a duration (10m) is wanted", option, s);
}

/* ---- logs ------------------------------------------------------------------------------------ */

struct printing {
    bool timestamps, failed;
};

static int put_line(void *data, int64_t time, int stream, const char *line, size_t len, bool partial)
{
    struct printing *p = data;
    CLEANUP_BUF struct buf b = { 0 };
    if (p->timestamps) {
        human_time(time, &b);
        buf_addc(&b, ' ');
    }
    buf_add(&b, line, len);
    if (!partial) {
        buf_addc(&b, '\n');
    }
    p->failed = b.len > 0 && fd_write_all(stream == 2 ? STDERR_FILENO : STDOUT_FILENO, b.data, b.len) < 0;
    return p->failed ? -EPIPE : 0;
}

static int run_logs(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct log_args *a = args;
    struct engine_log_query q = { .tail = -1, .follow = a->follow, .want_stdout = true, .want_stderr = true };
    struct printing p = { .timestamps = a->timestamps };
    struct err e = { 0 };
    (void)argc;
    if (a->tail && strcmp(a->tail, "all") != 0 && (num_i64(a->tail, &q.tail) < 0 || q.tail < 0)) {
        q.tail = -1; /* docker shows all for a number it cannot read */
    }
    if (when(a->since, "since", &q.since, &e) < 0 || when(a->until, "until", &q.until, &e) < 0 || cli_engine(c, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    int r = engine_ctr_logs(c->g, argv[0], &q, put_line, &p, &e);
    return r < 0 && !p.failed ? cli_fail(c, &e, 1) : 0;
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool by_type(const void *o, const char *v)
{
    return str_eq(((const struct engine_event *)o)->type, v);
}

static bool by_action(const void *o, const char *v)
{
    return str_eq(((const struct engine_event *)o)->action, v);
}

static bool names(const struct engine_event *ev, const char *type, const char *attribute, const char *v)
{
    const char *name = str_map_get(&ev->attributes, attribute);
    return str_eq(ev->type, type) ? (ev->object && *v && str_starts(ev->object, v)) || str_eq(name, v) : false;
}

static bool by_container(const void *o, const char *v)
{
    return names(o, "container", "name", v);
}

static bool by_image(const void *o, const char *v)
{
    const struct engine_event *ev = o;
    return names(ev, "image", "name", v) || str_eq(str_map_get(&ev->attributes, "image"), v);
}

static bool by_pod(const void *o, const char *v)
{
    const struct engine_event *ev = o;
    return names(ev, "pod", "name", v) || (ev->pod && *v && str_starts(ev->pod, v));
}

static bool by_label(const void *o, const char *v)
{
    return cli_label_match(&((const struct engine_event *)o)->attributes, v);
}

static const struct {
    const char *key;
    bool (*match)(const void *o, const char *v);
} event_filters[] = { { "type", by_type },   { "event", by_action }, { "container", by_container },
                      { "image", by_image }, { "pod", by_pod },      { "label", by_label } };

struct watching {
    const struct log_args *a;
    struct err e;
    bool failed, closed;
};

static void event_text(const struct engine_event *ev, struct buf *out)
{
    human_time(ev->time, out);
    buf_addf(out, " %s %s %s", ev->type, ev->action, ev->object);
    for (size_t i = 0; i < ev->attributes.n; i++) {
        buf_addf(out, "%s%s=%s", i ? ", " : " (", ev->attributes.v[i].key, ev->attributes.v[i].value);
    }
    buf_adds(out, ev->attributes.n > 0 ? ")\n" : "\n");
}

static json_t *event_json(const struct engine_event *ev)
{
    const char *image = str_map_get(&ev->attributes, "image");
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:{s:s,s:o},s:s,s:I,s:I,s:I}", "status", ev->action, "id", ev->object, "from", image ? image : "",
                     "Type", ev->type, "Action", ev->action, "Actor", "ID", ev->object, "Attributes", cli_map(&ev->attributes), "scope",
                     "local", "time", (json_int_t)(ev->time / 1000000000), "timeNano", (json_int_t)ev->time, "cursor",
                     (json_int_t)ev->id);
}

static int put_event(void *data, const struct engine_event *ev)
{
    struct watching *w = data;
    CLEANUP_BUF struct buf out = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(event_filters); i++) {
        if (!cli_filter(w->a->filter, event_filters[i].key, event_filters[i].match, ev)) {
            return 0;
        }
    }
    if (!w->a->format) {
        event_text(ev, &out);
    } else {
        json_t *o = event_json(ev);
        bool json = strcmp(w->a->format, "json") == 0;
        w->failed = tmpl_run(json ? "{{json .}}" : w->a->format, o, &out, &w->e) < 0;
        json_decref(o);
        buf_addc(&out, '\n');
    }
    if (!w->failed) {
        w->closed = cli_put(&out) != 0;
    }
    return w->failed || w->closed ? -EPIPE : 0;
}

static int run_events(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    struct watching w = { .a = args };
    int64_t since = 0, until = 0;
    const char *known[ARRAY_LEN(event_filters)];
    (void)argc, (void)argv;
    for (size_t i = 0; i < ARRAY_LEN(event_filters); i++) {
        known[i] = event_filters[i].key;
    }
    struct err *e = &w.e;
    if (cli_filters_check(w.a->filter, known, ARRAY_LEN(known), e) < 0 || when(w.a->since, "since", &since, e) < 0 ||
        when(w.a->until, "until", &until, e) < 0 || cli_engine(c, e) < 0) {
        return cli_fail(c, e, 1);
    }
    /* As docker: what has been only with --since; without an end it goes on, as it does with -f. */
    bool follow = w.a->follow || until == 0 || until > human_now();
    if (since == 0 && follow) {
        since = human_now();
    }
    int r = engine_events(c->g, 0, since, until, follow, put_event, &w, e);
    return (r < 0 && !w.closed) || w.failed ? cli_fail(c, e, 1) : 0;
}

#define G(member) offsetof(struct log_args, member)
static const struct opt logs_opts[] = {
    OPT_FLAG('f', "follow", G(follow), "go on with what comes"),
    OPT_STR('\0', "since", G(since), "from `TIME` on, or a duration back: 10m"),
    OPT_STR('\0', "until", G(until), "up to `TIME`"),
    OPT_STR('n', "tail", G(tail), "the last `N` lines, or all"),
    OPT_FLAG('t', "timestamps", G(timestamps), "with the time of each line"),
    OPT_FLAG('\0', "details", G(details), NULL),
};
static const struct opt events_opts[] = {
    OPT_STR('\0', "since", G(since), "from `TIME` on, or a duration back: 10m"),
    OPT_STR('\0', "until", G(until), "up to `TIME`"),
    OPT_FLAG('\0', "follow", G(follow), "go on with what comes (the default without --until)"),
    OPT_STRS('f', "filter", G(filter), "only those with `KEY=VALUE`: type, event, container, image, pod, label"),
    OPT_STR('\0', "format", G(format), "`FORMAT`: json or a template"),
    OPT_FLAG('\0', "no-trunc", G(no_trunc), NULL),
};
const struct command command_logs = { .name = "logs", .operands = "CONTAINER", .summary = "Show the output of a container",
                                      .examples = "tare logs -f --tail 20 web\ntare logs --since 10m -t web", .opts = OPTS(logs_opts),
                                      .args_size = sizeof(struct log_args), .min_operands = 1, .max_operands = 1, .run = run_logs };
const struct command command_events = { .name = "events", .summary = "Show what happens, as it happens",
                                        .examples = "tare events --since 1h --until 0s --filter event=die --format json",
                                        .opts = OPTS(events_opts), .args_size = sizeof(struct log_args), .run = run_events };
const struct command command_pod_logs = { .name = "logs", .operands = "CONTAINER", .summary = "Show the output of a container of a pod",
                                          .opts = OPTS(logs_opts), .args_size = sizeof(struct log_args), .min_operands = 1,
                                          .max_operands = 1, .run = run_logs };
