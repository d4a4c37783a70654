/* sys/test-spawn.c: spawn.h, sock.h and proc.h against real processes and sockets. */
#include "base/test.h"

#include "base/fd.h"
#include "sys/proc.h"
#include "sys/sock.h"
#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int sh(const char *script, const char *input, int timeout_ms, struct buf *out, struct buf *errout, int *code)
{
    char *const argv[] = { (char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script, NULL };
    struct spawn_options o = { .path = "sh", .argv = argv };
    struct err e = { 0 };
    return spawn_run(&o, input, input ? strlen(input) : 0, 1 << 20, timeout_ms, out, errout, code, &e);
}

static void test_run(void **state)
{
    (void)state;
    CLEANUP_BUF struct buf out = { 0 }, errout = { 0 };
    int code = -1;
    CHECK_EQ(sh("cat; echo no >&2; exit 3", "hello", 5000, &out, &errout, &code), 0);
    CHECK_EQ(code, 3);
    assert_string_equal(buf_str(&out), "hello");
    assert_string_equal(buf_str(&errout), "no\n");
    buf_reset(&out);
    CHECK_EQ(sh("kill -9 $$", NULL, 5000, &out, NULL, &code), 0);
    CHECK_EQ(code, 137);
    CHECK_EQ(sh("sleep 5", NULL, 50, &out, NULL, &code), -ETIMEDOUT);
    /* A child in the background that keeps the pipe is not waited for. */
    CHECK_EQ(sh("sleep 1 & echo started", NULL, 5000, &out, NULL, &code), 0);
    assert_string_equal(buf_str(&out), "started\n");
    buf_reset(&out);
    CHECK_EQ(sh("ls /proc/self/fd | wc -l", NULL, 5000, &out, NULL, &code), 0);
    assert_string_equal(buf_str(&out), "4\n"); /* 0-2 and that of the folder itself */
}

static void test_errors(void **state)
{
    (void)state;
    struct err e = { 0 };
    char *const argv[] = { (char *)(uintptr_t) "x", NULL };
    int pidfd = -1;
    struct spawn_options o = { .path = "/nonexistent/x", .argv = argv };
    CHECK_EQ(spawn(&o, &pidfd, NULL, &e), -ENOENT);
    o.path = "no-such-program-anywhere";
    CHECK_EQ(spawn(&o, &pidfd, NULL, &e), -ENOENT);
    CHECK_EQ(e.kind, ERR_NOT_FOUND);
    o = (struct spawn_options){ .path = "/bin/true", .argv = argv, .cwd = "/nonexistent" };
    CHECK_EQ(spawn(&o, &pidfd, NULL, &e), -ENOENT);
    CHECK_EQ(pidfd, -1);
}

static void test_fds(void **state)
{
    (void)state;
    /* Crossing numbers: 3 goes where the other is, and the other way round. */
    int a[2], b[2];
    CHECK_EQ(pipe2(a, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(b, O_CLOEXEC), 0);
    struct spawn_fd fds[] = { { .from = a[1], .to = b[1] }, { .from = b[1], .to = a[1] } };
    char script[64];
    snprintf(script, sizeof(script), "echo A >&%d; echo B >&%d", b[1], a[1]);
    char *const argv[] = { (char *)(uintptr_t) "bash", (char *)(uintptr_t) "-c", script, NULL };
    struct spawn_options o = { .path = "bash", .argv = argv, .fds = fds, .n_fds = 2 };
    struct err e = { 0 };
    int pidfd = -1, code = -1;
    CHECK_EQ(spawn(&o, &pidfd, NULL, &e), 0);
    CHECK_EQ(spawn_wait(pidfd, 5000, &code, &e), 0);
    CHECK_EQ(code, 0);
    char c[4] = "";
    CHECK_EQ(read(a[0], c, 2), 2);
    assert_string_equal(c, "A\n");
    CHECK_EQ(read(b[0], c, 2), 2);
    assert_string_equal(c, "B\n");
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
    close(pidfd);
}

static void on_usr2(int signo)
{
    (void)signo;
}

static void test_proc(void **state)
{
    (void)state;
    uint64_t start = 0;
    char st = 0;
    CLEANUP_FD int fd = -1;
    CHECK_EQ(proc_start_time(getpid(), &start, &st), 0);
    CHECK_EQ(st, 'R');
    CHECK_EQ(proc_open(getpid(), start, &fd), 0);
    CHECK_EQ(proc_open(getpid(), start + 1, &fd), -ESRCH);
    pid_t pid = 0;
    CHECK_EQ(proc_pidfd_pid(fd, &pid), 0);
    CHECK_EQ(pid, getpid());
    CHECK_EQ(proc_pidfd_pid(STDIN_FILENO, &pid), -ESRCH);
    CHECK_EQ(proc_hears(getpid(), SIGKILL), true);
    CHECK_EQ(proc_hears(getpid(), SIGUSR2), false);
    signal(SIGUSR2, SIG_IGN);
    CHECK_EQ(proc_hears(getpid(), SIGUSR2), false);
    signal(SIGUSR2, on_usr2);
    CHECK_EQ(proc_hears(getpid(), SIGUSR2), true);
    signal(SIGUSR2, SIG_DFL);
    CHECK_EQ(proc_hears(0, SIGUSR2), false);
    CHECK_EQ(proc_start_time(0x3fffffff, &start, NULL), -ESRCH);
}

static void test_sock(void **state)
{
    (void)state;
    char dir[400] = "/tmp/tare-sock-XXXXXX", top[32];
    struct err e = { 0 };
    assert_non_null(mkdtemp(dir));
    memcpy(top, dir, 22);
    for (int i = 0; i < 3; i++) { /* longer than sun_path */
        size_t n = strlen(dir);
        memset(dir + n, 'x', 100);
        dir[n] = '/';
        dir[n + 100] = '\0';
        CHECK_EQ(mkdir(dir, 0700), 0);
    }
    CLEANUP_FD int listener = -1, client = -1, server = -1;
    CHECK_EQ(sock_connect(dir, "s", SOCK_SEQPACKET, &client, &e), -ENOENT);
    CHECK_EQ(sock_listen(dir, "s", SOCK_SEQPACKET, 0600, 8, &listener, &e), 0);
    CHECK_EQ(sock_connect(dir, "s", SOCK_SEQPACKET, &client, &e), 0);
    server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(server >= 0);
    int fds[4], in[2] = { 1, 2 };
    size_t n = 1;
    char data[16];
    CHECK_EQ(sock_send(client, "hello", 5, in, 2, 0), 0);
    CHECK_EQ(sock_peek(server, 0), 5);
    CHECK_EQ(sock_recv(server, data, sizeof(data), fds, &n, 0), 5);
    CHECK_EQ(n, 1); /* the second one had no room and was closed */
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    close(fds[0]);
    CHECK_EQ(sock_send(client, "much too long for it", 20, in, 2, 0), 0);
    n = 4;
    CHECK_EQ(sock_recv(server, data, sizeof(data), fds, &n, 0), -EMSGSIZE);
    CHECK_EQ(n, 0);
    fd_close(&client);
    n = 4;
    CHECK_EQ(sock_recv(server, data, sizeof(data), fds, &n, 0), 0);
    CHECK_EQ(dir_remove_all(AT_FDCWD, top, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),  cmocka_unit_test(test_errors), cmocka_unit_test(test_fds),
        cmocka_unit_test(test_proc), cmocka_unit_test(test_sock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
