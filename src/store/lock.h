/*
 * store/lock.h: locks of single objects: flock() on RUN/locks/KIND-ID, shared by every program that works on the same run folder.
 * Each lock is taken on a descriptor of its own, so threads of one process exclude each other too. The kernel lets go of it when
 * its holder dies.
 */
#pragma once

#include "store/store.h"

enum { LOCK_WAIT = -1, LOCK_TRY = 0 };

/*
 * kind: "pod", "ctr", "img", …; id: letters, digits and "._-". timeout_ms: LOCK_WAIT, LOCK_TRY or milliseconds; -EAGAIN (ERR_BUSY) when it is
 * held by somebody else. *ret_fd: closing it unlocks. shared: with other shared holders.
 */
MUST_USE int lock_take(struct store *s, const char *kind, const char *id, bool shared, int timeout_ms, int *ret_fd, struct err *e);
/* Removes the file of an object that is gone for good, while holding its lock; later takers make a new one. */
void lock_forget(struct store *s, const char *kind, const char *id);
