/* monitor/viewer.c: see viewer.h and io.h. */
#include "monitor/viewer.h"

#include "base/fd.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void viewer_free(struct viewer *v)
{
    struct io *io = v->io;
    for (struct viewer **p = &io->viewers; *p; p = &(*p)->next) {
        if (*p == v) {
            *p = v->next;
            io->n_viewers--;
            break;
        }
    }
    loop_remove(v->source);
    fd_close(&v->fd);
    buf_done(&v->backlog);
    stream_reader_done(&v->reader);
    free(v);
}

void viewers_done(struct io *io)
{
    while (io->viewers) {
        viewer_free(io->viewers);
    }
}

/* Whether some lossless viewer has to catch up before more is read. */
static void update_hold(struct io *io)
{
    bool hold = false;
    for (const struct viewer *v = io->viewers; v; v = v->next) {
        hold = hold || (v->lossless && v->backlog.len > 0);
    }
    io_hold(io, hold);
}

static bool may_read(const struct viewer *v)
{
    return v->io->to_in.len < STDIN_PENDING_MAX;
}

static void update_events(struct viewer *v)
{
    uint32_t events = (may_read(v) ? EPOLLIN | EPOLLRDHUP : 0u) | (v->backlog.len > 0 ? EPOLLOUT : 0u);
    (void)!loop_set_events(v->source, events, NULL);
}

static void update_all_events(struct io *io)
{
    for (struct viewer *v = io->viewers; v; v = v->next) {
        update_events(v);
    }
}

/* A viewer that leaves; one that had standard input may take it with it. */
static void viewer_gone(struct viewer *v)
{
    struct io *io = v->io;
    bool ends_stdin = v->stdin_open && io->stdin_once;
    viewer_free(v);
    if (ends_stdin) {
        io_close_stdin(io);
    }
    update_hold(io);
}

/* ---- to the viewers ---------------------------------------------------------------------------------------- */

static bool flush_backlog(struct viewer *v)
{
    while (v->backlog.len > 0) {
        ssize_t n = send(v->fd, v->backlog.data, v->backlog.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN;
        }
        buf_consume(&v->backlog, (size_t)n);
    }
    buf_done(&v->backlog);
    return true;
}

static bool viewer_send(struct viewer *v, enum stream_type type, const char *data, size_t len)
{
    uint8_t h[STREAM_HEADER_LEN];
    stream_header(h, type, len);
    struct iovec iov[2] = { { h, sizeof(h) }, { (void *)(uintptr_t)data, len } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = len ? 2 : 1 };
    ssize_t n = v->backlog.len > 0 ? 0 : sendmsg(v->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        return false;
    }
    size_t done = n > 0 ? (size_t)n : 0;
    if (done < sizeof(h)) {
        buf_add(&v->backlog, h + done, sizeof(h) - done);
        done = sizeof(h);
    }
    buf_add(&v->backlog, data + (done - sizeof(h)), len - (done - sizeof(h)));
    if (v->backlog.failed || (!v->lossless && v->backlog.len > VIEWER_BACKLOG_MAX)) {
        return false;
    }
    if (v->backlog.len > 0) {
        update_events(v);
    }
    return true;
}

void viewers_send(struct io *io, enum stream_type type, const char *data, size_t len)
{
    if (!io->viewers) {
        return;
    }
    while (len > 0) {
        size_t n = len > STREAM_PAYLOAD_MAX ? STREAM_PAYLOAD_MAX : len;
        for (struct viewer *v = io->viewers, *next; v; v = next) {
            next = v->next;
            if (!viewer_send(v, type, data, n)) {
                viewer_gone(v);
            }
        }
        data += n;
        len -= n;
    }
    update_hold(io);
}

void io_finish(struct io *io, int32_t exit_code)
{
    uint32_t code = htole32((uint32_t)exit_code);
    for (struct viewer *v = io->viewers, *next; v; v = next) {
        next = v->next;
        v->finished = true;
        if (!viewer_send(v, STREAM_EXIT, (const char *)&code, sizeof(code)) || v->backlog.len == 0) {
            viewer_free(v);
        }
    }
}

/* ---- standard input ---------------------------------------------------------------------------------------- */

static void on_in(struct loop_source *s, int fd, uint32_t events, void *data)
{
    struct io *io = data;
    (void)s;
    (void)fd;
    if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLOUT)) {
        loop_remove(io->in_source); /* nobody reads it any more */
        io->in_source = NULL;
        fd_close(&io->in);
        buf_done(&io->to_in);
        update_all_events(io);
        return;
    }
    stdin_flush(io);
}

static void watch_in(struct io *io, bool wanted)
{
    if (wanted && !io->in_source) {
        (void)!loop_add_fd(io->loop, io->in, EPOLLOUT, on_in, io, &io->in_source, NULL);
    } else if (!wanted && io->in_source) {
        loop_remove(io->in_source);
        io->in_source = NULL;
    }
}

void stdin_flush(struct io *io)
{
    while (io->in >= 0 && io->to_in.len > 0) {
        ssize_t n = write(io->in, io->to_in.data, io->to_in.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) { /* the reader has closed it */
            buf_reset(&io->to_in);
            io->stdin_ended = true;
            break;
        }
        buf_consume(&io->to_in, (size_t)n);
    }
    if (io->to_in.len == 0) {
        buf_done(&io->to_in);
    }
    if (io->in < 0) {
        return;
    }
    watch_in(io, io->to_in.len > 0);
    if (io->to_in.len == 0 && io->stdin_ended) {
        watch_in(io, false);
        fd_close(&io->in);
    }
    update_all_events(io);
}

void io_close_stdin(struct io *io)
{
    /* A terminal has one end for both ways: nothing can be closed; whoever reads gets ^D from its user. */
    if (!io->tty) {
        io->stdin_ended = true;
        stdin_flush(io);
    }
}

/* ---- from the viewers -------------------------------------------------------------------------------------- */

static void frame_resize(struct io *io, const struct stream_frame *f)
{
    uint16_t v[2];
    if (f->len == sizeof(v)) {
        memcpy(v, f->data, sizeof(v));
        (void)!io_resize(io, le16toh(v[0]), le16toh(v[1]), NULL);
    }
}

/* False: the viewer broke the rules. */
static bool take_frame(struct viewer *v, const struct stream_frame *f)
{
    struct io *io = v->io;
    switch (f->type) {
    case STREAM_STDIN:
        if (v->stdin_open && io->in >= 0 && !io->stdin_ended) {
            buf_add(&io->to_in, f->data, f->len);
        }
        return !io->to_in.failed;
    case STREAM_STDIN_EOF:
        if (v->stdin_open && io->stdin_once) {
            io_close_stdin(io);
        }
        return true;
    case STREAM_RESIZE:
        frame_resize(io, f);
        return true;
    default:
        return true; /* a type of a later version */
    }
}

static bool take_input(struct viewer *v)
{
    struct stream_frame f;
    ssize_t n = stream_fill(&v->reader, v->fd);
    if (n == -EAGAIN) {
        return true;
    }
    if (n <= 0) {
        return false;
    }
    int r;
    while ((r = stream_next(&v->reader, &f)) == 1) {
        if (!take_frame(v, &f)) {
            return false;
        }
    }
    if (r == 0 && v->reader.taken == v->reader.in.len) {
        stream_reader_done(&v->reader); /* idle viewers hold no memory */
    }
    stdin_flush(v->io);
    return r == 0;
}

static void on_viewer(struct loop_source *s, int fd, uint32_t events, void *data)
{
    struct viewer *v = data;
    (void)s;
    (void)fd;
    bool fine = !(events & EPOLLOUT) || flush_backlog(v);
    if (fine && v->finished && v->backlog.len == 0) {
        viewer_free(v);
        return;
    }
    if (fine && (events & EPOLLIN) && !v->finished) {
        fine = take_input(v);
    } else if (events & (EPOLLHUP | EPOLLERR)) {
        fine = false;
    }
    if (!fine) {
        viewer_gone(v);
        return;
    }
    update_events(v);
    update_hold(v->io);
}

int io_attach(struct io *io, bool stdin_open, bool lossless, int *ret_fd, struct err *e)
{
    int pair[2];
    if (io->n_viewers >= VIEWERS_MAX) {
        return err_set(e, EMFILE, ERR_EXHAUSTED, "%d clients are attached already", VIEWERS_MAX);
    }
    struct viewer *v = calloc(1, sizeof(*v));
    if (!v) {
        return err_oom(e);
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        int saved = errno;
        free(v);
        return err_sys(e, saved, "create a socket pair");
    }
    *v = (struct viewer){ .io = io, .fd = pair[0], .stdin_open = stdin_open, .lossless = lossless };
    fcntl(v->fd, F_SETFL, O_RDWR | O_NONBLOCK);
    int r = loop_add_fd(io->loop, v->fd, EPOLLIN | EPOLLRDHUP, on_viewer, v, &v->source, e);
    if (r < 0) {
        close(pair[0]);
        close(pair[1]);
        free(v);
        return r;
    }
    v->next = io->viewers;
    io->viewers = v;
    io->n_viewers++;
    *ret_fd = pair[1];
    return 0;
}
