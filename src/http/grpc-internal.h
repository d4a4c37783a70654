/*
 * http/grpc-internal.h: what the files of the gRPC server share: grpc-server.c (connections, framing), grpc-call.c (a call's
 * output and end) and grpc-pool.c (threads).
 *
 * Fields are either the loop thread's alone or guarded by the server's lock, as marked. A call is counted: its stream holds one
 * reference, its place on the pool another.
 */
#pragma once

#include "http/grpc.h"

#include <nghttp2/nghttp2.h>
#include <pthread.h>

struct grpc_conn;

struct grpc_call {
    struct grpc_server *server;
    /* loop thread */
    struct grpc_conn *conn; /* NULL once the stream has closed */
    struct grpc_call *prev, *next; /* of the connection */
    int32_t stream_id;
    const struct grpc_method *method;
    struct buf body;
    size_t header_bytes;
    uint64_t deadline; /* ns of CLOCK_MONOTONIC; 0: none */
    uint64_t progress; /* when the reader last took something */
    bool is_post, is_grpc, is_compressed, bad_timeout; /* what the headers said */
    bool remote_done, dispatched, answered, ended;
    /* under the lock */
    unsigned refs;
    struct buf out; /* messages with their prefixes; the reader has taken the first out_pos bytes */
    size_t out_pos;
    bool done, gone, in_ready;
    enum grpc_status status;
    char *message;
    struct grpc_call *next_job, *next_ready;
    void (*cancel_fn)(void *data);
    void *cancel_data;
    pthread_cond_t cond; /* out shrank, or gone */
};

struct grpc_conn {
    struct grpc_server *server;
    struct grpc_conn *prev, *next; /* in the order of their last use, oldest first */
    int fd;
    struct loop_source *source;
    nghttp2_session *session;
    struct grpc_call *calls;
    unsigned n_calls;
    struct buf out; /* framed, not written */
    uint64_t since, write_since;
    bool greeted, want_write, dead, in_recv;
    /* Token bucket against streams that are opened only to be reset. */
    uint64_t reset_at;
    unsigned reset_tokens;
};

struct grpc_server {
    struct loop *loop;
    const struct grpc_method *methods;
    size_t n_methods;
    void *data;
    struct grpc_limits limits;
    bool in_loop;
    void (*observe)(void *data, const char *path, enum grpc_status status, uint64_t ns, const char *message);
    void *observe_data;
    /* loop thread */
    struct grpc_conn *first, *last;
    unsigned n_conns;
    size_t request_bytes;
    int wake_fd;
    struct loop_source *wake, *timer;
    uint64_t timer_at;
    struct loop_source *listeners[8];
    size_t n_listeners;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct grpc_call *jobs, *jobs_last, *ready;
    unsigned n_threads, n_idle, n_jobs, n_running;
    bool stopping;
};

uint64_t grpc_now(void);

/* grpc-call.c */
struct grpc_call *call_new(struct grpc_conn *conn, int32_t stream_id);
void call_ref(struct grpc_call *c);   /* lock held */
void call_unref(struct grpc_call *c); /* lock not held */
/* Nobody waits for it any more: wakes its sender, tells its canceller. */
void call_abandon(struct grpc_call *c);
/* Runs its function; on a thread of the pool. */
void call_run(struct grpc_call *c);
/* Loop thread: answers with a status and no message. */
void call_fail(struct grpc_call *c, enum grpc_status status, const char *fmt, ...) PRINTF(3, 4);
/* Loop thread: hands what has come from the call's thread to HTTP/2. */
void call_progress(struct grpc_call *c);

/* grpc-pool.c: hands a call to a thread. Returns 0, or -EAGAIN when as many calls run as may. */
MUST_USE int pool_submit(struct grpc_server *s, struct grpc_call *c);
