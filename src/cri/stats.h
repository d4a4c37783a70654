/* cri/stats.h: figures of one object as a packed message, for the calls in stats-calls.c. */
#pragma once

#include "cri/cri-internal.h"
#include "cri/list.h"

/* What a message of figures points to. */
struct stats_parts {
    V1(CpuUsage) cpu;
    V1(MemoryUsage) memory;
    V1(SwapUsage) swap;
    V1(FilesystemUsage) layer;
    V1(FilesystemIdentifier) fs;
    V1(UInt64Value) values[16];
    size_t n_values;
};

/* Appends the fields of a ContainerStats or PodSandboxStats. ERR_NOT_FOUND if the object has gone. */
MUST_USE int stats_ctr_pack(struct cri *c, const char *id, struct buf *out, struct err *e);
MUST_USE int stats_pod_pack(struct cri *c, const char *id, struct buf *out, struct err *e);
/* Appends a map<string, string>. */
void stats_put_map(struct buf *out, unsigned field, const struct str_map *m);
