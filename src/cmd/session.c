/* cmd/session.c: terminal or pipes to the streams of a container. See session.h. */
#include "cmd/session.h"

#include "base/fd.h"
#include "cmd/parse.h"
#include "ipc/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KEYS_MAX = 16, PENDING_MAX = 256 << 10, CHUNK = 16 << 10 };

/* What one run of a session keeps. */
struct pump {
    struct session *s;
    struct buf out; /* frames on their way to the container */
    struct stream_reader reader;
    uint8_t keys[KEYS_MAX];
    size_t n_keys, matched;
    bool stdin_open, end;
    struct err *e;
};

void session_size(uint32_t *rows, uint32_t *cols)
{
    struct winsize ws = { 0 };
    *rows = *cols = 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 || ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) == 0) {
        *rows = ws.ws_row;
        *cols = ws.ws_col;
    }
}

static int take_signals(struct session *s, struct err *e)
{
    static const int passed[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGALRM, SIGTTOU };
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(passed); i++) {
        sigaddset(&set, passed[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, &s->old_mask);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signals < 0 ? err_sys(e, errno, "signalfd") : 0;
}

static void raw_mode(struct session *s)
{
    struct termios t;
    if (!s->stream.tty || !s->with_stdin || tcgetattr(STDIN_FILENO, &s->saved) < 0) {
        return;
    }
    t = s->saved;
    cfmakeraw(&t);
    s->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0;
}

int session_open(struct session *s, struct err *e)
{
    s->signals = -1;
    int r = take_signals(s, e);
    if (r == 0) {
        raw_mode(s);
    }
    return r;
}

void session_close(struct session *s)
{
    if (s->raw) {
        tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved);
        s->raw = false;
    }
    if (s->signals >= 0) {
        fd_close(&s->signals);
        sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
    }
    fd_close(&s->stream.fd);
    free(PTR_STEAL(s->stream.exec_id));
}

static void put_resize(struct pump *p)
{
    uint32_t rows, cols;
    session_size(&rows, &cols);
    if (!p->s->stream.tty || rows == 0 || cols == 0) {
        return;
    }
    uint8_t payload[4] = { (uint8_t)rows, (uint8_t)(rows >> 8), (uint8_t)cols, (uint8_t)(cols >> 8) };
    stream_put(&p->out, STREAM_RESIZE, payload, sizeof(payload));
}

/* Passes typed bytes on, holding back what may be the beginning of the detach keys. */
static void typed(struct pump *p, const uint8_t *data, size_t len)
{
    CLEANUP_BUF struct buf pass = { 0 };
    for (size_t i = 0; i < len && !p->end; i++) {
        if (p->n_keys > 0 && data[i] == p->keys[p->matched]) {
            if (++p->matched == p->n_keys) {
                p->s->detached = p->end = true;
            }
            continue;
        }
        buf_add(&pass, p->keys, p->matched);
        p->matched = p->n_keys > 0 && data[i] == p->keys[0];
        if (!p->matched) {
            buf_add(&pass, data + i, 1);
        }
    }
    if (pass.len > 0) {
        stream_put(&p->out, STREAM_STDIN, pass.data, pass.len);
    }
}

static void read_stdin(struct pump *p)
{
    uint8_t data[CHUNK];
    ssize_t n = read(STDIN_FILENO, data, sizeof(data));
    if (n > 0) {
        typed(p, data, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        p->stdin_open = false;
        stream_put(&p->out, STREAM_STDIN_EOF, NULL, 0);
    }
}

static void write_stream(struct pump *p)
{
    ssize_t n = send(p->s->stream.fd, p->out.data, p->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
        buf_consume(&p->out, (size_t)n);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        p->stdin_open = false;
        buf_reset(&p->out);
    }
}

static int take_frame(struct pump *p, const struct stream_frame *f)
{
    int fd = f->type == STREAM_STDERR ? STDERR_FILENO : STDOUT_FILENO;
    if (f->type == STREAM_STDOUT || f->type == STREAM_STDERR) {
        /* A reader that has gone away does not end the container; its output is in the log. */
        return fd_write_all(fd, f->data, f->len) == -ENOMEM ? -ENOMEM : 0;
    }
    if (f->type == STREAM_EXIT) {
        p->s->got_exit = stream_exit_code(f, &p->s->exit_code) == 0;
        p->end = true;
    }
    return 0;
}

static int read_stream(struct pump *p)
{
    struct stream_frame f;
    ssize_t n = stream_fill(&p->reader, p->s->stream.fd);
    if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR)) {
        p->end = true;
    }
    int r;
    while ((r = stream_next(&p->reader, &f)) == 1) {
        r = take_frame(p, &f);
        if (r < 0) {
            return err_sys(p->e, -r, "write output");
        }
    }
    return r < 0 ? err_set(p->e, -r, ERR_INTERNAL, "stream: unexpected data from the monitor") : 0;
}

static void read_signals(struct pump *p)
{
    struct signalfd_siginfo si;
    while (read(p->s->signals, &si, sizeof(si)) == sizeof(si)) {
        int sig = (int)si.ssi_signo;
        if (sig == SIGWINCH) {
            put_resize(p);
        } else if (sig == SIGCONT || sig == SIGTTOU) {
            continue;
        } else if (p->s->sig_proxy && p->s->ref) {
            struct err e = { 0 };
            int r = engine_ctr_kill(p->s->g, p->s->ref, sig, &e);
            p->end |= r < 0 && e.kind == ERR_NOT_FOUND;
        } else {
            p->s->detached = p->end = true;
        }
    }
}

static int pump(struct pump *p)
{
    while (!p->end) {
        struct pollfd v[] = {
            { p->s->stream.fd, (short)(POLLIN | (p->out.len > 0 ? POLLOUT : 0)), 0 },
            { p->s->signals, POLLIN, 0 },
            { p->stdin_open && p->out.len < PENDING_MAX ? STDIN_FILENO : -1, POLLIN, 0 },
        };
        if (poll(v, ARRAY_LEN(v), -1) < 0 && errno != EINTR) {
            return err_sys(p->e, errno, "poll");
        }
        if (v[1].revents) {
            read_signals(p);
        }
        if (v[2].revents) {
            read_stdin(p);
        }
        if (p->out.len > 0) {
            write_stream(p);
        }
        if (v[0].revents & (POLLIN | POLLHUP | POLLERR)) {
            int r = read_stream(p);
            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

int session_run(struct session *s, struct err *e)
{
    struct pump p = { .s = s, .stdin_open = s->with_stdin, .e = e };
    const char *keys = s->detach_keys ? s->detach_keys : "ctrl-p,ctrl-q";
    int r = 0;
    if (s->stream.tty && s->with_stdin) {
        r = parse_detach_keys(keys, p.keys, KEYS_MAX, &p.n_keys, e);
    }
    if (r == 0) {
        put_resize(&p);
        int flags = fcntl(s->stream.fd, F_GETFL);
        fcntl(s->stream.fd, F_SETFL, flags | O_NONBLOCK);
        r = pump(&p);
    }
    buf_done(&p.out);
    stream_reader_done(&p.reader);
    return r;
}
