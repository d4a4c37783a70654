/*
 * monitor/builtin.c: the built-in runtime, called in a job: a hostile configuration can crash, and a hanging volume hang, nothing
 * but that child. The container's processes are born as the monitor's own children.
 */
#include "monitor/mon.h"

#include "base/fd.h"
#include "monitor/builder.h"
#include "oci/oci.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

int builder_read_config(const char *bundle, struct oci_spec **ret, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    CLEANUP_FREE char *path = str_printf("%s/config.json", bundle);
    if (!path) {
        return err_oom(e);
    }
    int r = file_read(AT_FDCWD, path, JSON_TEXT_MAX, &text, e);
    if (r == 0) {
        r = oci_spec_parse(buf_str(&text), text.len, ret, e);
        r = r < 0 ? err_wrap(e, "%s", path) : 0;
    }
    return r;
}

int builder_take_master(int socket, int *ret, struct err *e)
{
    char text[256];
    int fd = -1;
    size_t n = 1;
    ssize_t r = sock_recv(socket, text, sizeof(text), &fd, &n, 0);
    if (r < 0 || n != 1) {
        return err_set(e, r < 0 ? (int)-r : EPROTO, ERR_INTERNAL, "the runtime sent no terminal");
    }
    *ret = fd;
    return 0;
}

/* Compiled seccomp filters are shared by all pods of a run folder (RUN/pods/ID is ours). */
static char *seccomp_cache(const struct monitor *m)
{
    const char *pods = strstr(m->dir, "/pods/");
    return pods && !strchr(pods + 6, '/') ? str_printf("%.*s/seccomp", (int)(pods - m->dir), m->dir) :
                                            str_printf("%s/seccomp", m->dir);
}

/* ---- create -------------------------------------------------------------------------------------------------- */

static int create(struct monitor *m, const struct build *b, int console[2], struct oci_created *ret, struct err *e)
{
    const struct mon_create *s = b->spec;
    CLEANUP_OCI_SPEC struct oci_spec *spec = NULL;
    CLEANUP_FREE char *cache = seccomp_cache(m);
    int r = builder_read_config(s->bundle, &spec, e);
    if (r < 0) {
        return r;
    }
    if (spec->process) {
        spec->process->terminal = s->tty;
    }
    struct oci_overlay overlay = { .lowers = s->lower, .upper = s->upper, .work = s->work };
    for (char **o = s->mount_options; o && *o; o++) {
        if (!str_eq(*o, "volatile")) {
            return err_set(e, EINVAL, ERR_INVALID, "mount option '%s' is not supported", *o);
        }
        overlay.is_volatile = true;
    }
    struct oci_create_args args = {
        .id = s->id, .bundle = s->bundle, .spec = spec, .overlay = s->lower ? &overlay : NULL,
        .stdio = { b->stdio[0], b->stdio[1], b->stdio[2] }, .console_socket = s->tty ? console[1] : -1, .seccomp_socket = -1,
        .pidfd_socket = -1, .systemd_cgroup = s->systemd_cgroup, .reparent = true, .seccomp_cache = cache,
    };
    return oci_create(&args, ret, e);
}

static void close_stdio(const struct build *b)
{
    for (int i = 0; i < 3; i++) {
        int fd = b->stdio[i];
        fd_close(&fd);
    }
}

int builtin_create(struct monitor *m, void *data, int socket)
{
    const struct build *b = data;
    struct oci_created c CLEANUP(oci_created_done) = { .pidfd = -1, .start_fd = -1, .report_fd = -1 };
    struct err e = { 0 };
    int console[2] = { -1, -1 }, master = -1;
    if (b->spec->tty && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) < 0) {
        err_sys(&e, errno, "create a socket pair");
        job_report_error(socket, &e);
        return 1;
    }
    int r = create(m, b, console, &c, &e);
    if (r == 0 && b->spec->tty) {
        r = builder_take_master(console[0], &master, &e);
    }
    if (r < 0) {
        job_report_error(socket, &e);
        return 1;
    }
    struct job_result result = { .pid = (int32_t)c.pid };
    snprintf(result.text, sizeof(result.text), "%s", c.cgroup ? c.cgroup : "");
    job_report(socket, &result, master);
    fd_close(&master);
    close_stdio(b); /* what waits for the start must not keep the container's pipes open */
    if (!job_wait_go(socket)) {
        return 1;
    }
    if (oci_created_start(&c, &e) < 0) {
        job_report_error(socket, &e);
        return 1;
    }
    job_report(socket, &(struct job_result){ 0 }, -1);
    return 0;
}

/* ---- exec ------------------------------------------------------------------------------------------------------ */

int builder_read_process(const struct mon_exec *s, struct buf *out, struct err *e)
{
    if (s->process_fd < 0) {
        buf_add(out, s->process.data, s->process.len);
        return buf_failed(out) ? err_oom(e) : 0;
    }
    int r = fd_read_all(s->process_fd, out, JSON_TEXT_MAX);
    return r < 0 ? err_sys(e, -r, "read the exec's process") : 0;
}

static int exec_process(struct monitor *m, const struct build_exec *b, int console, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
    CLEANUP_OCI_SPEC struct oci_spec *spec = NULL;
    CLEANUP_OCI_PROCESS struct oci_process *process = NULL;
    CLEANUP_BUF struct buf text = { 0 };
    CLEANUP_FREE char *cache = seccomp_cache(m);
    int r = builder_read_process(b->spec, &text, e);
    if (r == 0) {
        r = oci_process_parse(buf_str(&text), text.len, &process, e);
    }
    if (r == 0) {
        r = builder_read_config(b->ctr->bundle, &spec, e);
    }
    if (r < 0) {
        return r;
    }
    process->terminal = b->spec->tty;
    struct oci_exec_args args = {
        .pid = b->ctr->status.pid, .spec = spec, .process = process, .cgroup = b->ctr->cgroup, .sub_cgroup = b->sub_cgroup,
        .stdio = { b->stdio[0], b->stdio[1], b->stdio[2] }, .console_socket = b->spec->tty ? console : -1, .reparent = true,
        .seccomp_cache = cache,
    };
    return oci_exec(&args, ret_pid, ret_pidfd, e);
}

int builtin_exec(struct monitor *m, void *data, int socket)
{
    const struct build_exec *b = data;
    struct err e = { 0 };
    int console[2] = { -1, -1 }, master = -1, pidfd = -1;
    pid_t pid = 0;
    if (b->spec->tty && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) < 0) {
        err_sys(&e, errno, "create a socket pair");
        job_report_error(socket, &e);
        return 1;
    }
    int r = exec_process(m, b, console[1], &pid, &pidfd, &e);
    if (r == 0 && b->spec->tty) {
        r = builder_take_master(console[0], &master, &e);
    }
    if (r < 0) {
        job_report_error(socket, &e);
        return 1;
    }
    job_report(socket, &(struct job_result){ .pid = (int32_t)pid }, master);
    return 0;
}

/* ---- pause, resume, update, remove ------------------------------------------------------------------------------- */

static int update(struct oci_cgroup *cg, const struct mon_bytes *json, struct err *e)
{
    struct oci_resources r = { 0 };
    int q = json_parse(&oci_resources_type, json->data, json->len, &r, e);
    if (q == 0) {
        q = oci_cgroup_apply(cg, &r, true, e);
        json_free(&oci_resources_type, &r);
    }
    return q;
}

/* The container is gone; a hook that fails does not bring it back. */
void builder_poststop(const struct ctr *c)
{
    CLEANUP_OCI_SPEC struct oci_spec *spec = NULL;
    struct err e = { 0 };
    if (builder_read_config(c->bundle, &spec, &e) == 0 && spec->hooks && spec->hooks->poststop.n > 0) {
        struct oci_hook_state s = { .id = c->id, .status = "stopped", .bundle = c->bundle, .annotations = &spec->annotations };
        (void)!oci_hooks_run(&spec->hooks->poststop, "poststop", &s, &e);
    }
}

static int control(const struct control *what, struct err *e)
{
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    if (!what->ctr->cgroup) {
        return what->what == MON_REMOVE ? 0 : err_set(e, EINVAL, ERR_INVALID, "the container's cgroup is not known");
    }
    int r = oci_cgroup_open(what->ctr->cgroup, &cg, e);
    if (r < 0) {
        return what->what == MON_REMOVE && r == -ENOENT ? 0 : r;
    }
    switch (what->what) {
    case MON_PAUSE:
        return oci_cgroup_freeze(cg, true, e);
    case MON_RESUME:
        return oci_cgroup_freeze(cg, false, e);
    case MON_UPDATE:
        return update(cg, what->resources, e);
    default:
        return oci_cgroup_destroy(cg, e);
    }
}

int builtin_control(struct monitor *m, void *data, int socket)
{
    const struct control *what = data;
    struct err e = { 0 };
    (void)m;
    if (control(what, &e) < 0) {
        job_report_error(socket, &e);
        return 1;
    }
    if (what->what == MON_REMOVE) {
        builder_poststop(what->ctr);
    }
    bool changes = what->what == MON_PAUSE || what->what == MON_RESUME;
    job_report(socket, &(struct job_result){ .pid = changes ? (int32_t)what->what : 0 }, -1);
    return 0;
}
