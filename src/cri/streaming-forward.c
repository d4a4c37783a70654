/*
 * cri/streaming-forward.c: a connection to a port inside a pod. Only the calling thread enters the pod's network namespace, and only
 * while the socket is made: a socket stays where it was born.
 */
#include "cri/streaming-internal.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FORWARD_MS = 10000 };

static int connect_family(int family, uint16_t port, int *ret_fd)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    CLEANUP_FD int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -1
            : family == AF_INET ? connect(fd, (const struct sockaddr *)&v4, sizeof(v4))
                                : connect(fd, (const struct sockaddr *)&v6, sizeof(v6));
    if (r < 0 && errno == EINPROGRESS) {
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        int code = 0;
        socklen_t len = sizeof(code);
        int n = poll(&p, 1, FORWARD_MS);
        if (n <= 0) {
            return n == 0 ? -ETIMEDOUT : -errno;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0) {
            return -errno;
        }
        errno = code;
        r = code ? -1 : 0;
    }
    if (r < 0) {
        return -errno;
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

static int connect_here(uint16_t port, int *ret_fd, struct err *e)
{
    int r4 = connect_family(AF_INET, port, ret_fd);
    int r6 = r4 < 0 ? connect_family(AF_INET6, port, ret_fd) : 0;
    if (r4 < 0 && r6 < 0) {
        return err_set(e, -r4, ERR_UNAVAILABLE, "connect to port %u inside the pod: 127.0.0.1: %s, ::1: %s", port, err_name(-r4),
                       err_name(-r6));
    }
    return 0;
}

int forward_connect(const char *netns, uint16_t port, bool *ret_back, int *ret_fd, struct err *e)
{
    *ret_back = true;
    if (!netns) {
        return connect_here(port, ret_fd, e);
    }
    CLEANUP_FD int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    CLEANUP_FD int there = own < 0 ? -1 : open(netns, O_RDONLY | O_CLOEXEC);
    if (there < 0 || setns(there, CLONE_NEWNET) < 0) {
        return err_sys(e, errno, "enter the pod's network namespace %s", netns);
    }
    int r = connect_here(port, ret_fd, e);
    *ret_back = setns(own, CLONE_NEWNET) == 0;
    return r;
}
