/*
 * oci/cgroup.c: a container's cgroup: its folder in every hierarchy, by descriptor. Processes are born in it (v2) or put themselves in
 * (v1): moving another one in from outside makes the kernel wait for all processors.
 */
#include "oci/cgroup.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int cgroup_write(const struct oci_cgroup *cg, int dir, const char *file, const char *value, struct err *e)
{
    int r = file_write(dir, file, value, strlen(value), e);
    if ((r == -EACCES || r == -EPERM || r == -EROFS) && cg->tolerant) {
        return 0;
    }
    return r;
}

int cgroup_write_i64(const struct oci_cgroup *cg, int dir, const char *file, int64_t value, struct err *e)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return cgroup_write(cg, dir, file, text, e);
}

int cgroup_dir(const struct oci_cgroup *cg, const char *controller, bool *ret_v2)
{
    const struct cg_hierarchy *h = cg_machine_find(&cg->machine, controller);
    *ret_v2 = h && h->v2;
    return h ? cgroup_folder(cg, (size_t)(h - cg->machine.h)) : -1;
}

static char *full_path(const struct oci_cgroup *cg, size_t i, const char *file)
{
    return str_printf("%s%s%s", cg->machine.h[i].mount, cg->path, file);
}

int cgroup_folder(const struct oci_cgroup *cg, size_t i)
{
    if (cg->has[i] && cg->dirs->fd[i] < 0) {
        CLEANUP_FREE char *full = full_path(cg, i, "");
        cg->dirs->fd[i] = full ? open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    }
    return cg->has[i] ? cg->dirs->fd[i] : -1;
}

const char *oci_cgroup_text(const struct oci_cgroup *cg)
{
    return cg->text;
}

void oci_cgroup_free(struct oci_cgroup *cg)
{
    if (!cg) {
        return;
    }
    for (size_t i = 0; cg->dirs && i < cg->machine.n; i++) {
        fd_close(&cg->dirs->fd[i]);
    }
    free(cg->dirs);
    systemd_helper_release(cg);
    cg_machine_done(&cg->machine);
    free(cg->text);
    free(cg->path);
    free(cg->unit);
    free(cg);
}

static int cgroup_new(const char *text, struct oci_cgroup **ret, struct err *e)
{
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = calloc(1, sizeof(*cg));
    if (!cg) {
        return err_oom(e);
    }
    cg->keep = cg->helper = -1;
    if (!(cg->text = strdup(text)) || !(cg->dirs = malloc(sizeof(*cg->dirs)))) {
        return err_oom(e);
    }
    memset(cg->dirs, 0xff, sizeof(*cg->dirs)); /* all -1 */
    cg->tolerant = geteuid() != 0;
    int r = cg_machine_read(&cg->machine, e);
    if (r == 0) {
        *ret = PTR_STEAL(cg);
    }
    return r;
}

static int path_check(const char *path, struct err *e)
{
    if (strlen(path) >= PATH_MAX - 64) {
        return err_set(e, ENAMETOOLONG, ERR_INVALID, "linux.cgroupsPath: too long");
    }
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if ((n == 2 && memcmp(p, "..", 2) == 0) || (n == 1 && *p == '.')) {
            return err_set(e, EINVAL, ERR_INVALID, "linux.cgroupsPath: '%s' must not contain '.' or '..'", path);
        }
        p += n;
    }
    return path[strspn(path, "/")] ? 0 : err_set(e, EINVAL, ERR_INVALID, "linux.cgroupsPath: the root cgroup is not allowed");
}

/* v2: children get the controllers that their parent has switched on for them. One that cannot be is missed only when it is limited. */
static void controllers_enable(int dir)
{
    CLEANUP_BUF struct buf have = { 0 }, on = { 0 };
    struct err e;
    if (file_read(dir, "cgroup.controllers", 4096, &have, &e) < 0 || file_read(dir, "cgroup.subtree_control", 4096, &on, &e) < 0) {
        return;
    }
    CLEANUP_BUF struct buf want = { 0 };
    char *save;
    for (char *w = have.data ? strtok_r(have.data, " \n", &save) : NULL; w; w = strtok_r(NULL, " \n", &save)) {
        const char *at = strstr(buf_str(&on), w);
        size_t n = strlen(w);
        if (!(at && (at == on.data || at[-1] == ' ') && strchr(" \n", at[n]))) {
            buf_addf(&want, "%s+%s", want.len ? " " : "", w);
        }
    }
    int r = want.len ? file_write(dir, "cgroup.subtree_control", buf_str(&want), want.len, &e) : 0;
    /*
     * One refused controller refuses the line: try each. But not in a cgroup with processes of its own (EBUSY): there only the
     * threaded ones would be taken, and that makes the folders below invalid for processes.
     */
    for (char *w = r < 0 && r != -EBUSY ? strtok_r(want.data, " ", &save) : NULL; w; w = strtok_r(NULL, " ", &save)) {
        (void)!file_write(dir, "cgroup.subtree_control", w, strlen(w), &e);
    }
}

static int copy_value(int from, int to, const char *file)
{
    CLEANUP_BUF struct buf b = { 0 };
    struct err e;
    int r = file_read(from, file, 4096, &b, &e);
    return r < 0 || b.len < 2 ? r : file_write(to, file, buf_str(&b), b.len, &e);
}

/* One step down, made if need be. v1 cpusets begin empty, and then take no process. limits: the folder is going to have some. */
static int step_down(const struct cg_hierarchy *h, int parent, const char *name, bool limits, bool *made)
{
    if (h->v2 && limits) {
        controllers_enable(parent);
    }
    *made = mkdirat(parent, name, 0755) == 0;
    if (!*made && errno != EEXIST) {
        return -errno;
    }
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (*made && !h->v2 && cg_list_has(h->controllers, "cpuset")) {
        (void)copy_value(parent, fd, "cpuset.cpus");
        (void)copy_value(parent, fd, "cpuset.mems");
    }
    return fd;
}

static int walk_down(struct oci_cgroup *cg, size_t i, struct err *e)
{
    const struct cg_hierarchy *h = &cg->machine.h[i];
    CLEANUP_FD int dir = open(h->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return err_sys(e, errno, "open %s", h->mount);
    }
    char *copy = strdup(cg->path), *save;
    int r = copy ? 0 : err_oom(e);
    bool made = false;
    for (char *name = copy ? strtok_r(copy, "/", &save) : NULL; r == 0 && name; name = strtok_r(NULL, "/", &save)) {
        int next = step_down(h, dir, name, true, &made);
        if (next < 0) {
            r = err_sys(e, -next, "create cgroup %s%s", h->mount, cg->path);
        } else {
            fd_close(&dir);
            dir = next;
        }
    }
    free(copy);
    if (r == 0) {
        cg->made[i] = made;
        cg->dirs->fd[i] = fd_steal(&dir);
    }
    return r;
}

/* As copy_value() from the parent of the folder, by name. */
static int inherit_value(const char *folder, const char *file, struct err *e)
{
    const char *slash = strrchr(folder, '/');
    CLEANUP_FREE char *from = str_printf("%.*s/%s", (int)(slash - folder), folder, file);
    CLEANUP_FREE char *to = str_printf("%s/%s", folder, file);
    CLEANUP_FD int fd = from && to ? open(from, O_RDONLY | O_CLOEXEC) : -1;
    char value[4096];
    ssize_t n = fd < 0 ? -1 : read(fd, value, sizeof(value));
    return n < 2 ? 0 : file_write(AT_FDCWD, to, value, (size_t)n, e);
}

/* Mostly all but the last folder is there, so that is asked for first, by its whole name. v2 has to be switched on at every step. */
static int folders_make(struct oci_cgroup *cg, size_t i, struct err *e)
{
    const struct cg_hierarchy *h = &cg->machine.h[i];
    CLEANUP_FREE char *full = full_path(cg, i, "");
    int r = 0;
    if (!full) {
        return err_oom(e);
    }
    size_t len = strlen(full);
    while (len > 1 && full[len - 1] == '/') {
        full[--len] = '\0';
    }
    cg->made[i] = !h->v2 && mkdir(full, 0755) == 0;
    if (cg->made[i] && cg_list_has(h->controllers, "cpuset")) {
        struct err ignored;
        (void)!inherit_value(full, "cpuset.cpus", &ignored);
        (void)!inherit_value(full, "cpuset.mems", &ignored);
    } else if (!cg->made[i] && (h->v2 || errno != EEXIST)) {
        r = walk_down(cg, i, e);
    }
    cg->has[i] = r == 0;
    return r;
}

/* A folder of that name that has processes belongs to somebody else. */
static int check_unused(const struct oci_cgroup *cg, struct err *e)
{
    for (size_t i = 0; i < cg->machine.n; i++) {
        char byte;
        if (!cg->has[i] || cg->made[i]) {
            continue;
        }
        CLEANUP_FREE char *procs = full_path(cg, i, "/cgroup.procs");
        CLEANUP_FD int fd = procs ? open(procs, O_RDONLY | O_CLOEXEC) : -1;
        if (fd >= 0 && read(fd, &byte, 1) == 1) {
            return err_set(e, EEXIST, ERR_EXISTS, "linux.cgroupsPath: cgroup %s has processes in it already", cg->path);
        }
    }
    return 0;
}

static bool is_ours(const struct cg_hierarchy *h)
{
    return h->v2 || !str_starts(h->controllers, "name=");
}

char *cgroup_text_of(const char *cgroups_path, const char *id, bool systemd)
{
    if (systemd) {
        return str_empty(cgroups_path) ? str_printf("systemd::tare:%s", id) : str_printf("systemd:%s", cgroups_path);
    }
    if (str_empty(cgroups_path)) {
        return str_printf("cgroupfs:/tare/%s", id);
    }
    return str_printf("cgroupfs:%s%s", cgroups_path[0] == '/' ? "" : "/", cgroups_path);
}

/* A handle with path and text set, nothing made yet. names: of the systemd driver, NULL without it. */
static int cgroup_name(const char *cgroups_path, const char *id, const struct systemd_names *names, struct oci_cgroup **ret, struct err *e)
{
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    CLEANUP_FREE char *text = names ? strdup(names->text) : cgroup_text_of(cgroups_path, id, false);
    CLEANUP_FREE char *path = !text ? NULL : strdup(names ? names->path : text + strlen("cgroupfs:"));
    if (!path) {
        return err_oom(e);
    }
    int r = path_check(path, e);
    r = r < 0 ? r : cgroup_new(text, &cg, e);
    if (r < 0) {
        return r;
    }
    cg->path = PTR_STEAL(path);
    if (names && !(cg->unit = strdup(names->unit))) {
        return err_oom(e);
    }
    *ret = PTR_STEAL(cg);
    return 0;
}

static int hierarchies_make(struct oci_cgroup *cg, struct err *e)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < cg->machine.n; i++) {
        if (is_ours(&cg->machine.h[i])) {
            r = folders_make(cg, i, e);
            /* Rootless: whatever hierarchy is not delegated is done without. */
            r = r < 0 && cg->tolerant ? 0 : r;
        }
    }
    return r;
}

int oci_cgroup_create(const char *cgroups_path, const char *id, bool systemd, const struct oci_spec *spec, struct oci_cgroup **ret,
                      struct err *e)
{
    CLEANUP(systemd_names_done) struct systemd_names names = { 0 };
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    int r = systemd ? systemd_names_parse(cgroups_path, id, &names, e) : 0;
    r = r < 0 ? r : cgroup_name(cgroups_path, id, systemd ? &names : NULL, &cg, e);
    if (r == 0 && systemd) {
        r = systemd_scope_start(cg, &names, spec, e);
    }
    if (r < 0) {
        return r;
    }
    r = hierarchies_make(cg, e);
    if (r == 0 && !systemd) { /* systemd refuses a second unit of that name itself, and the helper is in there */
        r = check_unused(cg, e);
    }
    for (size_t i = 0; r < 0 && i < cg->machine.n; i++) {
        if (cg->made[i] && cg->has[i]) {
            CLEANUP_FREE char *full = full_path(cg, i, "");
            (void)!(full && rmdir(full));
        }
    }
    if (r == 0) {
        *ret = PTR_STEAL(cg);
    }
    return r;
}

int oci_cgroup_open(const char *text, struct oci_cgroup **ret, struct err *e)
{
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    CLEANUP(systemd_names_done) struct systemd_names names = { 0 };
    bool systemd = str_starts(text, "systemd:");
    if (!systemd && !str_starts(text, "cgroupfs:/")) {
        return err_set(e, EINVAL, ERR_INVALID, "'%s' names no cgroup", text);
    }
    int r = systemd ? systemd_names_parse(text + strlen("systemd:"), "", &names, e) : 0;
    r = r < 0 ? r : cgroup_name(systemd ? NULL : text + strlen("cgroupfs:"), "", systemd ? &names : NULL, &cg, e);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < cg->machine.n; i++) {
        cg->has[i] = is_ours(&cg->machine.h[i]);
    }
    *ret = PTR_STEAL(cg);
    return 0;
}

static int sub_enter(struct oci_cgroup *cg, size_t i, const char *child, struct err *e)
{
    bool made;
    int parent = cgroup_folder(cg, i);
    if (parent < 0) {
        return 0;
    }
    int fd = step_down(&cg->machine.h[i], parent, child, false, &made);
    if (fd < 0) {
        return err_sys(e, -fd, "create cgroup %s/%s", cg->path, child);
    }
    fd_close(&cg->dirs->fd[i]);
    cg->dirs->fd[i] = fd;
    return 0;
}

int oci_cgroup_open_sub(const char *text, const char *child, pid_t pid, struct oci_cgroup **ret, struct err *e)
{
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    CLEANUP_FREE char *found = NULL;
    int r = 0;
    if (!text) {
        struct cg_machine m;
        CLEANUP_FREE char *path = NULL;
        r = cg_machine_read(&m, e);
        const struct cg_hierarchy *h = r == 0 ? cg_machine_find(&m, "memory") : NULL;
        if (h) {
            r = cg_path_of_pid(pid, h, &path, e);
        }
        found = r == 0 ? str_printf("cgroupfs:%s", path ?: "/") : NULL;
        if (r == 0) {
            cg_machine_done(&m);
        }
        if (!found) {
            return r < 0 ? r : err_oom(e);
        }
        text = found;
    }
    r = oci_cgroup_open(text, &cg, e);
    for (size_t i = 0; r == 0 && child && i < cg->machine.n; i++) {
        r = sub_enter(cg, i, child, e);
    }
    if (r == 0 && child) {
        char *path = str_printf("%s/%s", cg->path, child);
        free(cg->path);
        cg->path = path;
        r = path ? 0 : err_oom(e);
    }
    if (r == 0) {
        *ret = PTR_STEAL(cg);
    }
    return r;
}

int oci_cgroup_clone_fd(const struct oci_cgroup *cg)
{
    for (size_t i = 0; i < cg->machine.n; i++) {
        if (cg->machine.h[i].v2) {
            return cgroup_folder(cg, i);
        }
    }
    return -1;
}

int oci_cgroup_join_self(const struct oci_cgroup *cg)
{
    if (cg->keep >= 0) {
        close(cg->keep); /* our copy: the helper goes when the parent closes its own */
    }
    for (size_t i = 0; i < cg->machine.n; i++) {
        if (!cg->has[i] || cg->machine.h[i].v2) {
            continue;
        }
        CLEANUP_FREE char *tasks = full_path(cg, i, "/tasks");
        /* Closed with all others before the exec: eight calls less here. */
        int fd = tasks ? open(tasks, O_WRONLY | O_CLOEXEC) : -1;
        if (fd < 0 && errno == ENOENT) {
            continue; /* an exec: the container was never in this hierarchy */
        }
        if ((fd < 0 || write(fd, "0", 1) < 0) && !cg->tolerant) {
            return -errno;
        }
    }
    return 0;
}

int oci_cgroup_attach(const struct oci_cgroup *cg, pid_t pid, struct err *e)
{
    for (size_t i = 0; i < cg->machine.n; i++) {
        int dir = cgroup_folder(cg, i);
        if (dir >= 0) {
            int r = cgroup_write_i64(cg, dir, "cgroup.procs", pid, e);
            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

/* The folder to ask about processes: v2 if it is there, for its subtree files. */
static int any_dir(const struct oci_cgroup *cg)
{
    int fd = oci_cgroup_clone_fd(cg);
    for (size_t i = 0; fd < 0 && i < cg->machine.n; i++) {
        fd = cgroup_folder(cg, i);
    }
    return fd;
}

static int pids_collect(int dir, pid_t **list, size_t *n, size_t *cap, int depth)
{
    CLEANUP_BUF struct buf b = { 0 };
    struct err e;
    int r = file_read(dir, "cgroup.procs", 16 << 20, &b, &e);
    char *save;
    for (char *w = r == 0 && b.data ? strtok_r(b.data, "\n", &save) : NULL; w; w = strtok_r(NULL, "\n", &save)) {
        if (array_grow(list, cap, *n + 2, sizeof(**list)) < 0) {
            return -ENOMEM;
        }
        (*list)[(*n)++] = (pid_t)strtol(w, NULL, 10);
    }
    if (r < 0 && r != -EOPNOTSUPP) {
        return r == -ENODEV || r == -ENOENT ? 0 : r;
    }
    int copy = depth > 16 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *ent;
    r = 0;
    while (r == 0 && d && (ent = readdir(d))) {
        if (ent->d_type == DT_DIR && ent->d_name[0] != '.') {
            CLEANUP_FD int sub = openat(dir, ent->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            r = sub < 0 ? 0 : pids_collect(sub, list, n, cap, depth + 1);
        }
    }
    if (d) {
        closedir(d);
    }
    return r;
}

int oci_cgroup_pids(const struct oci_cgroup *cg, pid_t **ret, size_t *ret_n, struct err *e)
{
    size_t n = 0, cap = 0;
    pid_t *list = NULL;
    int dir = any_dir(cg);
    int r = dir < 0 ? 0 : pids_collect(dir, &list, &n, &cap, 0);
    if (r == 0 && !list && !(list = calloc(1, sizeof(*list)))) {
        r = -ENOMEM;
    }
    if (r < 0) {
        free(list);
        return err_sys(e, -r, "list the processes of cgroup %s", cg->path);
    }
    list[n] = 0;
    *ret = list;
    *ret_n = n;
    return 0;
}

int oci_cgroup_kill(const struct oci_cgroup *cg, int signo, struct err *e)
{
    int v2 = oci_cgroup_clone_fd(cg);
    struct err ignored;
    if (signo == SIGKILL && v2 >= 0 && file_write(v2, "cgroup.kill", "1", 1, &ignored) == 0) {
        return oci_cgroup_frozen(cg) == 1 ? oci_cgroup_freeze(cg, false, e) : 0;
    }
    /* Without cgroup.kill: again and again, for what is forked meanwhile; a frozen cgroup forks nothing but dies only when thawed. */
    for (int i = 0; i < (signo == SIGKILL ? 50 : 1); i++) {
        CLEANUP_FREE pid_t *list = NULL;
        size_t n;
        int r = oci_cgroup_pids(cg, &list, &n, e);
        if (r < 0 || n == 0) {
            return r;
        }
        for (size_t k = 0; k < n; k++) {
            kill(list[k], signo);
        }
        if (signo == SIGKILL && oci_cgroup_frozen(cg) == 1) {
            (void)!oci_cgroup_freeze(cg, false, NULL);
        }
        if (signo == SIGKILL) {
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        }
    }
    return 0;
}

int oci_cgroup_frozen(const struct oci_cgroup *cg)
{
    bool v2;
    int dir = cgroup_dir(cg, "freezer", &v2);
    uint64_t on = 0;
    if (dir < 0) {
        return 0;
    }
    if (v2) {
        int r = cg_read_key(dir, "cgroup.events", "frozen", &on);
        return r < 0 ? r : on == 1;
    }
    CLEANUP_BUF struct buf b = { 0 };
    struct err e;
    int r = file_read(dir, "freezer.state", 64, &b, &e);
    return r < 0 ? r : str_starts(buf_str(&b), "FROZEN") || str_starts(buf_str(&b), "FREEZING");
}

int oci_cgroup_freeze(const struct oci_cgroup *cg, bool freeze, struct err *e)
{
    bool v2;
    int dir = cgroup_dir(cg, "freezer", &v2);
    if (dir < 0) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "the container has no cgroup that could be frozen");
    }
    int r = v2 ? cgroup_write(cg, dir, "cgroup.freeze", freeze ? "1" : "0", e)
               : cgroup_write(cg, dir, "freezer.state", freeze ? "FROZEN" : "THAWED", e);
    for (int ms = 1; r == 0 && ms <= 1024; ms *= 2) {
        bool done;
        if (v2) {
            done = oci_cgroup_frozen(cg) == (freeze ? 1 : 0);
        } else {
            CLEANUP_BUF struct buf b = { 0 };
            r = file_read(dir, "freezer.state", 64, &b, e);
            done = str_starts(buf_str(&b), freeze ? "FROZEN" : "THAWED");
            if (!done && freeze) {
                /* A process that is being forked keeps a v1 freezer at FREEZING until it is asked again. */
                (void)!cgroup_write(cg, dir, "freezer.state", "FROZEN", NULL);
            }
        }
        if (done) {
            return 0;
        }
        nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
    }
    return r < 0 ? r : err_set(e, ETIMEDOUT, ERR_TIMEOUT, "cgroup %s does not %s", cg->path, freeze ? "freeze" : "thaw");
}

static int remove_tree(int parent, const char *name, int depth)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EBUSY || depth > 16) {
        return -errno;
    }
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *ent;
    int r = 0;
    while (d && (ent = readdir(d))) {
        if (ent->d_type == DT_DIR && ent->d_name[0] != '.') {
            r = remove_tree(fd, ent->d_name, depth + 1);
        }
    }
    if (d) {
        closedir(d);
    }
    (void)r;
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

bool cgroup_remove_empty(const struct oci_cgroup *cg)
{
    /* In the order of any_dir(): where that one is empty, oci_cgroup_kill() would find nobody. */
    for (int v2 = 1; v2 >= 0; v2--) {
        for (size_t i = 0; i < cg->machine.n; i++) {
            CLEANUP_FREE char *full = cg->has[i] && cg->machine.h[i].v2 == (v2 == 1) ? full_path(cg, i, "") : NULL;
            if (full && rmdir(full) == 0) {
                return true;
            }
            if (full && errno != ENOENT) {
                return false;
            }
        }
    }
    return true;
}

int oci_cgroup_destroy(struct oci_cgroup *cg, struct err *e)
{
    int result = 0;
    for (size_t i = 0; i < cg->machine.n; i++) {
        if (!cg->has[i]) {
            continue;
        }
        CLEANUP_FREE char *full = full_path(cg, i, "");
        fd_close(&cg->dirs->fd[i]);
        int r = full ? -EBUSY : -ENOMEM;
        /* What was just killed needs a moment to leave. */
        for (long us = 0; r == -EBUSY && us <= 512000; us = us ? us * 2 : 250) {
            if (us) {
                nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
            }
            r = remove_tree(AT_FDCWD, full, 0);
        }
        if (r < 0 && r != -EBUSY && full && access(full, F_OK) < 0 && errno == ENOENT) {
            r = 0; /* a hierarchy that cannot be written says so first, even if there is nothing */
        }
        cg->has[i] = r < 0;
        if (r < 0) {
            result = err_sys(e, -r, "remove cgroup %s", full ?: cg->path);
        }
    }
    if (cg->unit) {
        systemd_helper_release(cg);
        systemd_scope_stop(cg->unit);
    }
    return result;
}

uint64_t oci_cgroup_oom_kills(const struct oci_cgroup *cg)
{
    bool v2;
    uint64_t n = 0;
    int dir = cgroup_dir(cg, "memory", &v2);
    if (dir >= 0 && cg_read_key(dir, v2 ? "memory.events" : "memory.oom_control", "oom_kill", &n) < 0) {
        return 0;
    }
    return n;
}
