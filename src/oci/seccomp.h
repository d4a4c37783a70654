/*
 * oci/seccomp.h: linux.seccomp → a BPF program. Compiling Docker's default profile takes libseccomp some milliseconds, so programs are
 * kept in a folder, keyed by the profile's canonical text.
 */
#pragma once

#include "spec/oci-runtime.h"

struct sock_filter;

struct seccomp_prog {
    struct sock_filter *code; /* NULL: no filter */
    size_t len;               /* instructions */
    unsigned flags;           /* SECCOMP_FILTER_FLAG_* */
    bool notify;              /* an action is SCMP_ACT_NOTIFY: loading returns a listener */
    void *mapped;             /* code lies in a mapping of this many bytes, else on the heap */
    size_t mapped_len;
};
void seccomp_prog_done(struct seccomp_prog *p);
/* cache: folder or NULL. A cache that cannot be used is no error. */
MUST_USE int seccomp_compile(const struct oci_seccomp *s, const char *cache, struct seccomp_prog *ret, struct err *e);
/* Loads into this thread. *ret_listener: descriptor, or -1 without notify. Async-signal-safe. Returns 0 or -errno. */
int seccomp_prog_load(const struct seccomp_prog *p, int *ret_listener);
/* Names of what the libraries here know, for `features`; static strings. */
const char *const *seccomp_actions(void);
const char *const *seccomp_operators(void);
const char *const *seccomp_archs(void);
const char *const *seccomp_flags_known(void);
