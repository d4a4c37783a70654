/*
 * cmd/tare-init.c: process 1 of a container that was asked for with --init: starts the program, hands signals on to it, reaps
 * whatever orphans come, and ends with the program's exit code. Static and without any library of ours: it is bound into the container.
 *
 * usage: tare-init PROGRAM [ARG...]
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t program_start(char **argv, const sigset_t *old)
{
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    /* A group of its own in the foreground, so that ^C reaches the program and its children and not us. */
    setpgid(0, 0);
    tcsetpgrp(0, getpgrp());
    sigprocmask(SIG_SETMASK, old, NULL);
    execvp(argv[0], argv);
    dprintf(2, "tare-init: exec: \"%s\": %s\n", argv[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Reaps all that have ended. Returns 1 and the code to exit with when the program is among them. */
static int children_reap(pid_t program, int *ret_code)
{
    int status, done = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == program) {
            *ret_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            done = 1;
        }
    }
    return done;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        dprintf(2, "usage: tare-init PROGRAM [ARG...]\n");
        return 2;
    }
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    /* tcsetpgrp() of a background process would stop us otherwise. */
    signal(SIGTTOU, SIG_IGN);
    signal(SIGTTIN, SIG_IGN);
    pid_t program = program_start(argv + 1, &old);
    if (program < 0) {
        dprintf(2, "tare-init: fork: %s\n", strerror(errno));
        return 126;
    }
    for (;;) {
        siginfo_t si;
        int code = 0, signo = sigwaitinfo(&all, &si);
        if (signo == SIGCHLD && children_reap(program, &code)) {
            return code;
        }
        if (signo > 0 && signo != SIGCHLD && signo != SIGTTOU && signo != SIGTTIN) {
            kill(program, signo);
        }
    }
}
