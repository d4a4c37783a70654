/* cmd/tared-socket.h: tared's sockets, and its talk with the service manager. */
#pragma once

#include "base/err.h"

/* Listens on "unix:///PATH" (or a plain path), mode 0660. A left-over socket is replaced, one that answers is ERR_EXISTS. */
MUST_USE int socket_listen(const char *url, int *ret_fd, struct err *e);
/* The datagram socket that hears of changes; whoever had the name before loses it. */
MUST_USE int socket_wake(const char *path, int *ret_fd, struct err *e);
/* Descriptors handed over by the service manager: 3 … 3 + n - 1, close-on-exec from now on. */
int socket_activated(void);
/* Tells the service manager; without one nothing happens. */
void socket_notify(const char *state);
/* Interval at which it wants to hear WATCHDOG=1, in ns; 0: it does not. */
uint64_t socket_watchdog(void);
/* Holds PATH's lock as long as *ret_fd is open; ERR_BUSY when another program has it. */
MUST_USE int socket_lock(const char *path, int *ret_fd, struct err *e);
