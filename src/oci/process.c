/*
 * oci/process.c: what makes a process of the config out of a process of ours: limits, scheduling, credentials, exec. The same for a
 * container's init and for an exec; steps are in the order in which the kernel allows them.
 */
#include "oci/process.h"

#include "base/fd.h"
#include "base/num.h"
#include "oci/ctr.h"
#include "sys/path.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/close_range.h>

int process_keyring(const char *id, const struct oci_process *p, struct err *e)
{
    (void)p;
    CLEANUP_FREE char *name = str_printf("_ses.%s", id);
    if (!name) {
        return err_oom(e);
    }
    /* A kernel without keyrings, or a filter around us, is no reason to fail. */
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0) < 0 && errno != ENOSYS && errno != EPERM && errno != EDQUOT) {
        return err_sys(e, errno, "join a session keyring");
    }
    return 0;
}

static const struct {
    const char *name;
    int which;
} rlimits[] = {
    { "RLIMIT_AS", RLIMIT_AS },           { "RLIMIT_CORE", RLIMIT_CORE },       { "RLIMIT_CPU", RLIMIT_CPU },
    { "RLIMIT_DATA", RLIMIT_DATA },       { "RLIMIT_FSIZE", RLIMIT_FSIZE },     { "RLIMIT_LOCKS", RLIMIT_LOCKS },
    { "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK }, { "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE }, { "RLIMIT_NICE", RLIMIT_NICE },
    { "RLIMIT_NOFILE", RLIMIT_NOFILE },   { "RLIMIT_NPROC", RLIMIT_NPROC },     { "RLIMIT_RSS", RLIMIT_RSS },
    { "RLIMIT_RTPRIO", RLIMIT_RTPRIO },   { "RLIMIT_RTTIME", RLIMIT_RTTIME },   { "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
    { "RLIMIT_STACK", RLIMIT_STACK },
};

static int rlimit_set(pid_t pid, const struct oci_rlimit *l, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(rlimits); i++) {
        if (str_eq(rlimits[i].name, l->type)) {
            struct rlimit v = { l->soft, l->hard };
            return prlimit(pid, (__rlimit_resource_t)rlimits[i].which, &v, NULL) < 0 ? err_sys(e, errno, "set %s", l->type) : 0;
        }
    }
    return err_set(e, EINVAL, ERR_INVALID, "'%s' is not known", l->type);
}

int process_rlimits(pid_t pid, const struct oci_process *p, struct err *e)
{
    for (size_t i = 0; i < p->rlimits.n; i++) {
        if (rlimit_set(pid, &p->rlimits.v[i], e) < 0) {
            return err_wrap(e, "process.rlimits[%zu]", i);
        }
    }
    return 0;
}

int process_limits(const struct proc_ctx *c, struct err *e)
{
    const struct oci_process *p = c->process;
    if (p->oom_score_adj) {
        char text[16];
        int n = snprintf(text, sizeof(text), "%d", *p->oom_score_adj);
        if (file_write(AT_FDCWD, "/proc/self/oom_score_adj", text, (size_t)n, e) < 0) {
            return err_wrap(e, "process.oomScoreAdj");
        }
    }
    return 0;
}

struct word {
    const char *name;
    uint64_t value;
};

static bool word_find(const struct word *list, size_t n, const char *name, uint64_t *ret)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(list[i].name, name)) {
            *ret = list[i].value;
            return true;
        }
    }
    return false;
}

/* struct sched_attr of <linux/sched/types.h>, which cannot be included beside <sched.h>. */
struct sched_attributes {
    uint32_t size, sched_policy;
    uint64_t sched_flags;
    int32_t sched_nice;
    uint32_t sched_priority;
    uint64_t sched_runtime, sched_deadline, sched_period;
    uint32_t sched_util_min, sched_util_max;
};

static int scheduler_set(const struct oci_scheduler *s, struct err *e)
{
    static const struct word policies[] = { { "SCHED_OTHER", SCHED_OTHER }, { "SCHED_FIFO", SCHED_FIFO },         { "SCHED_RR", SCHED_RR },
                                            { "SCHED_BATCH", SCHED_BATCH }, { "SCHED_ISO", 4 },                   { "SCHED_IDLE", SCHED_IDLE },
                                            { "SCHED_DEADLINE", SCHED_DEADLINE } };
    static const struct word flags[] = { { "SCHED_FLAG_RESET_ON_FORK", 0x01 }, { "SCHED_FLAG_RECLAIM", 0x02 },
                                         { "SCHED_FLAG_DL_OVERRUN", 0x04 },    { "SCHED_FLAG_KEEP_POLICY", 0x08 },
                                         { "SCHED_FLAG_KEEP_PARAMS", 0x10 },   { "SCHED_FLAG_UTIL_CLAMP_MIN", 0x20 },
                                         { "SCHED_FLAG_UTIL_CLAMP_MAX", 0x40 } };
    uint64_t policy, all = 0, one;
    if (!word_find(policies, ARRAY_LEN(policies), s->policy, &policy)) {
        return err_set(e, EINVAL, ERR_INVALID, "process.scheduler.policy: '%s' is not known", s->policy);
    }
    for (char **f = s->flags; f && *f; f++) {
        if (!word_find(flags, ARRAY_LEN(flags), *f, &one)) {
            return err_set(e, EINVAL, ERR_INVALID, "process.scheduler.flags: '%s' is not known", *f);
        }
        all |= one;
    }
    struct sched_attributes a = {
        .size = sizeof(a),
        .sched_policy = (uint32_t)policy,
        .sched_flags = all,
        .sched_nice = s->nice,
        .sched_priority = (uint32_t)s->priority,
        .sched_runtime = s->runtime,
        .sched_deadline = s->deadline,
        .sched_period = s->period,
    };
    return syscall(SYS_sched_setattr, 0, &a, 0) < 0 ? err_sys(e, errno, "process.scheduler: set %s", s->policy) : 0;
}

static int io_priority_set(const struct oci_io_priority *p, struct err *e)
{
    static const struct word classes[] = { { "IOPRIO_CLASS_RT", 1 }, { "IOPRIO_CLASS_BE", 2 }, { "IOPRIO_CLASS_IDLE", 3 } };
    uint64_t class_;
    if (!word_find(classes, ARRAY_LEN(classes), p->class_, &class_)) {
        return err_set(e, EINVAL, ERR_INVALID, "process.ioPriority.class: '%s' is not known", p->class_);
    }
    if (p->priority < 0 || p->priority > 7) {
        return err_set(e, EINVAL, ERR_INVALID, "process.ioPriority.priority: %d is not within 0 to 7", p->priority);
    }
    return syscall(SYS_ioprio_set, 1, 0, (int)(class_ << 13) | p->priority) < 0 ? err_sys(e, errno, "process.ioPriority: set") : 0;
}

/* "0-3,7" as a mask of any number of processors. */
static int list_to_bits(const char *list, uint8_t **ret, size_t *ret_len)
{
    uint8_t *bits = NULL;
    size_t cap = 0, len = 0;
    for (const char *p = list; *p;) {
        char *end;
        unsigned long a = strtoul(p, &end, 10), b = a;
        if (end == p) {
            free(bits);
            return -EINVAL;
        }
        if (*end == '-') {
            p = end + 1;
            b = strtoul(p, &end, 10);
        }
        if (end == p || b < a || b > 65535 || (*end && *end != ',')) {
            free(bits);
            return -EINVAL;
        }
        size_t want = (b / 64 + 1) * 8;
        if (array_grow(&bits, &cap, want, 1) < 0) {
            free(bits);
            return -ENOMEM;
        }
        len = want > len ? want : len;
        for (unsigned long i = a; i <= b; i++) {
            bits[i / 8] = (uint8_t)(bits[i / 8] | 1u << (i % 8));
        }
        p = *end ? end + 1 : end;
    }
    *ret = bits;
    *ret_len = len;
    return 0;
}

int process_affinity(const char *list, const char *field, struct err *e)
{
    CLEANUP_FREE uint8_t *bits = NULL;
    size_t len = 0;
    if (str_empty(list)) {
        return 0;
    }
    int r = list_to_bits(list, &bits, &len);
    if (r < 0) {
        return err_set(e, -r, ERR_INVALID, "process.execCPUAffinity.%s: '%s' is no list of processors", field, list);
    }
    return syscall(SYS_sched_setaffinity, 0, len, bits) < 0 ? err_sys(e, errno, "process.execCPUAffinity.%s: set '%s'", field, list) : 0;
}

static int memory_policy_set(const struct oci_memory_policy *m, struct err *e)
{
    static const struct word modes[] = { { "MPOL_DEFAULT", 0 },    { "MPOL_PREFERRED", 1 },      { "MPOL_BIND", 2 },
                                         { "MPOL_INTERLEAVE", 3 }, { "MPOL_LOCAL", 4 },          { "MPOL_PREFERRED_MANY", 5 },
                                         { "MPOL_WEIGHTED_INTERLEAVE", 6 } };
    static const struct word flags[] = { { "MPOL_F_NUMA_BALANCING", 1 << 13 }, { "MPOL_F_RELATIVE_NODES", 1 << 14 }, { "MPOL_F_STATIC_NODES", 1 << 15 } };
    uint64_t mode, one;
    CLEANUP_FREE uint8_t *bits = NULL;
    size_t len = 0;
    if (!word_find(modes, ARRAY_LEN(modes), m->mode, &mode)) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.memoryPolicy.mode: '%s' is not known", m->mode);
    }
    for (char **f = m->flags; f && *f; f++) {
        if (!word_find(flags, ARRAY_LEN(flags), *f, &one)) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.memoryPolicy.flags: '%s' is not known", *f);
        }
        mode |= one;
    }
    if (!str_empty(m->nodes) && list_to_bits(m->nodes, &bits, &len) < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.memoryPolicy.nodes: '%s' is no list of nodes", m->nodes);
    }
    return syscall(SYS_set_mempolicy, (int)mode, bits, len * 8) < 0 ? err_sys(e, errno, "linux.memoryPolicy: set %s", m->mode) : 0;
}

static int personality_set(const struct oci_personality *p, struct err *e)
{
    unsigned long value = str_eq(p->domain, "LINUX") ? PER_LINUX : str_eq(p->domain, "LINUX32") ? PER_LINUX32 : ~0ul;
    if (value == ~0ul) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.personality.domain: '%s' is not known", p->domain);
    }
    if (strv_len(p->flags)) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.personality.flags: '%s' is not known", p->flags[0]);
    }
    return personality(value) < 0 ? err_sys(e, errno, "linux.personality") : 0;
}

int process_scheduling(const struct proc_ctx *c, struct err *e)
{
    int r = 0;
    if (c->process->scheduler) {
        r = scheduler_set(c->process->scheduler, e);
    }
    if (r == 0 && c->process->io_priority) {
        r = io_priority_set(c->process->io_priority, e);
    }
    if (r == 0 && c->linux_config && c->linux_config->personality) {
        r = personality_set(c->linux_config->personality, e);
    }
    if (r == 0 && c->linux_config && c->linux_config->memory_policy) {
        r = memory_policy_set(c->linux_config->memory_policy, e);
    }
    return r;
}

/*
 * Written through a procfs of our own, checked to be one: a fake /proc in the image must not swallow the label (CVE-2019-16884,
 * CVE-2025-52881).
 */
static int label_write(const struct proc_ctx *c, const char *file, const char *label, struct err *e)
{
    CLEANUP_FD int proc = c->proc >= 0 ? fcntl(c->proc, F_DUPFD_CLOEXEC, 3) : open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0 || path_fs_type(proc) != PROC_SUPER_MAGIC) {
        return err_set(e, EINVAL, ERR_DENIED, "/proc is not a procfs");
    }
    return file_write(proc, file, label, strlen(label), e);
}

static int labels_set(const struct proc_ctx *c, struct err *e)
{
    const struct oci_process *p = c->process;
    if (!str_empty(p->apparmor_profile)) {
        CLEANUP_FREE char *text = str_printf("exec %s", p->apparmor_profile);
        if (access("/sys/kernel/security/apparmor", F_OK) < 0 && access("/sys/module/apparmor", F_OK) < 0) {
            return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "process.apparmorProfile: '%s' is asked for, but AppArmor is not enabled in this kernel",
                           p->apparmor_profile);
        }
        if (!text || (label_write(c, "self/attr/apparmor/exec", text, e) < 0 && label_write(c, "self/attr/exec", text, e) < 0)) {
            return err_wrap(e, "process.apparmorProfile");
        }
    }
    if (!str_empty(p->selinux_label)) {
        if (access("/sys/fs/selinux/status", F_OK) < 0) {
            return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "process.selinuxLabel: '%s' is asked for, but SELinux is not enabled in this kernel",
                           p->selinux_label);
        }
        if (label_write(c, "self/attr/exec", p->selinux_label, e) < 0) {
            return err_wrap(e, "process.selinuxLabel");
        }
    }
    return 0;
}

static int seccomp_apply(const struct proc_ctx *c, struct err *e)
{
    int listener = -1;
    int r = seccomp_prog_load(c->seccomp, &listener);
    if (r < 0) {
        return err_sys(e, -r, "linux.seccomp: load the filter");
    }
    if (listener >= 0) {
        r = sync_send(c->sock, SYNC_LISTENER, 0, NULL, listener);
        fd_close(&listener);
        if (r < 0) {
            return err_sys(e, -r, "linux.seccomp: hand the listener over");
        }
    }
    return 0;
}

static int ids_set(const struct oci_user *u, struct err *e)
{
    if (u->additional_gids.n || geteuid() == 0) {
        if (setgroups(u->additional_gids.n, u->additional_gids.v) < 0 && (u->additional_gids.n || errno != EPERM)) {
            return err_sys(e, errno, "process.user.additionalGids: set");
        }
    }
    if (setresgid(u->gid, u->gid, u->gid) < 0) {
        return err_sys(e, errno, "process.user.gid: set %u%s", u->gid, errno == EINVAL ? " (not mapped in the user namespace)" : "");
    }
    if (setresuid(u->uid, u->uid, u->uid) < 0) {
        return err_sys(e, errno, "process.user.uid: set %u%s", u->uid, errno == EINVAL ? " (not mapped in the user namespace)" : "");
    }
    return 0;
}

static int cwd_enter(const char *cwd, struct err *e)
{
    char where[PATH_MAX];
    if (chdir(cwd) < 0) {
        return err_sys(e, errno, "process.cwd: enter %s", cwd);
    }
    /* The kernel says "(unreachable)…" of a folder outside of the root: one that came in by a leaked descriptor (CVE-2024-21626). */
    long n = syscall(SYS_getcwd, where, sizeof(where));
    if (n < 0 || where[0] != '/') {
        return err_set(e, EPERM, ERR_DENIED, "process.cwd: %s is outside of the container", cwd);
    }
    return 0;
}

int process_credentials(const struct proc_ctx *c, struct err *e)
{
    const struct oci_process *p = c->process;
    int r = labels_set(c, e);
    /* Without no_new_privs only CAP_SYS_ADMIN may load a filter: before it goes. */
    if (r == 0 && c->seccomp->code && !p->no_new_privileges) {
        r = seccomp_apply(c, e);
    }
    if (r == 0) {
        r = caps_bound(p->capabilities, e);
    }
    /* Who stays root loses nothing by the change of ids. */
    bool keep = p->user.uid != 0;
    if (r == 0 && keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) {
        r = err_sys(e, errno, "keep capabilities");
    }
    /* As root first, so that a folder that only root may enter still works when it is the user's: then as the user. */
    bool entered = r == 0 && chdir(p->cwd) == 0;
    if (r == 0) {
        r = ids_set(&p->user, e);
    }
    if (r == 0 && keep && prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0) {
        r = err_sys(e, errno, "keep capabilities");
    }
    if (r == 0) {
        r = caps_apply(p->capabilities, e);
    }
    if (r == 0) {
        r = cwd_enter(entered ? "." : p->cwd, e);
    }
    if (r == 0 && p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        r = err_sys(e, errno, "process.noNewPrivileges");
    }
    if (r == 0) {
        umask(p->user.umask ? (mode_t)*p->user.umask & 0777 : 0022);
    }
    if (r == 0 && c->seccomp->code && p->no_new_privileges) {
        r = seccomp_apply(c, e);
    }
    return r;
}

static const char *env_get(char *const *env, const char *name)
{
    size_t n = strlen(name);
    const char *found = NULL;
    for (; env && *env; env++) {
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=') {
            found = *env + n + 1; /* the last one counts, as for getenv of most C libraries' setenv order */
        }
    }
    return found;
}

static int executable_check(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        return -errno;
    }
    if (S_ISDIR(st.st_mode)) {
        return -EISDIR;
    }
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

int process_find(const struct oci_process *p, char **ret, struct err *e)
{
    const char *name = p->args[0];
    if (strchr(name, '/')) {
        int r = executable_check(name);
        if (r < 0) {
            return r == -ENOENT || r == -ENOTDIR ? err_set(e, ENOENT, ERR_NOT_FOUND, "exec: \"%s\": no such file or directory", name)
                                                 : err_set(e, -r, ERR_DENIED, "exec: \"%s\": %s", name, strerrordesc_np(-r));
        }
        *ret = strdup(name);
        return *ret ? 0 : err_oom(e);
    }
    const char *path = env_get(p->env, "PATH");
    int worst = -ENOENT;
    for (const char *s = path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"; *s;) {
        size_t n = strcspn(s, ":");
        CLEANUP_FREE char *full = n ? str_printf("%.*s/%s", (int)n, s, name) : str_printf("./%s", name);
        if (!full) {
            return err_oom(e);
        }
        int r = executable_check(full);
        if (r == 0) {
            *ret = PTR_STEAL(full);
            return 0;
        }
        if (r == -EACCES) {
            worst = r;
        }
        s += n + (s[n] == ':');
    }
    return worst == -EACCES ? err_set(e, EACCES, ERR_DENIED, "exec: \"%s\": permission denied", name)
                            : err_set(e, ENOENT, ERR_NOT_FOUND, "exec: \"%s\": executable file not found in $PATH", name);
}

int process_stdio(const int stdio[3], struct err *e)
{
    for (int i = 0; i < 3; i++) {
        if (stdio[i] >= 0 && stdio[i] != i && dup2(stdio[i], i) < 0) {
            return err_sys(e, errno, "set standard stream %d", i);
        }
    }
    return 0;
}

int process_terminal(int slave, struct err *e)
{
    const int all[3] = { slave, slave, slave };
    if (ioctl(slave, TIOCSCTTY, 0) < 0) {
        return err_sys(e, errno, "make the pty the controlling terminal");
    }
    return process_stdio(all, e);
}

static int by_number(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static bool is_one_of(int fd, const int *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == fd) {
            return true;
        }
    }
    return false;
}

int process_close_fds(unsigned keep, int *mine, size_t n, struct err *e)
{
    unsigned from = 3 + keep;
    for (unsigned fd = 3; fd < from; fd++) {
        int flags = fcntl((int)fd, F_GETFD);
        if (flags >= 0 && (flags & FD_CLOEXEC) && !is_one_of((int)fd, mine, n)) {
            close((int)fd);
        }
    }
    qsort(mine, n, sizeof(*mine), by_number);
    for (size_t i = 0; i < n; i++) {
        if (mine[i] < 0 || (unsigned)mine[i] < from) {
            continue;
        }
        if ((unsigned)mine[i] > from && close_range(from, (unsigned)mine[i] - 1, 0) < 0) {
            return err_sys(e, errno, "close_range");
        }
        from = (unsigned)mine[i] + 1;
    }
    return close_range(from, ~0u, 0) < 0 ? err_sys(e, errno, "close_range") : 0;
}

int process_exec(const struct proc_ctx *c, const char *path, struct err *e)
{
    static char *const empty[] = { NULL };
    sigset_t none;
    /* Whoever started us may block or ignore signals for purposes of its own. */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execve(path, c->process->args, c->process->env ? c->process->env : empty);
    return err_set(e, errno, errno == ENOENT ? ERR_NOT_FOUND : ERR_DENIED, "exec %s: %s", path, strerrordesc_np(errno));
}
