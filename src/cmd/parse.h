/*
 * cmd/parse.h: docker's little languages of `tare run`: volumes, mounts, published ports, devices, limits, signals. Errors are
 * ERR_INVALID, name what was given and say what is wanted. What is returned is owned by the caller.
 */
#pragma once

#include "engine/engine.h"

void parse_mount_done(struct engine_mount *m);
void parse_port_done(struct engine_port *p);

/* -v: "CTR", "NAME:CTR", "/HOST:CTR", each with ":OPT[,OPT]"; a source that begins with "." is made absolute. source NULL: anonymous volume. */
MUST_USE int parse_volume(const char *s, struct engine_mount *ret, struct err *e);
/* --mount: "type=bind,src=/a,dst=/b,ro" */
MUST_USE int parse_mount(const char *s, struct engine_mount *ret, struct err *e);
/* --tmpfs: "/run:size=64m,mode=1777" */
MUST_USE int parse_tmpfs(const char *s, struct engine_mount *ret, struct err *e);
/* -p: "[[IP:]HOST:]CTR[/PROTO]" with ranges; appends to *v. Host port 0: any. */
MUST_USE int parse_publish(const char *s, struct engine_port **v, size_t *n, struct err *e);
/* --device: "/dev/a[:/dev/b][:rwm]" */
MUST_USE int parse_device(const char *s, struct engine_device *ret, struct err *e);
/* --ulimit: "nofile=1024:2048" */
MUST_USE int parse_ulimit(const char *s, struct engine_rlimit *ret, struct err *e);
/* "KEY=VALUE" or "KEY" (empty value) into the map. */
MUST_USE int parse_label(const char *s, struct str_map *m, const char *what, struct err *e);
/* -e: "K=V", or "K" from this process' environment (left out when it is not set there); pushes to *env. */
MUST_USE int parse_env(const char *s, char ***env, struct err *e);
/* --env-file, --label-file: lines, "#" comments. Calls one of the above for each. */
MUST_USE int parse_env_file(const char *path, char ***env, struct err *e);
MUST_USE int parse_label_file(const char *path, struct str_map *m, struct err *e);
/* "KILL", "SIGKILL", "9", "RTMIN+1" */
MUST_USE int parse_signal(const char *s, int *ret, struct err *e);
/* "ctrl-p,ctrl-q" as bytes; at most max of them. */
MUST_USE int parse_detach_keys(const char *s, uint8_t *keys, size_t max, size_t *ret_n, struct err *e);
/* "1.5" CPUs as a quota of a period of 100 ms. */
MUST_USE int parse_cpus(const char *s, int64_t *ret_quota, struct err *e);
