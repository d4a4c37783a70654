/* cmd/tared-socket.c: see tared-socket.h. What libsystemd would do here is a dozen lines, so it is not linked. */
#include "cmd/tared-socket.h"

#include "base/fd.h"
#include "base/num.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_FD = 3, FDS_MAX = 8, BACKLOG = 512 };

static int address(const char *path, struct sockaddr_un *sa, struct err *e)
{
    *sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(sa->sun_path)) {
        return err_set(e, ENAMETOOLONG, ERR_INVALID, "%s: longer than a socket's name can be (%zu bytes)", path,
                       sizeof(sa->sun_path) - 1);
    }
    memcpy(sa->sun_path, path, strlen(path) + 1);
    return 0;
}

static int make_parent(const char *path, struct err *e)
{
    CLEANUP_FREE char *dir = strdup(path);
    char *slash = dir ? strrchr(dir, '/') : NULL;
    if (!slash || slash == dir) {
        return dir ? 0 : err_oom(e);
    }
    *slash = '\0';
    return dir_make_all(AT_FDCWD, dir, 0755, e);
}

/* Somebody serves it? Else the file is a left-over. */
static bool answers(const struct sockaddr_un *sa)
{
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno == EAGAIN);
}

static int bind_fresh(int fd, const struct sockaddr_un *sa, mode_t mode, struct err *e)
{
    struct stat st;
    if (lstat(sa->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        return err_set(e, EEXIST, ERR_EXISTS, "%s: is there and is no socket", sa->sun_path);
    }
    (void)unlink(sa->sun_path);
    /* No moment at which others could connect: nobody can before listen(), and the mode is set first. */
    if (bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 || chmod(sa->sun_path, mode) < 0) {
        return err_sys(e, errno, "bind %s", sa->sun_path);
    }
    return 0;
}

int socket_listen(const char *url, int *ret_fd, struct err *e)
{
    struct sockaddr_un sa;
    const char *path = str_starts(url, "unix://") ? url + 7 : url;
    if (path[0] != '/') {
        return err_set(e, EINVAL, ERR_INVALID, "listen address %s: has to be unix:///PATH", url);
    }
    int r = address(path, &sa, e);
    if (r == 0) {
        r = make_parent(path, e);
    }
    if (r < 0) {
        return r;
    }
    if (answers(&sa)) {
        return err_set(e, EADDRINUSE, ERR_EXISTS, "%s: another server answers there", path);
    }
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_sys(e, errno, "socket");
    }
    r = bind_fresh(fd, &sa, 0660, e);
    if (r == 0 && listen(fd, BACKLOG) < 0) {
        r = err_sys(e, errno, "listen on %s", path);
    }
    if (r == 0) {
        *ret_fd = fd_steal(&fd);
    }
    return r;
}

int socket_wake(const char *path, int *ret_fd, struct err *e)
{
    struct sockaddr_un sa;
    int r = address(path, &sa, e);
    if (r < 0) {
        return r;
    }
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_sys(e, errno, "socket");
    }
    r = bind_fresh(fd, &sa, 0660, e);
    if (r == 0) {
        *ret_fd = fd_steal(&fd);
    }
    return r;
}

int socket_activated(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t p = 0, n = 0;
    int found = 0;
    if (pid && fds && num_u64(pid, &p) == 0 && num_u64(fds, &n) == 0 && p == (uint64_t)getpid() && n <= FDS_MAX) {
        found = (int)n;
    }
    for (int i = 0; i < found; i++) {
        (void)fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC);
        (void)fcntl(FIRST_FD + i, F_SETFL, O_NONBLOCK);
    }
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return found;
}

void socket_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa;
    if (str_empty(path) || (path[0] != '/' && path[0] != '@') || address(path, &sa, NULL) < 0) {
        return;
    }
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (sa.sun_path[0] == '@') {
        sa.sun_path[0] = '\0'; /* abstract */
    }
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&sa, len);
    }
}

uint64_t socket_watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us = 0, p = 0;
    if (!usec || num_u64(usec, &us) < 0 || us > UINT32_MAX * (uint64_t)1000) {
        return 0;
    }
    bool other = pid && num_u64(pid, &p) == 0 && p != (uint64_t)getpid();
    return other ? 0 : us * 1000 / 2;
}

int socket_lock(const char *path, int *ret_fd, struct err *e)
{
    CLEANUP_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_sys(e, errno, "open %s", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        return errno == EWOULDBLOCK ? err_set(e, EBUSY, ERR_BUSY, "%s: another tared works in this folder", path) :
                                      err_sys(e, errno, "lock %s", path);
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}
