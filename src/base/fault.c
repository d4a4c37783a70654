/* base/fault.c: see fault.h; built for tests alone. */
#include "base/fault.h"

#include "base/num.h"
#include "base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void trace(const char *point)
{
    const char *path = getenv("TARE_FAULT_TRACE");
    int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        ssize_t n = write(fd, point, strlen(point));
        (void)n;
        close(fd);
    }
}

void fault_point(const char *name, const char *what)
{
    /* Counts passings of the one point that the environment names. */
    static atomic_uint passed;
    const char *want = getenv("TARE_FAULT");
    char point[160];
    unsigned n = 1;
    int len = snprintf(point, sizeof(point), what ? "%s.%s\n" : "%s\n", name, what);
    if (len <= 0 || len >= (int)sizeof(point)) {
        return;
    }
    trace(point);
    if (!want) {
        return;
    }
    size_t want_len = strcspn(want, ":");
    if (want_len != (size_t)len - 1 || memcmp(want, point, want_len) != 0) {
        return;
    }
    if (want[want_len] == ':' && num_u32(want + want_len + 1, &n) < 0) {
        n = 1;
    }
    if (atomic_fetch_add(&passed, 1) + 1 == n) {
        kill(getpid(), SIGKILL);
    }
}
