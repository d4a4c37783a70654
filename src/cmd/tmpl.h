/*
 * cmd/tmpl.h: the part of Go's text/template that people use with --format, over JSON values: {{.A.B}}, {{json .}}, {{range}},
 * {{if}}/{{else}}, {{with}}, variables of range, index, len, join, split, upper, lower, title, printf, println, eq, ne, and, or,
 * not, pipelines, and trimming by {{- and -}}.
 */
#pragma once

#include "base/buf.h"

#include <jansson.h>

/* Appends the text. An unknown field of an object is an error that lists those there are. */
MUST_USE int tmpl_run(const char *text, json_t *value, struct buf *out, struct err *e);
