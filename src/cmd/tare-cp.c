/*
 * cmd/tare-cp.c: copies between a container and the host. Everything on the container's side is reached from a descriptor of
 * its root and never through a symlink that leads out of it; a link that is copied stays a link.
 */
#include "base/fd.h"
#include "cmd/cli.h"
#include "cmd/commands.h"
#include "sys/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 256 };

struct cp_args {
    bool archive, quiet;
};

struct side {
    int root;      /* of the container; -1: the host */
    const char *path;
    char *ref;     /* container; NULL: the host */
};

/* "CTR:PATH" or a path; a path that begins with "/" or "." is the host's whatever it holds. */
static int side_parse(const char *s, struct side *ret, struct err *e)
{
    const char *colon = strchr(s, ':');
    *ret = (struct side){ -1, s, NULL };
    if (s[0] == '/' || s[0] == '.' || !colon || colon == s) {
        return 0;
    }
    ret->path = colon + 1;
    ret->ref = strndup(s, (size_t)(colon - s));
    return ret->ref ? 0 : err_oom(e);
}

static int side_open(const struct side *s, const char *path, int flags)
{
    int fd = s->root >= 0 ? path_open_in_root(s->root, path, flags, 0) : open(*path ? path : ".", flags | O_CLOEXEC);
    return fd < 0 && s->root < 0 ? -errno : fd;
}

/* The folder and the last component of a path; "." and ".." and "/" are folders themselves. */
static int side_parent(const struct side *s, const char *path, int *ret_dir, char name[NAME_MAX + 1], struct err *e)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    size_t base = len;
    while (base > 0 && path[base - 1] != '/') {
        base--;
    }
    if (len - base > NAME_MAX) {
        return err_set(e, ENAMETOOLONG, ERR_INVALID, "%.100s: name too long", path);
    }
    snprintf(name, NAME_MAX + 1, "%.*s", (int)(len - base), path + base);
    bool whole = !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    CLEANUP_FREE char *dir = whole ? strndup(path, len) : strndup(path, base);
    if (!dir) {
        return err_oom(e);
    }
    if (whole) {
        snprintf(name, NAME_MAX + 1, ".");
    }
    const char *open_as = *dir ? dir : s->root >= 0 ? "/" : ".";
    int fd = side_open(s, open_as, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return err_sys(e, -fd, "%s%s%.200s", s->ref ? s->ref : "", s->ref ? ":" : "", open_as);
    }
    *ret_dir = fd;
    return 0;
}

static int copy_bytes(int from, int to, const char *name, struct err *e)
{
    for (;;) {
        ssize_t n = sendfile(to, from, NULL, 1 << 22);
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return err_sys(e, errno, "copy %.200s", name);
        }
    }
}

/*
 * By descriptor: the name may be another thing meanwhile, in a container that runs. Who does not keep the owner does not keep the
 * set-id bits either: a program of a container's user would become one of root. chown takes these bits away, so it goes first.
 */
static int set_meta(int fd, const struct stat *st, bool archive, const char *name, struct err *e)
{
    mode_t mode = st->st_mode & (archive ? 07777 : 01777);
    if (archive && fchown(fd, st->st_uid, st->st_gid) < 0) {
        return err_sys(e, errno, "chown %.200s", name);
    }
    if (fchmod(fd, mode) < 0) {
        return err_sys(e, errno, "chmod %.200s", name);
    }
    struct timespec times[2] = { st->st_atim, st->st_mtim };
    return futimens(fd, times) < 0 ? err_sys(e, errno, "set times of %.200s", name) : 0;
}

static int copy_file(int sdir, const char *sname, int ddir, const char *dname, bool archive, struct err *e)
{
    struct stat st;
    CLEANUP_FD int from = openat(sdir, sname, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (from < 0 || fstat(from, &st) < 0 || !S_ISREG(st.st_mode)) {
        return err_sys(e, from < 0 ? errno : EAGAIN, "open %.200s", sname);
    }
    /* A new file takes the old one's name: nothing that the name may lead to is written through. */
    if (unlinkat(ddir, dname, 0) < 0 && errno != ENOENT) {
        return err_sys(e, errno, "replace %.200s", dname);
    }
    CLEANUP_FD int to = openat(ddir, dname, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0) {
        return err_sys(e, errno, "create %.200s", dname);
    }
    int r = copy_bytes(from, to, sname, e);
    return r < 0 ? r : set_meta(to, &st, archive, dname, e);
}

static int copy_entry(int sdir, const char *sname, int ddir, const char *dname, bool archive, int depth, struct err *e);

static int copy_folder(int sdir, const char *sname, int ddir, const char *dname, bool archive, int depth, struct err *e)
{
    CLEANUP_FD int from = openat(sdir, sname, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (from < 0 || fstat(from, &st) < 0) {
        return err_sys(e, errno, "open %.200s", sname);
    }
    bool made = mkdirat(ddir, dname, 0700) == 0;
    if (!made && errno != EEXIST) {
        return err_sys(e, errno, "mkdir %.200s", dname);
    }
    CLEANUP_FD int to = openat(ddir, dname, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int listing = to < 0 ? -1 : dup(from);
    DIR *d = listing < 0 ? NULL : fdopendir(listing);
    if (!d) {
        return err_sys(e, errno, "open %.200s", dname);
    }
    int r = 0;
    const struct dirent *de;
    while (r == 0 && (de = readdir(d))) {
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0) {
            r = copy_entry(from, de->d_name, to, de->d_name, archive, depth + 1, e);
        }
    }
    closedir(d);
    return r == 0 && (made || archive) ? set_meta(to, &st, archive, dname, e) : r;
}

/* Neither follows what the name may have become. */
static int set_meta_at(int ddir, const char *dname, const struct stat *st, bool archive, struct err *e)
{
    struct timespec times[2] = { st->st_atim, st->st_mtim };
    if (archive && fchownat(ddir, dname, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_sys(e, errno, "chown %.200s", dname);
    }
    return utimensat(ddir, dname, times, AT_SYMLINK_NOFOLLOW) < 0 ? err_sys(e, errno, "set times of %.200s", dname) : 0;
}

static int copy_link(int sdir, const char *sname, int ddir, const char *dname, const struct stat *st, bool archive, struct err *e)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(sdir, sname, target, sizeof(target) - 1);
    if (n < 0) {
        return err_sys(e, errno, "readlink %.200s", sname);
    }
    target[n] = '\0';
    if ((unlinkat(ddir, dname, 0) < 0 && errno != ENOENT) || symlinkat(target, ddir, dname) < 0) {
        return err_sys(e, errno, "symlink %.200s", dname);
    }
    return set_meta_at(ddir, dname, st, archive, e);
}

static int copy_node(int ddir, const char *dname, const struct stat *st, bool archive, struct err *e)
{
    if ((unlinkat(ddir, dname, 0) < 0 && errno != ENOENT) || mknodat(ddir, dname, st->st_mode & (S_IFMT | 0777), st->st_rdev) < 0) {
        return err_sys(e, errno, "mknod %.200s", dname);
    }
    return set_meta_at(ddir, dname, st, archive, e);
}

static int copy_entry(int sdir, const char *sname, int ddir, const char *dname, bool archive, int depth, struct err *e)
{
    struct stat st;
    if (depth > DEPTH_MAX) {
        return err_set(e, ELOOP, ERR_INVALID, "%.200s: folders nested too deep", sname);
    }
    if (fstatat(sdir, sname, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_sys(e, errno, "%.200s", sname);
    }
    switch (st.st_mode & S_IFMT) {
    case S_IFDIR:
        return copy_folder(sdir, sname, ddir, dname, archive, depth, e);
    case S_IFLNK:
        return copy_link(sdir, sname, ddir, dname, &st, archive, e);
    case S_IFREG:
        return copy_file(sdir, sname, ddir, dname, archive, e);
    case S_IFSOCK:
        return 0; /* means nothing without its process */
    default:
        return copy_node(ddir, dname, &st, archive, e);
    }
}

/* docker's rules: into a folder that exists, else as the new name; "SRC/." means what is in it. */
static int copy_between(const struct side *src, const struct side *dst, const struct cp_args *a, struct err *e)
{
    char sname[NAME_MAX + 1], dname[NAME_MAX + 1];
    CLEANUP_FD int sdir = -1;
    CLEANUP_FD int ddir = -1;
    struct stat st;
    int r = side_parent(src, src->path, &sdir, sname, e);
    if (r == 0 && fstatat(sdir, sname, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        r = err_sys(e, errno, "%s%s%.200s", src->ref ? src->ref : "", src->ref ? ":" : "", src->path);
    }
    if (r < 0) {
        return r;
    }
    int into = side_open(dst, *dst->path ? dst->path : "/", O_RDONLY | O_DIRECTORY);
    if (into >= 0) {
        ddir = into;
        snprintf(dname, sizeof(dname), "%s", sname);
    } else if (into == -ENOENT && str_ends(dst->path, "/") && !S_ISDIR(st.st_mode)) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "%.200s: no such directory", dst->path);
    } else {
        r = side_parent(dst, dst->path, &ddir, dname, e);
        if (r == 0 && into == -ENOTDIR && S_ISDIR(st.st_mode)) {
            r = err_set(e, ENOTDIR, ERR_INVALID, "cannot copy a directory onto the file %.200s", dst->path);
        }
    }
    return r < 0 ? r : copy_entry(sdir, sname, ddir, dname, a->archive, 0, e);
}

static int run_cp(void *globals, void *args, int argc, char **argv)
{
    struct cli *c = globals;
    const struct cp_args *a = args;
    struct side s[2] = { { .root = -1 }, { .root = -1 } };
    struct err e = { 0 };
    (void)argc;
    int r = 0;
    for (int i = 0; r == 0 && i < 2; i++) {
        if (strcmp(argv[i], "-") == 0) {
            r = err_set(&e, EOPNOTSUPP, ERR_UNSUPPORTED, "tar streams ('-') are not supported; try 'tare exec CONTAINER tar'");
            break;
        }
        r = side_parse(argv[i], &s[i], &e);
    }
    if (r == 0 && !s[0].ref == !s[1].ref) {
        r = err_set(&e, EINVAL, ERR_INVALID, s[0].ref ? "copying between containers is not supported"
                                                      : "must specify at least one container source: CONTAINER:PATH");
    }
    if (r == 0) {
        r = cli_engine(c, &e);
    }
    struct side *inside = s[0].ref ? &s[0] : &s[1];
    if (r == 0) {
        r = engine_ctr_root(c->g, inside->ref, &inside->root, &e);
    }
    if (r == 0) {
        r = copy_between(&s[0], &s[1], a, &e);
    }
    fd_close(&inside->root);
    free(s[0].ref);
    free(s[1].ref);
    return r < 0 ? cli_fail(c, &e, 1) : 0;
}

static const struct opt cp_opts[] = {
    OPT_FLAG('a', "archive", offsetof(struct cp_args, archive), "keep owners"),
    OPT_FLAG('q', "quiet", offsetof(struct cp_args, quiet), NULL),
};
const struct command command_cp = { .name = "cp", .operands = "CONTAINER:SRC DST | SRC CONTAINER:DST",
                                    .summary = "Copy files between a container and the host",
                                    .examples = "tare cp web:/etc/nginx.conf .\ntare cp site/. web:/www", .opts = OPTS(cp_opts),
                                    .args_size = sizeof(struct cp_args), .min_operands = 2, .max_operands = 2, .run = run_cp };
