/*
 * cmd/view.h: lists as docker prints them: rows are JSON objects of strings; --format is "json", a template for each row, or
 * "table TEMPLATE" with tab-separated cells.
 */
#pragma once

#include "base/buf.h"

#include <jansson.h>

struct view_column {
    const char *field, *header;
};

struct view {
    const struct view_column *columns;
    size_t n;
    const char *table; /* default: "{{.ID}}\t{{.Image}}" */
    const char *quiet; /* template of a row with -q; NULL: not for this list */
};

/* width: of the terminal, 0: do not fit. */
struct view_options {
    const char *format; /* NULL or "table": the view's own */
    bool quiet;
    size_t width;
};

MUST_USE int view_print(const struct view *v, const struct view_options *o, json_t *rows, struct buf *out, struct err *e);
/* Cells a row (tab-separated text) as aligned columns; first is the header. */
void view_align(char *const *lines, size_t width, struct buf *out);
/* Columns that the text takes on a terminal. */
size_t view_width(const char *s);
