/*
 * monitor/foreign.c: another OCI runtime, driven by argv as conmon and containerd drive it. It is a grandchild; the container's init
 * that it leaves behind is adopted by the monitor, which is the nearest subreaper.
 */
#include "monitor/mon.h"

#include "base/fd.h"
#include "base/num.h"
#include "monitor/builder.h"
#include "sys/sock.h"
#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PID_FILE_MAX = 32, LOG_MAX = 64 << 10, CONSOLE_TIMEOUT_MS = 10000, RUN_TIMEOUT_MS = 110000 };

/* A command line that grows; failure is sticky. */
struct line {
    char **argv;
    bool failed;
};

static void line_done(struct line *l)
{
    strv_free(l->argv);
}

static void add(struct line *l, const char *s)
{
    l->failed = l->failed || !s || strv_push(&l->argv, s) < 0;
}

static void begin(struct line *l, const struct mon_create *s, const char *log, const char *command)
{
    add(l, s->runtime);
    for (char **a = s->runtime_args; a && *a; a++) {
        add(l, *a);
    }
    if (s->systemd_cgroup) {
        add(l, "--systemd-cgroup");
    }
    add(l, "--log");
    add(l, log);
    add(l, command);
}

/* What stands in msg="…" of a line of Go's logrus, unquoted in place; other lines as they are. */
static const char *log_message(char *line)
{
    char *msg = strstr(line, " msg=\""), *to;
    if (!msg) {
        return line;
    }
    to = msg += sizeof(" msg=\"") - 1;
    for (const char *from = msg; *from && *from != '"'; from++) {
        from += *from == '\\' && from[1] != '\0';
        *to++ = *from;
    }
    *to = '\0';
    return msg;
}

/* The last line that the runtime logged is why it failed. */
static int runtime_error(const char *log, const struct mon_create *s, const char *command, int code, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    const char *why = "no reason given";
    if (file_read(AT_FDCWD, log, LOG_MAX, &b, NULL) == 0 && b.len > 0) {
        while (b.len > 0 && b.data[b.len - 1] == '\n') {
            b.data[--b.len] = '\0';
        }
        char *nl = strrchr(b.data, '\n');
        why = log_message(nl ? nl + 1 : b.data);
    }
    return err_set(e, EIO, ERR_INTERNAL, "%s %s: exit code %d: %s", s->runtime, command, code, why);
}

/* Runs it to its end with the given standard streams (-1: /dev/null). */
static int run(struct line *l, const struct mon_create *s, const char *command, const int stdio[static 3], const char *log,
               struct err *e)
{
    struct spawn_fd fds[3];
    struct spawn_options o = { .path = s->runtime, .argv = l->argv, .cwd = s->bundle, .fds = fds };
    CLEANUP_FD int pidfd = -1;
    int code = 0;
    if (l->failed) {
        return err_oom(e);
    }
    for (int i = 0; i < 3; i++) {
        if (stdio[i] >= 0) {
            fds[o.n_fds++] = (struct spawn_fd){ .from = stdio[i], .to = i };
        }
    }
    unlink(log);
    int r = spawn(&o, &pidfd, NULL, e);
    if (r == 0) {
        r = spawn_wait(pidfd, RUN_TIMEOUT_MS, &code, e);
    }
    if (r == 0 && code != 0) {
        r = runtime_error(log, s, command, code, e);
    }
    unlink(log);
    return r;
}

static int read_pid(const char *path, pid_t *ret, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    uint32_t pid = 0;
    int r = file_read(AT_FDCWD, path, PID_FILE_MAX, &b, e);
    if (r < 0) {
        return r;
    }
    while (b.len > 0 && b.data[b.len - 1] == '\n') {
        b.data[--b.len] = '\0';
    }
    if (num_u32(buf_str(&b), &pid) < 0 || pid < 2 || pid > INT32_MAX) {
        return err_set(e, EPROTO, ERR_INTERNAL, "%s: '%s' is not a process id", path, buf_str(&b));
    }
    *ret = (pid_t)pid;
    return 0;
}

static int accept_master(int listener, int *ret, struct err *e)
{
    struct pollfd p = { .fd = listener, .events = POLLIN };
    if (poll(&p, 1, CONSOLE_TIMEOUT_MS) != 1) {
        return err_set(e, ETIMEDOUT, ERR_TIMEOUT, "the runtime did not connect to the console socket");
    }
    CLEANUP_FD int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    return conn < 0 ? err_sys(e, errno, "accept on the console socket") : builder_take_master(conn, ret, e);
}

/* ---- create ------------------------------------------------------------------------------------------------------ */

/* Names of the files that a run of the runtime uses in the bundle. */
struct files {
    char *pid, *log, *console, *console_name;
};

static void files_done(struct files *f)
{
    free(f->pid);
    free(f->log);
    free(f->console);
    free(f->console_name);
}

static int files_init(struct files *f, const char *bundle, const char *what, struct err *e)
{
    f->pid = str_printf("%s/%s.pid", bundle, what);
    f->log = str_printf("%s/%s.runtime-log", bundle, what);
    f->console_name = str_printf("%s.tty", what);
    f->console = f->console_name ? str_printf("%s/%s", bundle, f->console_name) : NULL;
    return f->pid && f->log && f->console ? 0 : err_oom(e);
}

/* Runs `create` or `exec` and collects the pid and the pty. */
static int run_for_pid(struct line *l, const struct mon_create *s, const char *command, const int stdio[static 3],
                       const struct files *f, int console, pid_t *ret_pid, int *ret_master, struct err *e)
{
    static const int none[3] = { -1, -1, -1 };
    unlink(f->pid);
    int r = run(l, s, command, console >= 0 ? none : stdio, f->log, e);
    if (r == 0) {
        r = read_pid(f->pid, ret_pid, e);
    }
    if (r == 0 && console >= 0) {
        r = accept_master(console, ret_master, e);
    }
    unlink(f->pid);
    unlink(f->console);
    return r;
}

static int create(const struct build *b, struct job_result *ret, int *ret_master, struct err *e)
{
    const struct mon_create *s = b->spec;
    CLEANUP_OCI_SPEC struct oci_spec *spec = NULL;
    struct files f CLEANUP(files_done) = { 0 };
    struct line l CLEANUP(line_done) = { 0 };
    CLEANUP_FD int console = -1;
    pid_t pid = 0;
    int r = files_init(&f, s->bundle, "init", e);
    if (r == 0) {
        r = builder_read_config(s->bundle, &spec, e);
    }
    if (r == 0 && s->tty) {
        r = sock_listen(s->bundle, f.console_name, SOCK_STREAM, 0600, 1, &console, e);
    }
    if (r < 0) {
        return r;
    }
    begin(&l, s, f.log, "create");
    add(&l, "--bundle");
    add(&l, s->bundle);
    add(&l, "--pid-file");
    add(&l, f.pid);
    if (s->tty) {
        add(&l, "--console-socket");
        add(&l, f.console);
    }
    add(&l, s->id);
    r = run_for_pid(&l, s, "create", b->stdio, &f, console, &pid, ret_master, e);
    if (r < 0) {
        return r;
    }
    ret->pid = (int32_t)pid;
    const char *path = spec->linux ? spec->linux->cgroups_path : NULL;
    if (path && path[0] == '/' && !s->systemd_cgroup) {
        snprintf(ret->text, sizeof(ret->text), "cgroupfs:%s", path);
    }
    return 0;
}

/* A command that takes nothing but the id. */
static int simple(const struct mon_create *s, const char *command, const char *option, struct err *e)
{
    static const int none[3] = { -1, -1, -1 };
    struct files f CLEANUP(files_done) = { 0 };
    struct line l CLEANUP(line_done) = { 0 };
    int r = files_init(&f, s->bundle, command, e);
    if (r < 0) {
        return r;
    }
    begin(&l, s, f.log, command);
    if (option) {
        add(&l, option);
    }
    add(&l, s->id);
    return run(&l, s, command, none, f.log, e);
}

int foreign_create(struct monitor *m, void *data, int socket)
{
    const struct build *b = data;
    struct job_result result = { 0 };
    struct err e = { 0 };
    int master = -1;
    (void)m;
    if (create(b, &result, &master, &e) < 0) {
        (void)!simple(b->spec, "delete", "--force", NULL);
        job_report_error(socket, &e);
        return 1;
    }
    job_report(socket, &result, master);
    fd_close(&master);
    for (int i = 0; i < 3; i++) {
        int fd = b->stdio[i];
        fd_close(&fd);
    }
    if (!job_wait_go(socket)) {
        return 1;
    }
    if (simple(b->spec, "start", NULL, &e) < 0) {
        job_report_error(socket, &e);
        return 1;
    }
    job_report(socket, &(struct job_result){ 0 }, -1);
    return 0;
}

/* ---- exec ---------------------------------------------------------------------------------------------------------- */

static int exec_process(const struct build_exec *b, const char *name, pid_t *ret_pid, int *ret_master, struct err *e)
{
    const struct mon_create *s = &b->ctr->spec;
    CLEANUP_BUF struct buf text = { 0 };
    CLEANUP_FREE char *file = str_printf("%s/%s.json", s->bundle, name);
    struct files f CLEANUP(files_done) = { 0 };
    struct line l CLEANUP(line_done) = { 0 };
    CLEANUP_FD int console = -1;
    int r = file ? files_init(&f, s->bundle, name, e) : err_oom(e);
    if (r == 0) {
        r = builder_read_process(b->spec, &text, e);
    }
    if (r == 0) {
        r = file_replace(AT_FDCWD, file, buf_str(&text), text.len, 0600, false, e);
    }
    if (r == 0 && b->spec->tty) {
        r = sock_listen(s->bundle, f.console_name, SOCK_STREAM, 0600, 1, &console, e);
    }
    if (r < 0) {
        return r;
    }
    begin(&l, s, f.log, "exec");
    add(&l, "--detach");
    add(&l, "--process");
    add(&l, file);
    add(&l, "--pid-file");
    add(&l, f.pid);
    if (b->spec->tty) {
        add(&l, "--tty");
        add(&l, "--console-socket");
        add(&l, f.console);
    }
    add(&l, s->id);
    r = run_for_pid(&l, s, "exec", b->stdio, &f, console, ret_pid, ret_master, e);
    unlink(file);
    return r;
}

int foreign_exec(struct monitor *m, void *data, int socket)
{
    const struct build_exec *b = data;
    struct err e = { 0 };
    char name[64];
    int master = -1;
    pid_t pid = 0;
    (void)m;
    snprintf(name, sizeof(name), "exec-%d", (int)getpid());
    if (exec_process(b, name, &pid, &master, &e) < 0) {
        job_report_error(socket, &e);
        return 1;
    }
    job_report(socket, &(struct job_result){ .pid = (int32_t)pid }, master);
    return 0;
}

/* ---- pause, resume, update, remove ------------------------------------------------------------------------------------ */

static int update(const struct mon_create *s, const struct mon_bytes *json, struct err *e)
{
    struct files f CLEANUP(files_done) = { 0 };
    struct line l CLEANUP(line_done) = { 0 };
    CLEANUP_FREE char *file = str_printf("%s/update.json", s->bundle);
    static const int none[3] = { -1, -1, -1 };
    int r = file ? files_init(&f, s->bundle, "update", e) : err_oom(e);
    if (r == 0) {
        r = file_replace(AT_FDCWD, file, json->data, json->len, 0600, false, e);
    }
    if (r < 0) {
        return r;
    }
    begin(&l, s, f.log, "update");
    add(&l, "--resources");
    add(&l, file);
    add(&l, s->id);
    r = run(&l, s, "update", none, f.log, e);
    unlink(file);
    return r;
}

int foreign_control(struct monitor *m, void *data, int socket)
{
    const struct control *what = data;
    const struct mon_create *s = &what->ctr->spec;
    struct err e = { 0 };
    int r;
    (void)m;
    switch (what->what) {
    case MON_PAUSE:
        r = simple(s, "pause", NULL, &e);
        break;
    case MON_RESUME:
        r = simple(s, "resume", NULL, &e);
        break;
    case MON_UPDATE:
        r = update(s, what->resources, &e);
        break;
    default:
        r = simple(s, "delete", "--force", &e);
        break;
    }
    if (r < 0) {
        job_report_error(socket, &e);
        return 1;
    }
    bool changes = what->what == MON_PAUSE || what->what == MON_RESUME;
    job_report(socket, &(struct job_result){ .pid = changes ? (int32_t)what->what : 0 }, -1);
    return 0;
}
