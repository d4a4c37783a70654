/* cmd/view.c: tables, templates and JSON lines of rows. See view.h. */
#include "cmd/view.h"

#include "cmd/tmpl.h"

#include <errno.h>
#include <stdio.h>

enum { COLUMNS_MAX = 32, COLUMN_MIN = 10, GAP = 3, SHRINK_MIN = 8 };

size_t view_width(const char *s)
{
    size_t n = 0;
    for (; *s; s++) {
        n += ((unsigned char)*s & 0xc0) != 0x80; /* bytes that begin a character */
    }
    return n;
}

/* Column i of a line, "" past its end. */
static const char *cell(const char *line, size_t i, size_t *ret_len)
{
    for (; i > 0 && *line; i--) {
        line += strcspn(line, "\t");
        if (*line) {
            line++;
        }
    }
    *ret_len = i == 0 ? strcspn(line, "\t") : 0;
    return line;
}

static size_t count_columns(const char *line)
{
    size_t n = 1;
    for (; *line; line++) {
        n += *line == '\t';
    }
    return n < COLUMNS_MAX ? n : COLUMNS_MAX;
}

static size_t cell_width(const char *s, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    }
    return n;
}

/* Takes from the widest columns until the line fits. */
static void fit(size_t *w, size_t n, size_t width)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += w[i] + (i + 1 < n ? GAP : 0);
    }
    while (width > 0 && total > width) {
        size_t widest = 0;
        for (size_t i = 1; i < n; i++) {
            widest = w[i] > w[widest] ? i : widest;
        }
        if (w[widest] <= SHRINK_MIN) {
            return;
        }
        w[widest]--;
        total--;
    }
}

static void add_cell(struct buf *out, const char *s, size_t len, size_t width, bool last)
{
    size_t have = cell_width(s, len), shown = 0, i = 0;
    if (have > width) {
        while (i < len && (shown + 1 < width || ((unsigned char)s[i] & 0xc0) == 0x80)) {
            shown += ((unsigned char)s[i] & 0xc0) != 0x80;
            i++;
        }
        buf_add(out, s, i);
        buf_adds(out, "…");
        have = width;
    } else if (len > 0) {
        buf_add(out, s, len);
    }
    for (size_t pad = last ? width + GAP : have; pad < width + GAP; pad++) {
        buf_addc(out, ' ');
    }
}

void view_align(char *const *lines, size_t width, struct buf *out)
{
    size_t w[COLUMNS_MAX] = { 0 }, n = 0, len;
    for (size_t l = 0; lines && lines[l]; l++) {
        size_t c = count_columns(lines[l]);
        n = c > n ? c : n;
        for (size_t i = 0; i < c; i++) {
            const char *s = cell(lines[l], i, &len);
            size_t cw = cell_width(s, len);
            cw = cw + GAP < COLUMN_MIN && i + 1 < c ? COLUMN_MIN - GAP : cw;
            w[i] = cw > w[i] ? cw : w[i];
        }
    }
    fit(w, n, width);
    for (size_t l = 0; lines && lines[l]; l++) {
        for (size_t i = 0; i < n; i++) {
            const char *s = cell(lines[l], i, &len);
            add_cell(out, s, len, w[i], i + 1 == n);
        }
        buf_addc(out, '\n');
    }
}

/* A row's text must not break the table. */
static char *one_line(struct buf *b)
{
    for (size_t i = 0; i < b->len; i++) {
        if (b->data[i] == '\n') {
            b->data[i] = ' ';
        }
    }
    return b->data;
}

static int add_row(char ***lines, const char *template, json_t *row, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    int r = tmpl_run(template, row, &text, e);
    if (r == 0 && strv_push(lines, text.data ? one_line(&text) : "") < 0) {
        r = err_oom(e);
    }
    return r;
}

static int print_table(const struct view *v, const char *template, size_t width, json_t *rows, struct buf *out, struct err *e)
{
    CLEANUP_STRV char **lines = NULL;
    json_t *header = json_object();
    int r = header ? 0 : err_oom(e);
    for (size_t i = 0; i < v->n; i++) {
        json_object_set_new(header, v->columns[i].field, json_string(v->columns[i].header));
    }
    if (r == 0) {
        r = add_row(&lines, template, header, e);
    }
    json_decref(header);
    for (size_t i = 0; r == 0 && i < json_array_size(rows); i++) {
        r = add_row(&lines, template, json_array_get(rows, i), e);
    }
    if (r == 0) {
        view_align(lines, width, out);
    }
    return r;
}

static int print_json(json_t *rows, struct buf *out, struct err *e)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        CLEANUP_FREE char *line = json_dumps(json_array_get(rows, i), JSON_COMPACT);
        if (!line) {
            return err_oom(e);
        }
        buf_addf(out, "%s\n", line);
    }
    return 0;
}

/* "\t" and "\n" as typed in a shell become what they mean. */
static char *unescape(const char *s)
{
    CLEANUP_BUF struct buf b = { 0 };
    for (; *s; s++) {
        if (*s == '\\' && (s[1] == 't' || s[1] == 'n')) {
            buf_addc(&b, *++s == 't' ? '\t' : '\n');
        } else {
            buf_addc(&b, *s);
        }
    }
    return buf_steal(&b);
}

int view_print(const struct view *v, const struct view_options *o, json_t *rows, struct buf *out, struct err *e)
{
    if (str_eq(o->format, "json") || str_eq(o->format, "{{json .}}")) {
        return print_json(rows, out, e);
    }
    bool quiet = o->quiet && v->quiet;
    CLEANUP_FREE char *given = o->format ? unescape(o->format) : NULL;
    const char *format = quiet ? v->quiet : given ? given : "table";
    if (str_starts(format, "table")) {
        const char *t = format + 5 + strspn(format + 5, " ");
        return print_table(v, *t ? t : v->table, o->width, rows, out, e);
    }
    int r = 0;
    for (size_t i = 0; r == 0 && i < json_array_size(rows); i++) {
        r = tmpl_run(format, json_array_get(rows, i), out, e);
        buf_addc(out, '\n');
    }
    return r;
}
