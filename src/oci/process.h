/* oci/process.h: pieces of process.c and devices.c that the init and an exec use besides those of ctr.h. */
#pragma once

#include "spec/oci-runtime.h"

/* execCPUAffinity; field: "initial" or "final". An empty list is fine. */
int process_affinity(const char *list, const char *field, struct err *e);
/* The pty's slave becomes controlling terminal and standard streams of a session leader. */
int process_terminal(int slave, struct err *e);
/* A pty in the devpts below root; its master goes through console_socket, its slave comes back. */
int console_open(int root, const struct oci_process *p, int console_socket, int *ret_slave, struct err *e);
/* Names of capabilities without "CAP_", by number. */
const char *const *caps_names(size_t *n);
