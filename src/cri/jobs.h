/*
 * cri/jobs.h: blocking work for a loop: a job is run on a thread of a small pool and then handed back in the loop's thread. Threads
 * are made on demand and end when there is nothing to do.
 */
#pragma once

#include "sys/loop.h"

struct jobs;
struct job {
    struct job *next;
    /* On the pool. False: the thread may not be used again. */
    bool (*run)(struct job *j);
    /* In the loop. */
    void (*done)(struct job *j);
};

MUST_USE int jobs_new(struct loop *l, unsigned threads, struct jobs **ret, struct err *e);
/* < 0: no thread could be made; neither function is called. */
MUST_USE int jobs_add(struct jobs *p, struct job *j, struct err *e);
/* Waits for what runs, at most timeout_ms, and hands back what is ready. Returns how many threads still work. */
unsigned jobs_stop(struct jobs *p, int timeout_ms);
void jobs_free(struct jobs *p);
