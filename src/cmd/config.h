/*
 * cmd/config.h: tare.yaml and its drop-ins, shared by tare and tared. One table of keys; an unknown key or a bad value is a
 * warning that names file and line, a drop-in that does not parse is left out whole; only a main file that was named by the
 * caller and cannot be read is an error.
 *
 *     root: /var/lib/tare            run: /run/tare              log_level: info        log_format: text
 *     engine:  {monitor, runtime, cgroup_parent, cgroup_manager: cgroupfs|systemd, detach_keys}
 *     network: {cni_conf_dir, cni_bin_dirs: [..]}
 *     registry: {hosts_dir, stall_seconds}
 *     daemon:  {listen, threads}
 *     streaming: {address: 127.0.0.1, port: 0, connections, idle_timeout: 4h}
 */
#pragma once

#include "engine/engine.h"

#define CONFIG_PATH "/etc/tare/tare.yaml"

struct config {
    char *root, *run;        /* never NULL after config_load() */
    char *log_level, *log_format;
    char *monitor, *runtime, *cgroup_parent, *cgroup_manager, *detach_keys;
    char **cni_conf_dirs, **cni_bin_dirs;
    char *hosts_dir;
    uint32_t stall_seconds;  /* of a transfer; 0: 30 */
    char *listen;
    char *stream_address, *stream_idle;
    uint32_t stream_port, stream_connections; /* 0: any, the default */
    uint32_t threads;        /* of tared's pool; 0: its default */
};
void config_done(struct config *c);
#define CLEANUP_CONFIG CLEANUP(config_done)

/* text: "/etc/tare/tare.yaml:7: unknown key engine.colour" */
typedef void config_warn_fn(void *data, const char *text);
/*
 * Fills *ret (zeroed by the caller) from path and from the conf.d folder beside it, in order of name. path NULL: CONFIG_PATH,
 * which may be absent. warn may be NULL.
 */
MUST_USE int config_load(const char *path, config_warn_fn *warn, void *data, struct config *ret, struct err *e);
/* One document; name is for warnings. What it sets replaces what *c has; on failure *c is as before. */
MUST_USE int config_parse(const char *name, const char *text, size_t len, config_warn_fn *warn, void *data, struct config *c,
                          struct err *e);
/* Fills the members of *o that the configuration has; the strings stay the configuration's. */
void config_engine_options(const struct config *c, struct engine_options *o);
