/* cmd/tmpl-func.h: values and functions of the templates of tmpl.h; of use to tmpl.c alone. */
#pragma once

#include "base/buf.h"

#include <jansson.h>

enum { TMPL_ARGS_MAX = 16 };

/* Whether {{if}} takes it for true: not empty, zero or null. */
bool tmpl_is_true(const json_t *v);
/* The keys in order, as Go walks maps; NULL when out of memory. The caller frees the list alone. */
const char **tmpl_sorted_keys(json_t *object, size_t *ret_n);
/* Appends a value as Go prints it. */
void tmpl_print(struct buf *out, json_t *v);
/* Calls a function on n arguments, at most TMPL_ARGS_MAX; *ret is a new reference. ERR_INVALID for an unknown one. */
MUST_USE int tmpl_call(const char *name, json_t **args, size_t n, json_t **ret, struct err *e);
