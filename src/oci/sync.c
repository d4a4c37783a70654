/* oci/sync.c: packets between parent, intermediate and init. See ctr.h. */
#include "oci/ctr.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

int sync_send(int sock, enum sync_type type, int32_t value, const struct err *e, int fd)
{
    struct sync_msg m = { .type = type, .value = value };
    size_t len = offsetof(struct sync_msg, err);
    if (e) {
        m.err = *e;
        len = sizeof(m);
    }
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { 0 };
    struct iovec iov = { &m, len };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (fd >= 0) {
        h.msg_control = control.buf;
        h.msg_controllen = sizeof(control.buf);
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    ssize_t n;
    do {
        n = sendmsg(sock, &h, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int sync_recv(int sock, struct sync_msg *m, int *ret_fd)
{
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = { m, sizeof(*m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
    ssize_t n;
    do {
        n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    if ((size_t)n < offsetof(struct sync_msg, err)) {
        return -ECONNRESET;
    }
    if ((size_t)n < sizeof(*m)) {
        err_clear(&m->err);
    }
    m->err.text[sizeof(m->err.text) - 1] = '\0';
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    int fd = -1;
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    }
    if (ret_fd) {
        *ret_fd = fd;
    } else if (fd >= 0) {
        close(fd);
    }
    return 0;
}
