/*
 * cmd/tare-oci-wait.c: a process in the foreground: waits for it, forwards signals, and relays between its terminal and ours.
 *
 * The terminal's master does not block: what cannot be written yet stays in a small buffer, and its source is not read further.
 */
#include "cmd/tare-oci.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct relay {
    int signals, master, pidfd;
    pid_t pid;
    bool raw, in_open;
    struct termios saved;
    char in[4096]; /* on its way from standard input to the master */
    size_t in_at, in_len;
};

static void relay_done(struct relay *r)
{
    if (r->raw) {
        tcsetattr(STDIN_FILENO, TCSADRAIN, &r->saved);
    }
    fd_close(&r->signals);
}

static void copy_window_size(const struct relay *r)
{
    struct winsize w;
    if (r->master >= 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &w) == 0) {
        ioctl(r->master, TIOCSWINSZ, &w);
    }
}

void rt_hold_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
}

static int relay_init(struct relay *r, struct err *e)
{
    sigset_t all;
    sigfillset(&all); /* held since before the process was started */
    r->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    if (r->signals < 0) {
        return err_sys(e, errno, "signalfd");
    }
    if (r->master < 0) {
        return 0;
    }
    r->in_open = true;
    int flags = fcntl(r->master, F_GETFL);
    if (flags < 0 || fcntl(r->master, F_SETFL, flags | O_NONBLOCK) < 0) {
        return err_sys(e, errno, "terminal");
    }
    if (tcgetattr(STDIN_FILENO, &r->saved) == 0) {
        struct termios t = r->saved;
        cfmakeraw(&t);
        r->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0;
        copy_window_size(r);
    }
    return 0;
}

static void forward_signals(struct relay *r)
{
    struct signalfd_siginfo si;
    while (read(r->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
        int signo = (int)si.ssi_signo;
        if (signo == SIGWINCH) {
            copy_window_size(r);
        } else if (signo != SIGCHLD && signo != SIGPIPE && signo != SIGTTOU && signo != SIGTTIN && signo != SIGURG) {
            pidfd_send_signal(r->pidfd, signo, NULL, 0);
        }
    }
}

/* Returns false when the other side of the terminal has gone. */
static bool drain_master(const struct relay *r)
{
    char data[8192];
    for (;;) {
        ssize_t n = read(r->master, data, sizeof(data));
        if (n > 0) {
            if (fd_write_all(STDOUT_FILENO, data, (size_t)n) < 0) {
                return false;
            }
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else {
            return n < 0 && errno == EAGAIN;
        }
    }
}

static void fill_input(struct relay *r)
{
    ssize_t n = read(STDIN_FILENO, r->in, sizeof(r->in));
    if (n == 0 && !r->raw) { /* a file or pipe has ended: say so as a terminal does */
        r->in[0] = 4;
        n = 1;
        r->in_open = false;
    } else if (n <= 0) {
        r->in_open = n < 0 && (errno == EINTR || errno == EAGAIN);
        return;
    }
    r->in_at = 0;
    r->in_len = (size_t)n;
}

static void flush_input(struct relay *r)
{
    ssize_t n = write(r->master, r->in + r->in_at, r->in_len - r->in_at);
    if (n > 0) {
        r->in_at += (size_t)n;
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        r->in_at = r->in_len;
        r->in_open = false;
    }
}

/* Handles what is ready once. Returns true when the process has ended. */
static bool relay_step(struct relay *r, bool *master_open)
{
    bool pending = r->in_at < r->in_len;
    struct pollfd p[4] = {
        { .fd = r->pidfd, .events = POLLIN },
        { .fd = r->signals, .events = POLLIN },
        { .fd = *master_open ? r->master : -1, .events = (short)(POLLIN | (pending ? POLLOUT : 0)) },
        { .fd = *master_open && r->in_open && !pending ? STDIN_FILENO : -1, .events = POLLIN },
    };
    if (poll(p, ARRAY_LEN(p), -1) < 0) {
        return false;
    }
    if (p[1].revents) {
        forward_signals(r);
    }
    if (p[2].revents & POLLOUT) {
        flush_input(r);
    }
    if (p[2].revents & (POLLIN | POLLHUP | POLLERR)) {
        *master_open = drain_master(r);
    }
    if (p[3].revents) {
        fill_input(r);
    }
    return p[0].revents != 0;
}

int rt_wait(pid_t pid, int pidfd, int master, int *ret_code, struct err *e)
{
    CLEANUP(relay_done) struct relay r = { .signals = -1, .master = master, .pidfd = pidfd, .pid = pid };
    bool master_open = master >= 0;
    int res = relay_init(&r, e);
    if (res < 0) {
        return res;
    }
    while (!relay_step(&r, &master_open)) {
    }
    siginfo_t si = { 0 };
    do {
        res = waitid(P_PID, (id_t)pid, &si, WEXITED);
    } while (res < 0 && errno == EINTR);
    if (res < 0) {
        return err_sys(e, errno, "wait for process %d", (int)pid);
    }
    if (master_open) {
        drain_master(&r);
    }
    *ret_code = si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
    return 0;
}
