/* monitor/kill.c: see kill.h. Only at time-outs: reads all of /proc. */
#include "monitor/kill.h"

#include "base/fd.h"
#include "base/num.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { ROUNDS = 16 };

struct entry {
    pid_t pid, ppid, sid;
    bool mine;
};

struct table {
    struct entry *v;
    size_t n, cap;
};

static void table_done(struct table *t)
{
    free(t->v);
}

static int read_entry(int proc, const char *name, struct entry *ret)
{
    char path[32], text[512];
    uint32_t pid;
    if (num_u32(name, &pid) < 0 || (size_t)snprintf(path, sizeof(path), "%s/stat", name) >= sizeof(path)) {
        return -EINVAL;
    }
    CLEANUP_FD int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        return -ESRCH;
    }
    text[n] = '\0';
    char *p = strrchr(text, ')');
    int ppid, pgrp, sid;
    char state;
    if (!p || sscanf(p + 1, " %c %d %d %d", &state, &ppid, &pgrp, &sid) != 4 || state == 'Z' || state == 'X') {
        return -ESRCH;
    }
    *ret = (struct entry){ .pid = (pid_t)pid, .ppid = ppid, .sid = sid };
    return 0;
}

static void read_table(struct table *t)
{
    DIR *d = opendir("/proc");
    struct dirent *ent;
    t->n = 0;
    while (d && (ent = readdir(d))) {
        if (array_grow(&t->v, &t->cap, t->n + 1, sizeof(*t->v)) == 0 && read_entry(dirfd(d), ent->d_name, &t->v[t->n]) == 0) {
            t->n++;
        }
    }
    if (d) {
        closedir(d);
    }
}

/* Whether e belongs to the tree: by its parent or its session. */
static bool belongs(const struct table *t, const struct entry *e, pid_t root)
{
    if (e->pid == root || e->ppid == root || e->sid == root) {
        return true;
    }
    for (size_t i = 0; i < t->n; i++) {
        if (t->v[i].mine && (e->ppid == t->v[i].pid || e->sid == t->v[i].pid)) {
            return true;
        }
    }
    return false;
}

static void mark(struct table *t, pid_t root)
{
    bool more = true;
    while (more) {
        more = false;
        for (size_t i = 0; i < t->n; i++) {
            if (!t->v[i].mine && belongs(t, &t->v[i], root)) {
                t->v[i].mine = more = true;
            }
        }
    }
}

void kill_tree(pid_t root)
{
    struct table t CLEANUP(table_done) = { 0 };
    /* Stopped first, so that nothing is born while we look; the root goes last, since by it the others are found. */
    for (int round = 0; round < ROUNDS; round++) {
        size_t others = 0;
        kill(root, SIGSTOP);
        read_table(&t);
        mark(&t, root);
        for (size_t i = 0; i < t.n; i++) {
            if (t.v[i].mine && t.v[i].pid != root) {
                kill(t.v[i].pid, SIGKILL);
                others++;
            }
        }
        if (others == 0) {
            break;
        }
    }
    kill(root, SIGKILL);
}

/* "cgroupfs:/a/b" in the one hierarchy of a machine that has only v2. */
static char *cgroup_path(const char *cgroup, const char *child, const char *file)
{
    const char *p = strchr(cgroup, ':');
    if (!p || !str_starts(cgroup, "cgroupfs:")) {
        return NULL;
    }
    return str_printf("/sys/fs/cgroup%s/%s%s", p + 1, child, file);
}

int kill_cgroup(const char *cgroup, const char *child)
{
    CLEANUP_FREE char *path = cgroup_path(cgroup, child, "/cgroup.kill");
    return path ? file_write(AT_FDCWD, path, "1", 1, NULL) : -ENOENT;
}

void kill_remove_cgroup(const char *cgroup, const char *child)
{
    CLEANUP_FREE char *path = cgroup_path(cgroup, child, "");
    if (path) {
        rmdir(path);
    }
}
