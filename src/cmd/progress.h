/*
 * cmd/progress.h: how far a pull or push is: a line a layer redrawn in place on a terminal, plain lines elsewhere, or JSON lines.
 */
#pragma once

#include "engine/engine.h"

struct progress;
/* mode: "auto", "plain", "json", "none". ERR_INVALID for another. fd: standard error. */
MUST_USE int progress_new(const char *mode, int fd, struct progress **ret, struct err *e);
/* An engine_progress_fn. */
void progress_update(void *progress, const struct engine_progress *p);
/* Draws the last state. */
void progress_free(struct progress *p);
