/*
 * sys/self.h: keeping our own program file out of reach of a container (CVE-2019-5736 and its kin).
 *
 * The process that executes a container's program is ours until that moment, and the program may be a script whose interpreter is
 * /proc/self/exe: then our own program runs inside the container, dumpable, and a process there can open it through /proc/PID/exe and,
 * once it has ended, write to it: root in a container without a user namespace is the owner of the file. Being undumpable before the
 * exec does not help, since the exec resets that. What helps is that the file is reached through a mount that cannot be written.
 */
#pragma once

#include "base/err.h"

/*
 * Makes sure that /proc/self/exe is on a read-only mount: if it is not, executes the same file again through a detached read-only
 * clone of its mount (visible nowhere, gone with the last process that uses it); without the privilege for that, and if the file is
 * writable for us at all, through a sealed copy in memory. A static program pays about a quarter of a millisecond, once; one that
 * is linked with `-e self_entry` (self-entry.c) has done it before the C library starts, for less than half of that.
 * Returns 0 when there is nothing to do; does not return when it has executed. To be called first in main().
 */
MUST_USE int self_protect(char *const *argv, struct err *e);
/* Whether the program of that /proc/PID/exe link (or "/proc/self/exe") cannot be written through it. */
bool self_is_protected(const char *exe);
/*
 * The folder of our program file: /proc/self/exe says it only until self_protect() has executed the file again, which hands it on in the
 * environment. NULL when it is not known. The caller frees.
 */
char *self_dir(void);
