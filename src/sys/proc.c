/* sys/proc.c: see proc.h. */
#include "sys/proc.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* stat's fields behind the command name, which may itself hold spaces and parentheses. */
int proc_start_time(pid_t pid, uint64_t *ret, char *ret_state)
{
    char path[32], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? -ESRCH : -errno;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        return n < 0 ? -errno : -ESRCH;
    }
    text[n] = '\0';
    char *p = strrchr(text, ')');
    if (!p || p[1] != ' ') {
        return -EPROTO;
    }
    char state = p[2];
    p += 2;
    for (int field = 3; field < 22 && p; field++) { /* p is at field 3: the state */
        p = strchr(p, ' ');
        p = p ? p + 1 : NULL;
    }
    if (!p) {
        return -EPROTO;
    }
    *ret = strtoull(p, NULL, 10);
    if (ret_state) {
        *ret_state = state;
    }
    return 0;
}

int proc_pidfd_open(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

int proc_pidfd_pid(int pidfd, pid_t *ret)
{
    char path[48], text[1024];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        return n < 0 ? -errno : -ESRCH;
    }
    text[n] = '\0';
    const char *at = strstr(text, "\nPid:");
    long pid = at ? strtol(at + 5, NULL, 10) : 0; /* 0: of another namespace; -1: has gone */
    if (pid <= 0) {
        return -ESRCH;
    }
    *ret = (pid_t)pid;
    return 0;
}

int proc_pidfd_kill(int pidfd, int signo)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

int proc_open(pid_t pid, uint64_t start_time, int *ret_pidfd)
{
    uint64_t now;
    CLEANUP_FD int fd = proc_pidfd_open(pid);
    if (fd < 0) {
        return fd;
    }
    /* The pidfd came first: if the start time is right now, it was so when it was opened. */
    int r = proc_start_time(pid, &now, NULL);
    if (r < 0) {
        return r;
    }
    if (now != start_time) {
        return -ESRCH;
    }
    *ret_pidfd = fd_steal(&fd);
    return 0;
}

bool proc_hears(pid_t pid, int signo)
{
    char path[32], text[4096];
    if (signo == SIGKILL || signo == SIGSTOP) {
        return true;
    }
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0 || signo < 1 || signo > 64) {
        return false;
    }
    text[n] = '\0';
    static const char *const keys[] = { "\nSigBlk:", "\nSigCgt:" };
    uint64_t mask = 0;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *at = strstr(text, keys[i]);
        mask |= at ? strtoull(at + strlen(keys[i]), NULL, 16) : 0;
    }
    return mask >> (signo - 1) & 1;
}
