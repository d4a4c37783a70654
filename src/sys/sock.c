/* sys/sock.c: see sock.h. */
#include "sys/sock.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The address of name in the folder dirfd, however long the folder's own path is. */
static int address(int dirfd, const char *name, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dirfd, name);
    return n < 0 || (size_t)n >= sizeof(ret->sun_path) ? -ENAMETOOLONG : 0;
}

int sock_listen(const char *dir, const char *name, int type, mode_t mode, int backlog, int *ret_fd, struct err *e)
{
    struct sockaddr_un sa;
    CLEANUP_FREE char *tmp = str_printf("%s.new", name);
    CLEANUP_FD int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0) {
        return err_sys(e, errno, "open folder %s", dir);
    }
    if (!tmp) {
        return err_oom(e);
    }
    int r = address(dirfd, tmp, &sa);
    if (r < 0) {
        return err_sys(e, -r, "socket name %s", name);
    }
    CLEANUP_FD int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_sys(e, errno, "create a socket");
    }
    unlinkat(dirfd, tmp, 0);
    /* Renamed only when it listens: whoever sees the name can connect. */
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || fchmodat(dirfd, tmp, mode, 0) < 0 ||
        (backlog > 0 && listen(fd, backlog) < 0) || renameat(dirfd, tmp, dirfd, name) < 0) {
        r = errno;
        unlinkat(dirfd, tmp, 0);
        return err_sys(e, r, "listen on %s/%s", dir, name);
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

int sock_connect(const char *dir, const char *name, int type, int *ret_fd, struct err *e)
{
    struct sockaddr_un sa;
    CLEANUP_FD int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0) {
        return err_sys(e, errno, "open folder %s", dir);
    }
    int r = address(dirfd, name, &sa);
    if (r < 0) {
        return err_sys(e, -r, "socket name %s", name);
    }
    CLEANUP_FD int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_sys(e, errno, "create a socket");
    }
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        return err_sys(e, errno, "connect to %s/%s", dir, name);
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

void sock_notify(const char *path, const void *data, size_t len)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    size_t n = strlen(path);
    CLEANUP_FD int dirfd = -1;
    if (n < sizeof(sa.sun_path)) {
        memcpy(sa.sun_path, path, n);
    } else {
        const char *slash = strrchr(path, '/');
        CLEANUP_FREE char *dir = slash ? strndup(path, (size_t)(slash - path)) : NULL;
        dirfd = dir ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        if (dirfd < 0 || address(dirfd, slash + 1, &sa) < 0) {
            return;
        }
    }
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        /* Nobody there, or a full queue: whoever listens looks at the state anyway when it wakes. */
        (void)!sendto(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&sa, sizeof(sa));
    }
}

int sock_send(int fd, const void *data, size_t len, const int *fds, size_t n_fds, int flags)
{
    union {
        struct cmsghdr h;
        char space[CMSG_SPACE(sizeof(int) * SOCK_FDS_MAX)];
    } control;
    struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (n_fds > SOCK_FDS_MAX) {
        return -E2BIG;
    }
    if (n_fds > 0) {
        memset(&control, 0, sizeof(control));
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
    }
    ssize_t n;
    do {
        n = sendmsg(fd, &m, MSG_NOSIGNAL | flags);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

/* Takes the descriptors of one control message: those beyond room are closed. */
static void take_fds(const struct cmsghdr *c, int *fds, size_t room, size_t *n_fds)
{
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
        if (*n_fds < room) {
            fds[(*n_fds)++] = fd;
        } else {
            close(fd);
        }
    }
}

ssize_t sock_recv(int fd, void *data, size_t len, int *fds, size_t *n_fds, int flags)
{
    union {
        struct cmsghdr h;
        char space[CMSG_SPACE(sizeof(int) * SOCK_FDS_MAX)];
    } control;
    struct iovec iov = { .iov_base = data, .iov_len = len };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    size_t room = n_fds ? *n_fds : 0, got = 0;
    if (n_fds) {
        *n_fds = 0;
    }
    ssize_t n;
    do {
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | flags);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            take_fds(c, fds, room, &got);
        }
    }
    if (m.msg_flags & MSG_TRUNC) {
        while (got > 0) {
            close(fds[--got]);
        }
        return -EMSGSIZE;
    }
    if (n_fds) {
        *n_fds = got;
    }
    return n;
}

ssize_t sock_peek(int fd, int flags)
{
    char c;
    ssize_t n;
    do {
        n = recv(fd, &c, 1, MSG_PEEK | MSG_TRUNC | flags);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}
