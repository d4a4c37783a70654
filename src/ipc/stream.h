/*
 * ipc/stream.h: framing on the stream socket of an attached container or exec. The monitor makes a socket pair, keeps one end and
 * hands the other to the client (ipc/client.h). A tty's bytes are STREAM_STDOUT frames.
 *
 *     frame: u8 type, u8 0, u16 0, u32 length (little-endian), then the payload
 *
 * Monitor to client: STDOUT, STDERR, then EXIT (when the process has ended and its output is drained), then end of file. End of
 * file without EXIT: the client was too slow, or the monitor died. Client to monitor: STDIN, STDIN_EOF, RESIZE. Closing the
 * socket detaches; whether that closes standard input is what stdin_once said.
 */
#pragma once

#include "base/buf.h"

enum stream_type {
    STREAM_STDIN,
    STREAM_STDOUT,
    STREAM_STDERR,
    STREAM_EXIT,      /* u32 exit code */
    STREAM_RESIZE,    /* u16 rows, u16 columns */
    STREAM_STDIN_EOF, /* no payload */
};

enum { STREAM_HEADER_LEN = 8, STREAM_PAYLOAD_MAX = 64 << 10 };

/* Appends a header (and the payload, if it is given). */
void stream_put(struct buf *out, enum stream_type type, const void *payload, size_t len);
void stream_header(uint8_t out[static STREAM_HEADER_LEN], enum stream_type type, size_t len);

/* Cuts a byte stream into frames. Zeroed at first; release with stream_reader_done(). */
struct stream_reader {
    struct buf in;
    size_t taken; /* of in: the frame that stream_next() gave last */
};
void stream_reader_done(struct stream_reader *r);
struct stream_frame {
    enum stream_type type;
    const char *data; /* valid until the next call */
    size_t len;
};
/* Reads what is there. Returns bytes read, 0 at end of file, -EAGAIN, or another -errno. */
MUST_USE ssize_t stream_fill(struct stream_reader *r, int fd);
/* 1: *ret is the next frame; 0: more bytes are needed; -EPROTO: not this protocol. */
MUST_USE int stream_next(struct stream_reader *r, struct stream_frame *ret);
/* Blocking: the next frame; 1, 0 at end of file, or -errno. */
MUST_USE int stream_read(struct stream_reader *r, int fd, struct stream_frame *ret);
/* Blocking: sends one frame, split if the payload is longer than STREAM_PAYLOAD_MAX. No SIGPIPE. Returns 0 or -errno. */
MUST_USE int stream_write(int fd, enum stream_type type, const void *payload, size_t len);
MUST_USE int stream_write_resize(int fd, uint32_t rows, uint32_t cols);
/* Exit code of a STREAM_EXIT frame; -EPROTO if it is none. */
MUST_USE int stream_exit_code(const struct stream_frame *f, int32_t *ret);
