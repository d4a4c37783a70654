/*
 * http/grpc-pool.c: the threads on which calls run. A call never waits for another one: if no thread is idle a new one is made,
 * up to the limit, beyond which calls are refused. A thread that had nothing to do for a while ends.
 */
#include "http/grpc-internal.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <time.h>

enum { POOL_KEEP = 1, POOL_IDLE_S = 5 };

/* Lock held. Waits for a job; NULL when the thread shall end. */
static struct grpc_call *pool_next(struct grpc_server *s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += POOL_IDLE_S;
    while (!s->jobs) {
        if (s->stopping) {
            return NULL;
        }
        s->n_idle++;
        int r = pthread_cond_timedwait(&s->work, &s->lock, &until);
        s->n_idle--;
        if (r == ETIMEDOUT && !s->jobs) {
            if (s->n_threads > POOL_KEEP) {
                return NULL;
            }
            until.tv_sec += 3600;
        }
    }
    struct grpc_call *c = s->jobs;
    s->jobs = c->next_job;
    if (!s->jobs) {
        s->jobs_last = NULL;
    }
    s->n_jobs--;
    return c;
}

static void *pool_thread(void *data)
{
    struct grpc_server *s = data;
    pthread_mutex_lock(&s->lock);
    for (struct grpc_call *c; (c = pool_next(s));) {
        s->n_running++;
        pthread_mutex_unlock(&s->lock);
        call_run(c);
        call_unref(c);
        pthread_mutex_lock(&s->lock);
        s->n_running--;
    }
    s->n_threads--;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Lock held. Signals stay with the loop's thread. */
static int pool_grow(struct grpc_server *s)
{
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0) {
        return -ENOMEM;
    }
    size_t stack = s->limits.thread_stack;
    (void)pthread_attr_setstacksize(&attr, stack < (size_t)PTHREAD_STACK_MIN ? (size_t)PTHREAD_STACK_MIN : stack);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_t t;
    int r = pthread_create(&t, &attr, pool_thread, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (r == 0) {
        s->n_threads++;
    }
    return -r;
}

int pool_submit(struct grpc_server *s, struct grpc_call *c)
{
    pthread_mutex_lock(&s->lock);
    int r = 0;
    if (s->n_idle <= s->n_jobs) {
        r = s->n_threads < s->limits.threads ? pool_grow(s) : -EAGAIN;
    }
    if (r == 0) {
        call_ref(c);
        c->next_job = NULL;
        if (s->jobs_last) {
            s->jobs_last->next_job = c;
        } else {
            s->jobs = c;
        }
        s->jobs_last = c;
        s->n_jobs++;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    return r < 0 ? -EAGAIN : 0;
}
