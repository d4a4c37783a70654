/* cmd/cli.c: what the sub-commands share. See cli.h. */
#include "cmd/cli.h"

#include "base/fd.h"
#include "cmd/human.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int cli_engine(struct cli *c, struct err *e)
{
    if (c->g) {
        return 0;
    }
    struct engine_options o = { .ns = c->ns ? c->ns : "default", .self_path = c->self, .log = &c->log };
    config_engine_options(&c->config, &o);
    o.root = c->root ? c->root : o.root;
    o.run = c->run ? c->run : o.run;
    int r = engine_open(&o, &c->g, e);
    if (r < 0) {
        return r;
    }
    struct err why = { 0 };
    if (engine_recover(c->g, &why) < 0) {
        log_event(&c->log, LOG_WARN, "recover", "cause", why.text, NULL);
    }
    return 0;
}

int cli_fail(const struct cli *c, const struct err *e, int code)
{
    const char *sub = strchr(c->path, ' '), *last = strrchr(c->path, ' ');
    size_t n = last ? strlen(last + 1) : 0;
    /* "pull REF: no such host" says already what was being done. */
    if (n > 0 && strncmp(e->text, last + 1, n) == 0 && e->text[n] == ' ') {
        sub = NULL;
    }
    fprintf(stderr, "tare: %s%s%s\n", sub ? sub + 1 : "", sub ? ": " : "", e->text);
    return code;
}

void cli_note(const struct cli *c, const char *fmt, ...)
{
    struct err e = { 0 };
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e.text, sizeof(e.text), fmt, ap);
    va_end(ap);
    cli_fail(c, &e, 0);
}

int cli_put(const struct buf *b)
{
    return b->len > 0 && fd_write_all(STDOUT_FILENO, b->data, b->len) < 0;
}

int cli_puts(const char *s)
{
    CLEANUP_BUF struct buf b = { 0 };
    buf_addf(&b, "%s\n", s);
    return cli_put(&b);
}

size_t cli_width(int fd)
{
    struct winsize ws;
    if (ioctl(fd, TIOCGWINSZ, &ws) < 0) {
        return 0;
    }
    return ws.ws_col > 0 ? ws.ws_col : 80;
}

bool cli_colour(int fd)
{
    return isatty(fd) && str_empty(getenv("NO_COLOR")) && !str_eq(getenv("TERM"), "dumb");
}

int cli_each(struct cli *c, int argc, char **argv, cli_each_fn *fn, const void *args, bool quiet)
{
    struct err e = { 0 };
    int code = 0;
    if (cli_engine(c, &e) < 0) {
        return cli_fail(c, &e, 1);
    }
    for (int i = 0; i < argc; i++) {
        err_clear(&e);
        if (fn(c, argv[i], args, &e) < 0) {
            code = cli_fail(c, &e, 1);
        } else if (!quiet) {
            cli_puts(argv[i]);
        }
    }
    return code;
}

int cli_view(struct cli *c, const struct view *v, const char *format, bool quiet, bool no_trunc, json_t *rows)
{
    CLEANUP_BUF struct buf out = { 0 };
    struct err e = { 0 };
    struct view_options o = { format, quiet, no_trunc ? 0 : cli_width(STDOUT_FILENO) };
    int r = view_print(v, &o, rows, &out, &e);
    json_decref(rows);
    return r < 0 ? cli_fail(c, &e, 1) : cli_put(&out);
}

json_t *cli_id(const char *id, bool whole)
{
    if (whole || !id) {
        return json_string(id ? id : "");
    }
    const char *hex = str_starts(id, "sha256:") ? id + 7 : id;
    return json_stringn(hex, strnlen(hex, 12));
}

json_t *cli_text(struct buf *b)
{
    json_t *s = json_string(buf_str(b));
    buf_reset(b);
    return s ? s : json_string("?");
}

json_t *cli_strs(char *const *v)
{
    json_t *list = json_array();
    for (size_t i = 0; v && v[i]; i++) {
        json_array_append_new(list, json_string(v[i]));
    }
    return list;
}

json_t *cli_map(const struct str_map *m)
{
    json_t *o = json_object();
    for (size_t i = 0; i < m->n; i++) {
        json_object_set_new(o, m->v[i].key, json_string(m->v[i].value));
    }
    return o;
}

json_t *cli_pairs(const struct str_map *m)
{
    CLEANUP_BUF struct buf b = { 0 };
    for (size_t i = 0; i < m->n; i++) {
        buf_addf(&b, "%s%s=%s", i ? "," : "", m->v[i].key, m->v[i].value);
    }
    return cli_text(&b);
}

json_t *cli_when(int64_t ns)
{
    CLEANUP_BUF struct buf b = { 0 };
    human_time(ns, &b);
    return cli_text(&b);
}

int cli_filters_check(char *const *filters, const char *const *known, size_t n, struct err *e)
{
    for (size_t i = 0; filters && filters[i]; i++) {
        size_t len = strcspn(filters[i], "=");
        bool found = false;
        for (size_t k = 0; k < n; k++) {
            found |= strlen(known[k]) == len && strncmp(known[k], filters[i], len) == 0;
        }
        if (!filters[i][len]) {
            return err_set(e, EINVAL, ERR_INVALID, "invalid filter '%.100s': KEY=VALUE is wanted", filters[i]);
        }
        if (!found) {
            CLEANUP_BUF struct buf names = { 0 };
            for (size_t k = 0; k < n; k++) {
                buf_addf(&names, "%s%s", k ? ", " : "", known[k]);
            }
            return err_set(e, EINVAL, ERR_INVALID, "invalid filter '%.100s'; there are: %s", filters[i], buf_str(&names));
        }
    }
    return 0;
}

bool cli_filter(char *const *filters, const char *key, bool (*match)(const void *object, const char *value), const void *object)
{
    size_t len = strlen(key);
    bool any = false;
    for (size_t i = 0; filters && filters[i]; i++) {
        if (strncmp(filters[i], key, len) == 0 && filters[i][len] == '=') {
            any = true;
            if (match(object, filters[i] + len + 1)) {
                return true;
            }
        }
    }
    return !any;
}

bool cli_label_match(const struct str_map *labels, const char *want)
{
    for (size_t i = 0; i < labels->n; i++) {
        size_t n = strlen(labels->v[i].key);
        if (strncmp(labels->v[i].key, want, n) == 0 &&
            (want[n] == '\0' || (want[n] == '=' && strcmp(want + n + 1, labels->v[i].value) == 0))) {
            return true;
        }
    }
    return false;
}

void volumes_forget(struct cli *c, const struct engine_ctr *ctr)
{
    for (size_t i = 0; i < ctr->spec.mounts.n; i++) {
        const struct engine_mount *m = &ctr->spec.mounts.v[i];
        struct engine_volume *v = NULL;
        struct err e = { 0 };
        if (m->kind != ENGINE_MOUNT_VOLUME || !m->source || engine_volume_get(c->g, m->source, &v, &e) < 0) {
            continue;
        }
        if (v->anonymous && engine_volume_remove(c->g, v->name, true, &e) < 0 && e.kind != ERR_BUSY) {
            cli_fail(c, &e, 0);
        }
        engine_volume_free(v);
    }
}
