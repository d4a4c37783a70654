/* engine/exec.c: further processes in a running container, and attaching to it. */
#include "engine/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int connect_running(struct engine *g, const char *ref, struct ctr *c, struct mon **m, struct err *e)
{
    int r = ctr_load(g, ref, c, e);
    if (r == 0) {
        r = ctr_refresh(g, c, e);
    }
    if (r == 0 && !str_eq(c->row.state, "running")) {
        return err_set(e, EINVAL, ERR_INVALID, "container %.12s is not running (%s)", c->row.id, c->row.state);
    }
    CLEANUP_FREE char *dir = r == 0 ? str_printf("%s/pods/%s", g->run, c->row.pod_id) : NULL;
    return r < 0 ? r : dir ? mon_connect(dir, MON_CALL_MS, m, e) : err_oom(e);
}

int ctr_process(const struct ctr *c, struct oci_process **ret, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    CLEANUP_FREE char *path = str_printf("%s/process.json", c->dir);
    int r = path ? file_read(AT_FDCWD, path, CONFIG_MAX, &b, e) : err_oom(e);
    return r < 0 ? r : oci_process_parse(b.data, b.len, ret, e);
}

static int set_user(const struct ctr *c, const char *user, struct oci_process *p, struct err *e)
{
    CLEANUP_FD int root = -1;
    CLEANUP_USER struct user u = { 0 };
    int r = rootfs_of_process(c->row.pid, c->row.pid_start, &root, e);
    if (r == 0) {
        r = user_lookup(root, user, true, &u, e);
    }
    if (r < 0) {
        return r;
    }
    p->user.uid = u.uid;
    p->user.gid = u.gid;
    free(p->user.additional_gids.v);
    p->user.additional_gids.v = PTR_STEAL(u.groups.v);
    p->user.additional_gids.n = u.groups.n;
    /* A user other than root has no capabilities beyond those that its program's file gives. */
    if (u.uid != 0 && p->capabilities) {
        strv_free(PTR_STEAL(p->capabilities->effective));
        strv_free(PTR_STEAL(p->capabilities->permitted));
    }
    CLEANUP_FREE char *home = str_printf("HOME=%s", u.home ? u.home : "/");
    return home ? spec_env(&p->env, home, e) : err_oom(e);
}

static int set_privileged(struct oci_process *p, struct err *e)
{
    struct engine_ctr_spec all = { .privileged = true };
    p->no_new_privileges = false;
    free(PTR_STEAL(p->apparmor_profile));
    return spec_caps(&all, p, e);
}

static int describe(const struct ctr *c, const struct engine_exec_spec *s, struct oci_process *p, struct err *e)
{
    if (strv_len(s->args) == 0) {
        return err_set(e, EINVAL, ERR_INVALID, "no command to execute");
    }
    strv_free(p->args);
    p->args = strv_copy(s->args);
    p->terminal = s->tty;
    if (!p->args) {
        return err_oom(e);
    }
    int r = s->privileged ? set_privileged(p, e) : 0;
    if (r == 0 && !str_empty(s->user)) {
        r = set_user(c, s->user, p, e);
    }
    if (r == 0 && !str_empty(s->working_dir)) {
        free(p->cwd);
        p->cwd = strdup(s->working_dir);
        r = p->cwd ? 0 : err_oom(e);
    }
    if (r == 0 && s->tty) {
        r = spec_env(&p->env, "TERM=xterm", e);
    }
    for (char **v = s->env; r == 0 && v && *v; v++) {
        r = spec_env(&p->env, *v, e);
    }
    return r;
}

static int run(struct engine *g, const char *ref, const struct engine_exec_spec *s, struct mon_exec *x, int call_ms,
               struct mon_exec_reply *ret, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_MON struct mon *m = NULL;
    CLEANUP_OCI_PROCESS struct oci_process *p = NULL;
    CLEANUP_BUF struct buf b = { 0 };
    int r = connect_running(g, ref, &c, &m, e);
    if (r == 0) {
        r = ctr_process(&c, &p, e);
    }
    if (r == 0) {
        r = describe(&c, s, p, e);
    }
    if (r == 0) {
        r = json_format(&oci_process_type, p, 0, &b, e);
    }
    if (r < 0) {
        return r;
    }
    x->id = c.row.id;
    x->process = (struct mon_bytes){ b.data, b.len };
    x->process_fd = -1;
    return mon_exec(m, x, call_ms, ret, e);
}

int engine_exec_start(struct engine *g, const char *ref, const struct engine_exec_spec *s, bool detach, struct engine_stream *ret,
                      struct err *e)
{
    struct mon_exec_reply reply;
    struct mon_exec x = { .mode = detach ? MON_EXEC_DETACHED : MON_EXEC_ATTACHED, .tty = s->tty, .stdin_open = s->stdin_open,
                          .rows = s->tty_rows, .cols = s->tty_cols };
    int r = run(g, ref, s, &x, MON_CALL_MS, &reply, e);
    if (r < 0) {
        return r;
    }
    *ret = (struct engine_stream){ .fd = fd_steal(&reply.stream_fd), .tty = s->tty, .exec_id = PTR_STEAL(reply.exec_id) };
    mon_struct_done(&mon_exec_reply_type, &reply);
    return 0;
}

int engine_exec_wait(struct engine *g, const char *ref, const char *exec_id, int timeout_ms, int32_t *ret_code, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_MON struct mon *m = NULL;
    struct mon_ctr_state st;
    int r = ctr_load(g, ref, &c, e);
    CLEANUP_FREE char *dir = r == 0 ? str_printf("%s/pods/%s", g->run, c.row.pod_id) : NULL;
    if (r == 0) {
        r = dir ? mon_connect(dir, MON_CALL_MS, &m, e) : err_oom(e);
    }
    if (r == 0) {
        r = mon_wait(m, c.row.id, exec_id, timeout_ms, &st, e);
    }
    if (r == 0) {
        *ret_code = st.exit_code;
        mon_struct_done(&mon_ctr_state_type, &st);
    }
    return r;
}

int engine_exec_sync(struct engine *g, const char *ref, char *const *args, int64_t timeout_ms, size_t max, struct buf *out,
                     struct buf *errout, int32_t *ret_code, struct err *e)
{
    struct mon_exec_reply reply;
    struct engine_exec_spec s = { .args = (char **)(uintptr_t)args };
    struct mon_exec x = { .mode = MON_EXEC_CAPTURED, .timeout_ms = timeout_ms > 0 ? (uint64_t)timeout_ms : 0, .max_out = max, .max_err = max };
    /* The monitor keeps the time; ours only ends a call to one that hangs. */
    int call_ms = timeout_ms <= 0 ? -1 : timeout_ms > INT32_MAX - MON_CALL_MS ? INT32_MAX : (int)timeout_ms + MON_CALL_MS;
    int r = run(g, ref, &s, &x, call_ms, &reply, e);
    if (r < 0) {
        return r;
    }
    buf_add(out, reply.out.data, reply.out.len);
    buf_add(errout, reply.err.data, reply.err.len);
    *ret_code = reply.exit_code;
    bool timed_out = reply.timed_out;
    mon_struct_done(&mon_exec_reply_type, &reply);
    if (timed_out) {
        return err_set(e, ETIMEDOUT, ERR_TIMEOUT, "the command did not end within %lld ms", (long long)timeout_ms);
    }
    return buf_failed(out) || buf_failed(errout) ? err_oom(e) : 0;
}

/* One that has ended is made again before its start, too. */
static int ready(struct engine *g, const struct ctr *seen, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_FD int lock = -1;
    int r = ctr_lock(g, seen->row.id, &lock, e);
    if (r == 0) {
        r = ctr_load(g, seen->row.id, &c, e);
    }
    return r < 0 ? r : ctr_ready_locked(g, &c, e);
}

int engine_ctr_attach(struct engine *g, const char *ref, bool with_stdin, struct engine_stream *ret, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_MON struct mon *m = NULL;
    int fd = -1;
    /* Before its start as well: that is how the first bytes are not missed. */
    int r = ctr_load(g, ref, &c, e);
    CLEANUP_FREE char *dir = r == 0 ? str_printf("%s/pods/%s", g->run, c.row.pod_id) : NULL;
    if (r == 0) {
        r = ctr_refresh(g, &c, e);
    }
    if (r == 0 && str_eq(c.row.state, "exited")) {
        r = ready(g, &c, e);
    }
    if (r == 0) {
        r = dir ? mon_connect(dir, MON_CALL_MS, &m, e) : err_oom(e);
    }
    if (r == 0) {
        r = mon_attach(m, c.row.id, NULL, with_stdin, MON_CALL_MS, &fd, e);
    }
    if (r == 0) {
        *ret = (struct engine_stream){ .fd = fd, .tty = c.spec.tty };
    }
    return r;
}
