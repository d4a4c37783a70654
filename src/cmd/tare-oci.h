/* cmd/tare-oci.h: what the files of tare-oci share: the global options, and the commands that the table in tare-oci.c names. */
#pragma once

#include "base/opts.h"
#include "oci/oci.h"

struct rt {
    bool debug, systemd_cgroup, version;
    const char *root, *log, *log_format, *rootless, *criu;
};

/*
 * Tells of a failure as engines expect it: a record in the log file (if there is one) and one line on standard error.
 * Returns code, for `return rt_fail(…)`.
 */
int rt_fail(const struct rt *g, int code, const struct err *e);
/* A warning: to the log file, or to standard error without one. */
void rt_warn(const struct rt *g, const char *text);
/* Writes text to standard output. Returns the exit code. */
int rt_print(const struct rt *g, const struct buf *text);

struct rt_create_args {
    const char *bundle, *console_socket, *pid_file, *pidfd_socket;
    bool no_pivot, no_new_keyring, detach, keep, no_subreaper;
    uint32_t preserve_fds;
};
struct rt_kill_args {
    bool all;
};
struct rt_delete_args {
    bool force;
};
struct rt_exec_args {
    const char *console_socket, *cwd, *user, *process, *pid_file, *process_label, *apparmor, *cgroup, *pidfd_socket;
    char **env, **caps, **groups;
    bool tty, detach, no_new_privs, ignore_paused;
    uint32_t preserve_fds;
};
struct rt_list_args {
    const char *format;
    bool quiet;
};
struct rt_update_args {
    const char *resources, *cpuset_cpus, *cpuset_mems, *l3_cache_schema, *mem_bw_schema;
    int64_t blkio_weight, cpu_period, cpu_quota, cpu_burst, cpu_share, cpu_rt_period, cpu_rt_runtime, cpu_idle;
    int64_t memory, memory_reservation, memory_swap, kernel_memory, kernel_memory_tcp, pids_limit;
};
struct rt_events_args {
    int64_t interval;
    bool stats;
};
struct rt_spec_args {
    const char *bundle;
    bool rootless;
};
struct rt_criu_args {
    const char *image_path, *work_path, *bundle, *pid_file, *console_socket;
    bool leave_running, tcp_established, ext_unix_sk, shell_job, file_locks, detach;
};

int rt_create(void *globals, void *args, int argc, char **argv);
int rt_start(void *globals, void *args, int argc, char **argv);
int rt_run(void *globals, void *args, int argc, char **argv);
int rt_state(void *globals, void *args, int argc, char **argv);
int rt_kill(void *globals, void *args, int argc, char **argv);
int rt_delete(void *globals, void *args, int argc, char **argv);
int rt_pause(void *globals, void *args, int argc, char **argv);
int rt_resume(void *globals, void *args, int argc, char **argv);
int rt_exec(void *globals, void *args, int argc, char **argv);
int rt_list(void *globals, void *args, int argc, char **argv);
int rt_ps(void *globals, void *args, int argc, char **argv);
int rt_update(void *globals, void *args, int argc, char **argv);
int rt_events(void *globals, void *args, int argc, char **argv);
int rt_spec(void *globals, void *args, int argc, char **argv);
int rt_features(void *globals, void *args, int argc, char **argv);
int rt_checkpoint(void *globals, void *args, int argc, char **argv);
int rt_restore(void *globals, void *args, int argc, char **argv);

/* ---- shared by create, run and exec --------------------------------------------------------- */

/* Folder of compiled seccomp filters below root; its name cannot be a container's. The caller frees; NULL: no memory. */
char *rt_seccomp_cache(const struct rt *g);
/* Connects to a stream socket at path. */
MUST_USE int rt_connect(const char *path, int *ret_fd, struct err *e);
/* Replaces path by the number, as engines that wait for the file expect it: never half-written. */
MUST_USE int rt_write_pid(const char *path, pid_t pid, struct err *e);
/*
 * The terminal of a process in the foreground comes by a socket pair: [0] is ours, [1] goes to the library. After the creation
 * rt_console_take() gets the master.
 */
MUST_USE int rt_console_pair(int pair[2], struct err *e);
MUST_USE int rt_console_take(int sock, int *ret_master, struct err *e);
/* --format of list and ps. */
MUST_USE int rt_check_format(const char *format, struct err *e);
/* Before a process in the foreground starts: what comes from now on is forwarded by rt_wait(). */
void rt_hold_signals(void);
/*
 * Waits for a child in the foreground: forwards signals to it, and with a master (≥ 0) relays between it and our standard streams
 * and hands on changes of the window size. *ret_code: exit code, or 128 + signal.
 */
MUST_USE int rt_wait(pid_t pid, int pidfd, int master, int *ret_code, struct err *e);
