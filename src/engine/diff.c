/* engine/diff.c: what a container's writable layer changed, read off the overlay's upper folder. */
#include "engine/internal.h"

#include "sys/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { DEPTH_MAX = 256 };

struct walk {
    int image; /* the layers below, as one */
    engine_diff_fn *fn;
    void *data;
};

static bool in_image(const struct walk *w, const char *path)
{
    CLEANUP_FREE char *dir = strdup(path);
    struct stat st;
    char *slash = dir ? strrchr(dir, '/') : NULL;
    if (!slash) {
        return false;
    }
    *slash = '\0';
    CLEANUP_FD int fd = path_open_in_root(w->image, *dir ? dir : "/", O_PATH | O_DIRECTORY, 0);
    return fd >= 0 && fstatat(fd, slash + 1, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int visit(const struct walk *w, int fd, const char *path, int depth);

static int entry(const struct walk *w, int dir, const char *name, const char *parent, int depth)
{
    struct stat st;
    CLEANUP_FREE char *path = str_printf("%s/%s", parent, name);
    if (!path || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return path ? 0 : -ENOMEM;
    }
    bool whiteout = S_ISCHR(st.st_mode) && st.st_rdev == 0;
    int r = w->fn(w->data, whiteout ? 'D' : in_image(w, path) ? 'C' : 'A', path);
    if (r < 0 || !S_ISDIR(st.st_mode)) {
        return r;
    }
    int sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return sub < 0 ? -errno : visit(w, sub, path, depth + 1);
}

/* Takes fd. */
static int visit(const struct walk *w, int fd, const char *path, int depth)
{
    struct dirent **names = NULL;
    int n = depth < DEPTH_MAX ? scandirat(fd, ".", &names, NULL, alphasort) : -1, r = n < 0 ? -ELOOP : 0;
    for (int i = 0; i < n; i++) {
        if (r == 0 && !str_eq(names[i]->d_name, ".") && !str_eq(names[i]->d_name, "..")) {
            r = entry(w, fd, names[i]->d_name, path, depth);
        }
        free(names[i]);
    }
    free(names);
    close(fd);
    return r;
}

int engine_ctr_diff(struct engine *g, const char *ref, engine_diff_fn *fn, void *data, struct err *e)
{
    CLEANUP_CTR struct ctr c = { 0 };
    CLEANUP_STRV char **lowers = NULL;
    CLEANUP_FD int image = -1;
    int r = ctr_load(g, ref, &c, e);
    if (r == 0) {
        r = ctr_lowers(g, c.row.id, &lowers, e);
    }
    if (r == 0) {
        r = rootfs_open(lowers, NULL, NULL, &image, e);
    }
    CLEANUP_FREE char *upper = r == 0 ? str_printf("%s/upper", c.data) : NULL;
    if (r < 0 || !upper) {
        return r < 0 ? r : err_oom(e);
    }
    int fd = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "open the writable layer of %.12s", c.row.id);
    }
    struct walk w = { image, fn, data };
    r = visit(&w, fd, "", 0);
    return r < 0 ? err_sys(e, -r, "read the writable layer of %.12s", c.row.id) : 0;
}
