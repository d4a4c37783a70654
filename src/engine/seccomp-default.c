/*
 * engine/seccomp-default.c: the default profile as data, and profiles of users in Docker's extended form. System calls that a machine does
 * not know are dropped by the runtime, so one list serves all architectures.
 */
#include "engine/seccomp-default.h"

#include "base/num.h"

#include <errno.h>
#include <stdio.h>
#include <sys/utsname.h>

/* Allowed to everybody. */
static const char always[] =
        "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime clock_adjtime64 "
        "clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect "
        "copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
        "epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark "
        "fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr "
        "fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait "
        "futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups "
        "getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 "
        "getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr "
        "getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents "
        "io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset "
        "landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr "
        "lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat "
        "mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
        "mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep "
        "newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll "
        "ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read "
        "readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename "
        "renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend "
        "rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max "
        "sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr "
        "sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile "
        "sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid "
        "setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid "
        "setsockopt set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack "
        "signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat "
        "sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
        "timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill "
        "truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 "
        "waitid waitpid write writev ptrace process_vm_readv process_vm_writev";

/* Allowed with a capability besides. */
static const struct {
    const char *cap, *names;
} with_cap[] = {
    { "CAP_DAC_READ_SEARCH", "open_by_handle_at" },
    { "CAP_SYS_ADMIN", "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules "
                       "lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname "
                       "sethostname setns syslog umount umount2 unshare" },
    { "CAP_SYS_BOOT", "reboot" },
    { "CAP_SYS_CHROOT", "chroot" },
    { "CAP_SYS_MODULE", "delete_module init_module finit_module" },
    { "CAP_SYS_PACCT", "acct" },
    { "CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise" },
    { "CAP_SYS_RAWIO", "iopl ioperm" },
    { "CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64" },
    { "CAP_SYS_TTY_CONFIG", "vhangup" },
    { "CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node" },
    { "CAP_SYSLOG", "syslog" },
    { "CAP_BPF", "bpf" },
    { "CAP_PERFMON", "perf_event_open" },
};

static bool has_cap(char *const *caps, const char *cap)
{
    for (; caps && *caps; caps++) {
        if (str_eq(*caps, cap)) {
            return true;
        }
    }
    return false;
}

static struct oci_seccomp_rule *rule_new(struct oci_seccomp *s, const char *action)
{
    struct oci_seccomp_rule *v = reallocarray(s->syscalls.v, s->syscalls.n + 1, sizeof(*v));
    if (!v) {
        return NULL;
    }
    s->syscalls.v = v;
    struct oci_seccomp_rule *r = &v[s->syscalls.n++];
    *r = (struct oci_seccomp_rule){ .action = strdup(action) };
    return r->action ? r : NULL;
}

static int names_add(char ***list, const char *words)
{
    char word[64];
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, " ");
        snprintf(word, sizeof(word), "%.*s", (int)n, p);
        int r = n ? strv_push(list, word) : 0;
        if (r < 0) {
            return r;
        }
        p += n + (p[n] == ' ');
    }
    return 0;
}

struct arg_rule {
    const char *names;
    struct {
        uint32_t index;
        uint64_t value, value_two;
        const char *op;
    } arg;
    uint32_t errno_ret; /* 0: allowed */
};

static int arg_rules_add(struct oci_seccomp *s, const struct arg_rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct oci_seccomp_rule *r = rule_new(s, rules[i].errno_ret ? "SCMP_ACT_ERRNO" : "SCMP_ACT_ALLOW");
        if (!r || names_add(&r->names, rules[i].names) < 0) {
            return -ENOMEM;
        }
        if (rules[i].errno_ret && !(r->errno_ret = malloc(sizeof(*r->errno_ret)))) {
            return -ENOMEM;
        }
        if (rules[i].errno_ret) {
            *r->errno_ret = rules[i].errno_ret;
        }
        if (rules[i].arg.op) {
            r->args.v = calloc(1, sizeof(*r->args.v));
            if (!r->args.v) {
                return -ENOMEM;
            }
            r->args.n = 1;
            r->args.v[0] = (struct oci_seccomp_arg){ rules[i].arg.index, rules[i].arg.value, rules[i].arg.value_two, strdup(rules[i].arg.op) };
        }
    }
    return 0;
}

static int default_fill(struct oci_seccomp *s, char *const *caps)
{
    enum { CLONE_NAMESPACES = 0x7e020000, AF_VSOCK_ = 40 };
    /* personality(): Linux, old Linux, 32 bit, and "tell me". socket(): everything but vsock, which reaches the hypervisor. */
    static const struct arg_rule args[] = {
        { "personality", { 0, 0x0, 0, "SCMP_CMP_EQ" }, 0 },
        { "personality", { 0, 0x0008, 0, "SCMP_CMP_EQ" }, 0 },
        { "personality", { 0, 0x20000, 0, "SCMP_CMP_EQ" }, 0 },
        { "personality", { 0, 0x20008, 0, "SCMP_CMP_EQ" }, 0 },
        { "personality", { 0, 0xffffffff, 0, "SCMP_CMP_EQ" }, 0 },
        { "socket", { 0, AF_VSOCK_, 0, "SCMP_CMP_NE" }, 0 },
    };
    /* Without CAP_SYS_ADMIN no namespaces; clone3 hides its flags from filters, so it is said to be unknown, and C libraries fall back. */
    static const struct arg_rule no_admin[] = {
        { "clone", { 0, CLONE_NAMESPACES, 0, "SCMP_CMP_MASKED_EQ" }, 0 },
        { "clone3", { 0 }, ENOSYS },
    };
    static const uint32_t eperm = EPERM;
    s->default_action = strdup("SCMP_ACT_ERRNO");
    s->default_errno_ret = malloc(sizeof(eperm));
    struct oci_seccomp_rule *all = rule_new(s, "SCMP_ACT_ALLOW");
    if (!s->default_action || !s->default_errno_ret || !all || names_add(&all->names, always) < 0) {
        return -ENOMEM;
    }
    *s->default_errno_ret = eperm;
    for (size_t i = 0; i < ARRAY_LEN(with_cap); i++) {
        if (has_cap(caps, with_cap[i].cap) && names_add(&s->syscalls.v[0].names, with_cap[i].names) < 0) {
            return -ENOMEM;
        }
    }
#if defined(__x86_64__)
    if (names_add(&s->syscalls.v[0].names, "arch_prctl modify_ldt") < 0 || strv_push(&s->architectures, "SCMP_ARCH_X86_64") < 0 ||
        strv_push(&s->architectures, "SCMP_ARCH_X86") < 0 || strv_push(&s->architectures, "SCMP_ARCH_X32") < 0) {
        return -ENOMEM;
    }
#elif defined(__aarch64__)
    if (names_add(&s->syscalls.v[0].names, "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls") < 0 ||
        strv_push(&s->architectures, "SCMP_ARCH_AARCH64") < 0 || strv_push(&s->architectures, "SCMP_ARCH_ARM") < 0) {
        return -ENOMEM;
    }
#endif
    int r = arg_rules_add(s, args, ARRAY_LEN(args));
    return r == 0 && !has_cap(caps, "CAP_SYS_ADMIN") ? arg_rules_add(s, no_admin, ARRAY_LEN(no_admin)) : r;
}

static void seccomp_free(struct oci_seccomp *s)
{
    if (s) {
        json_free(&oci_seccomp_type, s);
        free(s);
    }
}

int seccomp_default(char *const *caps, struct oci_seccomp **ret, struct err *e)
{
    struct oci_seccomp *s = calloc(1, sizeof(*s));
    if (!s || default_fill(s, caps) < 0) {
        seccomp_free(s);
        return err_oom(e);
    }
    *ret = s;
    return 0;
}

static bool list_meets(const json_t *list, char *const *caps, bool any)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)list, i, v) {
        bool have = has_cap(caps, json_string_value(v) ?: "");
        if (have == any) {
            return any;
        }
    }
    return !any;
}

static bool arch_meets(const json_t *list)
{
#if defined(__x86_64__)
    static const char *const ours[] = { "amd64", "x86_64", "x86", "x32" };
#else
    static const char *const ours[] = { "arm64", "aarch64", "arm" };
#endif
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)list, i, v) {
        for (size_t k = 0; k < ARRAY_LEN(ours); k++) {
            if (str_eq(ours[k], json_string_value(v))) {
                return true;
            }
        }
    }
    return false;
}

/* "4.8": this kernel is that or newer. */
static bool kernel_meets(const char *want)
{
    struct utsname u;
    unsigned a = 0, b = 0, x = 0, y = 0;
    char *end;
    if (!want || uname(&u) < 0) {
        return true;
    }
    a = (unsigned)strtoul(u.release, &end, 10);
    b = *end == '.' ? (unsigned)strtoul(end + 1, NULL, 10) : 0;
    x = (unsigned)strtoul(want, &end, 10);
    y = *end == '.' ? (unsigned)strtoul(end + 1, NULL, 10) : 0;
    return a > x || (a == x && b >= y);
}

/* Docker's conditions: all of "includes" has to hold and nothing of "excludes". */
static bool rule_applies(const json_t *rule, char *const *caps)
{
    const json_t *in = json_object_get(rule, "includes"), *ex = json_object_get(rule, "excludes");
    const json_t *in_caps = json_object_get(in, "caps"), *in_archs = json_object_get(in, "arches");
    const json_t *ex_caps = json_object_get(ex, "caps"), *ex_archs = json_object_get(ex, "arches");
    const char *min = json_string_value(json_object_get(in, "minKernel")), *not_from = json_string_value(json_object_get(ex, "minKernel"));
    return !(json_array_size(in_caps) && !list_meets(in_caps, caps, false)) && !(json_array_size(in_archs) && !arch_meets(in_archs)) &&
           kernel_meets(min) && !(json_array_size(ex_caps) && list_meets(ex_caps, caps, true)) &&
           !(json_array_size(ex_archs) && arch_meets(ex_archs)) && !(not_from && kernel_meets(not_from));
}

/* {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": [...]}: the entry of this machine becomes "architectures". */
static void arch_map_resolve(json_t *profile)
{
#if defined(__x86_64__)
    static const char native[] = "SCMP_ARCH_X86_64";
#else
    static const char native[] = "SCMP_ARCH_AARCH64";
#endif
    const json_t *map = json_object_get(profile, "archMap");
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)map, i, entry) {
        if (str_eq(json_string_value(json_object_get(entry, "architecture")), native)) {
            json_t *list = json_array();
            json_array_append_new(list, json_string(native));
            json_array_extend(list, json_object_get(entry, "subArchitectures"));
            json_object_set_new(profile, "architectures", list);
        }
    }
}

static int rules_resolve(json_t *profile, char *const *caps)
{
    json_t *list = json_object_get(profile, "syscalls"), *kept = json_array(), *rule;
    size_t i;
    json_array_foreach(list, i, rule) {
        /* The oldest form has one "name" in place of "names". */
        json_t *name = json_object_get(rule, "name");
        if (json_is_string(name) && !json_object_get(rule, "names")) {
            json_object_set_new(rule, "names", json_pack("[O]", name));
        }
        if (rule_applies(rule, caps) && json_array_append(kept, rule) < 0) {
            json_decref(kept);
            return -ENOMEM;
        }
    }
    return json_object_set_new(profile, "syscalls", kept);
}

int seccomp_profile_resolve(const char *text, size_t len, char *const *caps, struct oci_seccomp **ret, struct err *e)
{
    json_error_t je;
    json_t *profile = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!profile) {
        return err_set(e, EINVAL, ERR_INVALID, "seccomp profile: line %d column %d: %s", je.line, je.column, je.text);
    }
    struct oci_seccomp *s = calloc(1, sizeof(*s));
    int r = s ? 0 : err_oom(e);
    if (r == 0) {
        arch_map_resolve(profile);
        r = rules_resolve(profile, caps) < 0 ? err_oom(e) : json_decode(&oci_seccomp_type, profile, s, e);
        r = r < 0 ? err_wrap(e, "seccomp profile") : 0;
    }
    json_decref(profile);
    if (r < 0) {
        seccomp_free(s);
        return r;
    }
    *ret = s;
    return 0;
}
