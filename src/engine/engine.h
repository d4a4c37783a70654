/*
 * engine/engine.h: the use cases, as the doors (cmd/, cri/) call them.
 *
 * An engine is opened on a root and a run folder; any number of threads and of processes may work on the same folders. Calls
 * block until the work is done. Everything that is returned is owned by the caller and released by the x_free of its type.
 * Ids may be given whole, as a unique prefix, or as a name ("ref" parameters); an unknown one is ERR_NOT_FOUND, an ambiguous
 * one ERR_INVALID. Times are nanoseconds since the epoch, 0 when they have not happened. Sizes are bytes.
 */
#pragma once

#include "base/log.h"
#include "spec/json.h"

struct engine;

struct engine_options {
    const char *root;          /* /var/lib/tare */
    const char *run;           /* /run/tare */
    const char *ns;            /* namespace of names, "default" */
    const char *monitor_path;  /* NULL: tare-monitor beside this program, else from libexec or PATH */
    const char *self_path;     /* tare program for exit commands; NULL: none are used */
    char *const *cni_conf_dirs; /* first is used; NULL: /etc/cni/net.d */
    char *const *cni_bin_dirs;  /* NULL: /opt/cni/bin, /usr/lib/cni */
    const char *hosts_dir;     /* hosts.toml tree; NULL: /etc/containerd/certs.d */
    uint32_t stall_seconds;    /* a transfer with next to nothing for so long is broken off; 0: 30 */
    const char *default_runtime; /* NULL or "tare": built in; else a program */
    const char *cgroup_parent; /* NULL: /tare */
    bool systemd_cgroup;
    const struct log *log;     /* for background work only; may be NULL */
};

MUST_USE int engine_open(const struct engine_options *o, struct engine **ret, struct err *e);
void engine_close(struct engine *g);
/* Replays the journal and retries clean-ups. Cheap when there is nothing to do; tare and tared call it at start. */
MUST_USE int engine_recover(struct engine *g, struct err *e);

/* ---- resources ---------------------------------------------------------------------------- */

struct engine_resources {
    int64_t cpu_period, cpu_quota, cpu_shares; /* 0: not set; quota -1: no limit */
    int64_t memory_limit, memory_swap, memory_reservation; /* 0: not set; -1: no limit */
    int64_t pids_limit;                        /* 0: not set; -1: no limit */
    int64_t oom_score_adj;
    bool has_oom_score_adj;
    char *cpuset_cpus, *cpuset_mems;
    struct str_map unified;
    struct str_map hugepages; /* page size ("2MB") -> limit in decimal */
};
void engine_resources_done(struct engine_resources *r);

/* ---- pods ----------------------------------------------------------------------------------- */

enum engine_ns_mode { ENGINE_NS_POD, ENGINE_NS_CONTAINER, ENGINE_NS_HOST, ENGINE_NS_TARGET };

struct engine_id_map {
    uint32_t container_id, host_id, length;
};

struct engine_port {
    char *protocol; /* "tcp", "udp", "sctp" */
    char *host_ip;  /* NULL or "": all */
    uint16_t host_port, container_port;
};

enum engine_pod_kind { ENGINE_POD_SANDBOX, ENGINE_POD_CONTAINER /* of one stand-alone container */ };

struct engine_pod_spec {
    enum engine_pod_kind kind;
    char *name, *uid, *k8s_namespace;
    uint32_t attempt;
    char *hostname, *domainname, *log_directory, *cgroup_parent, *runtime_handler;
    struct str_map labels, annotations, sysctls;
    char **dns_servers, **dns_searches, **dns_options;
    bool has_dns;            /* write resolv.conf from the lists; else a copy of the host's */
    char **extra_hosts;      /* "name:ip" */
    JSON_ARRAY(struct engine_port) ports;
    enum engine_ns_mode net, pid, ipc;
    char *network;           /* name of a CNI network; NULL: the default one. "none": only lo */
    char *netns_of;          /* share the network namespace of this pod or container */
    char *ipcns_of;          /* share the IPC namespace (and /dev/shm) of this one */
    int64_t shm_size;        /* of /dev/shm; 0: 64 MiB */
    bool userns;
    JSON_ARRAY(struct engine_id_map) uid_map, gid_map;
    bool privileged;
    struct engine_resources resources, overhead;
    char *cri_config;        /* the CRI PodSandboxConfig, serialised; kept for the cri room, opaque here */
    size_t cri_config_len;
};
void engine_pod_spec_done(struct engine_pod_spec *s);

enum engine_pod_state { ENGINE_POD_CREATING, ENGINE_POD_READY, ENGINE_POD_NOTREADY };

struct engine_pod {
    char *id;
    struct engine_pod_spec spec;
    enum engine_pod_state state;
    int64_t created_at;
    char **ips;       /* first is the primary one */
    char *netns_path; /* NULL with the host's network */
};
void engine_pod_free(struct engine_pod *p);
struct engine_pods {
    struct engine_pod **v;
    size_t n;
};
void engine_pods_done(struct engine_pods *p);

/* Idempotent by (namespace, k8s_namespace, name, uid, attempt): a second call joins or returns the same id. *ret_id: caller frees. */
MUST_USE int engine_pod_run(struct engine *g, const struct engine_pod_spec *s, char **ret_id, struct err *e);
/* Idempotent; also for pods that are stopped already. */
MUST_USE int engine_pod_stop(struct engine *g, const char *ref, struct err *e);
/* Stops if need be and removes its containers too. An absent pod is not an error when the id is a full one. */
MUST_USE int engine_pod_remove(struct engine *g, const char *ref, struct err *e);
MUST_USE int engine_pod_get(struct engine *g, const char *ref, struct engine_pod **ret, struct err *e);
MUST_USE int engine_pod_list(struct engine *g, struct engine_pods *ret, struct err *e);

/* ---- containers --------------------------------------------------------------------------- */

enum engine_mount_kind { ENGINE_MOUNT_BIND, ENGINE_MOUNT_TMPFS, ENGINE_MOUNT_VOLUME, ENGINE_MOUNT_IMAGE };

struct engine_mount {
    enum engine_mount_kind kind;
    char *source;  /* host path, volume name or image; created as a folder if it is missing and create_source */
    char *target;  /* absolute path in the container */
    bool readonly, recursive_readonly, create_source, relabel;
    char *propagation; /* NULL: rprivate; "rslave", "rshared", … */
    char *options; /* tmpfs: "size=64m,mode=1777" */
    char *sub_path; /* image volumes */
    bool userns_map; /* idmap the mount to the container's user namespace */
    bool no_copy;    /* volumes: a new one is not filled with what the image has there */
};

struct engine_device {
    char *host_path, *container_path, *permissions; /* "rwm" */
};

struct engine_rlimit {
    char *name; /* "nofile" */
    uint64_t soft, hard;
};

enum engine_seccomp { ENGINE_SECCOMP_DEFAULT, ENGINE_SECCOMP_UNCONFINED, ENGINE_SECCOMP_PROFILE };
enum engine_log_format { ENGINE_LOG_CRI, ENGINE_LOG_JSON, ENGINE_LOG_NONE };

struct engine_ctr_spec {
    char *name;
    uint32_t attempt;
    char *image;             /* reference or id as the caller named it */
    char *image_id;          /* "sha256:…" of the image's config: filled in by create if NULL */
    /* Entry point semantics: docker's. entrypoint set replaces the image's entrypoint and drops its command. */
    char **entrypoint, **command;
    bool has_entrypoint;
    char **env;              /* "K=V", over the image's; "K" alone removes nothing and is resolved by the door */
    char *working_dir, *user; /* NULL: the image's */
    bool has_uid, has_gid;   /* numeric user from CRI, wins over user */
    uint32_t uid, gid;
    JSON_ARRAY(uint32_t) groups; /* supplementary */
    bool groups_strict;      /* only groups, not those of /etc/group */
    char *hostname;          /* NULL: the pod's */
    JSON_ARRAY(struct engine_mount) mounts;
    JSON_ARRAY(struct engine_device) devices;
    char **cdi_devices;
    struct str_map labels, annotations;
    bool tty, stdin_open, stdin_once, init, privileged, readonly_rootfs, no_new_privs, auto_remove;
    char **cap_add, **cap_drop, **cap_ambient;
    enum engine_seccomp seccomp;
    char *seccomp_profile;   /* path of the profile */
    char *apparmor_profile, *selinux_label;
    char **masked_paths, **readonly_paths; /* used when has_paths, else the default lists */
    bool has_paths;
    enum engine_ns_mode pid, ipc, net;
    char *pid_target;        /* container id for ENGINE_NS_TARGET */
    bool cgroup_host;        /* no cgroup namespace */
    struct engine_resources resources;
    JSON_ARRAY(struct engine_rlimit) rlimits;
    char *stop_signal;       /* NULL: the image's, else SIGTERM */
    int64_t stop_timeout;    /* seconds; -1: default 10 */
    char *restart_policy;    /* "no", "on-failure:3", "always", "unless-stopped" */
    enum engine_log_format log_format;
    char *log_path;          /* absolute; NULL: containers/ID/log */
    int64_t log_max_size;    /* 0: no own rotation */
    uint32_t log_max_files;
    char *runtime;           /* NULL: the engine's default */
    char *detach_keys;
    bool notify_socket;      /* pass NOTIFY_SOCKET through */
    uint32_t tty_rows, tty_cols;
    char *cri_config;        /* opaque to the engine, as in the pod */
    size_t cri_config_len;
};
void engine_ctr_spec_done(struct engine_ctr_spec *s);

enum engine_ctr_state {
    ENGINE_CTR_CREATING, ENGINE_CTR_CREATED, ENGINE_CTR_RUNNING, ENGINE_CTR_PAUSED, ENGINE_CTR_EXITED, ENGINE_CTR_UNKNOWN,
};
/* "created", "running", … */
const char *engine_ctr_state_name(enum engine_ctr_state s);

struct engine_ctr {
    char *id, *pod_id;
    struct engine_ctr_spec spec;
    enum engine_ctr_state state;
    int64_t created_at, started_at, finished_at;
    int32_t pid; /* of its init while it runs */
    int32_t exit_code;
    bool oom_killed;
    char *reason, *message; /* CRI: "Completed", "Error", "OOMKilled", "ContainerCannotRun" … */
    char *log_path, *image_name, *image_id;
    char **args; /* what runs: entry point and command resolved */
    uint32_t uid, gid;
    JSON_ARRAY(uint32_t) groups;
    uint32_t restart_count;
};
void engine_ctr_free(struct engine_ctr *c);
struct engine_ctrs {
    struct engine_ctr **v;
    size_t n;
};
void engine_ctrs_done(struct engine_ctrs *c);

/* pod NULL: a pod of its own is run for it first (stand-alone container; pod_spec gives its network, ports, hostname …). Idempotent for CRI by (pod, name, attempt). */
MUST_USE int engine_ctr_create(struct engine *g, const char *pod, const struct engine_pod_spec *pod_spec,
                               const struct engine_ctr_spec *s, char **ret_id, struct err *e);
MUST_USE int engine_ctr_start(struct engine *g, const char *ref, struct err *e);
/* Stop signal, wait, SIGKILL after timeout_s seconds (-1: the container's own). Idempotent. */
MUST_USE int engine_ctr_stop(struct engine *g, const char *ref, int64_t timeout_s, struct err *e);
MUST_USE int engine_ctr_kill(struct engine *g, const char *ref, int signo, struct err *e);
MUST_USE int engine_ctr_pause(struct engine *g, const char *ref, struct err *e);
MUST_USE int engine_ctr_unpause(struct engine *g, const char *ref, struct err *e);
/* force: stops it first; without, a running one is ERR_BUSY. A stand-alone container takes its pod with it. */
MUST_USE int engine_ctr_remove(struct engine *g, const char *ref, bool force, struct err *e);
MUST_USE int engine_ctr_rename(struct engine *g, const char *ref, const char *name, struct err *e);
MUST_USE int engine_ctr_update(struct engine *g, const char *ref, const struct engine_resources *r, struct err *e);
MUST_USE int engine_ctr_get(struct engine *g, const char *ref, struct engine_ctr **ret, struct err *e);
MUST_USE int engine_ctr_list(struct engine *g, struct engine_ctrs *ret, struct err *e);
/* Blocks until it has exited (or is removed); timeout_ms -1: for ever. -ETIMEDOUT. */
MUST_USE int engine_ctr_wait(struct engine *g, const char *ref, int timeout_ms, int32_t *ret_code, struct err *e);
MUST_USE int engine_ctr_reopen_log(struct engine *g, const char *ref, struct err *e);
MUST_USE int engine_ctr_resize(struct engine *g, const char *ref, const char *exec_id, uint32_t rows, uint32_t cols, struct err *e);
/* After an exit: --rm, restart policy, network. What the monitor's exit command calls. */
MUST_USE int engine_ctr_cleanup(struct engine *g, const char *ref, struct err *e);

/* Processes in its cgroup, as the host numbers them; *ret: caller frees. ERR_INVALID when it does not run. */
MUST_USE int engine_ctr_pids(struct engine *g, const char *ref, int32_t **ret, size_t *ret_n, struct err *e);
/* What its writable layer changed, in order of path. kind: 'A' added, 'C' changed, 'D' deleted. Returns < 0 to end. */
typedef int engine_diff_fn(void *data, char kind, const char *path);
MUST_USE int engine_ctr_diff(struct engine *g, const char *ref, engine_diff_fn *fn, void *data, struct err *e);
/* A descriptor of the container's root: an O_PATH fd to resolve in with RESOLVE_IN_ROOT (running: /proc/PID/root; else a mount made for it). */
MUST_USE int engine_ctr_root(struct engine *g, const char *ref, int *ret_fd, struct err *e);

/* Streams of an attached container or exec: the monitor's end of a socket with the framing of ipc/stream.h. */
struct engine_stream {
    int fd;        /* -1: none */
    bool tty;
    char *exec_id; /* for resize; NULL for the container itself */
};
MUST_USE int engine_ctr_attach(struct engine *g, const char *ref, bool with_stdin, struct engine_stream *ret, struct err *e);

struct engine_exec_spec {
    char **args, **env;
    char *working_dir, *user;
    bool tty, stdin_open, privileged;
    uint32_t tty_rows, tty_cols;
};
MUST_USE int engine_exec_start(struct engine *g, const char *ref, const struct engine_exec_spec *s, bool detach,
                               struct engine_stream *ret, struct err *e);
/* Exit code of an exec whose stream has ended. */
MUST_USE int engine_exec_wait(struct engine *g, const char *ref, const char *exec_id, int timeout_ms, int32_t *ret_code, struct err *e);
/*
 * Runs to the end and collects output, at most max bytes each (more is cut off). timeout_ms 0: none; at the time-out everything the
 * exec started is killed and reaped, and -ETIMEDOUT with ERR_TIMEOUT is returned.
 */
MUST_USE int engine_exec_sync(struct engine *g, const char *ref, char *const *args, int64_t timeout_ms, size_t max,
                              struct buf *out, struct buf *errout, int32_t *ret_code, struct err *e);

/* ---- stats -------------------------------------------------------------------------------- */

struct engine_net_stats {
    char name[16];
    uint64_t rx_bytes, rx_errors, tx_bytes, tx_errors, rx_packets, tx_packets;
};

struct engine_stats {
    int64_t timestamp;
    uint64_t cpu_ns, cpu_user_ns, cpu_system_ns;
    uint64_t mem_usage, mem_working_set, mem_rss, mem_limit, mem_page_faults, mem_major_faults, swap_usage;
    uint64_t pids, io_read, io_write;
    uint64_t rw_bytes, rw_inodes; /* writable layer */
    JSON_ARRAY(struct engine_net_stats) net;
};
void engine_stats_done(struct engine_stats *s);
MUST_USE int engine_ctr_stats(struct engine *g, const char *ref, struct engine_stats *ret, struct err *e);
MUST_USE int engine_pod_stats(struct engine *g, const char *ref, struct engine_stats *ret, struct err *e);

/* ---- logs ------------------------------------------------------------------------------------ */

struct engine_log_query {
    int64_t since, until; /* ns; 0: no bound */
    int64_t tail;         /* lines; -1: all */
    bool follow, want_stdout, want_stderr;
};
/* Called for each line (without its newline unless partial). Returns < 0 to end. stream: 1 stdout, 2 stderr. */
typedef int engine_log_fn(void *data, int64_t time, int stream, const char *line, size_t len, bool partial);
MUST_USE int engine_ctr_logs(struct engine *g, const char *ref, const struct engine_log_query *q, engine_log_fn *fn, void *data,
                             struct err *e);

/* ---- images -------------------------------------------------------------------------------- */

struct engine_image {
    char *id;             /* sha256:… of the config */
    char **tags;          /* docker.io/library/busybox:latest */
    char **digests;       /* docker.io/library/busybox@sha256:… */
    int64_t created_at;
    uint64_t size;        /* bytes on disk of its layers */
    char *os, *architecture, *variant, *user;
    struct str_map labels;
    bool pinned;
};
void engine_image_free(struct engine_image *i);
struct engine_images {
    struct engine_image **v;
    size_t n;
};
void engine_images_done(struct engine_images *i);

struct engine_auth {
    char *username, *password, *auth, *identity_token, *registry_token, *server;
};
enum engine_progress_kind { ENGINE_PROGRESS_RESOLVING, ENGINE_PROGRESS_LAYER, ENGINE_PROGRESS_DONE };
struct engine_progress {
    enum engine_progress_kind kind;
    const char *id;     /* digest of the layer */
    const char *status; /* "waiting", "downloading", "unpacking", "exists", "done" */
    uint64_t done, total;
};
typedef void engine_progress_fn(void *data, const struct engine_progress *p);
struct engine_pull_options {
    const char *platform; /* "linux/amd64"; NULL: this machine's */
    const struct engine_auth *auth;
    bool tls_verify;      /* false: any certificate, and plain HTTP */
    bool if_missing;
    engine_progress_fn *progress; /* called from worker threads, one call at a time */
    void *data;
};
/* *ret_id: "sha256:…"; caller frees. */
MUST_USE int engine_image_pull(struct engine *g, const char *ref, const struct engine_pull_options *o, char **ret_id, struct err *e);
MUST_USE int engine_image_list(struct engine *g, struct engine_images *ret, struct err *e);
/* ERR_NOT_FOUND if there is none. */
MUST_USE int engine_image_get(struct engine *g, const char *ref, struct engine_image **ret, struct err *e);
/* What inspect and history show: the raw config and manifest. Caller frees each. */
MUST_USE int engine_image_config(struct engine *g, const char *ref, char **ret_config, char **ret_manifest, struct err *e);
MUST_USE int engine_image_tag(struct engine *g, const char *ref, const char *new_ref, struct err *e);
/* By tag: untags, and removes with the last tag. all_tags: CRI's way, the image with all of its tags. *ret_deleted may be NULL: "untagged: …", "deleted: …" lines. */
MUST_USE int engine_image_remove(struct engine *g, const char *ref, bool force, bool all_tags, char ***ret_deleted, struct err *e);
MUST_USE int engine_image_prune(struct engine *g, bool all, char ***ret_deleted, uint64_t *ret_bytes, struct err *e);
/* fd: a docker archive, an OCI archive (tar, compressed or not); or path of an OCI layout folder. *ret_names: what was loaded. */
MUST_USE int engine_image_load(struct engine *g, int fd, const char *layout_dir, char ***ret_names, struct err *e);
enum engine_archive { ENGINE_ARCHIVE_DOCKER, ENGINE_ARCHIVE_OCI };
MUST_USE int engine_image_save(struct engine *g, char *const *refs, enum engine_archive format, int fd, struct err *e);

/* tls_verify, auth and progress count; status: "preparing", "uploading", "mounted", "exists", "done". *ret_digest: of the manifest. */
MUST_USE int engine_image_push(struct engine *g, const char *ref, const char *destination, const struct engine_pull_options *o,
                               char **ret_digest, struct err *e);
/* Whether the registry takes the credentials: a request to its /v2/, with its token server where it has one. ERR_DENIED if not. */
MUST_USE int engine_registry_login(struct engine *g, const char *server, const struct engine_auth *auth, bool tls_verify,
                                   struct err *e);
/* Which hosts, credentials (not their secrets) and TLS files a pull of ref would use, and why: lines of text. */
MUST_USE int engine_registry_explain(struct engine *g, const char *ref, struct buf *out, struct err *e);

/* ---- volumes ------------------------------------------------------------------------------- */

struct engine_volume {
    char *name, *path; /* ROOT/volumes/NAME/data */
    int64_t created_at;
    struct str_map labels, options;
    bool anonymous;    /* made for a container: its name is 64 hex digits */
    uint32_t users;    /* containers that mount it */
};
void engine_volume_free(struct engine_volume *v);
struct engine_volumes {
    struct engine_volume **v;
    size_t n;
};
void engine_volumes_done(struct engine_volumes *v);
/* name NULL: an anonymous one. An existing one of that name is fine. *ret_name: caller frees. */
MUST_USE int engine_volume_create(struct engine *g, const char *name, const struct str_map *labels, char **ret_name, struct err *e);
MUST_USE int engine_volume_list(struct engine *g, struct engine_volumes *ret, struct err *e);
MUST_USE int engine_volume_get(struct engine *g, const char *name, struct engine_volume **ret, struct err *e);
/* ERR_BUSY while a container mounts it. force: an absent one is fine. */
MUST_USE int engine_volume_remove(struct engine *g, const char *name, bool force, struct err *e);

/* ---- networks ------------------------------------------------------------------------------ */

struct engine_network {
    char *name, *driver; /* type of its first plugin; "host" and "null" for the built-in ones */
    char *file, *subnet; /* configuration; NULL for built-in ones */
};
struct engine_networks {
    struct engine_network *v;
    size_t n;
};
void engine_networks_done(struct engine_networks *n);
MUST_USE int engine_network_list(struct engine *g, struct engine_networks *ret, struct err *e);

struct engine_fs_usage {
    int64_t timestamp;
    char *mountpoint;
    uint64_t bytes, inodes;
};
struct engine_usage {
    struct engine_fs_usage images, containers;
    uint64_t n_images, n_containers, n_running, images_reclaimable, containers_reclaimable;
};
void engine_usage_done(struct engine_usage *u);
MUST_USE int engine_usage(struct engine *g, struct engine_usage *ret, struct err *e);

/* ---- events and the journal --------------------------------------------------------------- */

struct engine_event {
    uint64_t id;
    int64_t time;
    char *type;   /* "container", "pod", "image" */
    char *action; /* "create", "start", "die", "oom", "stop", "destroy", "pull", "tag", … */
    char *object; /* id */
    char *pod;    /* id of its pod, or NULL */
    struct str_map attributes; /* name, image, exitCode, … */
};
void engine_event_done(struct engine_event *ev);
/* Events with id > after and within [since, until]; follow blocks for new ones until fn returns < 0. */
typedef int engine_event_fn(void *data, const struct engine_event *ev);
MUST_USE int engine_events(struct engine *g, uint64_t after, int64_t since, int64_t until, bool follow, engine_event_fn *fn, void *data,
                           struct err *e);

struct engine_op {
    uint64_t id;
    char *kind, *object, *stage, *error;
    int64_t started, stage_since, finished;
};
typedef int engine_op_fn(void *data, const struct engine_op *op);
MUST_USE int engine_why(struct engine *g, const char *ref, engine_op_fn *fn, void *data, struct err *e);

/* ---- the whole --------------------------------------------------------------------------- */

struct engine_info {
    bool network_ready;
    char *network_reason;   /* why not */
    char *cgroup_driver;    /* "cgroupfs", "systemd" */
    char *cgroup_version;   /* "1", "2", "hybrid" */
    char *root, *run, *kernel, *os, *architecture, *hostname, *snapshotter;
    uint32_t cpus;
    uint64_t memory;
    uint64_t n_images, n_containers, n_running, n_paused, n_pods;
    char **runtimes, **networks, **warnings;
};
void engine_info_done(struct engine_info *i);
MUST_USE int engine_info(struct engine *g, struct engine_info *ret, struct err *e);

/*
 * Checks blobs, layers, pods and containers against the database. fn is called for each finding (repaired: it was put right);
 * repair false changes nothing. *ret_problems: how many are left.
 */
typedef void engine_fsck_fn(void *data, const char *object, const char *finding, bool repaired);
MUST_USE int engine_fsck(struct engine *g, bool repair, engine_fsck_fn *fn, void *data, size_t *ret_problems, struct err *e);
