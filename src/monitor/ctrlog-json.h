/* monitor/ctrlog-json.h: one record of docker's json-file. */
#pragma once

#include "base/util.h"

/* The longest that a record of a line of len bytes can get. */
size_t ctrlog_json_max(size_t len);
/* Writes {"log":"…\n","stream":"…","time":"…"} and a newline; the \n in it only when the line is whole. Returns its length. */
size_t ctrlog_json_record(char *out, const char *line, size_t len, bool whole, const char *stream, const char *time);
