/*
 * oci/state.c: containers on disk: state_root/ID/{state.json,config.json,exec.fifo}. The folder is made first and by one call, which is
 * what makes ids unique; state.json is replaced by rename, so that a reader or a crash sees a whole one or none.
 */
#include "base/fd.h"
#include "base/num.h"
#include "oci/cgroup.h"
#include "oci/ctr.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct disk_state {
    char *oci_version, *id, *bundle, *rootfs, *created, *cgroup, *owner;
    int32_t pid;
    uint64_t start_time;
    struct str_map annotations;
};
static const struct json_field disk_fields[] = {
    JSON_FIELD(struct disk_state, oci_version, "ociVersion", STR, 0, NULL),
    JSON_FIELD(struct disk_state, id, "id", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct disk_state, pid, "pid", I32, JSON_REQUIRED, NULL),
    JSON_FIELD(struct disk_state, start_time, "startTime", U64, JSON_REQUIRED, NULL),
    JSON_FIELD(struct disk_state, bundle, "bundle", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct disk_state, rootfs, "rootfs", STR, 0, NULL),
    JSON_FIELD(struct disk_state, created, "created", STR, 0, NULL),
    JSON_FIELD(struct disk_state, cgroup, "cgroup", STR, JSON_REQUIRED, NULL),
    JSON_FIELD(struct disk_state, owner, "owner", STR, 0, NULL),
    JSON_FIELD(struct disk_state, annotations, "annotations", MAP, 0, NULL),
};
static const struct json_type disk_type = JSON_TYPE(struct disk_state, disk_fields);

const char *oci_status_name(enum oci_status s)
{
    static const char *const names[] = { "creating", "created", "running", "paused", "stopped" };
    return names[s];
}

uint64_t process_start_time(pid_t pid, char *ret_state)
{
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    /* The name may contain anything, ")" too: fields count from the last one. State is field 3, the start time field 22. */
    char *p = strrchr(text, ')');
    if (!p || p[1] != ' ') {
        return 0;
    }
    if (ret_state) {
        *ret_state = p[2];
    }
    p += 2;
    for (int i = 3; i < 22 && p; i++) {
        p = strchr(p, ' ');
        p = p ? p + 1 : NULL;
    }
    return p ? strtoull(p, NULL, 10) : 0;
}

int state_dir_make(const char *state_root, const char *id, bool fifo, int *ret_dir, struct err *e)
{
    CLEANUP_FREE char *dir = str_printf("%s/%s", state_root, id);
    if (!dir) {
        return err_oom(e);
    }
    int r = mkdir(dir, 0700);
    if (r < 0 && errno == ENOENT) { /* the first one here */
        r = dir_make_all(AT_FDCWD, state_root, 0711, e);
        if (r < 0) {
            return r;
        }
        r = mkdir(dir, 0700);
    }
    if (r < 0) {
        return errno == EEXIST ? err_set(e, EEXIST, ERR_EXISTS, "container with given ID already exists: %s", id)
                               : err_sys(e, errno, "create %s", dir);
    }
    CLEANUP_FD int fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (fifo && mkfifoat(fd, "exec.fifo", 0600) < 0)) {
        int saved = errno;
        rmdir(dir);
        return err_sys(e, saved, fd < 0 ? "open %s" : "create exec.fifo in %s", dir);
    }
    *ret_dir = fd_steal(&fd);
    return 0;
}

int state_fifo_open(const char *state_root, const char *id, int flags, struct err *e)
{
    CLEANUP_FREE char *fifo = str_printf("%s/%s/exec.fifo", state_root, id);
    int fd = fifo ? open(fifo, flags | O_CLOEXEC | O_NOFOLLOW) : -1;
    return fd < 0 ? err_sys(e, fifo ? errno : ENOMEM, "open %s", fifo ?: id) : fd;
}

void state_dir_remove(const char *state_root, const char *id)
{
    CLEANUP_FREE char *dir = str_printf("%s/%s", state_root, id);
    struct err e;
    if (dir) {
        (void)!dir_remove_all(AT_FDCWD, dir, &e);
    }
}

/* As the target of a symbolic link: one call, and there whole or not at all. */
int state_note_cgroup(int dir, const char *text, struct err *e)
{
    int r = symlinkat(text, dir, "cgroup");
    /* A name that is too long is no cgroup's either, which is told when that is made. */
    return r < 0 && errno != ENAMETOOLONG ? err_sys(e, errno, "note the cgroup %s", text) : 0;
}

/* The folder is new and nobody else's, and counts for nothing until state.json has its name. */
static int state_write(int dir, const char *name, const char *text, size_t len, struct err *e)
{
    CLEANUP_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : fd_write_all(fd, text, len);
    return r < 0 ? err_sys(e, -r, "write %s", name) : 0;
}

int state_save(const struct ctr *c, const struct oci_container *k, struct err *e)
{
    char owner[16] = "root"; /* a name where it needs no look-up: this program is static */
    if (geteuid() != 0) {
        snprintf(owner, sizeof(owner), "%u", (unsigned)geteuid());
    }
    struct disk_state d = { .oci_version = c->spec->oci_version,
                            .id = (char *)(uintptr_t)c->args->id,
                            .bundle = (char *)(uintptr_t)c->args->bundle,
                            .rootfs = c->rootfs,
                            .created = k->created,
                            .cgroup = k->cgroup,
                            .pid = k->pid,
                            .start_time = k->start_time,
                            .owner = owner,
                            .annotations = c->spec->annotations };
    CLEANUP_BUF struct buf b = { 0 };
    const char *text = c->args->config_text ? c->args->config_text : "{}";
    int r = state_write(c->state_dir, "config.json", text, strlen(text), e);
    if (r == 0) {
        r = json_format(&disk_type, &d, 0, &b, e);
    }
    if (r == 0) {
        r = state_write(c->state_dir, "state.json.new", buf_str(&b), b.len, e);
    }
    if (r == 0 && renameat(c->state_dir, "state.json.new", c->state_dir, "state.json") < 0) {
        r = err_sys(e, errno, "write state.json");
    }
    return r;
}

void oci_container_free(struct oci_container *k)
{
    if (!k) {
        return;
    }
    free(k->id);
    free(k->bundle);
    free(k->rootfs);
    free(k->created);
    free(k->cgroup);
    free(k->owner);
    free(k->config);
    oci_cgroup_free(k->cg);
    str_map_done(&k->annotations);
    free(k);
}

static enum oci_status status_now(const char *state_root, struct oci_container *k)
{
    char state = 'X';
    uint64_t start = k->pid > 0 ? process_start_time(k->pid, &state) : 0;
    if (start == 0 || start != k->start_time || state == 'Z' || state == 'X') {
        return OCI_STOPPED;
    }
    CLEANUP_FREE char *fifo = str_printf("%s/%s/exec.fifo", state_root, k->id);
    if (fifo && access(fifo, F_OK) == 0) {
        return OCI_CREATED;
    }
    struct err e;
    bool frozen = oci_cgroup_open(k->cgroup, &k->cg, &e) == 0 && oci_cgroup_frozen(k->cg) == 1;
    return frozen ? OCI_PAUSED : OCI_RUNNING;
}

int oci_load(const char *state_root, const char *id, struct oci_container **ret, struct err *e)
{
    int r = oci_id_check(id, e);
    if (r < 0) {
        return r;
    }
    CLEANUP_FREE char *path = str_printf("%s/%s/state.json", state_root, id);
    CLEANUP_FREE char *dir = str_printf("%s/%s", state_root, id);
    CLEANUP_FREE char *config = str_printf("%s/%s/config.json", state_root, id);
    CLEANUP_OCI_CONTAINER struct oci_container *k = calloc(1, sizeof(*k));
    CLEANUP_BUF struct buf b = { 0 }, text = { 0 };
    if (!path || !dir || !config || !k) {
        return err_oom(e);
    }
    r = file_read(AT_FDCWD, path, JSON_TEXT_MAX, &b, e);
    if (r == -ENOENT) {
        return access(dir, F_OK) == 0 ? err_set(e, EAGAIN, ERR_BUSY, "container %s is being created, or its creation was cut off: delete --force removes it", id)
                                      : err_set(e, ENOENT, ERR_NOT_FOUND, "container does not exist: %s", id);
    }
    struct disk_state d = { 0 };
    if (r == 0) {
        r = json_parse(&disk_type, buf_str(&b), b.len, &d, e);
    }
    if (r < 0) {
        return err_wrap(e, "container %s: state.json", id);
    }
    k->id = PTR_STEAL(d.id);
    k->bundle = PTR_STEAL(d.bundle);
    k->rootfs = PTR_STEAL(d.rootfs);
    k->created = PTR_STEAL(d.created);
    k->cgroup = PTR_STEAL(d.cgroup);
    k->owner = d.owner ? PTR_STEAL(d.owner) : strdup("");
    k->pid = d.pid;
    k->start_time = d.start_time;
    k->annotations = d.annotations;
    d.annotations = (struct str_map){ 0 };
    json_free(&disk_type, &d);
    if (file_read(AT_FDCWD, config, JSON_TEXT_MAX, &text, e) == 0) {
        k->config = buf_steal(&text);
    }
    k->status = status_now(state_root, k);
    *ret = PTR_STEAL(k);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int oci_list(const char *state_root, char ***ret_ids, struct err *e)
{
    CLEANUP_STRV char **ids = calloc(1, sizeof(*ids));
    DIR *d = opendir(state_root);
    struct dirent *ent;
    int r = ids ? 0 : -ENOMEM;
    if (!d && errno != ENOENT) {
        return err_sys(e, errno, "open %s", state_root);
    }
    while (r == 0 && d && (ent = readdir(d))) {
        if (ent->d_type == DT_DIR && oci_id_check(ent->d_name, NULL) == 0 && ent->d_name[0] != '.') {
            r = strv_push(&ids, ent->d_name);
        }
    }
    if (d) {
        closedir(d);
    }
    if (r < 0) {
        return err_oom(e);
    }
    qsort(ids, strv_len(ids), sizeof(*ids), by_name);
    *ret_ids = PTR_STEAL(ids);
    return 0;
}

int oci_state_json(const struct oci_container *k, struct buf *out, struct err *e)
{
    struct oci_state s = { .oci_version = (char *)(uintptr_t)OCI_VERSION,
                           .id = k->id,
                           .status = (char *)(uintptr_t)oci_status_name(k->status),
                           .pid = k->status == OCI_STOPPED ? 0 : k->pid,
                           .bundle = k->bundle,
                           .rootfs = k->rootfs,
                           .created = k->created,
                           .owner = k->owner,
                           .annotations = k->annotations };
    return json_format(&oci_state_type, &s, 2, out, e);
}

/* The hooks of a container that was created by somebody else; most have none, and then nothing is parsed. */
static int hooks_of(const struct oci_container *k, struct oci_spec **ret, struct err *e)
{
    *ret = NULL;
    return k->config && strstr(k->config, "\"hooks\"") ? oci_spec_parse(k->config, strlen(k->config), ret, e) : 0;
}

static void late_hooks_run(const struct oci_hooks *h, const struct oci_hook_state *state, bool stop)
{
    struct err e;
    /* runtime.md: what fails here is only worth a warning; the container goes on. */
    if (h) {
        (void)!oci_hooks_run(stop ? &h->poststop : &h->poststart, stop ? "poststop" : "poststart", state, &e);
    }
}

static void late_hooks(const struct oci_container *k, bool stop)
{
    CLEANUP_OCI_SPEC struct oci_spec *s = NULL;
    struct err e;
    if (hooks_of(k, &s, &e) < 0 || !s) {
        return;
    }
    struct oci_hook_state state = { k->id, stop ? "stopped" : "running", k->bundle, stop ? 0 : k->pid, &k->annotations };
    late_hooks_run(s->hooks, &state, stop);
}

void state_kept_free(struct oci_kept *k)
{
    if (k) {
        fd_close(&k->dir);
        oci_cgroup_free(k->cgroup);
        free(k);
    }
}

int oci_run_start(struct oci_created *c, const struct oci_create_args *a, struct err *e)
{
    if (write(c->start_fd, "s", 1) != 1) {
        return err_set(e, ESRCH, ERR_NOT_FOUND, "the init of container %s has ended", a->id);
    }
    struct oci_hook_state state = { a->id, "running", a->bundle, c->pid, &a->spec->annotations };
    late_hooks_run(a->spec->hooks, &state, false);
    return 0;
}

int oci_run_end(struct oci_created *c, const struct oci_create_args *a, struct err *e)
{
    const struct oci_kept *k = c->kept;
    if (!k) {
        return oci_delete(a->state_root, a->id, false, e);
    }
    if (faccessat(k->dir, "state.json", F_OK, 0) < 0) {
        return 0; /* deleted by somebody else: the name may be another container's now, and the cgroup too */
    }
    int r = cgroup_remove_empty(k->cgroup) ? 0 : oci_cgroup_kill(k->cgroup, SIGKILL, e);
    r = r < 0 ? r : oci_cgroup_destroy(k->cgroup, e);
    if (r < 0) {
        return r;
    }
    unlinkat(k->dir, "cgroup", 0);
    unlinkat(k->dir, "config.json", 0);
    /* Whoever takes this away is the one that deletes the container. */
    if (unlinkat(k->dir, "state.json", 0) < 0) {
        return 0;
    }
    CLEANUP_FREE char *dir = str_printf("%s/%s", a->state_root, a->id);
    struct stat ours, there;
    /* Something else in it: removed with that, if it is still the same folder. */
    if (dir && rmdir(dir) < 0 && errno == ENOTEMPTY && fstat(k->dir, &ours) == 0 && lstat(dir, &there) == 0 && ours.st_ino == there.st_ino) {
        state_dir_remove(a->state_root, a->id);
    }
    struct oci_hook_state state = { a->id, "stopped", a->bundle, 0, &a->spec->annotations };
    late_hooks_run(a->spec->hooks, &state, true);
    return 0;
}

int oci_start(const char *state_root, const char *id, struct err *e)
{
    CLEANUP_OCI_CONTAINER struct oci_container *k = NULL;
    int r = oci_load(state_root, id, &k, e);
    if (r < 0) {
        return r;
    }
    if (k->status != OCI_CREATED) {
        return err_set(e, EINVAL, ERR_INVALID, "cannot start a container in the %s state", oci_status_name(k->status));
    }
    CLEANUP_FREE char *fifo = str_printf("%s/%s/exec.fifo", state_root, id);
    CLEANUP_FD int fd = state_fifo_open(state_root, id, O_WRONLY | O_NONBLOCK, e);
    if (fd < 0) {
        return fd == -ENXIO ? err_set(e, ESRCH, ERR_NOT_FOUND, "the init of container %s has ended", id) : fd;
    }
    /* Whoever unlinks it is the one who starts: of two at once, one fails. */
    if (!fifo || unlink(fifo) < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "cannot start a container that is being started already: %s", id);
    }
    if (write(fd, "s", 1) != 1) {
        return err_sys(e, errno, "start container %s", id);
    }
    late_hooks(k, false);
    return 0;
}

int oci_kill(const char *state_root, const char *id, int signo, bool all, struct err *e)
{
    CLEANUP_OCI_CONTAINER struct oci_container *k = NULL;
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    int r = oci_load(state_root, id, &k, e);
    if (r < 0) {
        return r;
    }
    if (all) {
        r = oci_cgroup_open(k->cgroup, &cg, e);
        return r < 0 ? r : oci_cgroup_kill(cg, signo, e);
    }
    if (k->status == OCI_STOPPED) {
        return err_set(e, ESRCH, ERR_NOT_FOUND, "container not running");
    }
    CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, k->pid, 0);
    if (pidfd < 0 || process_start_time(k->pid, NULL) != k->start_time || syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) < 0) {
        return err_set(e, ESRCH, ERR_NOT_FOUND, "container not running");
    }
    /* A frozen process does not die of SIGKILL in a v1 freezer. */
    if (signo == SIGKILL && k->status == OCI_PAUSED && oci_cgroup_open(k->cgroup, &cg, e) == 0) {
        (void)!oci_cgroup_freeze(cg, false, NULL);
    }
    return 0;
}

/*
 * A creation that was cut off. Its init has ended with it or is about to. The cgroup is only removed, nothing is killed: if the creation
 * was cut off before it saw that somebody else has that cgroup, these are not ours.
 */
static int delete_broken(const char *state_root, const char *id, struct err *e)
{
    CLEANUP_FREE char *dir = str_printf("%s/%s", state_root, id);
    CLEANUP_FREE char *note = str_printf("%s/%s/cgroup", state_root, id);
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    char text[4096];
    if (!dir || !note || access(dir, F_OK) < 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "container does not exist: %s", id);
    }
    ssize_t n = readlink(note, text, sizeof(text) - 1);
    int r = n < 0 && errno != ENOENT ? err_sys(e, errno, "read %s", note) : 0;
    if (n > 0) {
        text[n] = '\0';
        r = oci_cgroup_open(text, &cg, e);
        r = r == 0 ? oci_cgroup_destroy(cg, e) : r;
    }
    if (r < 0 && r != -ENOENT) {
        return r;
    }
    return dir_remove_all(AT_FDCWD, dir, e);
}

int oci_delete(const char *state_root, const char *id, bool force, struct err *e)
{
    CLEANUP_OCI_CONTAINER struct oci_container *k = NULL;
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    int r = oci_load(state_root, id, &k, e);
    if (r < 0) {
        bool missing = r == -ENOENT || oci_id_check(id, NULL) < 0;
        return force && missing ? (r == -ENOENT ? 0 : r) : force ? delete_broken(state_root, id, e) : r;
    }
    if (k->status != OCI_STOPPED && k->status != OCI_CREATED && !force) {
        return err_set(e, EBUSY, ERR_BUSY, "cannot delete container %s that is not stopped: %s", id, oci_status_name(k->status));
    }
    r = oci_cgroup_open(k->cgroup, &cg, e);
    if (r == 0 && k->status != OCI_STOPPED) {
        CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, k->pid, 0);
        if (pidfd >= 0 && process_start_time(k->pid, NULL) == k->start_time) {
            syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        }
    }
    /* Without a pid namespace, or with one that is shared, processes outlive the init. */
    if (r == 0 && (k->status != OCI_STOPPED || !cgroup_remove_empty(cg))) {
        r = oci_cgroup_kill(cg, SIGKILL, e);
    }
    if (r == 0) {
        r = oci_cgroup_destroy(cg, e);
    }
    if (r == 0) {
        state_dir_remove(state_root, id);
        late_hooks(k, true);
    }
    return r;
}

int oci_pause(const char *state_root, const char *id, bool pause, struct err *e)
{
    CLEANUP_OCI_CONTAINER struct oci_container *k = NULL;
    CLEANUP_OCI_CGROUP struct oci_cgroup *cg = NULL;
    int r = oci_load(state_root, id, &k, e);
    if (r < 0) {
        return r;
    }
    if (pause ? k->status != OCI_RUNNING && k->status != OCI_CREATED : k->status != OCI_PAUSED) {
        return err_set(e, EINVAL, ERR_INVALID, pause ? "container %s is not running" : "container %s is not paused", id);
    }
    r = oci_cgroup_open(k->cgroup, &cg, e);
    return r < 0 ? r : oci_cgroup_freeze(cg, pause, e);
}
