/* sys/test-self.c: after self_protect() the program cannot be opened for writing, not even once nothing executes it. */
#include "base/test.h"

#include "sys/self.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the copy that was executed: tells by its exit code how it found itself. */
static int second_life(char **argv)
{
    struct err e = { 0 };
    if (self_protect(argv, &e) < 0) {
        return 3;
    }
    int fd = open("/proc/self/exe", O_WRONLY | O_CLOEXEC);
    bool refused = fd < 0 && (errno == EROFS || errno == ETXTBSY || errno == EPERM || errno == EACCES);
    char exe[4096];
    CLEANUP_FREE char *dir = self_dir();
    const char *slash = strrchr(argv[0], '/');
    snprintf(exe, sizeof(exe), "%s/%s", dir ? dir : "", slash ? slash + 1 : argv[0]);
    if (access(exe, X_OK) < 0) {
        return 6;
    }
    return !refused ? 4 : self_is_protected("/proc/self/exe") ? 0 : 5;
}

static void test_protect(void **state)
{
    char **argv = *state;
    pid_t pid = fork();
    if (pid == 0) {
        char again[] = "--second";
        char *args[] = { argv[0], again, NULL };
        execv("/proc/self/exe", args);
        _exit(9);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    if (geteuid() == 0) {
        CHECK_EQ(WEXITSTATUS(status), 0);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && str_eq(argv[1], "--second")) {
        return second_life(argv);
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(test_protect, argv) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
