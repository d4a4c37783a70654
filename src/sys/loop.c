/*
 * sys/loop.c: see loop.h. Sources are in one list; removing one while callbacks run only marks it, and it is freed when the
 * batch of events is done, since later events of the batch may still point to it.
 */
#include "sys/loop.h"

#include "base/fd.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum source_kind { SOURCE_FD, SOURCE_TIMER, SOURCE_SIGNALS };

struct loop_source {
    struct loop *loop;
    struct loop_source *prev, *next;
    enum source_kind kind;
    bool dead;
    int fd; /* owned when kind is SOURCE_SIGNALS */
    union {
        loop_fd_fn *fd_fn;
        loop_timer_fn *timer_fn;
        loop_signal_fn *signal_fn;
    };
    void *data;
    uint64_t deadline; /* of timers: ns of CLOCK_MONOTONIC, 0 when not armed */
};

struct loop {
    int epoll;
    bool stop, dispatching, has_dead;
    struct loop_source *first;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int loop_new(struct loop **ret, struct err *e)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l) {
        return err_oom(e);
    }
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0) {
        int saved = errno;
        free(l);
        return err_sys(e, saved, "epoll_create1");
    }
    *ret = l;
    return 0;
}

static void source_free(struct loop_source *s)
{
    if (s->prev) {
        s->prev->next = s->next;
    } else {
        s->loop->first = s->next;
    }
    if (s->next) {
        s->next->prev = s->prev;
    }
    if (s->kind == SOURCE_SIGNALS) {
        fd_close(&s->fd);
    }
    free(s);
}

void loop_free(struct loop *l)
{
    if (!l) {
        return;
    }
    while (l->first) {
        source_free(l->first);
    }
    fd_close(&l->epoll);
    free(l);
}

void loop_stop(struct loop *l)
{
    l->stop = true;
}

static int source_new(struct loop *l, enum source_kind kind, int fd, uint32_t events, void *data,
                      struct loop_source **ret, struct err *e)
{
    struct loop_source *s = calloc(1, sizeof(*s));
    if (!s) {
        return err_oom(e);
    }
    *s = (struct loop_source){ .loop = l, .kind = kind, .fd = fd, .data = data, .next = l->first };
    if (fd >= 0) {
        struct epoll_event ev = { .events = events, .data.ptr = s };
        if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
            int saved = errno;
            free(s);
            return err_sys(e, saved, "watch descriptor %d", fd);
        }
    }
    if (l->first) {
        l->first->prev = s;
    }
    l->first = s;
    *ret = s;
    return 0;
}

int loop_add_fd(struct loop *l, int fd, uint32_t events, loop_fd_fn *fn, void *data,
                struct loop_source **ret, struct err *e)
{
    struct loop_source *s = NULL;
    int r = source_new(l, SOURCE_FD, fd, events, data, &s, e);
    if (r == 0) {
        s->fd_fn = fn;
        if (ret) {
            *ret = s;
        }
    }
    return r;
}

int loop_set_events(struct loop_source *s, uint32_t events, struct err *e)
{
    struct epoll_event ev = { .events = events, .data.ptr = s };
    return epoll_ctl(s->loop->epoll, EPOLL_CTL_MOD, s->fd, &ev) < 0 ? err_sys(e, errno, "change watch") : 0;
}

int loop_add_timer(struct loop *l, uint64_t ns, loop_timer_fn *fn, void *data, struct loop_source **ret,
                   struct err *e)
{
    struct loop_source *s = NULL;
    int r = source_new(l, SOURCE_TIMER, -1, 0, data, &s, e);
    if (r == 0) {
        s->timer_fn = fn;
        loop_set_timer(s, ns);
        if (ret) {
            *ret = s;
        }
    }
    return r;
}

void loop_set_timer(struct loop_source *s, uint64_t ns)
{
    s->deadline = ns ? now_ns() + ns : 0;
}

int loop_add_signals(struct loop *l, const sigset_t *set, loop_signal_fn *fn, void *data,
                     struct loop_source **ret, struct err *e)
{
    if (sigprocmask(SIG_BLOCK, set, NULL) < 0) {
        return err_sys(e, errno, "block signals");
    }
    CLEANUP_FD int fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return err_sys(e, errno, "signalfd");
    }
    struct loop_source *s = NULL;
    int r = source_new(l, SOURCE_SIGNALS, fd, EPOLLIN, data, &s, e);
    if (r == 0) {
        fd_steal(&fd);
        s->signal_fn = fn;
        if (ret) {
            *ret = s;
        }
    }
    return r;
}

void loop_remove(struct loop_source *s)
{
    if (!s || s->dead) {
        return;
    }
    if (s->fd >= 0) {
        epoll_ctl(s->loop->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    }
    if (s->loop->dispatching) {
        s->dead = true;
        s->loop->has_dead = true;
    } else {
        source_free(s);
    }
}

static int wait_ms(const struct loop *l, int timeout_ms)
{
    uint64_t first = 0;
    for (const struct loop_source *s = l->first; s; s = s->next) {
        if (s->deadline && (!first || s->deadline < first)) {
            first = s->deadline;
        }
    }
    if (!first) {
        return timeout_ms;
    }
    uint64_t now = now_ns();
    uint64_t ms = first <= now ? 0 : (first - now + 999999) / 1000000;
    if (ms > 3600000) {
        ms = 3600000; /* wakes for nothing once an hour */
    }
    return timeout_ms >= 0 && (uint64_t)timeout_ms < ms ? timeout_ms : (int)ms;
}

static void run_timers(struct loop *l)
{
    uint64_t now = now_ns();
    for (struct loop_source *s = l->first; s; s = s->next) {
        if (!s->dead && s->deadline && s->deadline <= now) {
            s->deadline = 0;
            s->timer_fn(s, s->data);
        }
    }
}

static void run_source(struct loop_source *s, uint32_t events)
{
    if (s->kind == SOURCE_FD) {
        s->fd_fn(s, s->fd, events, s->data);
        return;
    }
    struct signalfd_siginfo si;
    while (!s->dead && read(s->fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
        s->signal_fn(s, &si, s->data);
    }
}

int loop_once(struct loop *l, int timeout_ms, struct err *e)
{
    struct epoll_event ev[32];
    int n = epoll_wait(l->epoll, ev, ARRAY_LEN(ev), wait_ms(l, timeout_ms));
    if (n < 0 && errno != EINTR) {
        return err_sys(e, errno, "epoll_wait");
    }
    l->dispatching = true;
    run_timers(l);
    for (int i = 0; i < n; i++) {
        struct loop_source *s = ev[i].data.ptr;
        if (!s->dead) {
            run_source(s, ev[i].events);
        }
    }
    l->dispatching = false;
    if (l->has_dead) {
        for (struct loop_source *s = l->first, *next; s; s = next) {
            next = s->next;
            if (s->dead) {
                source_free(s);
            }
        }
        l->has_dead = false;
    }
    return 0;
}

int loop_run(struct loop *l, struct err *e)
{
    while (!l->stop) {
        int r = loop_once(l, -1, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}
