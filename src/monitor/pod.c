/*
 * monitor/pod.c: the pod's namespaces. They live because the monitor holds them open; containers join them through
 * /proc/MONITOR/fd/N. The monitor makes them, steps in to set host name and sysctls, and steps out again, so that what it runs
 * for the host (exit commands) runs on the host.
 */
#include "monitor/mon.h"

#include "base/fd.h"
#include "monitor/init.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    const char *file;
    int flag;
} kinds[POD_NS_COUNT] = {
    [POD_NS_NET] = { "net", CLONE_NEWNET }, [POD_NS_IPC] = { "ipc", CLONE_NEWIPC }, [POD_NS_UTS] = { "uts", CLONE_NEWUTS },
    [POD_NS_PID] = { "pid", CLONE_NEWPID }, [POD_NS_USER] = { "user", CLONE_NEWUSER },
};

static int wanted_flags(const struct mon_pod *p)
{
    return (p->new_ipc ? CLONE_NEWIPC : 0) | (p->new_uts ? CLONE_NEWUTS : 0) | (p->pid_init ? CLONE_NEWPID : 0) |
           (p->uid_map ? CLONE_NEWUSER : 0) | (p->new_net ? CLONE_NEWNET : 0);
}

/* ---- sysctls ------------------------------------------------------------------------------------------------- */

static bool sysctl_name_fine(const char *name)
{
    return *name && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") == strlen(name) &&
           !strstr(name, "..") && name[0] != '/' && name[0] != '.';
}

/* "net.ipv4.ip_forward=1": dots are slashes; a name with slashes has dots of its own (eth0.100). */
static int write_sysctl(const char *text, struct err *e)
{
    const char *value = strchr(text, '=');
    if (!value) {
        return err_set(e, EINVAL, ERR_INVALID, "sysctl '%s' has no value", text);
    }
    CLEANUP_FREE char *path = str_printf("/proc/sys/%.*s", (int)(value - text), text);
    if (!path) {
        return err_oom(e);
    }
    char *name = path + strlen("/proc/sys/");
    if (!sysctl_name_fine(name)) {
        return err_set(e, EINVAL, ERR_INVALID, "sysctl '%s' is not a valid name", name);
    }
    bool slashes = strchr(name, '/');
    for (char *p = name; *p && !slashes; p++) {
        *p = *p == '.' ? '/' : *p;
    }
    int r = file_write(AT_FDCWD, path, value + 1, strlen(value + 1), e);
    return r < 0 ? err_wrap(e, "sysctl %s", text) : 0;
}

/* ---- making them --------------------------------------------------------------------------------------------- */

static int open_ns(pid_t pid, enum pod_ns n, int *ret, struct err *e)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kinds[n].file);
    *ret = open(path, O_RDONLY | O_CLOEXEC);
    return *ret < 0 ? err_sys(e, errno, "open %s", path) : 0;
}

static int write_map(pid_t pid, const char *file, char *const *lines, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    char path[64];
    for (; lines && *lines; lines++) {
        buf_addf(&b, "%s\n", *lines);
    }
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    return buf_failed(&b) || !b.len ? err_set(e, EINVAL, ERR_INVALID, "%s is empty", file) :
                                      file_write(AT_FDCWD, path, b.data, b.len, e);
}

struct newborn {
    int go; /* read end: a byte when the maps are written, end of file when the monitor died before */
    bool init;
};

static _Noreturn void newborn_main(const struct newborn *n)
{
    char c;
    if (read(n->go, &c, 1) != 1 || !n->init) {
        _exit(0);
    }
    init_main();
}

static pid_t clone_newborn(int flags, const struct newborn *n)
{
    /* As fork: no stack of its own, so it goes on here in a copy of our memory. */
    long pid = syscall(SYS_clone, (unsigned long)(flags | SIGCHLD), 0, 0, 0, 0);
    if (pid == 0) {
        newborn_main(n);
    }
    return (pid_t)pid;
}

static int hold_all(struct monitor *m, pid_t pid, int flags, struct err *e)
{
    for (int n = 0; n < POD_NS_COUNT; n++) {
        int r = flags & kinds[n].flag ? open_ns(pid, (enum pod_ns)n, &m->pod.ns[n], e) : 0;
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* With a user or PID namespace: born with all of them by one clone, so that the user namespace owns the others. */
static int make_by_child(struct monitor *m, const struct mon_pod *p, int flags, struct err *e)
{
    int go[2];
    if (pipe2(go, O_CLOEXEC) < 0) {
        return err_sys(e, errno, "create a pipe");
    }
    struct newborn n = { .go = go[0], .init = p->pid_init };
    pid_t pid = clone_newborn(flags, &n);
    int r = pid < 0 ? err_sys(e, errno, "create the pod's namespaces") : 0;
    close(go[0]);
    if (r == 0 && p->uid_map) {
        r = write_map(pid, "uid_map", p->uid_map, e);
        if (r == 0) {
            r = write_map(pid, "gid_map", p->gid_map, e);
        }
    }
    if (r == 0) {
        r = hold_all(m, pid, flags, e);
    }
    if (r == 0 && p->pid_init) {
        m->pod.init = pid;
        (void)!write(go[1], "g", 1);
    } else if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    close(go[1]);
    return r;
}

static int make_here(struct monitor *m, int flags, struct err *e)
{
    if (unshare(flags) < 0) {
        return err_sys(e, errno, "create the pod's namespaces");
    }
    return hold_all(m, getpid(), flags, e);
}

/* A file system folder's mount keeps the network namespace visible to `ip netns` and to CNI plugins. */
static int pin_net(const struct monitor *m, const char *path, struct err *e)
{
    char from[64];
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);
    if (fd < 0) {
        return err_sys(e, errno, "create %s", path);
    }
    snprintf(from, sizeof(from), "/proc/self/fd/%d", m->pod.ns[POD_NS_NET]);
    return mount(from, path, NULL, MS_BIND, NULL) < 0 ? err_sys(e, errno, "mount %s", path) : 0;
}

static int enter(const struct monitor *m, enum pod_ns n, struct err *e)
{
    return m->pod.ns[n] >= 0 && setns(m->pod.ns[n], kinds[n].flag) < 0 ? err_sys(e, errno, "enter the pod's %s namespace",
                                                                                   kinds[n].file) : 0;
}

static int configure(const struct monitor *m, const struct mon_pod *p, struct err *e)
{
    int r = enter(m, POD_NS_IPC, e);
    if (r == 0) {
        r = enter(m, POD_NS_UTS, e);
    }
    if (r == 0) {
        r = enter(m, POD_NS_NET, e);
    }
    if (r == 0 && p->hostname && m->pod.ns[POD_NS_UTS] >= 0 && sethostname(p->hostname, strlen(p->hostname)) < 0) {
        r = err_sys(e, errno, "set host name %s", p->hostname);
    }
    if (r == 0 && p->domainname && m->pod.ns[POD_NS_UTS] >= 0 && setdomainname(p->domainname, strlen(p->domainname)) < 0) {
        r = err_sys(e, errno, "set domain name %s", p->domainname);
    }
    for (char **s = p->sysctls; s && *s && r == 0; s++) {
        r = write_sysctl(*s, e);
    }
    return r;
}

/* The namespaces that we were born in, to come back to. */
static int go_home(const int home[static 3])
{
    static const int flags[] = { CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS };
    for (int i = 0; i < 3; i++) {
        if (setns(home[i], flags[i]) < 0) {
            return -errno;
        }
    }
    return 0;
}

static int make(struct monitor *m, const struct mon_pod *p, struct err *e)
{
    int flags = wanted_flags(p), r = 0;
    if (p->netns && !p->new_net) {
        m->pod.ns[POD_NS_NET] = open(p->netns, O_RDONLY | O_CLOEXEC);
        if (m->pod.ns[POD_NS_NET] < 0) {
            return err_sys(e, errno, "open network namespace %s", p->netns);
        }
    }
    if (flags & (CLONE_NEWUSER | CLONE_NEWPID)) {
        r = make_by_child(m, p, flags, e);
    } else if (flags) {
        r = make_here(m, flags, e);
    }
    if (r == 0) {
        r = configure(m, p, e);
    }
    return r;
}

int pod_setup(struct monitor *m, const struct mon_pod *p, struct err *e)
{
    int home[3] = { -1, -1, -1 }, r = 0;
    enum pod_ns order[3] = { POD_NS_NET, POD_NS_IPC, POD_NS_UTS };
    for (int i = 0; i < 3 && r == 0; i++) {
        r = open_ns(getpid(), order[i], &home[i], e);
    }
    if (r == 0) {
        r = make(m, p, e);
        int back = go_home(home);
        if (r == 0 && back < 0) {
            r = err_sys(e, -back, "return to the host's namespaces");
        }
    }
    for (int i = 0; i < 3; i++) {
        fd_close(&home[i]);
    }
    if (r == 0 && p->new_net && p->netns) {
        r = pin_net(m, p->netns, e);
    }
    return r < 0 ? err_wrap(e, "set up the pod") : 0;
}

void pod_done(struct monitor *m)
{
    if (m->pod.init > 0) {
        kill(m->pod.init, SIGKILL);
    }
    for (int n = 0; n < POD_NS_COUNT; n++) {
        fd_close(&m->pod.ns[n]);
    }
}

void pod_fill_state(const struct monitor *m, struct mon_pod_state *s)
{
    char **paths[POD_NS_COUNT] = { [POD_NS_NET] = &s->ns_net, [POD_NS_IPC] = &s->ns_ipc, [POD_NS_UTS] = &s->ns_uts,
                                   [POD_NS_PID] = &s->ns_pid, [POD_NS_USER] = &s->ns_user };
    *s = (struct mon_pod_state){ .pid = (int32_t)getpid(), .init_pid = (int32_t)m->pod.init };
    for (int n = 0; n < POD_NS_COUNT; n++) {
        if (m->pod.ns[n] >= 0) {
            *paths[n] = str_printf("/proc/%d/fd/%d", (int)getpid(), m->pod.ns[n]);
        }
    }
}
