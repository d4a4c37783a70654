/* cmd/tare-oci-exec.c: exec: another process in a running container, described by flags over the config's process or by a file. */
#include "cmd/tare-oci.h"

#include "base/fd.h"
#include "base/num.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { EXIT_EXEC = 255 }; /* as runc: told apart from what the process itself returns */

static int replace(char **member, const char *value, struct err *e)
{
    char *copy = strdup(value);
    if (!copy) {
        return err_oom(e);
    }
    free(*member);
    *member = copy;
    return 0;
}

/* "UID" or "UID:GID", numbers and nothing else. */
static int set_user(struct oci_user *u, const char *text, struct err *e)
{
    CLEANUP_FREE char *uid = strdup(text);
    uint32_t id, gid = u->gid;
    if (!uid) {
        return err_oom(e);
    }
    char *colon = strchr(uid, ':');
    if (colon) {
        *colon = '\0';
    }
    if (num_u32(uid, &id) < 0 || (colon && num_u32(colon + 1, &gid) < 0) || id == UINT32_MAX || gid == UINT32_MAX) {
        return err_set(e, EINVAL, ERR_INVALID, "--user: \"%.64s\" is not UID[:GID] in numbers", text);
    }
    u->uid = id;
    u->gid = gid;
    return 0;
}

static int add_groups(struct oci_user *u, char *const *groups, struct err *e)
{
    for (char *const *g = groups; g && *g; g++) {
        uint32_t gid;
        if (num_u32(*g, &gid) < 0 || gid == UINT32_MAX) {
            return err_set(e, EINVAL, ERR_INVALID, "--additional-gids: \"%.64s\" is no group id", *g);
        }
        uint32_t *v = reallocarray(u->additional_gids.v, u->additional_gids.n + 1, sizeof(*v));
        if (!v) {
            return err_oom(e);
        }
        v[u->additional_gids.n++] = gid;
        u->additional_gids.v = v;
    }
    return 0;
}

/* A variable that is there already is replaced. */
static int add_env(struct oci_process *p, char *const *env, struct err *e)
{
    for (char *const *v = env; v && *v; v++) {
        size_t n = strcspn(*v, "=");
        if (n == 0 || (*v)[n] != '=') {
            return err_set(e, EINVAL, ERR_INVALID, "--env: \"%.100s\" is not KEY=VALUE", *v);
        }
        char **old = p->env;
        while (old && *old && strncmp(*old, *v, n + 1) != 0) {
            old++;
        }
        int r = old && *old ? replace(old, *v, e) : strv_push(&p->env, *v);
        if (r < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

/* Bounding, effective and permitted; never inheritable (CVE-2022-29162). */
static int add_caps(struct oci_process *p, char *const *caps, struct err *e)
{
    if (caps && *caps && !p->capabilities && !(p->capabilities = calloc(1, sizeof(*p->capabilities)))) {
        return err_oom(e);
    }
    for (char *const *c = caps; c && *c; c++) {
        if (strv_push(&p->capabilities->bounding, *c) < 0 || strv_push(&p->capabilities->effective, *c) < 0 ||
            strv_push(&p->capabilities->permitted, *c) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

static int read_process(const char *path, struct oci_process **ret, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    int r;
    if (strcmp(path, "-") == 0) {
        r = fd_read_all(STDIN_FILENO, &text, JSON_TEXT_MAX);
        r = r < 0 ? err_sys(e, -r, "read standard input") : 0;
    } else {
        r = file_read(AT_FDCWD, path, JSON_TEXT_MAX, &text, e);
    }
    if (r < 0) {
        return r;
    }
    r = oci_process_parse(buf_str(&text), text.len, ret, e);
    return r < 0 ? err_wrap(e, "--process %s", path) : 0;
}

/* The config's process with the command line's changes. */
static int make_process(const struct rt_exec_args *a, struct oci_process *p, int argc, char **argv, struct err *e)
{
    if (argc < 1) {
        return err_set(e, EINVAL, ERR_INVALID, "no command given; see 'tare-oci exec --help'");
    }
    strv_free(p->args);
    p->args = NULL;
    for (int i = 0; i < argc; i++) {
        if (strv_push(&p->args, argv[i]) < 0) {
            return err_oom(e);
        }
    }
    p->terminal = a->tty;
    p->no_new_privileges |= a->no_new_privs;
    int r = a->user ? set_user(&p->user, a->user, e) : 0;
    if (r < 0 || (a->cwd && (r = replace(&p->cwd, a->cwd, e)) < 0) || (r = add_groups(&p->user, a->groups, e)) < 0 ||
        (r = add_env(p, a->env, e)) < 0 || (r = add_caps(p, a->caps, e)) < 0 ||
        (a->process_label && (r = replace(&p->selinux_label, a->process_label, e)) < 0)) {
        return r;
    }
    if (p->cwd && p->cwd[0] != '/') {
        return err_set(e, EINVAL, ERR_INVALID, "--cwd: \"%.200s\" is not an absolute path", p->cwd);
    }
    return a->apparmor ? replace(&p->apparmor_profile, a->apparmor, e) : 0;
}

static int check_status(const struct oci_container *k, const struct rt_exec_args *a, struct err *e)
{
    if (k->status == OCI_STOPPED) {
        return err_set(e, EINVAL, ERR_INVALID, "cannot exec in a stopped container");
    }
    if (k->status == OCI_PAUSED && !a->ignore_paused) {
        return err_set(e, EBUSY, ERR_BUSY, "cannot exec in a paused container (use --ignore-paused to override)");
    }
    if (k->status == OCI_CREATING) {
        return err_set(e, EBUSY, ERR_BUSY, "cannot exec in a container that is being created");
    }
    if (a->cgroup && (strchr(a->cgroup, ':') || strstr(a->cgroup, ".."))) {
        return err_set(e, EINVAL, ERR_UNSUPPORTED, "--cgroup: \"%.200s\" is not a plain path below the container's cgroup",
                       a->cgroup);
    }
    return 0;
}

struct execution {
    struct oci_container *k;
    struct oci_spec *spec;
    struct oci_process *from_file;
    char *cache;
    int console, ours, master, pidfd_socket, pidfd;
    pid_t pid;
};

static void execution_done(struct execution *x)
{
    fd_close(&x->console);
    fd_close(&x->ours);
    fd_close(&x->master);
    fd_close(&x->pidfd_socket);
    fd_close(&x->pidfd);
    oci_process_free(x->from_file);
    oci_spec_free(x->spec);
    oci_container_free(x->k);
    free(x->cache);
}

static int open_sockets(struct execution *x, const struct rt_exec_args *a, bool terminal, struct err *e)
{
    if (a->console_socket && !(terminal && a->detach)) {
        return err_set(e, EINVAL, ERR_INVALID, "cannot use console socket if tare-oci will not detach or allocate tty");
    }
    if (terminal && a->detach && !a->console_socket) {
        return err_set(e, EINVAL, ERR_INVALID, "cannot allocate tty if tare-oci will detach without setting console socket");
    }
    int r = a->pidfd_socket ? rt_connect(a->pidfd_socket, &x->pidfd_socket, e) : 0;
    if (r < 0 || !terminal) {
        return r;
    }
    if (a->console_socket) {
        return rt_connect(a->console_socket, &x->console, e);
    }
    int pair[2];
    r = rt_console_pair(pair, e);
    if (r == 0) {
        x->ours = pair[0];
        x->console = pair[1];
    }
    return r;
}

static int load(struct execution *x, const struct rt *g, const struct rt_exec_args *a, const char *id, struct err *e)
{
    int r = oci_load(g->root, id, &x->k, e);
    if (r < 0 || (r = check_status(x->k, a, e)) < 0) {
        return r;
    }
    r = oci_spec_parse(x->k->config, strlen(x->k->config), &x->spec, e);
    if (r < 0) {
        return err_wrap(e, "saved config of container %s", id);
    }
    if (!x->spec->process) {
        return err_set(e, EINVAL, ERR_INVALID, "process: the container's config has none");
    }
    x->cache = rt_seccomp_cache(g);
    return a->process ? read_process(a->process, &x->from_file, e) : 0;
}

static int execute(struct execution *x, const struct rt *g, const struct rt_exec_args *a, int argc, char **argv,
                   struct err *e)
{
    int r = load(x, g, a, argv[0], e);
    if (r == 0 && !a->process) {
        r = make_process(a, x->spec->process, argc - 1, argv + 1, e);
    }
    if (r < 0) {
        return r;
    }
    const struct oci_process *p = x->from_file ? x->from_file : x->spec->process;
    r = open_sockets(x, a, p->terminal, e);
    if (r < 0) {
        return r;
    }
    const struct oci_exec_args args = {
        .pid = x->k->pid,
        .spec = x->spec,
        .process = p,
        .cgroup = x->k->cgroup,
        .sub_cgroup = a->cgroup,
        .opened = x->k->cg,
        .stdio = { -1, -1, -1 },
        .console_socket = x->console,
        .preserve_fds = a->preserve_fds,
        .seccomp_cache = x->cache,
    };
    if (!a->detach) {
        rt_hold_signals();
    }
    r = oci_exec(&args, &x->pid, &x->pidfd, e);
    if (r == 0 && x->ours >= 0) {
        r = rt_console_take(x->ours, &x->master, e);
    }
    if (r == 0 && a->pid_file) {
        r = rt_write_pid(a->pid_file, x->pid, e);
    }
    if (r == 0 && x->pidfd_socket >= 0) {
        r = sock_send(x->pidfd_socket, "pidfd", 5, &x->pidfd, 1, 0);
        r = r < 0 ? err_sys(e, -r, "--pidfd-socket") : 0;
    }
    return r;
}

int rt_exec(void *globals, void *args, int argc, char **argv)
{
    const struct rt_exec_args *a = args;
    struct err e = { 0 };
    CLEANUP(execution_done) struct execution x = {
        .console = -1, .ours = -1, .master = -1, .pidfd_socket = -1, .pidfd = -1
    };
    int code = 0;
    if (execute(&x, globals, a, argc, argv, &e) < 0 ||
        (!a->detach && rt_wait(x.pid, x.pidfd, x.master, &code, &e) < 0)) {
        return rt_fail(globals, EXIT_EXEC, &e);
    }
    return code;
}
