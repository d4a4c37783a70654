/* oci/seccomp-compile.h: the part of seccomp.h that needs libseccomp: rules → BPF instructions, without cache. */
#pragma once

#include "oci/seccomp.h"

#include <linux/filter.h>

/* Appends the program to out as struct sock_filter. */
MUST_USE int seccomp_build(const struct oci_seccomp *s, struct buf *out, struct err *e);
/* SECCOMP_FILTER_FLAG_* of linux.seccomp.flags. */
MUST_USE int seccomp_flags_parse(const struct oci_seccomp *s, unsigned *ret, struct err *e);
