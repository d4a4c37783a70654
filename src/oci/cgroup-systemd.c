/*
 * oci/cgroup-systemd.c: the systemd driver: linux.cgroupsPath is "slice:prefix:name", and systemd makes the cgroup as a transient scope.
 * The bus is spoken to by tare-systemd-helper, which is in the scope itself until the container's init is: a scope without processes
 * would be gone at once.
 */
#include "base/fd.h"
#include "oci/cgroup.h"
#include "sys/self.h"
#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { ANSWER_TIMEOUT_MS = 35000, NAME_LEN_MAX = 250 };

static int name_check(const char *name, size_t len, const char *what, struct err *e)
{
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_.@\\-", c))) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.cgroupsPath: '%.*s' is no name of a systemd %s", (int)len, name, what);
        }
    }
    return len <= NAME_LEN_MAX ? 0 : err_set(e, EINVAL, ERR_INVALID, "linux.cgroupsPath: name of the %s is too long", what);
}

/* "a-b.slice" lies in "a.slice": /a.slice/a-b.slice. "-.slice" is the root. */
static int slice_expand(const char *slice, struct buf *out, struct err *e)
{
    size_t n = strlen(slice), stem = n - strlen(".slice");
    if (!str_ends(slice, ".slice") || stem == 0) {
        return err_set(e, EINVAL, ERR_INVALID, "linux.cgroupsPath: '%s' is no slice", slice);
    }
    if (stem == 1 && slice[0] == '-') {
        return 0;
    }
    for (size_t i = 0; i <= stem; i++) {
        if (i < stem && slice[i] != '-') {
            continue;
        }
        if (i == 0 || slice[i - 1] == '-') {
            return err_set(e, EINVAL, ERR_INVALID, "linux.cgroupsPath: '%s' is no slice", slice);
        }
        buf_addf(out, "/%.*s.slice", (int)i, slice);
    }
    return 0;
}

/*
 * Whether the user's own manager is asked, and as whom. In a user namespace (rootless engines run us as its root) the user is whoever
 * root is outside.
 */
static bool user_manager(uid_t *ret_uid)
{
    CLEANUP_BUF struct buf map = { 0 };
    unsigned inside, outside, length;
    uid_t uid = geteuid();
    if (uid == 0 && file_read(AT_FDCWD, "/proc/self/uid_map", 4096, &map, NULL) == 0 &&
        sscanf(buf_str(&map), "%u %u %u", &inside, &outside, &length) == 3 && inside == 0) {
        uid = outside;
    }
    if (ret_uid) {
        *ret_uid = uid;
    }
    return uid != 0;
}

void systemd_names_done(struct systemd_names *n)
{
    free(n->slice);
    free(n->unit);
    free(n->path);
    free(n->text);
}

int systemd_names_parse(const char *cgroups_path, const char *id, struct systemd_names *ret, struct err *e)
{
    CLEANUP(systemd_names_done) struct systemd_names n = { 0 };
    CLEANUP_FREE char *whole = str_empty(cgroups_path) ? str_printf(":tare:%s", id) : strdup(cgroups_path);
    CLEANUP_BUF struct buf path = { 0 };
    if (!whole) {
        return err_oom(e);
    }
    char *prefix = strchr(whole, ':'), *name = prefix ? strchr(prefix + 1, ':') : NULL;
    if (!name || strchr(name + 1, ':') || name[1] == '\0') {
        return err_set(e, EINVAL, ERR_INVALID, "linux.cgroupsPath: '%s' is not of the form slice:prefix:name", whole);
    }
    n.text = str_printf("systemd:%s", whole);
    *prefix++ = '\0';
    *name++ = '\0';
    uid_t uid;
    bool user = user_manager(&uid);
    n.slice = strdup(*whole ? whole : user ? "user.slice" : "system.slice");
    n.unit = str_ends(name, ".slice") ? strdup(name) : str_printf("%s%s%s.scope", prefix, *prefix ? "-" : "", name);
    if (!n.slice || !n.unit || !n.text) {
        return err_oom(e);
    }
    int r = name_check(n.slice, strlen(n.slice), "slice", e);
    r = r < 0 ? r : name_check(n.unit, strlen(n.unit), "unit", e);
    if (r == 0 && str_ends(n.unit, ".slice")) {
        r = err_set(e, EOPNOTSUPP, ERR_UNSUPPORTED, "linux.cgroupsPath: '%s': a container cannot be a slice", n.unit);
    }
    if (user) { /* its slices are below its own service */
        buf_addf(&path, "/user.slice/user-%u.slice/user@%u.service", uid, uid);
    }
    r = r < 0 ? r : slice_expand(n.slice, &path, e);
    if (r < 0) {
        return r;
    }
    buf_addf(&path, "/%s", n.unit);
    n.path = buf_steal(&path);
    if (!n.path) {
        return err_oom(e);
    }
    *ret = n;
    n = (struct systemd_names){ 0 };
    return 0;
}

/* Beside our own program, else in libexec, else by PATH. */
static char *helper_path(void)
{
    static const char *const places[] = { "", "/../libexec/tare", "/../libexec" };
    CLEANUP_FREE char *dir = self_dir();
    for (size_t i = 0; dir && i < ARRAY_LEN(places); i++) {
        CLEANUP_FREE char *path = str_printf("%s%s/tare-systemd-helper", dir, places[i]);
        if (!path || access(path, X_OK) == 0) {
            return PTR_STEAL(path);
        }
    }
    return strdup("tare-systemd-helper");
}

/* helper, --user or --system, verb and its operands */
static int helper_argv(const char *verb, const char *unit, const char *slice, char ***ret, struct err *e)
{
    CLEANUP_FREE char *helper = helper_path();
    const char *const words[] = { helper, user_manager(NULL) ? "--user" : "--system", verb, unit, slice };
    for (size_t i = 0; helper && i < ARRAY_LEN(words) && words[i]; i++) {
        if (strv_push(ret, words[i]) < 0) {
            return err_oom(e);
        }
    }
    return helper ? 0 : err_oom(e);
}

/* The helper's one line. */
static int read_answer(int fd, struct err *e)
{
    char line[1024];
    size_t n = 0;
    while (n < sizeof(line) - 1) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int ready = poll(&p, 1, ANSWER_TIMEOUT_MS);
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        ssize_t got = ready > 0 ? read(fd, line + n, sizeof(line) - 1 - n) : -1;
        if (got <= 0) {
            return err_set(e, EIO, ERR_UNAVAILABLE, "systemd cgroup driver: the helper gave no answer");
        }
        n += (size_t)got;
        line[n] = '\0';
        if (strchr(line, '\n')) {
            break;
        }
    }
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, "ok") == 0 ? 0 : err_set(e, EIO, ERR_UNAVAILABLE, "systemd cgroup driver: %s", line);
}

static bool has_cpusets(const struct oci_cgroup *cg)
{
    const struct cg_hierarchy *h = cg_machine_find(&cg->machine, "cpuset");
    return h && h->v2 && cg_list_has(h->controllers, "cpuset");
}

int systemd_scope_start(struct oci_cgroup *cg, const struct systemd_names *n, const struct oci_spec *spec, struct err *e)
{
    CLEANUP_STRV char **argv = NULL;
    int in[2] = { -1, -1 }, out[2] = { -1, -1 };
    int r = helper_argv("start", n->unit, n->slice, &argv, e);
    if (r == 0 && spec && spec->linux && spec->linux->resources) {
        r = systemd_limits(spec->linux->resources, has_cpusets(cg), &argv, e);
    }
    r = r == 0 && spec ? systemd_annotations(&spec->annotations, &argv, e) : r;
    if (r == 0 && (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)) {
        r = err_sys(e, errno, "pipe");
    }
    const struct spawn_fd fds[] = { { in[0], 0 }, { out[1], 1 }, { STDERR_FILENO, 2 } };
    const struct spawn_options o = { .path = argv ? argv[0] : NULL, .argv = argv, .fds = fds, .n_fds = ARRAY_LEN(fds) };
    pid_t pid;
    if (r == 0) {
        r = spawn(&o, &cg->helper, &pid, e);
        r = r < 0 ? err_wrap(e, "systemd cgroup driver") : 0;
    }
    fd_close(&in[0]);
    fd_close(&out[1]);
    if (r == 0) {
        cg->keep = fd_steal(&in[1]); /* the helper stays as long as this is open */
        r = read_answer(out[0], e);
    }
    fd_close(&in[1]);
    fd_close(&out[0]);
    return r;
}

void systemd_helper_release(struct oci_cgroup *cg)
{
    int code;
    fd_close(&cg->keep);
    if (cg->helper >= 0) {
        (void)!spawn_wait(cg->helper, 2000, &code, NULL);
        fd_close(&cg->helper);
    }
}

/* Runs the helper to its end. */
static int helper_run(char **argv, struct err *e)
{
    const struct spawn_options o = { .path = argv[0], .argv = argv };
    CLEANUP_BUF struct buf out = { 0 };
    int code;
    int r = spawn_run(&o, NULL, 0, 4096, ANSWER_TIMEOUT_MS, &out, NULL, &code, e);
    if (r < 0) {
        return err_wrap(e, "systemd cgroup driver");
    }
    const char *text = buf_str(&out);
    return code == 0 ? 0 : err_set(e, EIO, ERR_UNAVAILABLE, "systemd cgroup driver: %.*s", (int)strcspn(text, "\n"), text);
}

int systemd_scope_update(const struct oci_cgroup *cg, const struct oci_resources *res, struct err *e)
{
    CLEANUP_STRV char **argv = NULL;
    int r = helper_argv("set", cg->unit, NULL, &argv, e);
    size_t words = strv_len(argv);
    r = r < 0 ? r : systemd_limits(res, has_cpusets(cg), &argv, e);
    return r < 0 || strv_len(argv) == words ? r : helper_run(argv, e);
}

/* An error is none: a scope without processes ends by itself. */
void systemd_scope_stop(const char *unit)
{
    CLEANUP_STRV char **argv = NULL;
    if (helper_argv("stop", unit, NULL, &argv, NULL) == 0) {
        (void)!helper_run(argv, NULL);
    }
}
