/* monitor/builder.h: what the jobs of the built-in and of foreign runtimes share; runs in their children. */
#pragma once

#include "base/buf.h"
#include "spec/oci-runtime.h"

struct ctr;
struct mon_exec;

MUST_USE int builder_read_config(const char *bundle, struct oci_spec **ret, struct err *e);
/* The pty's master that a runtime sent over its console socket. */
MUST_USE int builder_take_master(int socket, int *ret, struct err *e);
/* JSON of the process that an exec is to run. */
MUST_USE int builder_read_process(const struct mon_exec *s, struct buf *out, struct err *e);
void builder_poststop(const struct ctr *c);
