/* engine/user.c: see user.h. */
#include "engine/user.h"

#include "base/fd.h"
#include "base/num.h"
#include "sys/path.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { FILE_MAX_BYTES = 4 << 20, GROUPS_MAX = 65536 };

void user_done(struct user *u)
{
    free(u->groups.v);
    free(u->home);
    free(u->name);
    *u = (struct user){ 0 };
}

int user_groups_add(struct user *u, uint32_t gid)
{
    size_t at = 0;
    while (at < u->groups.n && u->groups.v[at] < gid) {
        at++;
    }
    if (at < u->groups.n && u->groups.v[at] == gid) {
        return 0;
    }
    if (u->groups.n >= GROUPS_MAX) {
        return -E2BIG;
    }
    uint32_t *v = reallocarray(u->groups.v, u->groups.n + 1, sizeof(*v));
    if (!v) {
        return -ENOMEM;
    }
    memmove(v + at + 1, v + at, (u->groups.n - at) * sizeof(*v));
    v[at] = gid;
    u->groups.v = v;
    u->groups.n++;
    return 0;
}

/* An image without the file has no users; one that is no regular file, or is huge, is not read. */
static int list_read(int rootfd, const char *path, struct buf *out, struct err *e)
{
    /* Looked at before it is opened: opening a device node can do things already. */
    CLEANUP_FD int at = path_open_in_root(rootfd, path, O_PATH, 0);
    if (at == -ENOENT || at == -ENOTDIR) {
        return 0;
    }
    struct stat st;
    if (at < 0 || fstat(at, &st) < 0) {
        return err_sys(e, at < 0 ? -at : errno, "open %s of the image", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(e, EINVAL, ERR_INVALID, "%s of the image is no regular file", path);
    }
    char name[32];
    CLEANUP_FD int fd = open(path_of_fd(at, name), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "open %s of the image", path);
    }
    int r = fd_read_all(fd, out, FILE_MAX_BYTES);
    return r < 0 ? err_sys(e, -r, "read %s of the image", path) : 0;
}

/* Cuts one line into fields in place; returns how many there are. *next is the following line, NULL at the end. */
static size_t fields_cut(char *line, char **field, size_t max, char **next)
{
    size_t n = 0;
    size_t len = strcspn(line, "\n");
    *next = line[len] ? line + len + 1 : NULL;
    line[len] = '\0';
    for (char *p = line; p && n < max; n++) {
        field[n] = p;
        p = n + 1 < max ? strchr(p, ':') : NULL;
        if (p) {
            *p++ = '\0';
        }
    }
    return n;
}

struct passwd_entry {
    char *name, *home;
    uint32_t uid, gid;
};

/* The first entry of that name or, with number, of that uid. 1: found. */
static int passwd_find(char *text, const char *name, bool number, uint32_t uid, struct passwd_entry *ret)
{
    char *f[7];
    for (char *line = text, *next; line && *line; line = next) {
        struct passwd_entry p = { 0 };
        size_t n = fields_cut(line, f, 7, &next);
        if (n < 6 || num_u32(f[2], &p.uid) < 0 || num_u32(f[3], &p.gid) < 0) {
            continue;
        }
        if (number ? p.uid == uid : str_eq(f[0], name)) {
            p.name = f[0];
            p.home = f[5];
            *ret = p;
            return 1;
        }
    }
    return 0;
}

static int group_find(char *text, const char *name, uint32_t *ret)
{
    char *f[4];
    for (char *line = text, *next; line && *line; line = next) {
        uint32_t gid;
        size_t n = fields_cut(line, f, 4, &next);
        if (n >= 3 && str_eq(f[0], name) && num_u32(f[2], &gid) == 0) {
            *ret = gid;
            return 1;
        }
    }
    return 0;
}

static bool member_of(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; *p;) {
        size_t k = strcspn(p, ",");
        if (k == n && memcmp(p, name, n) == 0) {
            return true;
        }
        p += k + (p[k] == ',');
    }
    return false;
}

static int groups_of_member(char *text, const char *name, struct user *u)
{
    char *f[4];
    for (char *line = text, *next; line && *line; line = next) {
        uint32_t gid;
        size_t n = fields_cut(line, f, 4, &next);
        if (n == 4 && num_u32(f[2], &gid) == 0 && member_of(f[3], name)) {
            int r = user_groups_add(u, gid);
            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

int user_group(int rootfd, const char *spec, uint32_t *ret, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    if (num_u32(spec, ret) == 0) {
        return 0;
    }
    int r = list_read(rootfd, "/etc/group", &b, e);
    if (r < 0) {
        return r;
    }
    return group_find(b.data, spec, ret) ? 0 : err_set(e, ENOENT, ERR_NOT_FOUND, "group '%s' is not in /etc/group of the image", spec);
}

static int lookup(int rootfd, const char *name, const char *group, bool merge, struct user *u, struct err *e)
{
    CLEANUP_BUF struct buf passwd = { 0 }, groups = { 0 };
    struct passwd_entry p = { 0 };
    uint32_t uid = 0;
    bool number = num_u32(name, &uid) == 0;
    int r = list_read(rootfd, "/etc/passwd", &passwd, e);
    if (r < 0) {
        return r;
    }
    bool listed = passwd_find(passwd.data, name, number, uid, &p) == 1;
    if (!listed && !number) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "user '%s' is not in /etc/passwd of the image", name);
    }
    u->uid = listed ? p.uid : uid;
    u->gid = listed ? p.gid : 0;
    u->home = strdup(listed && *p.home ? p.home : "/");
    u->name = listed ? strdup(p.name) : NULL;
    if (!u->home || (listed && !u->name)) {
        return err_oom(e);
    }
    if (group && (r = user_group(rootfd, group, &u->gid, e)) < 0) {
        return r;
    }
    if (!merge || !u->name) {
        return 0;
    }
    r = list_read(rootfd, "/etc/group", &groups, e);
    if (r == 0 && groups_of_member(groups.data, u->name, u) < 0) {
        r = err_oom(e);
    }
    return r;
}

int user_lookup(int rootfd, const char *spec, bool merge, struct user *ret, struct err *e)
{
    CLEANUP_USER struct user u = { 0 };
    CLEANUP_FREE char *copy = strdup(str_empty(spec) ? "0" : spec);
    if (!copy) {
        return err_oom(e);
    }
    char *colon = strchr(copy, ':');
    if (colon) {
        *colon++ = '\0';
    }
    int r = lookup(rootfd, *copy ? copy : "0", colon && *colon ? colon : NULL, merge, &u, e);
    if (r == 0) {
        *ret = u;
        u = (struct user){ 0 };
    }
    return r;
}
