/* cmd/tare-oci-life.c: create, start, run, state, kill, delete, pause, resume. */
#include "cmd/tare-oci.h"

#include "base/fd.h"
#include "base/num.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

char *rt_seccomp_cache(const struct rt *g)
{
    return str_printf("%s/@seccomp", g->root);
}

int rt_connect(const char *path, int *ret_fd, struct err *e)
{
    CLEANUP_FREE char *copy = strdup(path);
    if (!copy) {
        return err_oom(e);
    }
    char *slash = strrchr(copy, '/');
    const char *dir = !slash ? "." : slash == copy ? "/" : copy;
    const char *name = slash ? slash + 1 : copy;
    if (slash) {
        *slash = '\0';
    }
    return sock_connect(dir, name, SOCK_STREAM, ret_fd, e);
}

int rt_write_pid(const char *path, pid_t pid, struct err *e)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d", (int)pid);
    return file_replace(AT_FDCWD, path, text, (size_t)n, 0644, false, e);
}

int rt_console_pair(int pair[2], struct err *e)
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ? err_sys(e, errno, "socketpair") : 0;
}

int rt_console_take(int sock, int *ret_master, struct err *e)
{
    char text[256];
    int fds[1] = { -1 };
    size_t n = ARRAY_LEN(fds);
    ssize_t r = sock_recv(sock, text, sizeof(text), fds, &n, 0);
    if (r < 0 || n != 1) {
        return r < 0 ? err_sys(e, (int)-r, "receive the terminal")
                     : err_set(e, EPROTO, ERR_INTERNAL, "no terminal was received");
    }
    *ret_master = fds[0];
    return 0;
}

/* Absolute path of the bundle. */
static int bundle_path(const char *bundle, char **ret, struct err *e)
{
    char *p = bundle[0] == '/' ? strdup(bundle) : realpath(bundle, NULL);
    if (!p) {
        return err_sys(e, errno, "--bundle %s", bundle);
    }
    *ret = p;
    return 0;
}

static int spec_load(const char *bundle, struct oci_spec **ret, char **ret_text, struct err *e)
{
    CLEANUP_FREE char *path = str_printf("%s/config.json", bundle);
    CLEANUP_BUF struct buf text = { 0 };
    if (!path) {
        return err_oom(e);
    }
    int r = file_read(AT_FDCWD, path, JSON_TEXT_MAX, &text, e);
    if (r == 0) {
        r = oci_spec_parse(buf_str(&text), text.len, ret, e);
        r = r < 0 ? err_wrap(e, "%s", path) : 0;
    }
    if (r == 0) {
        *ret_text = buf_steal(&text);
    }
    return r;
}

/* --preserve-fds names descriptors that have to be there, or the program would find others of ours in their place. */
static int check_fds(uint32_t n, struct err *e)
{
    if (n > 1024) {
        return err_set(e, EINVAL, ERR_INVALID, "--preserve-fds: %u is more than 1024", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (fcntl((int)(3 + i), F_GETFD) < 0) {
            return err_set(e, EBADF, ERR_INVALID, "--preserve-fds: descriptor %u is not open", 3 + i);
        }
    }
    return 0;
}

static bool has_listen_fds(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint32_t p, n;
    return pid && fds && num_u32(pid, &p) == 0 && num_u32(fds, &n) == 0 && p == (uint32_t)getpid() && n > 0;
}

/* What create and run have in common. foreground: the terminal comes to us; *ret_master gets it (or -1). */
struct creation {
    struct oci_created made;
    int console, pidfd_socket, ours, master;
    char *bundle, *cache, *text;
    struct oci_spec *spec;
    struct oci_create_args args;
};

static void creation_done(struct creation *c)
{
    oci_created_done(&c->made);
    fd_close(&c->console);
    fd_close(&c->pidfd_socket);
    fd_close(&c->ours);
    fd_close(&c->master);
    free(c->bundle);
    free(c->cache);
    free(c->text);
    oci_spec_free(c->spec);
}
#define CREATION_INIT                                                                              \
    {                                                                                              \
        .made = { .pidfd = -1, .start_fd = -1, .report_fd = -1 }, .console = -1, .pidfd_socket = -1,   \
        .ours = -1, .master = -1                                                                   \
    }

static int console_prepare(struct creation *c, const struct rt_create_args *a, bool foreground, struct err *e)
{
    bool terminal = c->spec->process && c->spec->process->terminal;
    if (terminal && !foreground && !a->console_socket) {
        return err_set(e, EINVAL, ERR_INVALID, "cannot allocate tty if tare-oci will detach without setting console socket");
    }
    if (a->console_socket && (foreground || !terminal)) {
        return err_set(e, EINVAL, ERR_INVALID, "cannot use console socket if tare-oci will not detach or allocate tty");
    }
    if (a->console_socket) {
        return rt_connect(a->console_socket, &c->console, e);
    }
    if (!terminal) {
        return 0;
    }
    int pair[2];
    int r = rt_console_pair(pair, e);
    if (r == 0) {
        c->ours = pair[0];
        c->console = pair[1];
    }
    return r;
}

static int create(const struct rt *g, const struct rt_create_args *a, const char *id, bool starts, struct creation *c, struct err *e)
{
    bool foreground = starts && !a->detach;
    int r = oci_id_check(id, e);
    if (r < 0 || (r = bundle_path(a->bundle, &c->bundle, e)) < 0 || (r = spec_load(c->bundle, &c->spec, &c->text, e)) < 0 ||
        (r = console_prepare(c, a, foreground, e)) < 0 || (r = check_fds(a->preserve_fds, e)) < 0) {
        return r;
    }
    if (a->pidfd_socket && (r = rt_connect(a->pidfd_socket, &c->pidfd_socket, e)) < 0) {
        return r;
    }
    c->cache = rt_seccomp_cache(g);
    c->args = (struct oci_create_args){
        .id = id,
        .bundle = c->bundle,
        .spec = c->spec,
        .config_text = c->text,
        .state_root = g->root,
        .stdio = { -1, -1, -1 },
        .console_socket = c->console,
        .seccomp_socket = -1,
        .pidfd_socket = c->pidfd_socket,
        .preserve_fds = a->preserve_fds,
        .listen_fds = has_listen_fds(),
        .no_pivot = a->no_pivot,
        .no_new_keyring = a->no_new_keyring,
        .systemd_cgroup = g->systemd_cgroup,
        .seccomp_cache = c->cache,
        .start_here = starts,
    };
    r = oci_create(&c->args, &c->made, e);
    if (r == 0 && c->ours >= 0) {
        r = rt_console_take(c->ours, &c->master, e);
    }
    if (r == 0 && a->pid_file) {
        r = rt_write_pid(a->pid_file, c->made.pid, e);
    }
    return r;
}

/* Something failed after the container came to be: the first error is what the caller is told. */
static void undo(const struct rt *g, const struct creation *c, const char *id)
{
    struct err ignored = { 0 };
    if (c->made.pid > 0 && oci_delete(g->root, id, true, &ignored) < 0) {
        rt_warn(g, ignored.text);
    }
}

int rt_create(void *globals, void *args, int argc, char **argv)
{
    (void)argc;
    struct err e = { 0 };
    CLEANUP(creation_done) struct creation c = CREATION_INIT;
    if (create(globals, args, argv[0], false, &c, &e) < 0) {
        undo(globals, &c, argv[0]);
        return rt_fail(globals, 1, &e);
    }
    return 0;
}

int rt_start(void *globals, void *args, int argc, char **argv)
{
    (void)args;
    (void)argc;
    const struct rt *g = globals;
    struct err e = { 0 };
    return oci_start(g->root, argv[0], &e) < 0 ? rt_fail(g, 1, &e) : 0;
}

int rt_run(void *globals, void *args, int argc, char **argv)
{
    (void)argc;
    const struct rt *g = globals;
    const struct rt_create_args *a = args;
    struct err e = { 0 };
    int code = 0;
    CLEANUP(creation_done) struct creation c = CREATION_INIT;
    if (!a->detach && !a->no_subreaper) {
        prctl(PR_SET_CHILD_SUBREAPER, 1); /* only so that orphans are reaped early */
    }
    int r = create(g, a, argv[0], true, &c, &e);
    if (!a->detach) {
        rt_hold_signals();
    }
    if (r == 0) {
        r = oci_run_start(&c.made, &c.args, &e);
    }
    if (r < 0) {
        undo(g, &c, argv[0]);
        return rt_fail(g, 1, &e);
    }
    if (a->detach) {
        return 0;
    }
    r = rt_wait(c.made.pid, c.made.pidfd, c.master, &code, &e);
    struct err gone = { 0 };
    int d = a->keep ? 0 : r < 0 ? oci_delete(g->root, argv[0], true, &gone) : oci_run_end(&c.made, &c.args, &gone);
    if (d < 0 && r == 0) {
        return rt_fail(g, 1, &gone);
    }
    return r < 0 ? rt_fail(g, 1, &e) : code;
}

int rt_state(void *globals, void *args, int argc, char **argv)
{
    (void)args;
    (void)argc;
    const struct rt *g = globals;
    struct err e = { 0 };
    CLEANUP_OCI_CONTAINER struct oci_container *k = NULL;
    CLEANUP_BUF struct buf text = { 0 };
    if (oci_load(g->root, argv[0], &k, &e) < 0 || oci_state_json(k, &text, &e) < 0) {
        return rt_fail(g, 1, &e);
    }
    if (text.len > 0 && text.data[text.len - 1] != '\n') {
        buf_addc(&text, '\n');
    }
    return rt_print(g, &text);
}

/* "9", "KILL", "SIGKILL", "sigkill", "RTMIN+3". */
static int parse_signal(const char *s, int *ret, struct err *e)
{
    uint32_t n;
    const char *name = strncasecmp(s, "SIG", 3) == 0 ? s + 3 : s;
    if (num_u32(s, &n) == 0 && n >= 1 && n <= (uint32_t)SIGRTMAX) {
        *ret = (int)n;
        return 0;
    }
    for (int i = 1; i < SIGRTMIN; i++) {
        const char *known = sigabbrev_np(i);
        if (known && strcasecmp(known, name) == 0) {
            *ret = i;
            return 0;
        }
    }
    if (strncasecmp(name, "RTMIN", 5) == 0 || strncasecmp(name, "RTMAX", 5) == 0) {
        bool min = strncasecmp(name, "RTMIN", 5) == 0;
        n = 0;
        if ((name[5] == '\0' || (name[5] == (min ? '+' : '-') && num_u32(name + 6, &n) == 0)) &&
            n <= (uint32_t)(SIGRTMAX - SIGRTMIN)) {
            *ret = min ? SIGRTMIN + (int)n : SIGRTMAX - (int)n;
            return 0;
        }
    }
    return err_set(e, EINVAL, ERR_INVALID, "unknown signal \"%.64s\"", s);
}

int rt_kill(void *globals, void *args, int argc, char **argv)
{
    const struct rt *g = globals;
    const struct rt_kill_args *a = args;
    struct err e = { 0 };
    int signo = SIGTERM;
    if ((argc > 1 && parse_signal(argv[1], &signo, &e) < 0) || oci_kill(g->root, argv[0], signo, a->all, &e) < 0) {
        return rt_fail(g, 1, &e);
    }
    return 0;
}

int rt_delete(void *globals, void *args, int argc, char **argv)
{
    (void)argc;
    const struct rt *g = globals;
    const struct rt_delete_args *a = args;
    struct err e = { 0 };
    int r = oci_delete(g->root, argv[0], a->force, &e);
    if (r == 0 || (a->force && e.kind == ERR_NOT_FOUND)) {
        return 0;
    }
    return rt_fail(g, 1, &e);
}

static int set_paused(const struct rt *g, const char *id, bool paused)
{
    struct err e = { 0 };
    return oci_pause(g->root, id, paused, &e) < 0 ? rt_fail(g, 1, &e) : 0;
}

int rt_pause(void *globals, void *args, int argc, char **argv)
{
    (void)args;
    (void)argc;
    return set_paused(globals, argv[0], true);
}

int rt_resume(void *globals, void *args, int argc, char **argv)
{
    (void)args;
    (void)argc;
    return set_paused(globals, argv[0], false);
}
