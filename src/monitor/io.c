/* monitor/io.c: see io.h. Reading side; monitor/viewer.c has the attached clients. */
#include "monitor/io.h"

#include "base/fd.h"
#include "monitor/ctrlog.h"
#include "monitor/viewer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A drain reads more than a pipe or pty can hold, yet ends even if somebody goes on writing. */
enum { READS_A_TURN = 8, READS_A_DRAIN = 64, DIRTY = 16 << 10, PIPE_SIZE = 256 << 10, SCRATCH_KEPT_NS = 500000000 };

void io_init(struct io *io, struct loop *loop, struct io_scratch *scratch)
{
    *io = (struct io){ .loop = loop, .scratch = scratch, .in = -1, .out = -1, .err = -1, .child = { -1, -1, -1 } };
}

static int make_pipe(int *ours, int *theirs, bool we_read, struct err *e)
{
    int fd[2];
    if (pipe2(fd, O_CLOEXEC) < 0) {
        return err_sys(e, errno, "create a pipe");
    }
    *ours = fd[we_read ? 0 : 1];
    *theirs = fd[we_read ? 1 : 0];
    if (fcntl(*ours, F_SETFL, (we_read ? O_RDONLY : O_WRONLY) | O_NONBLOCK) < 0) {
        return err_sys(e, errno, "prepare a pipe");
    }
    if (we_read) {
        (void)fcntl(*ours, F_SETPIPE_SZ, PIPE_SIZE); /* fewer wake-ups; the default does as well */
    }
    return 0;
}

int io_open(struct io *io, bool tty, bool stdin_open, bool with_output, struct err *e)
{
    io->tty = tty;
    if (tty) {
        return 0;
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) {
        return err_sys(e, errno, "open /dev/null");
    }
    io->child[0] = null;
    if (stdin_open) {
        fd_close(&io->child[0]);
        int r = make_pipe(&io->in, &io->child[0], false, e);
        if (r < 0) {
            return r;
        }
    }
    if (!with_output) {
        for (int i = 1; i < 3; i++) {
            io->child[i] = open("/dev/null", O_WRONLY | O_CLOEXEC);
            if (io->child[i] < 0) {
                return err_sys(e, errno, "open /dev/null");
            }
        }
        return 0;
    }
    int r = make_pipe(&io->out, &io->child[1], true, e);
    if (r == 0) {
        r = make_pipe(&io->err, &io->child[2], true, e);
    }
    return r;
}

void io_close_child(struct io *io)
{
    for (int i = 0; i < 3; i++) {
        fd_close(&io->child[i]);
    }
}

int io_set_master(struct io *io, int *fd, struct err *e)
{
    if (*fd < 0) {
        return err_set(e, EPROTO, ERR_INTERNAL, "the runtime gave no terminal");
    }
    if (fcntl(*fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
        return err_sys(e, errno, "prepare the terminal");
    }
    io->in = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    if (io->in < 0) {
        return err_sys(e, errno, "duplicate the terminal");
    }
    io->out = fd_steal(fd);
    return 0;
}

/* ---- output ---------------------------------------------------------------------------------------------- */

static void capture(struct io *io, struct buf *b, size_t max, const char *data, size_t len)
{
    size_t left = max > b->len ? max - b->len : 0;
    if (len > left) {
        io->truncated = true;
        len = left;
    }
    buf_add(b, data, len);
    if (b->failed) { /* out of memory: what came so far is kept */
        b->failed = false;
        io->truncated = true;
    }
}

static void deliver(struct io *io, int stream, const char *data, size_t len)
{
    if (io->log) {
        ctrlog_write(io->log, stream, data, len);
    }
    if (io->cap_out) {
        capture(io, stream == 1 ? io->cap_out : io->cap_err, stream == 1 ? io->max_out : io->max_err, data, len);
    }
    viewers_send(io, stream == 1 ? STREAM_STDOUT : STREAM_STDERR, data, len);
}

static void stream_ended(struct io *io, int stream)
{
    struct loop_source **s = stream == 1 ? &io->out_source : &io->err_source;
    loop_remove(*s);
    *s = NULL;
    fd_close(stream == 1 ? &io->out : &io->err);
    if (io->log) {
        ctrlog_end(io->log, stream);
    }
}

static void check_ended(struct io *io)
{
    if (io->watched && !io->told && !io_has_output(io)) {
        io->told = true;
        if (io->ended) {
            io->ended(io, io->data);
        }
    }
}

/* Reads until there is nothing more, it is somebody else's turn, or a viewer has to be waited for. */
static void pump(struct io *io, int stream, bool drain)
{
    int *fd = stream == 1 ? &io->out : &io->err;
    for (int i = 0; i < (drain ? READS_A_DRAIN : READS_A_TURN) && *fd >= 0 && (drain || !io->held); i++) {
        ssize_t n = read(*fd, io->scratch->data, io->scratch->cap);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) { /* a pty without a process says EIO */
            stream_ended(io, stream);
            return;
        }
        if (n > DIRTY && !io->scratch->dirty && io->scratch->timer) {
            io->scratch->dirty = true;
            loop_set_timer(io->scratch->timer, SCRATCH_KEPT_NS);
        }
        deliver(io, stream, io->scratch->data, (size_t)n);
        if ((size_t)n < io->scratch->cap && !drain) {
            return; /* most likely empty; the loop tells when it is not */
        }
    }
}

static void on_out(struct loop_source *s, int fd, uint32_t events, void *data)
{
    struct io *io = data;
    (void)s;
    (void)fd;
    (void)events;
    pump(io, 1, false);
    check_ended(io);
}

static void on_err(struct loop_source *s, int fd, uint32_t events, void *data)
{
    struct io *io = data;
    (void)s;
    (void)fd;
    (void)events;
    pump(io, 2, false);
    check_ended(io);
}

int io_watch(struct io *io, struct err *e)
{
    int r = 0;
    io->watched = true;
    if (io->out >= 0) {
        r = loop_add_fd(io->loop, io->out, EPOLLIN, on_out, io, &io->out_source, e);
    }
    if (r == 0 && io->err >= 0) {
        r = loop_add_fd(io->loop, io->err, EPOLLIN, on_err, io, &io->err_source, e);
    }
    if (r == 0 && io->in >= 0) {
        stdin_flush(io);
    }
    return r;
}

void io_drain(struct io *io)
{
    pump(io, 1, true);
    pump(io, 2, true);
}

void io_hold(struct io *io, bool hold)
{
    if (io->held == hold) {
        return;
    }
    io->held = hold;
    /* A hang-up is told even with no events asked for, so the source is taken away altogether. */
    if (hold) {
        loop_remove(io->out_source);
        loop_remove(io->err_source);
        io->out_source = io->err_source = NULL;
    } else if (io->watched && (io->out >= 0 || io->err >= 0)) {
        if ((io->out >= 0 && loop_add_fd(io->loop, io->out, EPOLLIN, on_out, io, &io->out_source, NULL) < 0) ||
            (io->err >= 0 && loop_add_fd(io->loop, io->err, EPOLLIN, on_err, io, &io->err_source, NULL) < 0)) {
            io_stop(io);
        }
    }
}

bool io_has_output(const struct io *io)
{
    return io->out >= 0 || io->err >= 0;
}

void io_stop(struct io *io)
{
    if (io->out >= 0) {
        stream_ended(io, 1);
    }
    if (io->err >= 0) {
        stream_ended(io, 2);
    }
    io->told = true;
}

int io_resize(struct io *io, uint32_t rows, uint32_t cols, struct err *e)
{
    struct winsize w = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols };
    if (!io->tty || io->out < 0) {
        return err_set(e, ENOTTY, ERR_INVALID, "no terminal to resize");
    }
    if (rows > UINT16_MAX || cols > UINT16_MAX) {
        return err_set(e, ERANGE, ERR_INVALID, "terminal of %u rows and %u columns", rows, cols);
    }
    return ioctl(io->out, TIOCSWINSZ, &w) < 0 ? err_sys(e, errno, "resize the terminal") : 0;
}

void io_done(struct io *io)
{
    io_stop(io);
    viewers_done(io);
    loop_remove(io->in_source);
    io->in_source = NULL;
    fd_close(&io->in);
    io_close_child(io);
    buf_done(&io->to_in);
    ctrlog_free(io->log);
    io->log = NULL;
}
