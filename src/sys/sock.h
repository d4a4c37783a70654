/* sys/sock.h: Unix sockets: packets with descriptors, and paths longer than sun_path by way of the folder's descriptor. */
#pragma once

#include "base/err.h"

#include <sys/types.h>

enum { SOCK_FDS_MAX = 16 };

/* SOCK_SEQPACKET, SOCK_STREAM or SOCK_DGRAM; flags: SOCK_NONBLOCK. dir/name is where it lies; an old socket there is replaced. */
MUST_USE int sock_listen(const char *dir, const char *name, int type, mode_t mode, int backlog, int *ret_fd, struct err *e);
MUST_USE int sock_connect(const char *dir, const char *name, int type, int *ret_fd, struct err *e);
/* One datagram to path, never blocking; whether anybody listens does not matter. */
void sock_notify(const char *path, const void *data, size_t len);
/* One packet with descriptors. No SIGPIPE; flags: MSG_DONTWAIT. Returns 0 or -errno. */
MUST_USE int sock_send(int fd, const void *data, size_t len, const int *fds, size_t n_fds, int flags);
/*
 * One packet of at most len bytes; *n_fds comes in as the room in fds and goes out as what came, all close-on-exec. Returns bytes
 * (0: end), -EMSGSIZE when it was longer (it is lost and its descriptors are closed), or -errno.
 */
MUST_USE ssize_t sock_recv(int fd, void *data, size_t len, int *fds, size_t *n_fds, int flags);
/* Length of the next packet without taking it. */
MUST_USE ssize_t sock_peek(int fd, int flags);
