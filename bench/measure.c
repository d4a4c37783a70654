/*
 * bench/measure.c: runs a program and prints what it cost: wall microseconds, CPU microseconds with its reaped children, page faults and
 * peak resident KiB. A benchmark in Python cannot measure that itself: the peak of the process that it forks is its own, of 13 MB,
 * since the kernel carries the peak of the memory before an exec over to what is after it.
 *
 * usage: measure PROGRAM [ARG...] – standard output is the result, the program's own goes to standard error.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long us(const struct timeval *t)
{
    return t->tv_sec * 1000000LL + t->tv_usec;
}

int main(int argc, char **argv)
{
    posix_spawn_file_actions_t actions;
    struct timespec from, to;
    struct rusage usage;
    pid_t pid;
    int status = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: measure PROGRAM [ARG...]\n");
        return 2;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, 2, 1);
    clock_gettime(CLOCK_MONOTONIC, &from);
    int r = posix_spawnp(&pid, argv[1], &actions, NULL, argv + 1, environ);
    if (r != 0) {
        fprintf(stderr, "measure: %s: %s\n", argv[1], strerror(r));
        return 127;
    }
    while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%lld %lld %ld %ld\n", (to.tv_sec - from.tv_sec) * 1000000LL + (to.tv_nsec - from.tv_nsec) / 1000,
           us(&usage.ru_utime) + us(&usage.ru_stime), usage.ru_minflt, usage.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
