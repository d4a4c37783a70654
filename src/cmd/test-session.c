/* cmd/test-session.c: streams, exit code, signals and detaching over a socket pair, with a process in the monitor's place. */
#include "cmd/session.h"

#include "base/fd.h"
#include "base/test.h"
#include "ipc/stream.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t killed;

int engine_ctr_kill(struct engine *g, const char *ref, int signo, struct err *e)
{
    (void)g, (void)ref, (void)e;
    killed = signo;
    return 0;
}

/* Echoes standard input as it came, then exits 5. */
static void peer(int fd)
{
    struct stream_reader r = { 0 };
    struct stream_frame f;
    while (stream_read(&r, fd, &f) == 1 && f.type != STREAM_STDIN_EOF) {
        if (f.type == STREAM_STDIN && stream_write(fd, STREAM_STDOUT, f.data, f.len) < 0) {
            break;
        }
    }
    static const uint8_t code[4] = { 5, 0, 0, 0 };
    _exit(stream_write(fd, STREAM_EXIT, code, sizeof(code)) < 0);
}

static void test_echo(void **state)
{
    (void)state;
    int sv[2], in[2], out[2], status;
    struct err e = { 0 };
    char got[64] = "";
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(sv[0]);
        close(in[1]); /* or the session never sees the end of its input */
        peer(sv[1]);
    }
    close(sv[1]);
    int old_in = dup(0), old_out = dup(1);
    assert_int_equal(write(in[1], "hello", 5), 5);
    close(in[1]);
    dup2(in[0], 0);
    dup2(out[1], 1);
    struct session s = { .stream = { .fd = sv[0] }, .with_stdin = true, .sig_proxy = true, .ref = "x" };
    int r = session_open(&s, &e);
    raise(SIGUSR1);
    r = r == 0 ? session_run(&s, &e) : r;
    session_close(&s);
    dup2(old_in, 0);
    dup2(old_out, 1);
    close(old_in), close(old_out), close(in[0]), close(out[1]);
    assert_int_equal(read(out[0], got, sizeof(got)), 5);
    close(out[0]);
    waitpid(pid, &status, 0);
    CHECK_EQ(r, 0);
    assert_string_equal(got, "hello");
    assert_true(s.got_exit);
    CHECK_EQ(s.exit_code, 5);
    CHECK_EQ(killed, SIGUSR1);
    CHECK_EQ(s.stream.fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_echo) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
