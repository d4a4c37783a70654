/* ipc/client.c: see client.h. */
#include "ipc/client.h"

#include "base/fd.h"
#include "sys/sock.h"
#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct mon {
    int fd;
    uint32_t seq;
    unsigned minor;
    bool dead; /* an answer may still be under way that nobody waits for */
};

enum { HELLO_TIMEOUT_MS = 10000, OUTPUT_MAX = 64 << 20 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The end of a call as a point in time; INT64_MAX: never. */
static int64_t end_of(int timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
}

static int wait_readable(int fd, int64_t end, struct err *e)
{
    for (;;) {
        int64_t left = end - now_ms();
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int n = poll(&p, 1, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return err_sys(e, errno, "poll");
        }
        if (now_ms() >= end) {
            return err_set(e, ETIMEDOUT, ERR_TIMEOUT, "the monitor did not answer in time");
        }
    }
}

/* One message as it came. */
struct packet {
    char *data;
    size_t len;
    int fds[MON_FDS_MAX];
    size_t n_fds;
    struct mon_header h;
};

static void packet_done(struct packet *p)
{
    free(p->data);
    for (size_t i = 0; i < p->n_fds; i++) {
        fd_close(&p->fds[i]);
    }
    *p = (struct packet){ 0 };
}

static int packet_recv(int fd, int64_t end, struct packet *p, struct err *e)
{
    int r = wait_readable(fd, end, e);
    if (r < 0) {
        return r;
    }
    ssize_t n = sock_peek(fd, MSG_DONTWAIT);
    if (n > 0 && n <= MON_MESSAGE_MAX) {
        p->data = malloc((size_t)n);
        if (!p->data) {
            return err_oom(e);
        }
        p->n_fds = MON_FDS_MAX;
        n = sock_recv(fd, p->data, (size_t)n, p->fds, &p->n_fds, MSG_DONTWAIT);
        if (n < 0) {
            p->n_fds = 0;
        }
    } else if (n > MON_MESSAGE_MAX) {
        n = -EMSGSIZE;
    }
    if (n <= 0) {
        return err_set(e, n < 0 ? (int)-n : EPIPE, ERR_UNAVAILABLE, "the connection to the monitor broke");
    }
    p->len = (size_t)n;
    return mon_decode_header(p->data, p->len, &p->h, e);
}

static int packet_send(int fd, const struct mon_header *h, const struct mon_type *type, const void *in, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    int fds[MON_FDS_MAX];
    size_t n_fds = 0;
    int r = mon_encode(h, type, in, &b, fds, &n_fds, e);
    if (r < 0) {
        return r;
    }
    r = sock_send(fd, b.data, b.len, fds, n_fds, 0);
    return r < 0 ? err_set(e, -r, ERR_UNAVAILABLE, "the connection to the monitor broke") : 0;
}

/* What the monitor says went wrong becomes our error. */
static int take_error(struct packet *p, struct err *e)
{
    struct mon_error me;
    int r = mon_decode(&mon_error_type, p->data, p->len, p->fds, p->n_fds, &me, e);
    if (r < 0) {
        return r;
    }
    int code = me.code > 0 && me.code < 4096 ? (int)me.code : EIO;
    enum err_kind kind = me.kind <= ERR_EXHAUSTED ? (enum err_kind)me.kind : ERR_INTERNAL;
    r = err_set(e, code, kind, "%s", me.text ? me.text : "the monitor gave no reason");
    mon_struct_done(&mon_error_type, &me);
    return r;
}

/* out_type NULL: the fields of the answer are not wanted. */
static int call_until(struct mon *m, unsigned type, const struct mon_type *in_type, const void *in,
                      const struct mon_type *out_type, void *out, int64_t end, struct err *e)
{
    if (m->dead) {
        return err_set(e, EPIPE, ERR_UNAVAILABLE, "the connection to the monitor is closed");
    }
    struct mon_header h = { .major = MON_MAJOR, .minor = (uint8_t)m->minor, .type = (uint16_t)type, .seq = ++m->seq };
    int r = packet_send(m->fd, &h, in_type, in, e);
    if (r < 0) {
        m->dead = r != -EMSGSIZE && r != -ENOMEM;
        return r;
    }
    for (;;) {
        struct packet p CLEANUP(packet_done) = { 0 };
        r = packet_recv(m->fd, end, &p, e);
        if (r < 0) {
            m->dead = true;
            return r;
        }
        if ((p.h.flags & MON_REPLY) && p.h.seq == h.seq) {
            if (p.h.flags & MON_ERROR) {
                return take_error(&p, e);
            }
            return out_type ? mon_decode(out_type, p.data, p.len, p.fds, p.n_fds, out, e) : 0;
        }
    }
}

static int call(struct mon *m, unsigned type, const void *in, const struct mon_type *out_type, void *out, int timeout_ms,
                struct err *e)
{
    return call_until(m, type, mon_request_type(type), in, out_type, out, end_of(timeout_ms), e);
}

static int hello(struct mon *m, int64_t end, struct err *e)
{
    struct mon_hello mine = { .major = MON_MAJOR, .minor = MON_MINOR }, theirs;
    mine.version = strdup(TARE_VERSION);
    int r = call_until(m, MON_HELLO, &mon_hello_type, &mine, &mon_hello_type, &theirs, end, e);
    free(mine.version);
    if (r < 0) {
        return r;
    }
    unsigned mine_minor = mine.minor;
    m->minor = theirs.minor < mine_minor ? theirs.minor : mine_minor;
    mon_struct_done(&mon_hello_type, &theirs);
    return 0;
}

int mon_connect(const char *dir, int timeout_ms, struct mon **ret, struct err *e)
{
    CLEANUP_MON struct mon *m = calloc(1, sizeof(*m));
    if (!m) {
        return err_oom(e);
    }
    m->fd = -1;
    int r = sock_connect(dir, "mon.sock", SOCK_SEQPACKET, &m->fd, e);
    if (r == -ENOENT || r == -ECONNREFUSED) {
        return err_set(e, -r, ERR_UNAVAILABLE, "no monitor answers in %s", dir);
    }
    if (r == 0) {
        r = hello(m, end_of(timeout_ms), e);
    }
    if (r < 0) {
        return r;
    }
    *ret = PTR_STEAL(m);
    return 0;
}

void mon_close(struct mon *m)
{
    if (m) {
        fd_close(&m->fd);
        free(m);
    }
}

unsigned mon_minor(const struct mon *m)
{
    return m->minor;
}

int mon_fd(const struct mon *m)
{
    return m->fd;
}

/* ---- starting one ---------------------------------------------------------------------------------- */

/* The pod's description goes over the socket pair that is the monitor's descriptor 3; so does the answer. */
static int talk_to_newborn(int fd, const struct mon_pod *pod, int64_t end, struct mon_pod_state *ret, struct err *e)
{
    struct mon m = { .fd = fd };
    int r = call_until(&m, MON_POD, &mon_pod_type, pod, &mon_pod_state_type, ret, end, e);
    if (r < 0 && e && e->kind == ERR_UNAVAILABLE) {
        return err_set(e, EIO, ERR_INTERNAL, "the monitor ended before it answered");
    }
    return r;
}

int mon_spawn(const char *monitor_path, const char *dir, const struct mon_pod *pod, int timeout_ms, struct mon_pod_state *ret,
              struct err *e)
{
    int pair[2] = { -1, -1 }, code = 0;
    CLEANUP_FD int pidfd = -1;
    int64_t end = end_of(timeout_ms);
    CLEANUP_MON struct mon *there = NULL;
    if (mon_connect(dir, HELLO_TIMEOUT_MS, &there, NULL) == 0) {
        return err_set(e, EEXIST, ERR_EXISTS, "a monitor runs already in %s", dir);
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return err_sys(e, errno, "create a socket pair");
    }
    CLEANUP_FD int ours = pair[0], theirs = pair[1];
    const char *argv[] = { "tare-monitor", "--dir", dir, NULL };
    const char *envp[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    struct spawn_fd fds[] = { { .from = theirs, .to = 3 } };
    struct spawn_options o = { .path = monitor_path, .argv = (char *const *)(uintptr_t)argv,
                               .envp = (char *const *)(uintptr_t)envp, .cwd = "/", .fds = fds, .n_fds = 1, .new_session = true };
    int r = spawn(&o, &pidfd, NULL, e);
    fd_close(&theirs);
    if (r < 0) {
        return r;
    }
    r = talk_to_newborn(ours, pod, end, ret, e);
    /* What we started has forked the real one and ended, or ends when the socket closes. */
    fd_close(&ours);
    int w = spawn_wait(pidfd, r < 0 ? 5000 : HELLO_TIMEOUT_MS, &code, NULL);
    (void)w;
    return r < 0 ? err_wrap(e, "start the monitor in %s", dir) : 0;
}

/* ---- calls ------------------------------------------------------------------------------------------- */

static int call_target(struct mon *m, unsigned type, const char *id, const char *exec_id, bool force,
                       const struct mon_type *out_type, void *out, int timeout_ms, struct err *e)
{
    struct mon_target t = { .id = (char *)(uintptr_t)id, .exec_id = (char *)(uintptr_t)exec_id, .force = force };
    return call(m, type, &t, out_type, out, timeout_ms, e);
}

int mon_create(struct mon *m, const struct mon_create *c, int timeout_ms, struct mon_ctr_state *ret, struct err *e)
{
    return call(m, MON_CREATE, c, ret ? &mon_ctr_state_type : NULL, ret, timeout_ms, e);
}

int mon_start(struct mon *m, const char *id, int timeout_ms, struct err *e)
{
    return call_target(m, MON_START, id, NULL, false, NULL, NULL, timeout_ms, e);
}

int mon_kill(struct mon *m, const char *id, const char *exec_id, int signo, bool all, int timeout_ms, struct err *e)
{
    struct mon_kill k = { .id = (char *)(uintptr_t)id, .exec_id = (char *)(uintptr_t)exec_id, .signal = signo, .all = all };
    return call(m, MON_KILL, &k, NULL, NULL, timeout_ms, e);
}

static int read_memfd(int *fd, struct mon_bytes *out, struct err *e)
{
    if (*fd < 0) {
        return 0;
    }
    CLEANUP_BUF struct buf b = { 0 };
    struct stat st;
    if (fstat(*fd, &st) < 0 || st.st_size > OUTPUT_MAX || lseek(*fd, 0, SEEK_SET) < 0) {
        return err_set(e, EPROTO, ERR_INTERNAL, "output of an exec is not readable");
    }
    buf_reserve(&b, (size_t)st.st_size + 1);
    int r = fd_read_all(*fd, &b, OUTPUT_MAX);
    if (r < 0) {
        return err_sys(e, -r, "read the output of an exec");
    }
    fd_close(fd);
    free(out->data);
    out->len = b.len;
    out->data = buf_steal(&b);
    return out->data ? 0 : err_oom(e);
}

/* A long process description travels as a memfd. */
static int process_memfd(const struct mon_bytes *process, int *ret, struct err *e)
{
    CLEANUP_FD int fd = memfd_create("process", MFD_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "memfd_create");
    }
    int r = fd_write_all(fd, process->data, process->len);
    if (r < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        return err_sys(e, r < 0 ? -r : errno, "write process");
    }
    *ret = fd_steal(&fd);
    return 0;
}

int mon_exec(struct mon *m, const struct mon_exec *x, int timeout_ms, struct mon_exec_reply *ret, struct err *e)
{
    struct mon_exec send = *x;
    struct mon_exec_reply reply;
    CLEANUP_FD int fd = -1;
    send.process_fd = -1;
    if (x->process.len > MON_INLINE_MAX) {
        int r = process_memfd(&x->process, &fd, e);
        if (r < 0) {
            return r;
        }
        send.process = (struct mon_bytes){ 0 };
        send.process_fd = fd;
    }
    int r = call(m, MON_EXEC, &send, &mon_exec_reply_type, &reply, timeout_ms, e);
    if (r < 0) {
        return r;
    }
    r = read_memfd(&reply.out_fd, &reply.out, e);
    if (r == 0) {
        r = read_memfd(&reply.err_fd, &reply.err, e);
    }
    if (r < 0) {
        mon_struct_done(&mon_exec_reply_type, &reply);
        return r;
    }
    *ret = reply;
    return 0;
}

int mon_attach(struct mon *m, const char *id, const char *exec_id, bool stdin_open, int timeout_ms, int *ret_fd, struct err *e)
{
    struct mon_attach a = { .id = (char *)(uintptr_t)id, .exec_id = (char *)(uintptr_t)exec_id, .stdin_open = stdin_open };
    struct mon_exec_reply reply;
    int r = call(m, MON_ATTACH, &a, &mon_exec_reply_type, &reply, timeout_ms, e);
    if (r < 0) {
        return r;
    }
    if (reply.stream_fd >= 0) {
        *ret_fd = fd_steal(&reply.stream_fd);
    } else {
        r = err_set(e, EPROTO, ERR_INTERNAL, "the monitor gave no stream");
    }
    mon_struct_done(&mon_exec_reply_type, &reply);
    return r;
}

int mon_resize(struct mon *m, const char *id, const char *exec_id, uint32_t rows, uint32_t cols, int timeout_ms, struct err *e)
{
    struct mon_resize s = { .id = (char *)(uintptr_t)id, .exec_id = (char *)(uintptr_t)exec_id, .rows = rows, .cols = cols };
    return call(m, MON_RESIZE, &s, NULL, NULL, timeout_ms, e);
}

int mon_close_stdin(struct mon *m, const char *id, const char *exec_id, int timeout_ms, struct err *e)
{
    return call_target(m, MON_CLOSE_STDIN, id, exec_id, false, NULL, NULL, timeout_ms, e);
}

int mon_reopen_log(struct mon *m, const char *id, int timeout_ms, struct err *e)
{
    return call_target(m, MON_REOPEN_LOG, id, NULL, false, NULL, NULL, timeout_ms, e);
}

int mon_pause(struct mon *m, const char *id, int timeout_ms, struct err *e)
{
    return call_target(m, MON_PAUSE, id, NULL, false, NULL, NULL, timeout_ms, e);
}

int mon_resume(struct mon *m, const char *id, int timeout_ms, struct err *e)
{
    return call_target(m, MON_RESUME, id, NULL, false, NULL, NULL, timeout_ms, e);
}

int mon_update(struct mon *m, const char *id, const char *json, int timeout_ms, struct err *e)
{
    struct mon_update u = { .id = (char *)(uintptr_t)id,
                            .resources = { .data = (char *)(uintptr_t)json, .len = strlen(json) } };
    return call(m, MON_UPDATE, &u, NULL, NULL, timeout_ms, e);
}

int mon_wait(struct mon *m, const char *id, const char *exec_id, int timeout_ms, struct mon_ctr_state *ret, struct err *e)
{
    return call_target(m, MON_WAIT, id, exec_id, false, &mon_ctr_state_type, ret, timeout_ms, e);
}

int mon_ctr_state(struct mon *m, const char *id, const char *exec_id, int timeout_ms, struct mon_ctr_state *ret, struct err *e)
{
    return call_target(m, MON_STATE, id, exec_id, false, &mon_ctr_state_type, ret, timeout_ms, e);
}

int mon_pod_state(struct mon *m, int timeout_ms, struct mon_pod_state *ret, struct err *e)
{
    return call_target(m, MON_STATE, NULL, NULL, false, &mon_pod_state_type, ret, timeout_ms, e);
}

int mon_remove(struct mon *m, const char *id, bool force, int timeout_ms, struct err *e)
{
    return call_target(m, MON_REMOVE, id, NULL, force, NULL, NULL, timeout_ms, e);
}

int mon_shutdown(struct mon *m, int timeout_ms, struct err *e)
{
    return call_target(m, MON_SHUTDOWN, NULL, NULL, false, NULL, NULL, timeout_ms, e);
}

int mon_subscribe(struct mon *m, int timeout_ms, struct err *e)
{
    return call_target(m, MON_SUBSCRIBE, NULL, NULL, false, NULL, NULL, timeout_ms, e);
}

int mon_next_event(struct mon *m, int timeout_ms, unsigned *ret_type, struct mon_ctr_state *ret, struct err *e)
{
    int64_t end = end_of(timeout_ms);
    if (m->dead) {
        return err_set(e, EPIPE, ERR_UNAVAILABLE, "the connection to the monitor is closed");
    }
    for (;;) {
        struct packet p CLEANUP(packet_done) = { 0 };
        int r = packet_recv(m->fd, end, &p, e);
        if (r < 0) {
            m->dead = r != -ETIMEDOUT;
            return r;
        }
        if ((p.h.flags & MON_EVENT) && p.h.type >= MON_EXITED && p.h.type <= MON_OOM) {
            r = mon_decode(&mon_ctr_state_type, p.data, p.len, p.fds, p.n_fds, ret, e);
            if (r == 0) {
                *ret_type = p.h.type;
            }
            return r;
        }
    }
}
