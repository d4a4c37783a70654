/* cri/convert-internal.h: small things that the files of convert.h share. */
#pragma once

#include "cri/convert.h"

/* ERR_INVALID "FIELD: WHY". */
int bad_field(struct err *e, const char *field, const char *why);
/* Empty strings are left out. */
MUST_USE int copy_str(char **to, const char *from, struct err *e);
MUST_USE int copy_strs(char ***to, size_t n, char *const *from, struct err *e);
/* allowed: bits 1 << mode. */
MUST_USE int ns_mode(V1(NamespaceMode) mode, unsigned allowed, const char *field, enum engine_ns_mode *ret, struct err *e);
