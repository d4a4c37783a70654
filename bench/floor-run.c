/*
 * bench/floor-run.c: the least that the kernel can do the work of "run /bin/true" in: the same namespaces, mounts, cgroups,
 * masks, capabilities, filter and exec as a container of the Kubernetes-like config of bench/config.py, with nothing parsed,
 * nothing checked and nothing remembered. What tare-oci and its peers are compared with.
 *
 * usage: floor-run ROOTFS CGROUP FILTER | floor-run -e PID [CGROUP FILTER]
 *   FILTER: a file of struct sock_filter, as the runtime under test compiled it ("-" for none).
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static void check(int r, const char *what)
{
    if (r < 0) {
        perror(what);
        _exit(120);
    }
}

static const char *const controllers[] = { "cpu,cpuacct", "memory", "pids", "devices", "freezer", "blkio", "cpuset" };

struct run {
    const char *root, *cgroup;
    int tasks[LEN(controllers)];
    int go[2];
};

static int file_put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n < 0 ? -1 : 0;
}

static void cgroup_path(char *out, size_t size, const char *controller, const char *name, const char *file)
{
    snprintf(out, size, "/sys/fs/cgroup/%s/%s%s%s", controller, name, file ? "/" : "", file ? file : "");
}

static void file_copy(const char *from, const char *to)
{
    char text[256];
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n > 0) {
        text[n] = '\0';
        file_put(to, text);
    }
    close(fd);
}

static const char *real_controller(const char *c)
{
    static char path[64];
    snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", c);
    return access(path, F_OK) == 0 ? c : strcmp(c, "cpu,cpuacct") == 0 ? "cpu" : c;
}

static void cgroups_make(struct run *r)
{
    static const struct {
        const char *controller, *file, *value;
    } limits[] = {
        { "cpu,cpuacct", "cpu.shares", "512" },
        { "cpu,cpuacct", "cpu.cfs_quota_us", "50000" },
        { "memory", "memory.limit_in_bytes", "134217728" },
        { "pids", "pids.max", "100" },
        { "devices", "devices.deny", "a" },
        { "devices", "devices.allow", "c 1:3 rwm" },
        { "devices", "devices.allow", "c 1:5 rwm" },
        { "devices", "devices.allow", "c 1:7 rwm" },
        { "devices", "devices.allow", "c 1:8 rwm" },
        { "devices", "devices.allow", "c 1:9 rwm" },
        { "devices", "devices.allow", "c 5:0 rwm" },
        { "devices", "devices.allow", "c 5:2 rwm" },
        { "devices", "devices.allow", "c 136:* rwm" },
    };
    char path[256];
    for (size_t i = 0; i < LEN(controllers); i++) {
        cgroup_path(path, sizeof(path), real_controller(controllers[i]), r->cgroup, NULL);
        mkdir(path, 0755);
        cgroup_path(path, sizeof(path), real_controller(controllers[i]), r->cgroup, "tasks");
        r->tasks[i] = open(path, O_WRONLY | O_CLOEXEC);
    }
    static const char *const cpuset[] = { "cpuset.cpus", "cpuset.mems" };
    for (size_t i = 0; i < LEN(cpuset); i++) {
        char from[64];
        snprintf(from, sizeof(from), "/sys/fs/cgroup/cpuset/%s", cpuset[i]);
        cgroup_path(path, sizeof(path), "cpuset", r->cgroup, cpuset[i]);
        file_copy(from, path);
    }
    for (size_t i = 0; i < LEN(limits); i++) {
        cgroup_path(path, sizeof(path), real_controller(limits[i].controller), r->cgroup, limits[i].file);
        file_put(path, limits[i].value);
    }
}

static void cgroups_remove(const struct run *r)
{
    char path[256];
    for (size_t i = 0; i < LEN(controllers); i++) {
        close(r->tasks[i]);
        cgroup_path(path, sizeof(path), real_controller(controllers[i]), r->cgroup, NULL);
        rmdir(path);
    }
}

static void devices_make(void)
{
    static const struct {
        const char *name;
        unsigned major, minor;
    } nodes[] = { { "dev/null", 1, 3 }, { "dev/zero", 1, 5 },   { "dev/full", 1, 7 },
                  { "dev/tty", 5, 0 },  { "dev/random", 1, 8 }, { "dev/urandom", 1, 9 } };
    static const char *const links[][2] = { { "/proc/self/fd", "dev/fd" },
                                            { "/proc/self/fd/0", "dev/stdin" },
                                            { "/proc/self/fd/1", "dev/stdout" },
                                            { "/proc/self/fd/2", "dev/stderr" },
                                            { "pts/ptmx", "dev/ptmx" } };
    for (size_t i = 0; i < LEN(nodes); i++) {
        check(mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].name);
    }
    for (size_t i = 0; i < LEN(links); i++) {
        check(symlink(links[i][0], links[i][1]), links[i][1]);
    }
}

static void root_make(const struct run *r)
{
    static const char *const masked[] = { "proc/acpi", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list",
                                          "proc/sched_debug", "proc/scsi", "sys/firmware" };
    static const char *const readonly[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };
    struct stat st;
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
    check(mount(r->root, r->root, NULL, MS_BIND | MS_REC, NULL), "bind root");
    check(chdir(r->root), "chdir");
    check(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "proc");
    check(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"), "dev");
    check(mkdir("dev/pts", 0755) | mkdir("dev/shm", 0755) | mkdir("dev/mqueue", 0755), "dev folders");
    check(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"), "pts");
    check(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k"), "shm");
    check(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mqueue");
    check(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL), "sysfs");
    devices_make();
    for (size_t i = 0; i < LEN(masked); i++) {
        if (stat(masked[i], &st) == 0) {
            check(S_ISDIR(st.st_mode) ? mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, NULL)
                                      : mount("/dev/null", masked[i], NULL, MS_BIND, NULL),
                  masked[i]);
        }
    }
    for (size_t i = 0; i < LEN(readonly); i++) {
        if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) == 0) {
            check(mount(NULL, readonly[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL),
                  readonly[i]);
        }
    }
    check((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "umount");
    check(chdir("/"), "chdir /");
}

static void privileges_drop(void)
{
    /* CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE */
    static const uint32_t keep = 0xa80425fb;
    struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { keep, keep, 0 }, { 0, 0, 0 } };
    struct rlimit files = { 1024, 1024 };
    for (int c = 0; c <= 40; c++) {
        if (c >= 32 || !(keep & (1u << c))) {
            prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
        }
    }
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    setgroups(0, NULL);
    check(setresgid(0, 0, 0) | setresuid(0, 0, 0), "ids");
    check((int)syscall(SYS_capset, &head, data), "capset");
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void filter_load(const struct sock_fprog *prog)
{
    if (prog->len) {
        check((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, prog), "seccomp");
    }
}

static struct sock_fprog filter_read(const char *path)
{
    static struct sock_filter code[BPF_MAXINSNS];
    struct sock_fprog prog = { 0, code };
    int fd = strcmp(path, "-") == 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, code, sizeof(code));
        prog.len = (unsigned short)(n > 0 ? (size_t)n / sizeof(code[0]) : 0);
        close(fd);
    }
    return prog;
}

/* cgroup and filter NULL: only the namespaces and the exec. */
static int floor_exec(const char *pid, const char *cgroup, const char *filter)
{
    struct sock_fprog prog = filter_read(filter ? filter : "-");
    int fd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);
    int tasks[LEN(controllers)];
    check(fd, "pidfd_open");
    for (size_t i = 0; cgroup && i < LEN(controllers); i++) {
        char path[256];
        cgroup_path(path, sizeof(path), real_controller(controllers[i]), cgroup, "tasks");
        tasks[i] = open(path, O_WRONLY | O_CLOEXEC);
    }
    check(setns(fd, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET), "setns");
    struct clone_args args = { .flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD };
    args.flags = 0;
    pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (child == 0) {
        for (size_t i = 0; cgroup && i < LEN(tasks); i++) {
            if (tasks[i] >= 0) {
                check((int)write(tasks[i], "0", 1), "tasks");
            }
        }
        privileges_drop();
        filter_load(&prog);
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    if ((argc == 3 || argc == 5) && strcmp(argv[1], "-e") == 0) {
        return floor_exec(argv[2], argc == 5 ? argv[3] : NULL, argc == 5 ? argv[4] : NULL);
    }
    if (argc != 4) {
        fprintf(stderr, "usage: floor-run ROOTFS CGROUP FILTER | floor-run -e PID [CGROUP FILTER]\n");
        return 2;
    }
    struct run r = { .root = argv[1], .cgroup = argv[2] };
    struct sock_fprog prog = filter_read(argv[3]);
    struct clone_args args = { .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP,
                               .exit_signal = SIGCHLD };
    check(pipe2(r.go, O_CLOEXEC), "pipe");
    cgroups_make(&r);
    pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    check(child, "clone3");
    if (child == 0) {
        for (size_t i = 0; i < LEN(r.tasks); i++) {
            if (r.tasks[i] >= 0) {
                check((int)write(r.tasks[i], "0", 1), "tasks");
            }
        }
        check(sethostname("floor", 5), "hostname");
        root_make(&r);
        privileges_drop();
        filter_load(&prog);
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    cgroups_remove(&r);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
