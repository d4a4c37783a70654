/* monitor/monitor.c: the whole: born from a socket pair that brings the pod's description, then one loop until SHUTDOWN. */
#include "monitor/monitor.h"

#include "base/fd.h"
#include "monitor/mon.h"
#include "sys/proc.h"
#include "sys/sock.h"
#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

int64_t monitor_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- being born ------------------------------------------------------------------------------------------ */

static int take_pod(int boot_fd, struct mon_header *h, struct mon_pod *pod, struct err *e)
{
    int fds[MON_FDS_MAX];
    size_t n_fds = MON_FDS_MAX;
    ssize_t n = sock_peek(boot_fd, 0);
    if (n <= 0 || n > MON_MESSAGE_MAX) {
        return err_set(e, EPROTO, ERR_INVALID, "no description of the pod on descriptor %d", boot_fd);
    }
    CLEANUP_FREE char *packet = malloc((size_t)n);
    if (!packet) {
        return err_oom(e);
    }
    n = sock_recv(boot_fd, packet, (size_t)n, fds, &n_fds, 0);
    if (n < 0) {
        return err_sys(e, (int)-n, "receive the description of the pod");
    }
    int r = mon_decode_header(packet, (size_t)n, h, e);
    if (r == 0 && h->type != MON_POD) {
        r = err_set(e, EPROTO, ERR_INVALID, "message %u came instead of the pod's description", h->type);
    }
    if (r == 0) {
        r = mon_decode(&mon_pod_type, packet, (size_t)n, fds, n_fds, pod, e);
    }
    for (size_t i = 0; i < n_fds; i++) {
        fd_close(&fds[i]);
    }
    return r;
}

/* Fails when nobody is there to hear it. */
static int answer_boot(int boot_fd, const struct mon_header *h, const struct monitor *m, const struct err *e)
{
    int r = -ENOMEM;
    CLEANUP_BUF struct buf b = { 0 };
    struct mon_header to = { .major = MON_MAJOR, .minor = MON_MINOR, .type = MON_POD, .seq = h->seq,
                             .flags = m ? MON_REPLY : MON_REPLY | MON_ERROR };
    struct mon_pod_state s = { 0 };
    struct mon_error me = { 0 };
    int fds[MON_FDS_MAX];
    size_t n_fds;
    if (m) {
        pod_fill_state(m, &s);
    } else {
        me = (struct mon_error){ .code = (uint32_t)e->code, .kind = e->kind, .text = (char *)(uintptr_t)e->text };
    }
    if (mon_encode(&to, m ? &mon_pod_state_type : &mon_error_type, m ? (void *)&s : (void *)&me, &b, fds, &n_fds, NULL) == 0) {
        r = sock_send(boot_fd, b.data, b.len, NULL, 0, 0) < 0 ? -EPIPE : 0;
    }
    mon_struct_done(&mon_pod_state_type, &s);
    return r;
}

/* A v1 cgroup is joined through `tasks`: unlike cgroup.procs it waits for no grace period of RCU. */
static int join_cgroup(const char *dir, struct err *e)
{
    CLEANUP_FD int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "open cgroup %s", dir);
    }
    struct statfs fs;
    bool v2 = fstatfs(fd, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
    int r = file_write(fd, v2 ? "cgroup.procs" : "tasks", "0", 1, e);
    return r < 0 ? err_wrap(e, "join cgroup %s", dir) : 0;
}

/* Protects us where we may; our children get back what we had. */
static void set_oom_score(struct monitor *m, int32_t adj)
{
    CLEANUP_BUF struct buf b = { 0 };
    char text[16];
    if (adj == 0 || file_read(AT_FDCWD, "/proc/self/oom_score_adj", 64, &b, NULL) < 0) {
        return;
    }
    int n = snprintf(text, sizeof(text), "%d", adj);
    if (file_write(AT_FDCWD, "/proc/self/oom_score_adj", text, (size_t)n, NULL) == 0) {
        m->oom_score_adj = buf_steal(&b);
    }
}

static int write_pid_file(struct monitor *m, struct err *e)
{
    char text[64];
    uint64_t start = 0;
    (void)!proc_start_time(getpid(), &start, NULL);
    int n = snprintf(text, sizeof(text), "%d %llu\n", (int)getpid(), (unsigned long long)start);
    return file_replace(m->dirfd, "mon.pid", text, (size_t)n, 0644, false, e);
}

/* Some time after much was read: the buffers' memory goes back; if it is needed still, it is cheap to get again. */
static void trim(struct loop_source *s, void *data)
{
    struct monitor *m = data;
    (void)s;
    m->io_scratch.dirty = false;
    madvise(m->io_scratch.data, 2 * MON_SCRATCH, MADV_DONTNEED);
    malloc_trim(0);
}

static int setup_loop(struct monitor *m, struct err *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    int r = loop_new(&m->loop, e);
    if (r == 0) {
        r = loop_add_signals(m->loop, &set, reap_signal, m, NULL, e);
    }
    if (r == 0) {
        r = loop_add_timer(m->loop, 0, trim, m, &m->io_scratch.timer, e);
    }
    return r;
}

static int listen_socket(struct monitor *m, struct err *e)
{
    int r = sock_listen(m->dir, "mon.sock", SOCK_SEQPACKET | SOCK_NONBLOCK, 0600, 64, &m->listener, e);
    if (r == 0) {
        r = loop_add_fd(m->loop, m->listener, EPOLLIN, client_accept, m, &m->listen_source, e);
    }
    return r;
}

/* Buffers that are touched only by heavy traffic, and given back after it. */
static int map_scratch(struct monitor *m, struct err *e)
{
    char *p = mmap(NULL, 2 * MON_SCRATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return err_sys(e, errno, "map buffers");
    }
    m->io_scratch = (struct io_scratch){ .data = p, .cap = MON_SCRATCH };
    m->scratch = (struct ctrlog_scratch){ .data = p + MON_SCRATCH, .cap = MON_SCRATCH };
    return 0;
}

static int setup(struct monitor *m, const struct mon_pod *pod, struct err *e)
{
    struct statfs fs;
    m->pure_v2 = statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
    m->dirfd = open(m->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (m->dirfd < 0) {
        return err_sys(e, errno, "open folder %s", m->dir);
    }
    for (char **c = pod->cgroups; c && *c; c++) {
        int r = join_cgroup(*c, e);
        if (r < 0) {
            return r;
        }
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
        return err_sys(e, errno, "become a subreaper");
    }
    set_oom_score(m, pod->oom_score_adj);
    m->notify = pod->notify ? strdup(pod->notify) : NULL;
    int r = map_scratch(m, e);
    if (r == 0) {
        r = setup_loop(m, e);
    }
    if (r == 0) {
        r = pod_setup(m, pod, e);
    }
    if (r == 0) {
        r = write_pid_file(m, e);
    }
    return r < 0 ? r : listen_socket(m, e);
}

/* ---- the loop ---------------------------------------------------------------------------------------------- */

void monitor_exit_command(struct monitor *m, struct ctr *c)
{
    struct err e = { 0 };
    int pidfd = -1;
    char *const *argv = c->spec.exit_command;
    if (!argv || !argv[0]) {
        return;
    }
    struct spawn_options o = { .path = argv[0], .argv = argv, .cwd = "/", .new_session = true };
    (void)m;
    if (spawn(&o, &pidfd, NULL, &e) == 0) {
        close(pidfd); /* reaped with all the others */
    }
}

static void done(struct monitor *m)
{
    while (m->clients) {
        client_free(m->clients);
    }
    while (m->ctrs) {
        ctr_free(m->ctrs);
    }
    while (m->jobs) {
        job_free(m->jobs);
    }
    pod_done(m);
    loop_free(m->loop);
    fd_close(&m->listener);
    fd_close(&m->dirfd);
    free(m->early);
    free(m->notify);
    free(m->oom_score_adj);
    free(m->dir);
    if (m->io_scratch.data) {
        munmap(m->io_scratch.data, 2 * MON_SCRATCH);
    }
}

static int boot(struct monitor *m, int boot_fd, struct err *e)
{
    struct mon_header h = { 0 };
    struct mon_pod pod = { 0 };
    int r = take_pod(boot_fd, &h, &pod, e);
    if (r == 0) {
        r = setup(m, &pod, e);
    }
    int sent = answer_boot(boot_fd, &h, r == 0 ? m : NULL, e);
    mon_struct_done(&mon_pod_type, &pod);
    /* Whoever started it was killed meanwhile: its pod is undone, the folder may be gone, and nobody would ever stop it. */
    return r == 0 && sent < 0 ? err_set(e, EPIPE, ERR_UNAVAILABLE, "the program that started this monitor has gone") : r;
}

int monitor_run(const char *dir, int boot_fd, struct err *e)
{
    /* Small and steady: large blocks are mapped and unmapped, the heap grows by what is needed. */
    mallopt(M_MMAP_THRESHOLD, 32 << 10);
    mallopt(M_TRIM_THRESHOLD, 16 << 10);
    mallopt(M_TOP_PAD, 4 << 10);
    struct monitor m CLEANUP(done) = { .dirfd = -1, .listener = -1, .pod = { .ns = { -1, -1, -1, -1, -1 } } };
    m.dir = strdup(dir);
    if (!m.dir) {
        return err_oom(e);
    }
    int r = boot(&m, boot_fd, e);
    close(boot_fd);
    return r < 0 ? r : loop_run(m.loop, e);
}
