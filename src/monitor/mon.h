/*
 * monitor/mon.h: what the files of this room share: the monitor, its containers, execs, clients and jobs.
 *
 * One process, one thread, one epoll loop. Nothing here blocks: what may block or parse (creating, exec, pausing, removing,
 * foreign runtimes) is a job, a forked child that sends one or two results over a socket pair. Objects refer to a client by its
 * number, so that a client may go at any time.
 */
#pragma once

#include "ipc/proto.h"
#include "ipc/status.h"
#include "monitor/ctrlog.h"
#include "monitor/io.h"
#include "sys/loop.h"

#include <sys/types.h>

enum {
    MON_CLIENTS_MAX = 256,
    MON_CTRS_MAX = 512,
    MON_EXECS_MAX = 512,       /* running ones, of a container */
    MON_EXECS_KEPT = 32,       /* ended ones that can still be asked for, of a container */
    MON_SCRATCH = 128 << 10,
    MON_CREATE_TIMEOUT_MS = 120000,
    MON_TEXT_MAX = 1024,
    MON_EXIT_GRACE_MAX_MS = 10000,
};

struct monitor;

/* Whom to answer; client 0: nobody. */
struct reply_to {
    uint32_t client, seq;
    uint16_t type;
};

struct client {
    struct client *next;
    struct monitor *m;
    uint32_t id;
    int fd;
    struct loop_source *source;
    bool subscribed, greeted;
    uint8_t minor;
};

/* ---- jobs ------------------------------------------------------------------------------------------------ */

/* What a job's child reports; one packet, perhaps with a descriptor. */
struct job_result {
    int32_t code; /* 0, or a positive errno */
    uint32_t kind;
    int32_t pid;
    char text[MON_TEXT_MAX]; /* the error, or the name of the cgroup */
};

struct job;
/* In the child; socket: where results go. What it returns is its exit code. */
typedef int job_fn(struct monitor *m, void *data, int socket);
/* In the monitor. fd (may be -1) came with the result; take it by setting *fd to -1. r NULL: the child ended without a (further) result. */
typedef void job_done_fn(struct job *j, const struct job_result *r, int *fd);

struct job {
    struct job *next;
    struct monitor *m;
    pid_t pid;
    int socket;
    struct loop_source *source, *timer;
    job_done_fn *done;
    void *owner; /* a ctr, an exec, or NULL when that has gone */
    struct reply_to to;
    int results; /* that have come */
    bool timed_out;
};

/* keep: descriptors that the child needs, besides 0-2 and its socket; all others are closed in it. */
MUST_USE int job_start(struct monitor *m, job_fn *fn, void *data, const int *keep, size_t n_keep, uint64_t timeout_ms,
                       job_done_fn *done, void *owner, const struct reply_to *to, struct job **ret, struct err *e);
void job_kill(struct job *j);
/* Ends it in the monitor: no more callbacks; the child is killed if it still runs. */
void job_free(struct job *j);
/* In the child: sends a result. */
void job_report(int socket, const struct job_result *r, int fd);
void job_report_error(int socket, const struct err *e);
/* In the child: waits for the monitor to say go; false when it never will. */
bool job_wait_go(int socket);
void job_go(struct job *j);

/* ---- containers and execs -------------------------------------------------------------------------------- */

struct exec {
    struct exec *next;
    struct ctr *ctr;
    char *id;
    pid_t pid; /* 0: not yet, or reaped */
    struct io io;
    struct job *job;
    struct loop_source *timer, *drain;
    struct reply_to to;      /* captured: who gets the result */
    struct reply_to waiters[4];
    uint32_t mode;
    uint64_t timeout_ms;
    bool timed_out, ended, finished, failed;
    bool own_cgroup;
    int32_t exit_code, exit_signal;
    int64_t exited_ns;
};

struct waiter {
    struct waiter *next;
    struct reply_to to;
};

struct ctr {
    struct ctr *next;
    struct monitor *m;
    char *id, *bundle;
    struct mon_create spec; /* as it came */
    struct mon_status status;
    struct io io;
    char *cgroup; /* as oci_cgroup_open() names it; NULL: not known */
    struct job *job; /* the builder while it creates and until START, later the remover */
    struct loop_source *drain, *exit_timer; /* exit_timer: the exit command waits for it */
    struct waiter *waiters;
    struct exec *execs;
    size_t n_execs;
    unsigned next_exec;
    int32_t start_code; /* 126 or 127 when the program could not be executed */
    bool reaped, finished, removing;
    struct reply_to remove_to;
};

/* Namespaces that the monitor made for its pod and keeps by holding them. */
enum pod_ns { POD_NS_NET, POD_NS_IPC, POD_NS_UTS, POD_NS_PID, POD_NS_USER, POD_NS_COUNT };

struct pod {
    int ns[POD_NS_COUNT]; /* -1: the host's */
    pid_t init;           /* 0: none */
};

struct early {
    pid_t pid;
    int status;
};

struct monitor {
    struct loop *loop;
    char *dir;
    int dirfd, listener;
    struct loop_source *listen_source;
    struct client *clients;
    size_t n_clients;
    uint32_t next_client;
    struct ctr *ctrs;
    size_t n_ctrs;
    struct job *jobs;
    struct early *early; /* children that were reaped before a job told whose they are */
    size_t n_early, cap_early;
    struct pod pod;
    char *notify;
    char *oom_score_adj; /* what our children get back; NULL: unchanged */
    struct ctrlog_scratch scratch;
    struct io_scratch io_scratch;
    bool pure_v2;
};

/* monitor.c */
void monitor_exit_command(struct monitor *m, struct ctr *c);
int64_t monitor_now(void);

/* client.c */
void client_accept(struct loop_source *s, int fd, uint32_t events, void *data);
void client_free(struct client *c);
struct client *client_find(struct monitor *m, uint32_t id);
/* One message to one client, which is dropped if it does not take it. fields may be NULL. */
void client_send(struct client *c, const struct mon_header *h, const struct mon_type *type, const void *fields);
void reply_ok(struct monitor *m, const struct reply_to *to, const struct mon_type *type, const void *fields);
void reply_error(struct monitor *m, const struct reply_to *to, const struct err *e);
void event_send(struct monitor *m, unsigned type, const struct mon_ctr_state *s);

/* request.c */
void request_handle(struct client *c, const char *packet, size_t len, int *fds, size_t n_fds);

/* ctr.c */
struct ctr *ctr_find(struct monitor *m, const char *id);
MUST_USE int ctr_create(struct monitor *m, struct mon_create *spec, const struct reply_to *to, struct err *e);
MUST_USE int ctr_start(struct ctr *c, const struct reply_to *to, struct err *e);
MUST_USE int ctr_kill(struct ctr *c, int signo, bool all, struct err *e);
MUST_USE int ctr_remove(struct ctr *c, bool force, const struct reply_to *to, struct err *e);
/* Its init was reaped. */
void ctr_reaped(struct ctr *c, int status);
void ctr_fill_state(const struct ctr *c, struct mon_ctr_state *s);
MUST_USE int ctr_write_status(struct ctr *c, struct err *e);
void ctr_free(struct ctr *c);
bool ctr_alive(const struct ctr *c);

/* exec.c */
MUST_USE int exec_start(struct ctr *c, struct mon_exec *x, const struct reply_to *to, struct err *e);
struct exec *exec_find(const struct ctr *c, const char *id);
void exec_reaped(struct exec *x, int status);
void exec_fill_state(const struct exec *x, struct mon_ctr_state *s);
/* Everything that it started. */
void exec_kill_tree(struct exec *x);
void exec_free(struct exec *x);
MUST_USE int exec_wait(struct exec *x, const struct reply_to *to, struct err *e);

/* reap.c */
void reap_signal(struct loop_source *s, const struct signalfd_siginfo *si, void *data);
/* Whether pid was reaped before anybody knew it; its status then. */
bool reap_early(struct monitor *m, pid_t pid, int *ret_status);

/* pod.c */
MUST_USE int pod_setup(struct monitor *m, const struct mon_pod *p, struct err *e);
void pod_done(struct monitor *m);
void pod_fill_state(const struct monitor *m, struct mon_pod_state *s);

/* builtin.c, foreign.c: what runs in jobs; data is the struct that each names. */
struct build {
    const struct mon_create *spec;
    int stdio[3];
};
job_fn builtin_create, foreign_create;
struct build_exec {
    const struct ctr *ctr;
    const struct mon_exec *spec;
    int stdio[3];
    const char *sub_cgroup;
};
job_fn builtin_exec, foreign_exec;
struct control {
    const struct ctr *ctr;
    unsigned what; /* MON_PAUSE, MON_RESUME, MON_UPDATE, MON_REMOVE */
    const struct mon_bytes *resources;
};
job_fn builtin_control, foreign_control;
