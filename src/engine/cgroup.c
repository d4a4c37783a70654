/* engine/cgroup.c: a pod's or container's cgroup as a whole: its processes, killing them, removing it. Limits are oci/'s. */
#include "engine/internal.h"

#include "base/num.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIDS_MAX = 4 << 20, DEPTH_MAX = 32 };

static int open_in(const struct cg_hierarchy *h, const char *path)
{
    CLEANUP_FREE char *abs = str_printf("%s/%s", h->mount, path);
    int fd = abs ? open(abs, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;
    return fd < 0 ? -errno : fd;
}

/* rmdir below fd, deepest first. Returns 0 or -errno of what could not go. */
static int remove_below(int fd, int depth)
{
    int r = 0;
    DIR *d = depth < DEPTH_MAX ? fdopendir(fd) : NULL;
    if (!d) {
        close(fd);
        return -ELOOP;
    }
    for (struct dirent *de = readdir(d); de; de = readdir(d)) {
        if (de->d_type != DT_DIR || de->d_name[0] == '.') {
            continue;
        }
        int sub = openat(dirfd(d), de->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (sub >= 0) {
            int q = remove_below(sub, depth + 1);
            r = r < 0 ? r : q;
        }
        if (unlinkat(dirfd(d), de->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
            r = -errno;
        }
    }
    closedir(d);
    return r;
}

static int remove_in(const struct cg_hierarchy *h, const char *path)
{
    CLEANUP_FREE char *abs = str_printf("%s/%s", h->mount, path);
    /* Most of the time there is nothing below. */
    if (!abs || rmdir(abs) == 0 || errno == ENOENT) {
        return abs ? 0 : -ENOMEM;
    }
    int fd = open_in(h, path);
    if (fd < 0) {
        return fd == -ENOENT ? 0 : fd;
    }
    int r = remove_below(fd, 0);
    if (r == 0 && rmdir(abs) < 0 && errno != ENOENT) {
        r = -errno;
    }
    return r;
}

int cgroup_remove(struct engine *g, const char *path, struct err *e)
{
    for (size_t i = 0; i < g->cg.n; i++) {
        int r = remove_in(&g->cg.h[i], path);
        for (int tries = 0; r == -EBUSY && tries < 100; tries++) {
            usleep(tries < 10 ? 500 : 5000);
            r = remove_in(&g->cg.h[i], path);
        }
        if (r < 0) {
            return err_sys(e, -r, "remove cgroup %s%s", g->cg.h[i].mount, path);
        }
    }
    return 0;
}

/* ---- processes ------------------------------------------------------------------------------------------- */

struct pids {
    int32_t *v;
    size_t n, cap;
};

static int add_pids(int fd, struct pids *out)
{
    CLEANUP_BUF struct buf b = { 0 };
    if (file_read(fd, "cgroup.procs", PIDS_MAX, &b, NULL) < 0) {
        return 0;
    }
    for (char *at = b.data; at && *at;) {
        char *end = strchr(at, '\n');
        uint32_t pid;
        if (end) {
            *end = '\0';
        }
        if (num_u32(at, &pid) == 0 && pid > 0) {
            if (array_grow(&out->v, &out->cap, out->n + 1, sizeof(*out->v)) < 0) {
                return -ENOMEM;
            }
            out->v[out->n++] = (int32_t)pid;
        }
        at = end ? end + 1 : NULL;
    }
    return 0;
}

static int collect(int fd, int depth, struct pids *out)
{
    int r = add_pids(fd, out);
    DIR *d = r == 0 && depth < DEPTH_MAX ? fdopendir(fd) : NULL;
    if (!d) {
        close(fd);
        return r;
    }
    for (struct dirent *de = readdir(d); de && r == 0; de = readdir(d)) {
        int sub = de->d_type == DT_DIR && de->d_name[0] != '.'
                          ? openat(dirfd(d), de->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
                          : -1;
        r = sub >= 0 ? collect(sub, depth + 1, out) : 0;
    }
    closedir(d);
    return r;
}

int cgroup_pids(struct engine *g, const char *path, int32_t **ret, size_t *ret_n, struct err *e)
{
    struct pids p = { 0 };
    /* Any hierarchy that knows the path will do: the processes are the same. pids and v2 are the surest. */
    const struct cg_hierarchy *h = cg_machine_find(&g->cg, "pids");
    int fd = h ? open_in(h, path) : -ENOENT;
    for (size_t i = 0; fd < 0 && i < g->cg.n; i++) {
        fd = open_in(&g->cg.h[i], path);
    }
    int r = fd >= 0 ? collect(fd, 0, &p) : 0;
    if (r < 0) {
        free(p.v);
        return err_oom(e);
    }
    *ret = p.v;
    *ret_n = p.n;
    return 0;
}

int cgroup_kill(struct engine *g, const char *path, struct err *e)
{
    for (size_t i = 0; i < g->cg.n; i++) {
        CLEANUP_FD int fd = g->cg.h[i].v2 ? open_in(&g->cg.h[i], path) : -1;
        if (fd >= 0) {
            int r = file_write(fd, "cgroup.kill", "1", 1, NULL);
            (void)r;
        }
    }
    /* v1 has no such file; a forking crowd needs more than one look. */
    for (int round = 0; round < 10; round++) {
        CLEANUP_FREE int32_t *v = NULL;
        size_t n = 0;
        int r = cgroup_pids(g, path, &v, &n, e);
        if (r < 0 || n == 0) {
            return r;
        }
        for (size_t i = 0; i < n; i++) {
            kill(v[i], SIGKILL);
        }
        usleep(2000);
    }
    return 0;
}
