/*
 * oci/cgroup-systemd.c: the systemd driver: linux.cgroupsPath is "slice:prefix:name", and systemd makes the cgroup as a transient scope.
 * The bus is spoken to by tare-systemd-helper, which is in the scope itself until the container's init is: a scope without processes
 * would be gone at once.
 */
#include "base/fd.h"
#include "oci/cgroup.h"
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
    n.slice = strdup(*whole ? whole : geteuid() == 0 ? "system.slice" : "user.slice");
    n.unit = str_ends(name, ".slice") ? strdup(name) : str_printf("%s%s%s.scope", prefix, *prefix ? "-" : "", name);
    if (!n.slice || !n.unit || !n.text) {
        return err_oom(e);
    }
    int r = name_check(n.slice, strlen(n.slice), "slice", e);
    r = r < 0 ? r : name_check(n.unit, strlen(n.unit), "unit", e);
    if (r == 0 && str_ends(n.unit, ".slice")) {
        r = err_set(e, EOPNOTSUPP, ERR_UNSUPPORTED, "linux.cgroupsPath: '%s': a container cannot be a slice", n.unit);
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

/* Named by who started us, else beside our own program, else by PATH. */
static char *helper_path(void)
{
    char self[PATH_MAX];
    const char *named = secure_getenv("TARE_SYSTEMD_HELPER");
    if (named) {
        return strdup(named);
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) {
        *slash = '\0';
        char *path = str_printf("%s/tare-systemd-helper", self);
        if (!path || access(path, X_OK) == 0) {
            return path;
        }
        free(path);
    }
    return strdup("tare-systemd-helper");
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

/* org.systemd.property.NAME annotations as NAME=VALUE. */
static int add_properties(const struct str_map *annotations, char ***argv, struct err *e)
{
    static const char prefix[] = "org.systemd.property.";
    for (size_t i = 0; annotations && i < annotations->n; i++) {
        if (!str_starts(annotations->v[i].key, prefix)) {
            continue;
        }
        CLEANUP_FREE char *p = str_printf("%s=%s", annotations->v[i].key + strlen(prefix), annotations->v[i].value);
        if (!p || strv_push(argv, p) < 0) {
            return err_oom(e);
        }
    }
    return 0;
}

int systemd_scope_start(struct oci_cgroup *cg, const struct systemd_names *n, const struct str_map *annotations, struct err *e)
{
    CLEANUP_FREE char *helper = helper_path();
    CLEANUP_STRV char **argv = NULL;
    int in[2] = { -1, -1 }, out[2] = { -1, -1 };
    if (!helper || strv_push(&argv, helper) < 0 || strv_push(&argv, "start") < 0 || strv_push(&argv, n->unit) < 0 ||
        strv_push(&argv, n->slice) < 0) {
        return err_oom(e);
    }
    int r = add_properties(annotations, &argv, e);
    if (r == 0 && (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)) {
        r = err_sys(e, errno, "pipe");
    }
    const struct spawn_fd fds[] = { { in[0], 0 }, { out[1], 1 }, { STDERR_FILENO, 2 } };
    const struct spawn_options o = { .path = helper, .argv = argv, .fds = fds, .n_fds = ARRAY_LEN(fds) };
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

void systemd_scope_stop(const char *unit)
{
    CLEANUP_FREE char *helper = helper_path();
    char *const argv[] = { helper, (char *)(uintptr_t) "stop", (char *)(uintptr_t)unit, NULL };
    const struct spawn_options o = { .path = helper, .argv = argv };
    int code;
    if (helper) {
        (void)!spawn_run(&o, NULL, 0, 4096, ANSWER_TIMEOUT_MS, NULL, NULL, &code, NULL);
    }
}
