/*
 * monitor/io.h: the standard streams of a container or exec: from its pipes (or its pty) to the log, to the capture buffers and to
 * any number of attached viewers, and from those back to its standard input. A viewer has a bounded backlog; one that exceeds it is
 * dropped, unless it is lossless (whoever attached before the start, or started the exec): then the reading waits for it, as
 * a pipe would.
 */
#pragma once

#include "ipc/stream.h"
#include "sys/loop.h"

struct ctrlog;
struct io;

/* Where everything is read into; shared, since one stream is handled after another. */
struct io_scratch {
    char *data;
    size_t cap;
    struct loop_source *timer; /* gives the memory back some time after much of it was touched */
    bool dirty;
};

struct viewer {
    struct viewer *next;
    struct io *io;
    int fd;
    struct loop_source *source;
    struct buf backlog;
    struct stream_reader reader;
    bool lossless, stdin_open, finished; /* finished: goes when the backlog is sent */
};

struct io {
    struct loop *loop;
    struct io_scratch *scratch;
    bool tty;
    int in, out, err;  /* our ends, -1: none (any more); of a pty, out is the master and in a duplicate */
    int child[3];      /* the other ends, until they are handed over */
    struct loop_source *in_source, *out_source, *err_source;
    struct ctrlog *log;
    struct buf *cap_out, *cap_err; /* captured; bounded by max_out and max_err */
    size_t max_out, max_err;
    bool truncated;
    struct viewer *viewers;
    size_t n_viewers;
    struct buf to_in; /* for standard input, not written yet */
    bool stdin_once, stdin_ended, held; /* held: reading waits for a lossless viewer */
    bool watched; /* sources exist */
    void (*ended)(struct io *io, void *data); /* both outputs have ended */
    void *data;
    bool told;
};

void io_init(struct io *io, struct loop *loop, struct io_scratch *scratch);
/* Makes the pipes (or, of a tty, nothing yet); without stdin_open standard input is /dev/null. */
MUST_USE int io_open(struct io *io, bool tty, bool stdin_open, bool with_output, struct err *e);
/* Closes the child's ends in this process. */
void io_close_child(struct io *io);
/* Takes the master of the pty. */
MUST_USE int io_set_master(struct io *io, int *fd, struct err *e);
/* Begins to read; ended() is called once, when there is no more. */
MUST_USE int io_watch(struct io *io, struct err *e);
/* Reads what is there now without waiting. */
void io_drain(struct io *io);
/* Stops reading, and ends unfinished log lines. */
void io_stop(struct io *io);
bool io_has_output(const struct io *io);
/* *ret_fd: the client's end. */
MUST_USE int io_attach(struct io *io, bool stdin_open, bool lossless, int *ret_fd, struct err *e);
/* Tells all viewers the exit code and lets them go. */
void io_finish(struct io *io, int32_t exit_code);
void io_close_stdin(struct io *io);
MUST_USE int io_resize(struct io *io, uint32_t rows, uint32_t cols, struct err *e);
void io_done(struct io *io);
