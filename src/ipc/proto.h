/*
 * ipc/proto.h: the messages between a client and tare-monitor, and the tables that encode and decode them.
 *
 * One SOCK_SEQPACKET packet is one message: a header of MON_HEADER_LEN bytes, then fields. All integers are little-endian.
 *
 *     header: u32 magic, u8 major, u8 minor, u16 type, u32 flags, u32 seq, u32 len (of the fields)
 *     field:  u16 tag, u16 zero, u32 length, then the value
 *
 * A value is a number of 8 bytes (signed ones in two's complement), a string without a NUL, bytes, or the index (a number) of a
 * descriptor that came with the packet by SCM_RIGHTS. A list is its tag repeated, in order. A tag that the reader does not know
 * is skipped. A reply has the type and seq of its request and the flag MON_REPLY; one that failed has MON_ERROR too and the
 * fields MON_T_ERRNO, MON_T_KIND and MON_T_TEXT. Events have MON_EVENT, and seq 0. A request of an unknown type is answered with an
 * error of kind ERR_UNSUPPORTED. HELLO comes first; both sides then use the lower minor. Another major is refused.
 */
#pragma once

#include "base/buf.h"

enum {
    MON_MAGIC = 0x4e4f4d54, /* "TMON" */
    MON_MAJOR = 1,
    MON_MINOR = 0,
    MON_HEADER_LEN = 20,
    MON_FIELD_LEN = 8,
    MON_MESSAGE_MAX = 160 << 10, /* fits into the default send buffer of a socket */
    MON_INLINE_MAX = 96 << 10,   /* longer bytes travel as a memfd */
    MON_LIST_MAX = 4096,
    MON_FDS_MAX = 4,
    MON_ID_MAX = 128,
};

enum mon_message {
    MON_HELLO = 1,
    MON_POD, /* only on the descriptor that tare-monitor is started with */
    MON_CREATE,
    MON_START,
    MON_KILL,
    MON_EXEC,
    MON_ATTACH,
    MON_RESIZE,
    MON_CLOSE_STDIN,
    MON_REOPEN_LOG,
    MON_PAUSE,
    MON_RESUME,
    MON_UPDATE,
    MON_WAIT,
    MON_STATE,
    MON_REMOVE,
    MON_SHUTDOWN,
    MON_SUBSCRIBE,
    MON_EXITED = 64, /* events */
    MON_EXEC_EXITED,
    MON_OOM,
};

enum { MON_REPLY = 1, MON_ERROR = 2, MON_EVENT = 4 };

/* Numbers are for ever; new ones are added at the end. */
enum mon_tag {
    MON_T_ERRNO = 1, MON_T_KIND, MON_T_TEXT,
    MON_T_MAJOR, MON_T_MINOR, MON_T_VERSION, MON_T_PID,
    MON_T_ID = 16, MON_T_EXEC_ID, MON_T_BUNDLE, MON_T_LOWER, MON_T_UPPER, MON_T_WORK, MON_T_MOUNT_OPTION, MON_T_TTY, MON_T_STDIN,
    MON_T_STDIN_ONCE, MON_T_ROWS, MON_T_COLS, MON_T_LOG_PATH, MON_T_LOG_FORMAT, MON_T_LOG_MAX_SIZE, MON_T_LOG_MAX_FILES,
    MON_T_RUNTIME, MON_T_RUNTIME_ARG, MON_T_SYSTEMD_CGROUP, MON_T_EXIT_COMMAND, MON_T_SIGNAL, MON_T_ALL, MON_T_PROCESS,
    MON_T_PROCESS_FD, MON_T_MODE, MON_T_TIMEOUT_MS, MON_T_MAX_OUT, MON_T_MAX_ERR, MON_T_STREAM_FD, MON_T_STDOUT, MON_T_STDOUT_FD,
    MON_T_STDERR, MON_T_STDERR_FD, MON_T_EXIT_CODE, MON_T_EXIT_SIGNAL, MON_T_TIMED_OUT, MON_T_TRUNCATED, MON_T_RESOURCES,
    MON_T_STATE, MON_T_CREATED_NS, MON_T_STARTED_NS, MON_T_EXITED_NS, MON_T_OOM_KILLED, MON_T_REASON, MON_T_FORCE,
    MON_T_START_TIME, MON_T_LOST_LINES, MON_T_CONTAINER,
    MON_T_HOSTNAME = 128, MON_T_DOMAINNAME, MON_T_NETNS, MON_T_NEW_NET, MON_T_NEW_IPC, MON_T_NEW_UTS, MON_T_PID_INIT, MON_T_UID_MAP,
    MON_T_GID_MAP, MON_T_SYSCTL, MON_T_CGROUP, MON_T_NOTIFY, MON_T_OOM_SCORE_ADJ, MON_T_NS_NET, MON_T_NS_IPC, MON_T_NS_UTS,
    MON_T_NS_PID, MON_T_NS_USER, MON_T_INIT_PID, MON_T_EXIT_GRACE_MS,
};

enum mon_log_format { MON_LOG_NONE, MON_LOG_CRI, MON_LOG_JSON };
enum mon_exec_mode { MON_EXEC_ATTACHED, MON_EXEC_CAPTURED, MON_EXEC_DETACHED };

struct mon_bytes {
    char *data;
    size_t len;
};

/* ---- the messages as structs; absent fields are 0, NULL or -1 (descriptors) --------------------- */

struct mon_error {
    uint32_t code, kind;
    char *text;
};

struct mon_hello { /* both ways */
    uint32_t major, minor;
    char *version; /* of the program */
    int32_t pid;
};

/* How a monitor is started: the pod's namespaces and what else belongs to the pod as a whole. */
struct mon_pod {
    char *hostname, *domainname; /* set in the new UTS namespace */
    char *netns;    /* path of the pod's network namespace; NULL: the host's */
    bool new_net;   /* make it (owned by the pod's user namespace) and bind-mount it at netns */
    bool new_ipc, new_uts;
    bool pid_init;  /* a PID namespace with a tiny PID 1 that reaps */
    char **uid_map, **gid_map; /* "0 100000 65536": given, the pod has a user namespace that owns the others */
    char **sysctls; /* "net.ipv4.ip_forward=1" */
    char **cgroups; /* folders of the cgroups that the monitor joins, one a hierarchy */
    char *notify;   /* datagram socket that hears of every exit; RUN/tared.sock */
    int32_t oom_score_adj; /* tried, not insisted on; 0: left alone */
};

struct mon_create {
    char *id, *bundle; /* bundle: folder with config.json; the status file is bundle/status */
    /*
     * The root file system: overlay of lower (top-most first), upper and work; without lower, config.json's root.path is used
     * as it is. mount_options: further overlay options ("volatile").
     */
    char **lower, *upper, *work, **mount_options;
    bool tty, stdin_open, stdin_once, systemd_cgroup;
    uint32_t rows, cols;
    char *log_path;
    uint32_t log_format; /* enum mon_log_format */
    uint64_t log_max_size; /* bytes at which the monitor rotates by itself; 0: never */
    uint32_t log_max_files;
    char *runtime;       /* program of a foreign OCI runtime; NULL: built in */
    char **runtime_args; /* its global options, before the command */
    char **exit_command; /* argv, run after the exit was recorded */
    uint64_t exit_grace_ms; /* only after this time if somebody was attached to the end, who may remove it himself; 10 s at most */
    uint64_t timeout_ms; /* 0: 120 s; then the builder is killed */
};

struct mon_target { /* START, PAUSE, RESUME, CLOSE_STDIN, REOPEN_LOG, WAIT, STATE, REMOVE */
    char *id;
    char *exec_id; /* NULL: the container itself */
    bool force;    /* REMOVE: kills it first */
};

struct mon_kill {
    char *id, *exec_id;
    int32_t signal;
    bool all; /* every process in the container's cgroup */
};

struct mon_exec {
    char *id, *exec_id; /* exec_id NULL: the monitor chooses one */
    struct mon_bytes process; /* JSON of an OCI process */
    int process_fd;           /* or a descriptor to read it from; -1 */
    uint32_t mode;            /* enum mon_exec_mode */
    bool tty, stdin_open;
    uint32_t rows, cols;
    uint64_t timeout_ms;       /* 0: none; then all that the exec started is killed */
    uint64_t max_out, max_err; /* captured: bytes kept; 0: 16 MiB */
};

struct mon_exec_reply {
    char *exec_id;
    int32_t pid;
    int stream_fd; /* attached: see ipc/stream.h */
    int32_t exit_code, exit_signal; /* captured */
    bool timed_out, truncated;
    struct mon_bytes out, err;
    int out_fd, err_fd; /* when the output is longer than MON_INLINE_MAX: a memfd, offset 0 */
};

struct mon_attach {
    char *id, *exec_id;
    bool stdin_open; /* this client may write to standard input */
};

struct mon_resize {
    char *id, *exec_id;
    uint32_t rows, cols;
};

struct mon_update {
    char *id;
    struct mon_bytes resources; /* JSON of OCI linux.resources */
};

/* Reply to CREATE, WAIT and STATE of a container; and the events. */
struct mon_ctr_state {
    char *id, *exec_id;
    uint32_t state; /* enum mon_state of ipc/status.h */
    int32_t pid;
    uint64_t start_time; /* field 22 of /proc/PID/stat */
    int64_t created_ns, started_ns, exited_ns;
    int32_t exit_code, exit_signal;
    bool oom_killed;
    char *reason;
    uint64_t lost_lines; /* log lines that a full disk cost */
};

/* Reply to STATE without an id, to POD and to SUBSCRIBE. */
struct mon_pod_state {
    int32_t pid, init_pid; /* init_pid 0: none */
    /* Paths for config.json's linux.namespaces, good while the monitor lives; NULL: the host's. */
    char *ns_net, *ns_ipc, *ns_uts, *ns_pid, *ns_user;
    char **containers;
};

/* ---- tables -------------------------------------------------------------------------------------- */

enum mon_kind {
    MON_K_BOOL,  /* bool */
    MON_K_I32,   /* int32_t */
    MON_K_U32,   /* uint32_t */
    MON_K_I64,   /* int64_t */
    MON_K_U64,   /* uint64_t */
    MON_K_STR,   /* char *, owned */
    MON_K_STRS,  /* char **, owned */
    MON_K_BYTES, /* struct mon_bytes, owned */
    MON_K_FD,    /* int, owned, -1: absent */
};

struct mon_field {
    uint16_t tag;
    uint16_t kind;
    bool required;
    size_t offset;
};

struct mon_type {
    const char *name;
    size_t size;
    const struct mon_field *fields;
    size_t n_fields;
};

extern const struct mon_type mon_error_type, mon_hello_type, mon_pod_type, mon_create_type, mon_target_type, mon_kill_type,
        mon_exec_type, mon_exec_reply_type, mon_attach_type, mon_resize_type, mon_update_type, mon_ctr_state_type,
        mon_pod_state_type;

/* The struct of a request's fields; NULL for an unknown type. */
const struct mon_type *mon_request_type(unsigned message);
/* "create"; "?" for an unknown one. */
const char *mon_message_name(unsigned message);

struct mon_header {
    uint8_t major, minor;
    uint16_t type;
    uint32_t flags, seq, len;
};

/*
 * Appends one whole message to out, and to fds (room for MON_FDS_MAX) the descriptors that go with it; those stay the
 * struct's. type NULL: no fields. ERR_INVALID when it is longer than MON_MESSAGE_MAX.
 */
MUST_USE int mon_encode(const struct mon_header *h, const struct mon_type *type, const void *in, struct buf *out, int *fds,
                        size_t *n_fds, struct err *e);
/* Checks and reads the header of a packet of len bytes. */
MUST_USE int mon_decode_header(const void *packet, size_t len, struct mon_header *ret, struct err *e);
/*
 * Reads the fields behind the header into *out (any content; it is initialised first). A descriptor that a field names is
 * moved: its place in fds becomes -1. On failure *out is released.
 */
MUST_USE int mon_decode(const struct mon_type *type, const void *packet, size_t len, int *fds, size_t n_fds, void *out,
                        struct err *e);
/* Zeroes, with -1 in descriptors. */
void mon_struct_init(const struct mon_type *type, void *obj);
/* Releases everything in it, descriptors too, and initialises it again. */
void mon_struct_done(const struct mon_type *type, void *obj);
