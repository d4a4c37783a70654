/* engine/stats.h: figures of a cgroup and of a network namespace, as struct engine_stats has them. */
#pragma once

#include "engine/engine.h"
#include "sys/cgroup.h"

/* path: of the cgroup in every hierarchy. Files that are missing leave zeros; a cgroup that is missing everywhere is ERR_NOT_FOUND. */
MUST_USE int stats_cgroup_read(const struct cg_machine *m, const char *path, struct engine_stats *ret, struct err *e);
/* Interfaces of the network namespace that pid is in, "lo" left out. */
MUST_USE int stats_net_read(pid_t pid, struct engine_stats *ret, struct err *e);
/* text of /proc/net/dev */
MUST_USE int stats_net_parse(char *text, struct engine_stats *ret);
/* Bytes on disk and inodes below a folder, without crossing into other file systems. */
MUST_USE int stats_folder_usage(const char *path, uint64_t *bytes, uint64_t *inodes, struct err *e);
