/*
 * oci/oci.h: the OCI runtime as a library: config.json → running process. Used by the program tare-oci and, in a forked builder
 * child, by tare-monitor.
 *
 * The calling process must have one thread, and is expected to end soon: creating may change the caller's own namespaces (time and
 * pid "for children", joined ones) as the only way to give birth inside of them. Nothing here prints. Errors name the field of
 * config.json. Whoever calls is the parent of the container's init, unless `reparent` is set: then the caller's parent is.
 */
#pragma once

#include "spec/oci-runtime.h"

#include <sys/types.h>

struct oci_cgroup;

/* A root file system made of layers, mounted by the runtime itself and never visible on the host. Owned by the caller. */
struct oci_overlay {
    char *const *lowers; /* topmost first, NULL-terminated */
    const char *upper, *work; /* NULL: read-only */
    bool is_volatile; /* no fsync on unmount: the writable layer does not have to survive a power cut */
};

struct oci_create_args {
    const char *id;            /* [A-Za-z0-9_+.-]{1,1024}, not "." or ".." */
    const char *bundle;        /* absolute path of the bundle's folder */
    const struct oci_spec *spec;
    const char *config_text;   /* what spec was parsed from; kept on disk with the state; may be NULL without state_root */
    const char *state_root;    /* folder that gets a folder ID with state.json and the start fifo; NULL: no state on disk */
    const struct oci_overlay *overlay; /* NULL: root.path of the config */
    int stdio[3];              /* -1: inherited; ignored when process.terminal */
    int console_socket;        /* gets the pty's master by SCM_RIGHTS when process.terminal; -1 otherwise */
    int seccomp_socket;        /* -1: listenerPath of the config is connected to */
    int pidfd_socket;          /* gets the init's pidfd; -1: nobody wants it */
    unsigned preserve_fds;     /* descriptors 3 … 3+N-1 are passed on */
    bool listen_fds;           /* LISTEN_FDS of the environment is passed on, its descriptors as well */
    bool no_pivot;             /* MS_MOVE instead of pivot_root (root file system on the initramfs) */
    bool no_new_keyring;
    bool systemd_cgroup;
    bool reparent;             /* CLONE_PARENT */
    const char *seccomp_cache; /* folder of compiled filters; NULL: compiles each time */
    const char *cgroup_path;   /* overrides linux.cgroupsPath; NULL: not */
    bool start_here;           /* with state_root: started by oci_run_start() and nobody else, so without a fifo */
};

struct oci_kept; /* what oci_run_end() needs of a container that this process has made */

/* A container that is created and waits. */
struct oci_created {
    pid_t pid;
    int pidfd;      /* owned */
    int start_fd;   /* owned; write one byte to start; closing it unwritten ends the init. -1 when state_root is given: the fifo is used */
    int report_fd;  /* owned; after the start: end of file means that exec succeeded, else one struct err of the exec. -1 with state_root */
    char *cgroup;   /* owned; see oci_cgroup_open() */
    struct oci_kept *kept; /* owned; NULL without start_here */
};
void oci_created_done(struct oci_created *c);

/* Creates. On failure nothing is left: no process, mount, cgroup or folder. Hooks: prestart, createRuntime, createContainer. */
MUST_USE int oci_create(const struct oci_create_args *args, struct oci_created *ret, struct err *e);
/*
 * Lets it exec; with report_fd waits until it did. 126 and 127 of a program that cannot be executed or found are the caller's to
 * make of e->code: ENOENT → 127, else 126. Runs poststart hooks.
 */
MUST_USE int oci_created_start(struct oci_created *c, struct err *e);

/* Starts what was made with start_here, and runs poststart hooks. */
MUST_USE int oci_run_start(struct oci_created *c, const struct oci_create_args *args, struct err *e);
/*
 * As oci_delete() of a container whose init this process has made and reaped, from memory. One that somebody else has deleted
 * meanwhile is no error, and what has been made of the same name since is not touched.
 */
MUST_USE int oci_run_end(struct oci_created *c, const struct oci_create_args *args, struct err *e);

struct oci_exec_args {
    pid_t pid;                   /* the container's init */
    const struct oci_spec *spec; /* of the container: seccomp, namespaces, capabilities; may be NULL (then nothing but process counts) */
    const struct oci_process *process;
    const char *cgroup;          /* of the container; see oci_cgroup_open(); NULL: the one that pid is in */
    const char *sub_cgroup;      /* child of it to make and join; NULL */
    const struct oci_cgroup *opened; /* `cgroup` if the caller has it open already (oci_container.cg), NULL */
    int stdio[3];
    int console_socket;
    unsigned preserve_fds;
    bool reparent, no_new_keyring;
    const char *seccomp_cache;
};
/* Returns when the program has been executed, or with the reason why not. *ret_pid and *ret_pidfd: of the new process. */
MUST_USE int oci_exec(const struct oci_exec_args *args, pid_t *ret_pid, int *ret_pidfd, struct err *e);

/* ---- state on disk (state_root/ID/) --------------------------------------------------------- */

enum oci_status { OCI_CREATING, OCI_CREATED, OCI_RUNNING, OCI_PAUSED, OCI_STOPPED };
const char *oci_status_name(enum oci_status s);

struct oci_container {
    char *id, *bundle, *rootfs, *created, *cgroup, *owner;
    pid_t pid;
    uint64_t start_time; /* field 22 of /proc/PID/stat: the pid is reused when it differs */
    bool systemd_cgroup;
    struct str_map annotations;
    char *config; /* config.json as it was at create time: NUL-terminated */
    enum oci_status status; /* as it is now */
    struct oci_cgroup *cg;  /* owned; open if the status had to be looked up there, else NULL */
};
void oci_container_free(struct oci_container *c);
static inline void oci_container_free_p(struct oci_container **c)
{
    oci_container_free(*c);
}
#define CLEANUP_OCI_CONTAINER CLEANUP(oci_container_free_p)

MUST_USE int oci_id_check(const char *id, struct err *e);
/* ERR_NOT_FOUND: "container ID does not exist". */
MUST_USE int oci_load(const char *state_root, const char *id, struct oci_container **ret, struct err *e);
/* Ids of all containers below state_root, sorted; an absent folder is an empty list. */
MUST_USE int oci_list(const char *state_root, char ***ret_ids, struct err *e);
/* Starts one that was created by another process: opens its fifo. Runs poststart hooks. */
MUST_USE int oci_start(const char *state_root, const char *id, struct err *e);
/* all: every process of the cgroup. ERR_NOT_FOUND-less: a stopped container is ERR_INVALID "container not running". */
MUST_USE int oci_kill(const char *state_root, const char *id, int signo, bool all, struct err *e);
/* Removes cgroup and folder and runs poststop hooks; force kills first, and also removes a half-made one. */
MUST_USE int oci_delete(const char *state_root, const char *id, bool force, struct err *e);
/* The JSON of `state`: the caller frees. */
MUST_USE int oci_state_json(const struct oci_container *c, struct buf *out, struct err *e);
MUST_USE int oci_pause(const char *state_root, const char *id, bool pause, struct err *e);

/* ---- cgroups --------------------------------------------------------------------------------- */

/*
 * A container's cgroup in every hierarchy that the machine has. `text` names it so that it can be opened again:
 * "cgroupfs:/tare/abc" or "systemd:system.slice:tare:abc".
 */
MUST_USE int oci_cgroup_open(const char *text, struct oci_cgroup **ret, struct err *e);
/* For an exec: text of the container's (NULL: the cgroups that pid is in), and a child of it that is made if need be (NULL: none). */
MUST_USE int oci_cgroup_open_sub(const char *text, const char *child, pid_t pid, struct oci_cgroup **ret, struct err *e);
void oci_cgroup_free(struct oci_cgroup *cg);
static inline void oci_cgroup_free_p(struct oci_cgroup **cg)
{
    oci_cgroup_free(*cg);
}
#define CLEANUP_OCI_CGROUP CLEANUP(oci_cgroup_free_p)
/*
 * Makes the folders (text as above is made of linux.cgroupsPath and id). Existing ones with processes are ERR_EXISTS. spec: what systemd
 * is told of limits and annotations; may be NULL.
 */
MUST_USE int oci_cgroup_create(const char *cgroups_path, const char *id, bool systemd, const struct oci_spec *spec,
                               struct oci_cgroup **ret, struct err *e);
const char *oci_cgroup_text(const struct oci_cgroup *cg);
/* Directory of the v2 hierarchy for CLONE_INTO_CGROUP; -1 when there is none. Owned by cg. */
int oci_cgroup_clone_fd(const struct oci_cgroup *cg);
/* In a child that has one thread: joins the v1 hierarchies through their `tasks` files. Async-signal-safe. Returns 0 or -errno. */
int oci_cgroup_join_self(const struct oci_cgroup *cg);
/* Puts another process in: by cgroup.procs. */
MUST_USE int oci_cgroup_attach(const struct oci_cgroup *cg, pid_t pid, struct err *e);
/* Without update all but the rules for devices: oci_create() sets those when the init has made its nodes. */
MUST_USE int oci_cgroup_apply(struct oci_cgroup *cg, const struct oci_resources *r, bool update, struct err *e);
MUST_USE int oci_cgroup_kill(const struct oci_cgroup *cg, int signo, struct err *e);
MUST_USE int oci_cgroup_freeze(const struct oci_cgroup *cg, bool freeze, struct err *e);
/* 1 frozen, 0 not, < 0 error. */
int oci_cgroup_frozen(const struct oci_cgroup *cg);
/* Pids of the cgroup and of those below it, ended by 0; the caller frees. */
MUST_USE int oci_cgroup_pids(const struct oci_cgroup *cg, pid_t **ret, size_t *ret_n, struct err *e);
/* Removes the folders, children too; waits a moment for processes that were just killed. */
MUST_USE int oci_cgroup_destroy(struct oci_cgroup *cg, struct err *e);
/* Number of OOM kills so far in this cgroup. */
uint64_t oci_cgroup_oom_kills(const struct oci_cgroup *cg);
/* Figures as `events --stats` prints them: a JSON object. */
MUST_USE int oci_cgroup_stats_json(const struct oci_cgroup *cg, const char *id, struct buf *out, struct err *e);

/* ---- hooks ------------------------------------------------------------------------------------ */

struct oci_hook_state {
    const char *id, *status, *bundle;
    pid_t pid;
    const struct str_map *annotations;
};
/* Runs each with the state on its standard input; stops at the first that fails or exceeds its time-out. */
MUST_USE int oci_hooks_run(const struct oci_hook_list *l, const char *name, const struct oci_hook_state *state, struct err *e);
