/* cri/streaming-internal.h: what streaming.c and the peers share. */
#pragma once

#include "cri/jobs.h"
#include "cri/streaming.h"

struct streaming {
    struct engine *engine;
    struct loop *loop;
    struct stream_server *server;
    struct jobs *jobs;
    int listen, stop;
    char *base; /* "http://127.0.0.1:4711" */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    struct ticket *tickets; /* under lock */
};

/* A peer is the engine's end of a link: see struct stream_ops. */
void *peer_start(void *data, void *target, struct link *l, uint16_t port);
void peer_input(void *peer, enum link_channel channel, const char *bytes, size_t len, bool end);
void peer_drained(void *peer);
void peer_gone(void *peer);

/* Connects to a port on the loopback addresses of a pod's network namespace; NULL: ours. *ret_back: the thread is in its own again. */
MUST_USE int forward_connect(const char *netns, uint16_t port, bool *ret_back, int *ret_fd, struct err *e);

/* metav1.Status as the clients of an exec read it. NULL when there is no memory. */
char *status_ok(void);
char *status_exit(int32_t code);
char *status_error(const char *message);
