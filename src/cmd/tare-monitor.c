/*
 * cmd/tare-monitor.c: the program: `tare-monitor --dir RUN/pods/ID`, started by the engine with a socket pair as descriptor 3 (see
 * ipc/client.h). It forks once, so that whoever started it has no child to reap.
 */
#include "monitor/monitor.h"
#include "sys/self.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BOOT_FD = 3 };

static bool is_socket(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int usage(FILE *f, int code)
{
    fprintf(f, "usage: tare-monitor --dir DIR\n\nSupervises the containers of one pod; started by tare and tared, which speak "
               "to it over DIR/mon.sock.\n");
    return code;
}

int main(int argc, char **argv)
{
    struct err e;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        return usage(stdout, 0);
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("tare-monitor %s\n", TARE_VERSION);
        return 0;
    }
    if (argc != 3 || strcmp(argv[1], "--dir") != 0 || argv[2][0] != '/') {
        return usage(stderr, 2);
    }
    if (!is_socket(BOOT_FD)) {
        fprintf(stderr, "tare-monitor: descriptor %d is not a socket: only tare and tared start this program\n", BOOT_FD);
        return 2;
    }
    /* Its children become containers' processes, which must not be able to write this program through /proc/self/exe. */
    err_clear(&e);
    if (self_protect(argv, &e) < 0) {
        fprintf(stderr, "tare-monitor: %s\n", e.text);
        return 1;
    }
    pid_t pid = fork();
    if (pid != 0) {
        return pid < 0 ? 1 : 0;
    }
    umask(022);
    return monitor_run(argv[2], BOOT_FD, &e) < 0 ? 1 : 0;
}
