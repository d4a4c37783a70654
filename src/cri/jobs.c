/* cri/jobs.c: see jobs.h. */
#include "cri/jobs.h"

#include "base/fd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_IDLE_S = 5, JOBS_STACK = 256 << 10 };

struct jobs {
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct job *first, **last, *ready;
    unsigned threads, max, n_idle, n_waiting;
    bool stopping;
    int event;
    struct loop_source *source;
};

static void hand_back(struct jobs *p)
{
    pthread_mutex_lock(&p->lock);
    struct job *j = PTR_STEAL(p->ready);
    pthread_mutex_unlock(&p->lock);
    for (struct job *next; j; j = next) {
        next = j->next;
        j->done(j);
    }
}

static void on_event(struct loop_source *s, int fd, uint32_t events, void *data)
{
    (void)s;
    (void)events;
    uint64_t n;
    (void)!read(fd, &n, sizeof(n));
    hand_back(data);
}

/* Lock held. NULL: the thread shall end. */
static struct job *next_job(struct jobs *p)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOBS_IDLE_S;
    int r = 0;
    while (!p->first && !p->stopping && r == 0) {
        p->n_idle++;
        r = pthread_cond_timedwait(&p->work, &p->lock, &until);
        p->n_idle--;
    }
    struct job *j = p->first;
    if (j) {
        p->first = j->next;
        p->last = p->first ? p->last : &p->first;
        p->n_waiting--;
    }
    return j;
}

static void *work(void *data)
{
    struct jobs *p = data;
    bool usable = true;
    pthread_mutex_lock(&p->lock);
    for (struct job *j; usable && (j = next_job(p));) {
        pthread_mutex_unlock(&p->lock);
        usable = j->run(j);
        pthread_mutex_lock(&p->lock);
        j->next = p->ready;
        p->ready = j;
        uint64_t one = 1;
        (void)!write(p->event, &one, sizeof(one));
    }
    p->threads--;
    pthread_cond_broadcast(&p->idle);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Lock held. */
static int add_thread(struct jobs *p)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, JOBS_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&thread, &attr, work, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    p->threads += r == 0;
    return r;
}

int jobs_add(struct jobs *p, struct job *j, struct err *e)
{
    int r = 0;
    pthread_mutex_lock(&p->lock);
    if (p->n_idle <= p->n_waiting && p->threads < p->max) {
        r = add_thread(p);
    }
    if (p->threads == 0) {
        pthread_mutex_unlock(&p->lock);
        return err_sys(e, r, "start thread");
    }
    j->next = NULL;
    *p->last = j;
    p->last = &j->next;
    p->n_waiting++;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

int jobs_new(struct loop *l, unsigned threads, struct jobs **ret, struct err *e)
{
    struct jobs *p = calloc(1, sizeof(*p));
    if (!p) {
        return err_oom(e);
    }
    p->max = threads;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, NULL);
    p->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = p->event < 0 ? err_sys(e, errno, "eventfd") : loop_add_fd(l, p->event, EPOLLIN, on_event, p, &p->source, e);
    if (r < 0) {
        jobs_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

unsigned jobs_stop(struct jobs *p, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (timeout_ms % 1000) * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    for (int r = 0; p->threads > 0 && r == 0;) {
        r = pthread_cond_timedwait(&p->idle, &p->lock, &until);
    }
    unsigned threads = p->threads;
    pthread_mutex_unlock(&p->lock);
    hand_back(p);
    return threads;
}

void jobs_free(struct jobs *p)
{
    if (p) {
        loop_remove(p->source);
        fd_close(&p->event);
        pthread_cond_destroy(&p->work);
        pthread_cond_destroy(&p->idle);
        pthread_mutex_destroy(&p->lock);
        free(p);
    }
}
