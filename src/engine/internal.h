/*
 * engine/internal.h: what the files of this room share: the handle, rows with their specs decoded, and the steps that several
 * use cases take.
 *
 * Locks: key (hash of an idempotency key) → pod → ctr, taken in this order, flock()ed files, so that threads and programs exclude
 * each other alike. A caller that finds one taken waits and then finds the work done: that is how a retry joins.
 */
#pragma once

#include "engine/engine.h"
#include "engine/user.h"

#include "base/fd.h"
#include "image/image.h"
#include "ipc/client.h"
#include "net/net.h"
#include "spec/oci-runtime.h"
#include "store/journal.h"
#include "store/lock.h"
#include "store/object.h"
#include "sys/cgroup.h"

enum { ID_SIZE = 65, EXIT_GRACE_MS = 500, MON_CALL_MS = 30000, MON_CREATE_MS = 150000, CONFIG_MAX = 8 << 20, STOP_DEFAULT_S = 10 };

struct engine {
    struct store *store;
    struct net *net;
    struct cg_machine cg;
    char *root, *run, *ns, *monitor_path, *self_path, *default_runtime, *cgroup_parent, *hosts_dir;
    bool systemd_cgroup;
    uint32_t stall_seconds;
    const struct log *log;
};

/* What is known of a pod beside its spec; the row's "status". */
struct pod_status {
    char **ips;
    char *netns;                                      /* pinned; NULL: the host's */
    char *ns_net, *ns_ipc, *ns_uts, *ns_pid, *ns_user; /* good while the monitor lives */
    char *cgroup;                                     /* "/tare/tare-ID" */
    char *boot_id;
    int32_t monitor_pid;
    bool shm;
};
extern const struct json_type pod_status_type, pod_spec_type;

struct ctr_status {
    char **args;
    uint32_t uid, gid;
    JSON_ARRAY(uint32_t) groups;
    char *log_path, *image_name, *stop_signal, *cgroup, *runtime;
    char **volumes, **anonymous; /* names: all, and those that go with it */
    bool stopped;                /* by a person: a restart policy does not undo it */
    bool has_volumes_filled;
};
extern const struct json_type ctr_status_type, ctr_spec_type;

struct pod {
    struct store_pod row;
    struct engine_pod_spec spec;
    struct pod_status st;
    char *dir;  /* RUN/pods/ID */
    char *data; /* ROOT/pods/ID */
};
void pod_done(struct pod *p);
#define CLEANUP_POD CLEANUP(pod_done)

struct ctr {
    struct store_ctr row;
    struct engine_ctr_spec spec;
    struct ctr_status st;
    char *dir;  /* RUN/pods/PODID/ctr/ID */
    char *data; /* ROOT/containers/ID */
};
void ctr_done(struct ctr *c);
#define CLEANUP_CTR CLEANUP(ctr_done)

/* codec.c: rows' texts */
MUST_USE int codec_pod_spec(const struct engine_pod_spec *s, char **ret, struct err *e);
MUST_USE int codec_ctr_spec(const struct engine_ctr_spec *s, char **ret, struct err *e);
MUST_USE int codec_pod_spec_read(const char *text, struct engine_pod_spec *ret, struct err *e);
MUST_USE int codec_ctr_spec_read(const char *text, struct engine_ctr_spec *ret, struct err *e);
MUST_USE int codec_status(const struct json_type *t, const void *st, char **ret, struct err *e);
MUST_USE int codec_status_read(const struct json_type *t, const char *text, void *ret, struct err *e);

/* engine.c */
MUST_USE int new_id(char ret[static ID_SIZE], struct err *e);
bool id_whole(const char *ref);
/* Locks an idempotency key. */
MUST_USE int key_lock(struct engine *g, const char *key, int *ret_fd, struct err *e);
MUST_USE int pod_lock(struct engine *g, const char *id, bool shared, int *ret_fd, struct err *e);
MUST_USE int ctr_lock(struct engine *g, const char *id, int *ret_fd, struct err *e);
/*
 * Begins an operation on an object that the caller has locked. One with the same key that is found unfinished was left by somebody who
 * died, or gave up: it is closed, since its work is the caller's now.
 */
MUST_USE int journal_take(struct engine *g, const char *kind, const char *object, const char *stage, uint64_t *ret_op, struct err *e);
/* Closes it: r < 0 leaves it in the stage "cleanup", to be done again. */
void journal_end(struct engine *g, uint64_t op, int r, const struct err *why);
/* Appends an event (attributes: pairs of key and value, then NULL) in the current transaction. */
MUST_USE int event_put(struct engine *g, const char *type, const char *action, const char *object, const char *pod, struct err *e, ...)
        __attribute__((sentinel));
/* Wakes tared, after the commit. */
void engine_wake(struct engine *g);
bool pid_alive(int32_t pid, uint64_t start);

/* pod.c */
MUST_USE int pod_load(struct engine *g, const char *ref, struct pod *ret, struct err *e);
MUST_USE int pod_save(struct engine *g, struct pod *p, struct err *e);
MUST_USE int pod_run_new(struct engine *g, const struct engine_pod_spec *s, const char *id, const char *key, struct err *e);
MUST_USE int pod_stop_locked(struct engine *g, struct pod *p, struct err *e);
MUST_USE int pod_remove_locked(struct engine *g, struct pod *p, struct err *e);

/* pod-setup.c: each is idempotent */
/* Folders, namespaces, network, monitor; op: journal row whose stages are set, 0: none. */
MUST_USE int pod_up(struct engine *g, struct pod *p, uint64_t op, struct err *e);
/* Everything that lives outside of the database, backwards. */
MUST_USE int pod_down(struct engine *g, struct pod *p, struct err *e);
/* Whether namespaces, network and monitor are there. */
bool pod_is_up(struct engine *g, const struct pod *p);
MUST_USE int pod_monitor(const struct pod *p, struct mon **ret, struct err *e);

/* ports.c */
/* Chooses host ports that were left open; ERR_BUSY for one that is taken. id: the pod that asks. Only for people's containers. */
MUST_USE int ports_take(struct engine *g, struct engine_pod_spec *s, const char *id, struct err *e);

/* ctr.c */
/* Names that people give: "[a-zA-Z0-9][a-zA-Z0-9_.-]*". what: "container", "pod". */
MUST_USE int name_check(const char *what, const char *name, struct err *e);
MUST_USE int ctr_load(struct engine *g, const char *ref, struct ctr *ret, struct err *e);
MUST_USE int ctr_from_row(struct engine *g, struct store_ctr *row, struct ctr *ret, struct err *e);
/* Looks at the status file (and the process) and corrects the row. Appends the events of what happened meanwhile. */
MUST_USE int ctr_refresh(struct engine *g, struct ctr *c, struct err *e);
/* The same for one whose row does not say that it runs: its starter died before it could write that. */
MUST_USE int ctr_find_start(struct engine *g, struct ctr *c, struct err *e);
MUST_USE int ctr_save(struct engine *g, struct ctr *c, struct err *e);
static inline bool ctr_lives(const struct ctr *c)
{
    return str_eq(c->row.state, "running") || str_eq(c->row.state, "paused");
}
MUST_USE int ctr_set_state(struct ctr *c, const char *state, struct err *e);
struct oci_process;
MUST_USE int ctr_process(const struct ctr *c, struct oci_process **ret, struct err *e);

/* ctr-create.c */
MUST_USE int ctr_make_runtime(struct engine *g, struct pod *p, struct ctr *c, uint64_t op, struct err *e);
/* ctr-start.c */
/* Network, monitor and runtime state of one that does not run, so that it can be attached to and started. */
MUST_USE int ctr_ready_locked(struct engine *g, struct ctr *c, struct err *e);
MUST_USE int ctr_start_locked(struct engine *g, struct ctr *c, struct err *e);
/* ctr-stop.c */
MUST_USE int ctr_stop_locked(struct engine *g, struct ctr *c, int64_t timeout_s, struct err *e);
MUST_USE int ctr_remove_locked(struct engine *g, struct ctr *c, struct err *e);
int signal_number(const char *name);
/* mon_remove() by force; waits for a removal that a caller who has died asked for. */
MUST_USE int monitor_forget(struct mon *m, const char *id, struct err *e);

/* spec-*.c */
#define INIT_TARGET "/sbin/tare-init"
struct spec_in {
    struct engine *g;
    const struct pod *pod;
    const struct ctr *ctr;
    const struct image_config *image;
    int rootfd; /* of the image */
    bool seccomp_default;
    const char *home;
    /* volumes by index of spec.mounts, and those of the image, resolved to folders */
    char **volume_paths;
    char **image_volumes, **image_volume_paths;
    const char *target_pid_ns, *ipc_ns, *net_ns; /* NULL: none */
};
MUST_USE int spec_generate(const struct spec_in *in, struct oci_spec **ret, struct err *e);
MUST_USE int spec_mounts(const struct spec_in *in, struct oci_spec *s, struct err *e);
MUST_USE int spec_resources(const struct engine_resources *r, struct oci_resources *out, struct err *e);
MUST_USE int spec_devices(const struct spec_in *in, struct oci_spec *s, struct err *e);
MUST_USE int spec_caps(const struct engine_ctr_spec *s, struct oci_process *p, struct err *e);
MUST_USE int spec_seccomp(const struct engine_ctr_spec *s, struct oci_spec *out, struct err *e);
MUST_USE int spec_env(char ***env, const char *kv, struct err *e);

/* files.c: resolv.conf, hosts and hostname in the pod's data folder */
MUST_USE int files_write(struct engine *g, const struct pod *p, struct err *e);

/* rootfs.c */
/* A mount of its own of these layers (and upper, work: both or none), at no path; closing it takes it away. */
MUST_USE int rootfs_open(char *const *lowers, const char *upper, const char *work, int *ret_fd, struct err *e);
/* The root of a process that was born at start (clock ticks), never that of another one with its number. */
MUST_USE int rootfs_of_process(int32_t pid, uint64_t start, int *ret_fd, struct err *e);
/* For a foreign runtime: the container's file system at its bundle's rootfs/. Both are idempotent. */
MUST_USE int rootfs_mount(struct engine *g, const struct ctr *c, struct err *e);
MUST_USE int rootfs_unmount(const struct ctr *c, struct err *e);
/* The folder of a container's bundle. */
MUST_USE int bundle_dir(const struct pod *p, const struct ctr *c, struct err *e);
MUST_USE int ctr_lowers(struct engine *g, const char *id, char ***ret, struct err *e);

/* images.c */
MUST_USE int image_locate(struct engine *g, const char *ref, struct store_image *ret, struct err *e);

/* volumes.c */
MUST_USE int volume_path(struct engine *g, const char *name, char **ret, struct err *e);
/* Held while a volume is made, filled, given to a container, or removed. The innermost lock. */
MUST_USE int volume_lock(struct engine *g, const char *name, int *ret, struct err *e);
/* Lock held; one that is there stays as it is. */
MUST_USE int volume_make(struct engine *g, const char *name, bool anonymous, const struct str_map *labels, struct err *e);
/* Lock held, before each use: an empty one gets what the image has at target (NULL: nothing); a copy that died begins anew. */
MUST_USE int volume_fill(const char *path, int rootfd, const char *target, struct err *e);
/* Goes with the container that is being removed, whose row is there still, if no other one uses it. */
void volume_remove_with_last(struct engine *g, const char *name);

/* cgroup.c: path: the same in every hierarchy */
/* Removes it and what is in it, retrying for a moment while processes are dying. Absent is fine. */
MUST_USE int cgroup_remove(struct engine *g, const char *path, struct err *e);
/* SIGKILL to every process in it and below; cgroup.kill where there is one. */
MUST_USE int cgroup_kill(struct engine *g, const char *path, struct err *e);
MUST_USE int cgroup_pids(struct engine *g, const char *path, int32_t **ret, size_t *ret_n, struct err *e);
