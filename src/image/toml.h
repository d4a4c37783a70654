/*
 * image/toml.h: a strict reader of the part of TOML that registry configuration uses: tables, arrays of tables, bare, quoted and dotted
 * keys, basic and literal strings (multi-line too), integers, booleans, arrays, inline tables, comments. Dates and floats
 * are refused by name. The result is a JSON value; an error has the line.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>

enum { TOML_TEXT_MAX = 1 << 20, TOML_DEPTH_MAX = 16, TOML_ITEMS_MAX = 20000 };

/* name: of the file, for errors ("NAME:12: …"). *ret: an object, a new reference. */
MUST_USE int toml_parse(const char *name, const char *text, size_t len, json_t **ret, struct err *e);
