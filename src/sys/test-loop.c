/* sys/test-loop.c: descriptors, timers, signals; removal from inside callbacks. */
#include "base/test.h"
#include "sys/loop.h"

#include <unistd.h>

struct seen {
    struct loop *loop;
    struct loop_source *a, *b;
    int fds, timers, signals;
};

static void on_fd(struct loop_source *s, int fd, uint32_t events, void *data)
{
    struct seen *seen = data;
    (void)s;
    (void)fd;
    assert_true(events & EPOLLIN);
    seen->fds++;
    /* Both are ready in one batch; whoever comes first removes both: the other must not run. */
    loop_remove(seen->a);
    loop_remove(seen->b);
}

static void on_timer(struct loop_source *s, void *data)
{
    struct seen *seen = data;
    if (++seen->timers < 3) {
        loop_set_timer(s, 1000000);
    } else {
        loop_remove(s);
        kill(getpid(), SIGUSR1);
    }
}

static void on_signal(struct loop_source *s, const struct signalfd_siginfo *si, void *data)
{
    struct seen *seen = data;
    (void)s;
    CHECK_EQ(si->ssi_signo, SIGUSR1);
    seen->signals++;
    loop_stop(seen->loop);
}

static void test_loop(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    struct err e = { 0 };
    int p[2], q[2];
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(q), 0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_EQ(write(q[1], "x", 1), 1);
    CHECK_EQ(loop_new(&seen.loop, &e), 0);
    CHECK_EQ(loop_add_fd(seen.loop, p[0], EPOLLIN, on_fd, &seen, &seen.a, &e), 0);
    CHECK_EQ(loop_add_fd(seen.loop, q[0], EPOLLIN, on_fd, &seen, &seen.b, &e), 0);
    CHECK_EQ(loop_add_timer(seen.loop, 1000000, on_timer, &seen, NULL, &e), 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK_EQ(loop_add_signals(seen.loop, &set, on_signal, &seen, NULL, &e), 0);
    CHECK_EQ(loop_run(seen.loop, &e), 0);
    CHECK_EQ(seen.fds, 1);
    CHECK_EQ(seen.timers, 3);
    CHECK_EQ(seen.signals, 1);
    loop_free(seen.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_loop) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
