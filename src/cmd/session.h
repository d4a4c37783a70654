/*
 * cmd/session.h: a person's terminal (or pipes) joined to the streams of a container or exec: raw mode and its restoration, resize,
 * signals passed on, detach keys. Used as: session_open() before the process starts, session_run(), session_close() on every path.
 */
#pragma once

#include "engine/engine.h"

#include <termios.h>

struct session {
    struct engine_stream stream; /* fd and exec_id are the session's from session_open() on */
    bool with_stdin, sig_proxy;
    const char *detach_keys;     /* NULL: ctrl-p,ctrl-q; "": none */
    const char *ref;             /* container for signals */
    struct engine *g;
    /* own */
    int signals;
    bool raw, detached, got_exit;
    struct termios saved;
    sigset_t old_mask;
    int32_t exit_code;
};

/* Takes over the signals of this process, and the terminal when the stream is one and standard input is. */
MUST_USE int session_open(struct session *s, struct err *e);
/* Until the process ends (got_exit, exit_code), the stream breaks, or the keys were typed (detached). */
MUST_USE int session_run(struct session *s, struct err *e);
void session_close(struct session *s);
/* Size of the terminal on standard output or input; 0, 0 without one. */
void session_size(uint32_t *rows, uint32_t *cols);
