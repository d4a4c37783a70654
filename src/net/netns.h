/* net/netns.h: network namespaces that stay by a bind mount and bear their owner's id in the path. */
#pragma once

#include "base/err.h"

/*
 * Makes a network namespace with lo up, pinned at path (a file that is made). One that is pinned there already is taken as
 * it is. Killed at any moment, there is at most a file, or a mount, at path.
 */
MUST_USE int netns_create(const char *path, struct err *e);
/* Unpins and removes the file; absent is fine. */
MUST_USE int netns_remove(const char *path, struct err *e);
/* Whether path is a pinned network namespace. */
bool netns_is(const char *path);
/* Runs fn in the namespace, in a thread of its own, and returns what it returns. */
MUST_USE int netns_run(const char *path, int (*fn)(void *data, struct err *e), void *data, struct err *e);
