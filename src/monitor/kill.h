/* monitor/kill.h: killing all that one exec started. */
#pragma once

#include "base/util.h"

#include <sys/types.h>

/* SIGKILL to pid, its descendants, and whoever shares a session with one of them; again until no new ones appear. */
void kill_tree(pid_t pid);
/* The same by the exec's own cgroup, a child of the container's. Returns 0 or -errno. */
int kill_cgroup(const char *cgroup, const char *child);
/* Removes that cgroup, or leaves it to the container's removal while something lives in it. */
void kill_remove_cgroup(const char *cgroup, const char *child);
