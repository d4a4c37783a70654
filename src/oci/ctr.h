/*
 * oci/ctr.h: what the files of this room share while a container comes to life. Three processes meet here:
 *
 *   parent        oci_create(): checks, cgroup, descriptors that need the host; waits for the init's messages
 *   intermediate  only with a user namespace: joins it and gives birth to the init inside, then ends
 *   init          the container's first process: mounts, pivots, drops privileges, waits for the start, execs
 *
 * Parent and init talk over a socket pair of packets (struct sync_msg). Between clone3() and exec the init allocates freely: it is
 * a copy of a process that had one thread.
 */
#pragma once

#include "base/fd.h"
#include "oci/oci.h"
#include "oci/seccomp.h"

#include <sys/types.h>

enum sync_type {
    SYNC_ERROR = 1, /* init → parent: err */
    SYNC_PID,       /* intermediate → parent: pid of the init */
    SYNC_HOOKS,     /* init → parent: mounts are made, prestart and createRuntime hooks may run */
    SYNC_LISTENER,  /* init → parent: a seccomp listener's descriptor */
    SYNC_CREATED,   /* init → parent: ready to start */
    SYNC_GO,        /* parent → init: go on after hooks; after CREATED: the state is saved, wait for the start */
};

struct sync_msg {
    uint32_t type;
    int32_t value;
    struct err err;
};

/* Returns 0 or -errno; fd -1: none. */
int sync_send(int sock, enum sync_type type, int32_t value, const struct err *e, int fd);
/* -ECONNRESET when the other side has gone. *ret_fd may be NULL. */
int sync_recv(int sock, struct sync_msg *m, int *ret_fd);

/* What a mount's options come down to; see mount-options.c. */
struct mount_flags {
    uint64_t attr_set, attr_clear;         /* MOUNT_ATTR_* of the mount itself */
    uint64_t rec_set, rec_clear;           /* the same, recursively (rro …) */
    unsigned propagation;                  /* MS_SHARED … | MS_REC, 0: as root's */
    bool bind, recursive, remount;
    bool tmpcopyup, src_nofollow, dest_nofollow, copy_symlink;
    bool idmap, ridmap;                    /* map as the container's user namespace, if no mappings are given */
    struct buf data;                       /* remaining options, comma-separated: for the file system */
};
int mount_flags_parse(const struct oci_mount *m, struct mount_flags *ret, struct err *e);
void mount_flags_done(struct mount_flags *f);

struct ctr {
    const struct oci_create_args *args;
    const struct oci_spec *spec;
    struct oci_cgroup *cgroup;
    char *rootfs;            /* absolute path on the host: where the root file system gets mounted in the init's namespace */
    int sock[2];             /* [0] parent's end, [1] init's */
    int state_dir;           /* state_root/ID, -1 */
    int start_fd, report_fd; /* init's ends; fifo when there is state on disk */
    int userns;              /* user namespace to live in, -1: the caller's */
    uint64_t new_ns;         /* CLONE_NEW* to make */
    struct ns_join {
        int fd;
        int flag;
    } join[8];
    size_t n_join;
    int overlay;             /* detached mount of the layers, -1 */
    int *sources;            /* of each of spec->mounts: detached mount made by the parent, or -1 */
    struct seccomp_prog seccomp;
    int listener_fd;         /* socket to send a seccomp listener to, -1 */
    int root;                /* init: descriptor of the root file system's mount */
    int proc;                /* init: a private procfs, for writes that must not be redirected */
    bool rlimits_left;       /* parent: the init was not allowed to set them all */
    int console;             /* init: pty slave, -1 */
    int done[64];            /* init: descriptors of no more use; see ctr_fd_done() */
    size_t n_done;
    struct oci_process listening; /* init: the process with LISTEN_FDS in its environment; args NULL: not needed */
};

static inline bool ctr_has_ns(const struct ctr *c, int flag)
{
    if (c->new_ns & (uint64_t)(unsigned)flag) {
        return true;
    }
    for (size_t i = 0; i < c->n_join; i++) {
        if (c->join[i].flag == flag) {
            return true;
        }
    }
    return false;
}

/*
 * In the init: gives a descriptor up without a call of its own. All that are left are closed together before the exec, at the latest;
 * a config with very many mounts closes some on the way.
 */
static inline void ctr_fd_done(struct ctr *c, int *fd)
{
    if (*fd < 0) {
        return;
    }
    if (c->n_done == ARRAY_LEN(c->done)) {
        while (c->n_done > 0) {
            fd_close(&c->done[--c->n_done]);
        }
    }
    c->done[c->n_done++] = fd_steal(fd);
}

/* namespaces.c */
int ctr_namespaces_open(struct ctr *c, struct err *e);
int ctr_namespaces_join(struct ctr *c, struct err *e);
void ctr_namespaces_close(struct ctr *c);
/* A user namespace with these maps, held by a descriptor and no process. */
int userns_make(const struct oci_id_map *uids, size_t n_uids, const struct oci_id_map *gids, size_t n_gids, int *ret_fd,
                struct err *e);

/* rootfs.c */
int ctr_overlay_open(struct ctr *c, struct err *e);
int ctr_rootfs_prepare(struct ctr *c, struct err *e);
int ctr_rootfs_pivot(struct ctr *c, struct err *e);
int ctr_rootfs_finish(struct ctr *c, struct err *e);
int ctr_paths_mask(struct ctr *c, struct err *e);

/* mounts.c */
int ctr_mount_sources_open(struct ctr *c, struct err *e);
int ctr_mounts(struct ctr *c, struct err *e);
/* Puts the detached mount fd on path inside the root. */
int mount_attach(struct ctr *c, int mnt, const char *path, bool is_dir, struct err *e);
int ctr_mount_cgroup(struct ctr *c, const struct oci_mount *m, const struct mount_flags *f, struct err *e);
/* fsopen + options + fsmount. Returns a detached mount. */
int fs_mount_make(struct ctr *c, const char *type, const char *source, const char *data, uint64_t attr, int *ret_fd, struct err *e);

/* devices.c */
int ctr_devices(struct ctr *c, struct err *e);
int ctr_console_open(struct ctr *c, struct err *e);

/* process.c: what is the same for the init and for an exec. */
struct proc_ctx {
    const struct oci_process *process;
    const struct seccomp_prog *seccomp;
    int proc;              /* procfs to write attributes through, -1: /proc */
    int listener_fd, sock; /* for a seccomp listener */
    const struct oci_linux *linux_config;
    bool in_userns;
};
int process_keyring(const char *id, const struct oci_process *p, struct err *e);
int process_limits(const struct proc_ctx *c, struct err *e);
/* RLIMIT_* of another process, or of ours (0). For the init the parent does it: it may raise what the init, in a user namespace, cannot. */
int process_rlimits(pid_t pid, const struct oci_process *p, struct err *e);
int process_scheduling(const struct proc_ctx *c, struct err *e);
/* cwd, seccomp (when no_new_privs is off), groups, ids, capabilities, no_new_privs. */
int process_credentials(const struct proc_ctx *c, struct err *e);
/* Absolute path of args[0] by PATH of the process's environment. ENOENT: 127, EACCES: 126. */
int process_find(const struct oci_process *p, char **ret, struct err *e);
/* Seccomp (with no_new_privs), descriptors, exec; returns only on failure. */
int process_exec(const struct proc_ctx *c, const char *path, struct err *e);
/* Reads as fds 0-2. */
int process_stdio(const int stdio[3], struct err *e);
/*
 * Closes every descriptor of ours but those of `mine` (-1: none; it gets sorted). Closing on exec would be too late: the kernel looks up
 * the program, its interpreter and the working directory before that, and /proc/self/fd/N/.. of a folder of the host would lead there
 * (CVE-2024-21626). The first `keep` from 3 on are the caller's to pass on, but only those that are not close-on-exec: one of ours may
 * have got a number that the caller left free.
 */
int process_close_fds(unsigned keep, int *mine, size_t n, struct err *e);

/* caps.c */
int caps_bound(const struct oci_capabilities *c, struct err *e);
int caps_apply(const struct oci_capabilities *c, struct err *e);

/* state.c */
/* fifo: exec.fifo as well. *ret_dir: the folder, which is this container's whatever gets its name later. */
int state_dir_make(const char *state_root, const char *id, bool fifo, int *ret_dir, struct err *e);
/* Before the cgroup is made: what a create that was killed leaves is then found by delete --force. */
int state_note_cgroup(int dir, const char *text, struct err *e);
struct oci_kept {
    int dir; /* state_root/ID */
    struct oci_cgroup *cgroup;
};
void state_kept_free(struct oci_kept *k);
int state_save(const struct ctr *c, const struct oci_container *k, struct err *e);
void state_dir_remove(const char *state_root, const char *id);
int state_fifo_open(const char *state_root, const char *id, int flags, struct err *e);
uint64_t process_start_time(pid_t pid, char *ret_state);

/* child.c */
_Noreturn void ctr_init_main(struct ctr *c);
