/* cmd/run-args.h: the options of run and create, and what they mean to the engine. */
#pragma once

#include "cmd/cli.h"

struct run_args {
    bool interactive, tty, detach, rm, publish_all, privileged, read_only, init, quiet, tls_verify, sig_proxy, no_healthcheck,
            oom_kill_disable;
    const char *name, *workdir, *user, *network, *hostname, *domainname, *entrypoint, *runtime, *stop_signal, *restart, *pid, *ipc,
            *userns, *uts, *cgroup_parent, *cgroupns, *log_driver, *pull, *platform, *cidfile, *pod, *detach_keys, *cpus,
            *cpuset_cpus, *cpuset_mems, *progress;
    char **env, **env_file, **volume, **mount, **group_add, **publish, **expose, **add_host, **dns, **dns_search, **dns_option,
            **cap_add, **cap_drop, **device, **security_opt, **tmpfs, **label, **label_file, **annotation, **ulimit, **sysctl,
            **log_opt, **attach;
    int64_t memory, memory_swap, memory_reservation, cpu_shares, cpu_period, cpu_quota, pids_limit, shm_size, stop_timeout,
            oom_score_adj, memory_swappiness;
};

int run_run(void *globals, void *args, int argc, char **argv);
int run_create(void *globals, void *args, int argc, char **argv);

/* argv: image, command. Fills both; release with engine_ctr_spec_done() and engine_pod_spec_done() in any case. */
MUST_USE int run_specs(const struct cli *c, const struct run_args *a, int argc, char **argv, struct engine_ctr_spec *ctr,
                       struct engine_pod_spec *pod, struct err *e);
/* What update and run share. */
MUST_USE int run_resources(const struct run_args *a, struct engine_resources *r, struct err *e);
/*
 * Started by a unit of Type=notify: the container's processes stay in the unit's cgroup, and it gets the manager's socket, since readiness is
 * its own to tell (the unit needs NotifyAccess=all). Without NOTIFY_SOCKET nothing happens. In run-systemd.c.
 */
MUST_USE int run_in_unit(struct engine_ctr_spec *ctr, struct engine_pod_spec *pod, struct err *e);
