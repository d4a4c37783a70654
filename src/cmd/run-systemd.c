/* cmd/run-systemd.c: `tare run` as the program of a systemd unit. See run-args.h. */
#include "base/fd.h"
#include "cmd/run-args.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define INSIDE "/run/notify"

/* Our cgroup in the unified hierarchy, if it is a service's. */
static char *own_cgroup(void)
{
    char line[4096];
    char *path = NULL;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && !path && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        if (str_starts(line, "0::/") && str_ends(line, ".service")) {
            path = strdup(line + 3);
        }
    }
    if (f) {
        fclose(f);
    }
    return path;
}

/*
 * A v2 cgroup with processes cannot give controllers to those below it: we step aside into one of our own, which systemd removes with
 * the unit. Where that is refused the container still runs, without limits.
 */
static void step_aside(const char *cgroup)
{
    CLEANUP_FREE char *dir = str_printf("/sys/fs/cgroup%s/supervisor", cgroup);
    CLEANUP_FREE char *procs = str_printf("/sys/fs/cgroup%s/supervisor/cgroup.procs", cgroup);
    if (dir && procs && access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 && (mkdir(dir, 0755) == 0 || errno == EEXIST)) {
        (void)!file_write(AT_FDCWD, procs, "0", 1, NULL);
    }
}

/* A socket with a name in the file system is bound into the container; an abstract one is there or not, by the network namespace. */
static int pass_socket(struct engine_ctr_spec *ctr, const char *path, struct err *e)
{
    bool named = path[0] == '/';
    CLEANUP_FREE char *env = str_printf("NOTIFY_SOCKET=%s", named ? INSIDE : path);
    if (!env || strv_push(&ctr->env, env) < 0) {
        return err_oom(e);
    }
    ctr->notify_socket = true;
    if (!named) {
        return 0;
    }
    struct engine_mount *v = reallocarray(ctr->mounts.v, ctr->mounts.n + 1, sizeof(*v));
    if (!v) {
        return err_oom(e);
    }
    ctr->mounts.v = v;
    v += ctr->mounts.n++;
    *v = (struct engine_mount){ .kind = ENGINE_MOUNT_BIND, .source = strdup(path), .target = strdup(INSIDE) };
    return v->source && v->target ? 0 : err_oom(e);
}

int run_in_unit(struct engine_ctr_spec *ctr, struct engine_pod_spec *pod, struct err *e)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (str_empty(path)) {
        return 0;
    }
    CLEANUP_FREE char *cgroup = pod->cgroup_parent ? NULL : own_cgroup();
    if (cgroup) {
        step_aside(cgroup);
        pod->cgroup_parent = PTR_STEAL(cgroup);
    }
    return pass_socket(ctr, path, e);
}
