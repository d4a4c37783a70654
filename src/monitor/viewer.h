/* monitor/viewer.h: the attached clients of an io, and its standard input; used by io.c only. */
#pragma once

#include "monitor/io.h"

enum {
    VIEWERS_MAX = 64,
    VIEWER_BACKLOG_MAX = 1 << 20, /* beyond this a viewer is too slow */
    STDIN_PENDING_MAX = 64 << 10, /* beyond this viewers' input is not read */
};

void viewers_send(struct io *io, enum stream_type type, const char *data, size_t len);
void viewers_done(struct io *io);
/* Writes what is pending to standard input as far as it takes it. */
void stdin_flush(struct io *io);
/* Stops or goes on reading the outputs; in io.c. */
void io_hold(struct io *io, bool hold);
