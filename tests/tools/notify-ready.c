/* tests/tools/notify-ready.c: the least that a service in a container does: tells its manager that it is ready, then waits for the end. */
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Process 1 only gets the signals that it handles. */
static void on_term(int signo)
{
    (void)signo;
    _exit(0);
}

int main(void)
{
    static const char text[] = "READY=1\nSTATUS=from inside";
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const char *path = getenv("NOTIFY_SOCKET");
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (!path || fd < 0 || strlen(path) >= sizeof(a.sun_path)) {
        return 1;
    }
    signal(SIGTERM, on_term);
    memcpy(a.sun_path, path, strlen(path));
    if (sendto(fd, text, sizeof(text) - 1, MSG_NOSIGNAL, (struct sockaddr *)&a,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))) < 0) {
        return 2;
    }
    pause();
    return 0;
}
