/* engine/volumes.c: named folders that outlive containers: ROOT/volumes/NAME/data, with what is known of them in NAME/meta.json. */
#include "engine/internal.h"

#include "base/fault.h"
#include "sys/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct meta {
    int64_t created_at;
    struct str_map labels;
    bool anonymous;
};
static const struct json_field meta_fields[] = {
    JSON_FIELD(struct meta, created_at, "created_at", I64, 0, NULL),
    JSON_FIELD(struct meta, labels, "labels", MAP, 0, NULL),
    JSON_FIELD(struct meta, anonymous, "anonymous", BOOL, 0, NULL),
};
static const struct json_type meta_type = JSON_TYPE(struct meta, meta_fields);

static bool name_ok(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n <= 128 && s[0] != '.' && s[0] != '-' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

int volume_path(struct engine *g, const char *name, char **ret, struct err *e)
{
    if (!name_ok(name)) {
        return err_set(e, EINVAL, ERR_INVALID, "volume name \"%.128s\": expected letters, digits and _.-", name);
    }
    char *p = str_printf("%s/volumes/%s/data", g->root, name);
    if (!p) {
        return err_oom(e);
    }
    *ret = p;
    return 0;
}

static int write_meta(struct engine *g, const char *name, const struct meta *m, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    CLEANUP_FREE char *path = str_printf("%s/volumes/%s/meta.json", g->root, name);
    int r = path ? json_format(&meta_type, m, 0, &b, e) : err_oom(e);
    return r < 0 ? r : file_replace(AT_FDCWD, path, b.data, b.len, 0600, false, e);
}

int volume_lock(struct engine *g, const char *name, int *ret, struct err *e)
{
    return lock_take(g->store, "vol", name, false, LOCK_WAIT, ret, e);
}

int volume_make(struct engine *g, const char *name, bool anonymous, const struct str_map *labels, struct err *e)
{
    CLEANUP_FREE char *path = NULL;
    struct stat st;
    struct meta m = { .created_at = store_now(), .anonymous = anonymous };
    int r = volume_path(g, name, &path, e);
    if (r < 0 || stat(path, &st) == 0) {
        return r;
    }
    r = dir_make_all(AT_FDCWD, path, 0755, e);
    if (labels) {
        m.labels = *labels;
    }
    return r < 0 ? r : write_meta(g, name, &m, e);
}

int engine_volume_create(struct engine *g, const char *name, const struct str_map *labels, char **ret_name, struct err *e)
{
    char id[ID_SIZE];
    CLEANUP_FREE char *path = NULL;
    CLEANUP_FD int lock = -1;
    bool anonymous = !name;
    int r = name ? 0 : new_id(id, e);
    name = name ? name : id;
    if (r == 0) {
        r = volume_path(g, name, &path, e); /* the name is checked before it names a lock */
    }
    if (r == 0) {
        r = volume_lock(g, name, &lock, e);
    }
    if (r == 0) {
        r = volume_make(g, name, anonymous, labels, e);
    }
    if (r == 0) {
        *ret_name = strdup(name);
        r = *ret_name ? 0 : err_oom(e);
    }
    return r;
}

void engine_volume_free(struct engine_volume *v)
{
    if (v) {
        free(v->name);
        free(v->path);
        str_map_done(&v->labels);
        str_map_done(&v->options);
        free(v);
    }
}

void engine_volumes_done(struct engine_volumes *v)
{
    for (size_t i = 0; i < v->n; i++) {
        engine_volume_free(v->v[i]);
    }
    free(v->v);
    *v = (struct engine_volumes){ 0 };
}

static int count_users(struct engine *g, const char *name, uint32_t *ret, struct err *e)
{
    CLEANUP_STORE_CTRS struct store_ctrs rows = { 0 };
    int r = store_ctr_list(g->store, NULL, NULL, &rows, e);
    for (size_t i = 0; r == 0 && i < rows.n; i++) {
        struct ctr_status st = { 0 };
        r = codec_status_read(&ctr_status_type, rows.v[i].status, &st, e);
        for (char **v = st.volumes; v && *v; v++) {
            if (str_eq(*v, name)) {
                ++*ret;
                break;
            }
        }
        json_free(&ctr_status_type, &st);
    }
    return r;
}

int engine_volume_get(struct engine *g, const char *name, struct engine_volume **ret, struct err *e)
{
    CLEANUP_FREE char *path = NULL, *file = NULL;
    CLEANUP_BUF struct buf b = { 0 };
    struct meta m = { 0 };
    struct stat st;
    int r = volume_path(g, name, &path, e);
    if (r == 0 && stat(path, &st) < 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no such volume: %s", name);
    }
    file = str_printf("%s/volumes/%s/meta.json", g->root, name);
    if (r == 0 && file && file_read(AT_FDCWD, file, 1 << 20, &b, NULL) == 0) {
        r = json_parse(&meta_type, b.data, b.len, &m, e);
    }
    struct engine_volume *v = r == 0 ? calloc(1, sizeof(*v)) : NULL;
    if (!v) {
        return r < 0 ? r : err_oom(e);
    }
    v->name = strdup(name);
    v->path = PTR_STEAL(path);
    v->created_at = m.created_at;
    v->anonymous = m.anonymous;
    v->labels = m.labels;
    r = v->name ? count_users(g, name, &v->users, e) : err_oom(e);
    if (r < 0) {
        engine_volume_free(v);
        return r;
    }
    *ret = v;
    return 0;
}

int engine_volume_list(struct engine *g, struct engine_volumes *ret, struct err *e)
{
    CLEANUP_FREE char *dir = str_printf("%s/volumes", g->root);
    struct dirent **names = NULL;
    struct engine_volumes out = { 0 };
    int n = dir ? scandir(dir, &names, NULL, alphasort) : 0, r = dir ? 0 : err_oom(e);
    out.v = calloc((size_t)(n > 0 ? n : 1), sizeof(*out.v));
    for (int i = 0; i < n; i++) {
        struct err le = { 0 };
        if (out.v && names[i]->d_name[0] != '.' && engine_volume_get(g, names[i]->d_name, &out.v[out.n], &le) == 0) {
            out.n++;
        }
        free(names[i]);
    }
    free(names);
    *ret = out;
    return out.v ? r : err_oom(e);
}

static int remove_folder(struct engine *g, const char *name, struct err *e)
{
    CLEANUP_FREE char *dir = str_printf("%s/volumes/%s", g->root, name);
    return dir ? dir_remove_all(AT_FDCWD, dir, e) : err_oom(e);
}

int engine_volume_remove(struct engine *g, const char *name, bool force, struct err *e)
{
    struct engine_volume *v = NULL;
    struct err le = { 0 };
    CLEANUP_FREE char *path = NULL;
    CLEANUP_FD int lock = -1;
    int r = volume_path(g, name, &path, &le);
    if (r == 0) {
        r = volume_lock(g, name, &lock, &le);
    }
    if (r == 0) {
        r = engine_volume_get(g, name, &v, &le);
    }
    if (r < 0) {
        if (force && le.kind == ERR_NOT_FOUND) {
            return 0;
        }
        *e = le;
        return r;
    }
    uint32_t users = v->users;
    engine_volume_free(v);
    if (users > 0) {
        return err_set(e, EBUSY, ERR_BUSY, "volume %s is in use by %u container(s)", name, users);
    }
    r = remove_folder(g, name, e);
    if (r == 0) {
        lock_forget(g->store, "vol", name);
    }
    return r;
}

void volume_remove_with_last(struct engine *g, const char *name)
{
    CLEANUP_FD int lock = -1;
    uint32_t users = 0;
    struct err ignored = { 0 };
    if (volume_lock(g, name, &lock, &ignored) == 0 && count_users(g, name, &users, &ignored) == 0 && users <= 1 &&
        remove_folder(g, name, &ignored) == 0) {
        lock_forget(g->store, "vol", name);
    }
}

/* ---- filling a new one from the image ------------------------------------------------------------------------- */

static int copy_owner(int from, int to, const char *name, const struct stat *st)
{
    (void)from;
    if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0) {
        return -errno;
    }
    struct timespec t[2] = { st->st_atim, st->st_mtim };
    int r = utimensat(to, name, t, AT_SYMLINK_NOFOLLOW);
    (void)r;
    return 0;
}

static int copy_file(int from, int to, const char *name, const struct stat *st)
{
    CLEANUP_FD int in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    CLEANUP_FD int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (in < 0 || out < 0) {
        return -errno;
    }
    ssize_t n;
    do {
        n = copy_file_range(in, NULL, out, NULL, 1 << 30, 0);
    } while (n > 0);
    if (n < 0) {
        return -errno;
    }
    int r = copy_owner(from, to, name, st);
    return r < 0 ? r : fchmod(out, st->st_mode & 07777) < 0 ? -errno : 0;
}

static int copy_tree(int from, int to, int depth);

static int copy_entry(int from, int to, const char *name, int depth)
{
    struct stat st;
    char link[4096];
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    if (S_ISREG(st.st_mode)) {
        return copy_file(from, to, name, &st);
    }
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlinkat(from, name, link, sizeof(link) - 1);
        if (n < 0) {
            return -errno;
        }
        link[n] = '\0';
        return symlinkat(link, to, name) < 0 ? -errno : copy_owner(from, to, name, &st);
    }
    if (!S_ISDIR(st.st_mode)) {
        return mknodat(to, name, st.st_mode, st.st_rdev) < 0 ? -errno : copy_owner(from, to, name, &st);
    }
    if (mkdirat(to, name, 0700) < 0) {
        return -errno;
    }
    int sub_from = openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    CLEANUP_FD int sub_to = openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int r = sub_from < 0 || sub_to < 0 ? -errno : copy_tree(sub_from, sub_to, depth + 1);
    if (r == 0) {
        r = copy_owner(from, to, name, &st);
    }
    return r == 0 && fchmod(sub_to, st.st_mode & 07777) < 0 ? -errno : r;
}

/* Takes from. */
static int copy_tree(int from, int to, int depth)
{
    DIR *d = depth < 128 ? fdopendir(from) : NULL;
    if (!d) {
        close(from);
        return -ELOOP;
    }
    int r = 0;
    for (struct dirent *de = readdir(d); de && r == 0; de = readdir(d)) {
        if (!str_eq(de->d_name, ".") && !str_eq(de->d_name, "..")) {
            r = copy_entry(dirfd(d), to, de->d_name, depth);
        }
    }
    closedir(d);
    return r;
}

static bool is_empty(int fd)
{
    int dup = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = dup >= 0 ? fdopendir(dup) : NULL;
    int n = 0;
    for (struct dirent *de = d ? readdir(d) : NULL; de; de = readdir(d)) {
        n++;
    }
    if (d) {
        closedir(d);
    }
    return n <= 2;
}

static int fill(int to, int rootfd, const char *target, struct err *e)
{
    struct stat st;
    int from = path_open_in_root(rootfd, target, O_RDONLY | O_DIRECTORY, 0);
    if (from < 0) {
        return 0; /* the image has nothing there */
    }
    if (fstat(from, &st) < 0) {
        int saved = errno;
        close(from);
        return err_sys(e, saved, "look at %s of the image", target);
    }
    int r = copy_tree(from, to, 0);
    if (r == 0 && (fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0)) {
        r = -errno;
    }
    /* On disk before the mark goes: after a power cut what is there counts as whole. */
    if (r == 0 && !is_empty(to) && syncfs(to) < 0) {
        r = -errno;
    }
    return r < 0 ? err_sys(e, -r, "fill volume from %s of the image", target) : 0;
}

/* The mark of a copy that died: nobody has used the volume since, because each use comes here first. */
static int drop_half_filled(int dir, struct err *e)
{
    if (faccessat(dir, "filling", F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        return 0;
    }
    int r = dir_remove_all(dir, "data", e);
    if (r == 0 && mkdirat(dir, "data", 0755) < 0) {
        r = err_sys(e, errno, "make a volume's folder anew");
    }
    if (r == 0 && unlinkat(dir, "filling", 0) < 0) {
        r = err_sys(e, errno, "remove a volume's mark");
    }
    return r;
}

int volume_fill(const char *path, int rootfd, const char *target, struct err *e)
{
    CLEANUP_FREE char *up = str_printf("%s/..", path);
    CLEANUP_FD int dir = up ? open(up, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir < 0) {
        return up ? err_sys(e, errno, "open volume %s", path) : err_oom(e);
    }
    int r = drop_half_filled(dir, e);
    CLEANUP_FD int to = r == 0 ? openat(dir, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (r == 0 && to < 0) {
        r = err_sys(e, errno, "open volume %s", path);
    }
    if (r < 0 || !target || !is_empty(to)) {
        return r;
    }
    CLEANUP_FD int mark = openat(dir, "filling", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (mark < 0) {
        return err_sys(e, errno, "mark volume %s", path);
    }
    r = fill(to, rootfd, target, e);
    fault_point("volume.filled", NULL);
    return r == 0 && unlinkat(dir, "filling", 0) < 0 ? err_sys(e, errno, "remove the mark of volume %s", path) : r;
}
