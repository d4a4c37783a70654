/*
 * cri/streaming-peer.c: the engine's end of a link: the monitor's stream of an exec or a container (frames of ipc/stream.h), or a
 * socket inside a pod (bytes as they are). It begins with a job that gets the descriptor; until that is there, input is kept.
 *
 * A peer lives as long as its link or its job does. When the client goes the descriptor is closed, which is how the monitor, and
 * by it the process, learns of it.
 */
#include "cri/streaming-internal.h"

#include "base/fd.h"
#include "ipc/stream.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT_HIGH = 256 << 10, INPUT_LOW = 64 << 10, RESIZE_MAX = 1024, FORWARD_READ = 32 << 10 };

struct peer {
    struct job job; /* first */
    struct streaming *s;
    struct ticket *ticket;
    struct link *link; /* NULL: the client has gone */
    uint16_t port;
    bool working;      /* the job runs */
    /* what the job found */
    int fd;
    struct err error;
    int failed;
    /* while it runs */
    struct loop_source *source;
    uint32_t events;
    struct stream_reader reader;
    struct buf out, resize;
    bool full, input_ended, shut, output_ended;
};

static bool is_forward(const struct peer *p)
{
    return p->ticket->kind == TICKET_FORWARD;
}

static void peer_release(struct peer *p)
{
    loop_remove(PTR_STEAL(p->source));
    if (p->link || p->working) {
        return;
    }
    fd_close(&p->fd);
    stream_reader_done(&p->reader);
    buf_done(&p->out);
    buf_done(&p->resize);
    ticket_unref(p->ticket);
    free(p);
}

static void finish(struct peer *p, const char *json, const char *text)
{
    struct link *l = PTR_STEAL(p->link);
    link_finish(l, &(struct link_status){ .json = json, .text = text });
    peer_release(p);
}

static void finish_error(struct peer *p, const char *message)
{
    CLEANUP_FREE char *json = status_error(message);
    finish(p, json, message);
}

static void finish_exit(struct peer *p, int32_t code)
{
    /* What an attached container ended with is told by its status. */
    bool ok = code == 0 || p->ticket->kind == TICKET_ATTACH;
    CLEANUP_FREE char *json = ok ? status_ok() : status_exit(code);
    CLEANUP_FREE char *text = ok ? NULL : str_printf("command terminated with non-zero exit code: %d", code);
    finish(p, json, text);
}

/* ---- to the process ------------------------------------------------------------------------------ */

static void watch(struct peer *p)
{
    uint32_t events = (p->full || p->output_ended ? 0 : (uint32_t)EPOLLIN) | (p->out.len > 0 ? (uint32_t)EPOLLOUT : 0);
    if (p->source && events != p->events) {
        p->events = events;
        (void)!loop_set_events(p->source, events, NULL);
    }
}

static void write_some(struct peer *p)
{
    while (p->fd >= 0 && p->out.len > 0) {
        ssize_t n = send(p->fd, p->out.data, p->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            /* Nobody reads any more; what comes out may still be of use. */
            p->input_ended = p->shut = true;
            buf_done(&p->out);
            break;
        }
        buf_consume(&p->out, (size_t)n);
    }
    if (p->out.len == 0) {
        buf_done(&p->out);
        if (p->fd >= 0 && p->input_ended && !p->shut && is_forward(p)) {
            p->shut = true;
            (void)shutdown(p->fd, SHUT_WR);
        }
    }
    if (p->out.len > INPUT_HIGH) {
        link_hold(p->link, true);
    } else if (p->out.len < INPUT_LOW) {
        link_hold(p->link, false);
    }
    watch(p);
}

static void put_stdin(struct peer *p, const char *bytes, size_t len, bool end)
{
    for (size_t at = 0; at < len; at += STREAM_PAYLOAD_MAX) {
        stream_put(&p->out, STREAM_STDIN, bytes + at, len - at < STREAM_PAYLOAD_MAX ? len - at : STREAM_PAYLOAD_MAX);
    }
    if (end) {
        stream_put(&p->out, STREAM_STDIN_EOF, NULL, 0);
    }
}

static uint16_t size_of(const json_t *o, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(o, name));
    return v > 0 && v <= UINT16_MAX ? (uint16_t)v : 0;
}

/* Objects one after another, whole or in pieces. */
static void put_resize(struct peer *p, const char *bytes, size_t len)
{
    if (len > RESIZE_MAX || p->resize.len + len > RESIZE_MAX) {
        buf_reset(&p->resize);
        return;
    }
    buf_add(&p->resize, bytes, len);
    for (char *end; p->resize.len > 0 && (end = memchr(p->resize.data, '}', p->resize.len));) {
        size_t n = (size_t)(end - p->resize.data) + 1;
        json_t *o = json_loadb(p->resize.data, n, 0, NULL);
        uint16_t v[2] = { htole16(size_of(o, "Height")), htole16(size_of(o, "Width")) };
        if (v[0] && v[1]) {
            stream_put(&p->out, STREAM_RESIZE, v, sizeof(v));
        }
        json_decref(o);
        buf_consume(&p->resize, n);
    }
}

void peer_input(void *peer, enum link_channel channel, const char *bytes, size_t len, bool end)
{
    struct peer *p = peer;
    if (channel == LINK_RESIZE && p->ticket->tty) {
        put_resize(p, bytes, len);
    } else if (channel == LINK_STDIN && !p->input_ended) {
        p->input_ended = end;
        if (is_forward(p)) {
            buf_add(&p->out, bytes, len);
        } else if (p->ticket->has_stdin) {
            put_stdin(p, bytes, len, end);
        }
    }
    write_some(p);
}

/* ---- from the process ---------------------------------------------------------------------------- */

/* False: the peer is no more. */
static bool take_frame(struct peer *p, const struct stream_frame *f)
{
    int32_t code;
    switch (f->type) {
    case STREAM_STDOUT:
        link_write(p->link, LINK_STDOUT, f->data, f->len);
        return true;
    case STREAM_STDERR:
        link_write(p->link, LINK_STDERR, f->data, f->len);
        return true;
    case STREAM_EXIT:
        if (stream_exit_code(f, &code) < 0) {
            finish_error(p, "the monitor's stream is malformed");
        } else {
            finish_exit(p, code);
        }
        return false;
    default:
        return true;
    }
}

/* False: the peer is no more. */
static bool take_frames(struct peer *p)
{
    struct stream_frame f;
    int r = 0;
    while (!(p->full = link_full(p->link)) && (r = stream_next(&p->reader, &f)) > 0) {
        if (!take_frame(p, &f)) {
            return false;
        }
    }
    if (r < 0) {
        finish_error(p, "the monitor's stream is malformed");
    }
    return r >= 0;
}

static void read_session(struct peer *p)
{
    /* First what was left when the link was full. */
    if (!take_frames(p)) {
        return;
    }
    ssize_t n = p->full ? -EAGAIN : stream_fill(&p->reader, p->fd);
    if (n <= 0 && n != -EAGAIN) {
        finish_error(p, "the stream ended before the command did");
        return;
    }
    if (n == -EAGAIN || take_frames(p)) {
        watch(p);
    }
}

static void read_forward(struct peer *p)
{
    char bytes[FORWARD_READ];
    ssize_t n = recv(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0) {
        link_write(p->link, LINK_STDOUT, bytes, (size_t)n);
        p->full = link_full(p->link);
        watch(p);
        return;
    }
    p->output_ended = true;
    if (n < 0 || p->input_ended) {
        finish(p, NULL, NULL);
        return;
    }
    if (link_end(p->link, LINK_STDOUT)) {
        watch(p);
    } else {
        finish(p, NULL, NULL);
    }
}

static void on_event(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source;
    (void)fd;
    struct peer *p = data;
    if (events & EPOLLOUT) {
        write_some(p);
    }
    if (p->full && (events & (EPOLLHUP | EPOLLERR))) {
        /* What is left is read when the client takes it; until then this would be told again and again. */
        loop_remove(PTR_STEAL(p->source));
    } else if (is_forward(p)) {
        /* Both halves are closed, or the connection is broken. */
        if (p->output_ended && ((events & (EPOLLHUP | EPOLLERR)) || p->shut)) {
            finish(p, NULL, NULL);
        } else if (!p->full && !p->output_ended) {
            read_forward(p);
        }
    } else if (!p->full) {
        read_session(p);
    }
}

static int attach_source(struct peer *p)
{
    p->events = EPOLLIN;
    return loop_add_fd(p->s->loop, p->fd, p->events, on_event, p, &p->source, NULL);
}

void peer_drained(void *peer)
{
    struct peer *p = peer;
    p->full = false;
    if (p->fd < 0) {
        return;
    }
    if (!p->source) {
        (void)!attach_source(p);
    }
    /* What was read already would wake nobody: the socket has to be ready to be written for one turn. */
    if (p->source && p->reader.in.len > p->reader.taken) {
        p->events = EPOLLIN | EPOLLOUT;
        (void)!loop_set_events(p->source, p->events, NULL);
    } else {
        watch(p);
    }
}

void peer_gone(void *peer)
{
    struct peer *p = peer;
    p->link = NULL;
    peer_release(p);
}

/* ---- beginning ----------------------------------------------------------------------------------- */

static int start_exec(struct peer *p)
{
    const struct ticket *t = p->ticket;
    struct engine_stream st = { .fd = -1 };
    struct engine_exec_spec x = { .args = t->args, .tty = t->tty, .stdin_open = t->has_stdin };
    int r = t->kind == TICKET_EXEC ? engine_exec_start(p->s->engine, t->id, &x, false, &st, &p->error)
                                   : engine_ctr_attach(p->s->engine, t->id, t->has_stdin, &st, &p->error);
    if (r == 0) {
        free(st.exec_id);
        p->fd = st.fd;
    }
    return r;
}

static int start_forward(struct peer *p, bool *ret_back)
{
    struct engine_pod *pod = NULL;
    int r = engine_pod_get(p->s->engine, p->ticket->id, &pod, &p->error);
    if (r == 0 && pod->state != ENGINE_POD_READY) {
        r = err_set(&p->error, EINVAL, ERR_INVALID, "pod %.12s is not ready", pod->id);
    }
    r = r < 0 ? r : forward_connect(pod->netns_path, p->port, ret_back, &p->fd, &p->error);
    engine_pod_free(pod);
    return r;
}

static bool run(struct job *j)
{
    struct peer *p = CONTAINER_OF(j, struct peer, job);
    bool back = true;
    p->failed = is_forward(p) ? start_forward(p, &back) : start_exec(p);
    return back;
}

static void done(struct job *j)
{
    struct peer *p = CONTAINER_OF(j, struct peer, job);
    p->working = false;
    if (!p->link) {
        peer_release(p);
        return;
    }
    if (p->failed < 0 || fcntl(p->fd, F_SETFL, O_NONBLOCK) < 0 || attach_source(p) < 0) {
        finish_error(p, p->failed < 0 ? p->error.text : "the stream cannot be watched");
        return;
    }
    write_some(p);
}

static bool port_allowed(const struct ticket *t, uint16_t port)
{
    bool found = t->n_ports == 0;
    for (size_t i = 0; i < t->n_ports; i++) {
        found = found || t->ports[i] == port;
    }
    return found;
}

static bool refuse_port(struct job *j)
{
    struct peer *p = CONTAINER_OF(j, struct peer, job);
    p->failed = err_set(&p->error, EACCES, ERR_DENIED, "port %u was not asked for", p->port);
    return true;
}

void *peer_start(void *data, void *target, struct link *l, uint16_t port)
{
    struct peer *p = calloc(1, sizeof(*p));
    if (!p) {
        return NULL;
    }
    *p = (struct peer){ .job = { .run = run, .done = done }, .s = data, .ticket = target, .link = l, .port = port, .fd = -1 };
    if (is_forward(p) && !port_allowed(p->ticket, port)) {
        p->job.run = refuse_port;
    }
    p->out.max = (size_t)8 << 20; /* far beyond INPUT_HIGH and what one read may add to it */
    p->working = true;
    p->ticket->refs++;
    if (jobs_add(p->s->jobs, &p->job, NULL) < 0) {
        p->working = false;
        p->link = NULL;
        peer_release(p);
        return NULL;
    }
    return p;
}
