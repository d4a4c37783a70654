/* sys/cgroup.c: see cgroup.h. */
#include "sys/cgroup.h"

#include "base/fd.h"
#include "base/num.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <unistd.h>

bool cg_list_has(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p;) {
        size_t k = strcspn(p, ",");
        if (k == n && memcmp(p, word, n) == 0) {
            return true;
        }
        p += k + (p[k] == ',');
    }
    return false;
}

void cg_machine_done(struct cg_machine *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->h[i].mount);
        free(m->h[i].controllers);
    }
    m->n = 0;
}

enum cg_mode cg_machine_mode(const struct cg_machine *m)
{
    bool v1 = false, v2 = false;
    for (size_t i = 0; i < m->n; i++) {
        v2 |= m->h[i].v2;
        v1 |= !m->h[i].v2;
    }
    return v1 && v2 ? CG_HYBRID : v2 ? CG_V2 : v1 ? CG_V1 : CG_NONE;
}

const struct cg_hierarchy *cg_machine_find(const struct cg_machine *m, const char *controller)
{
    const struct cg_hierarchy *found = NULL;
    for (size_t i = 0; i < m->n; i++) {
        if (m->h[i].v2) {
            found = found ? found : &m->h[i];
        } else if (cg_list_has(m->h[i].controllers, controller)) {
            return &m->h[i];
        }
    }
    return found;
}

static int add(struct cg_machine *m, const char *mount, const char *controllers, bool v2)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->h[i].v2 == v2 && str_eq(m->h[i].controllers, controllers)) {
            return 0; /* the same hierarchy, mounted twice */
        }
    }
    if (m->n == CG_HIERARCHIES_MAX) {
        return -E2BIG;
    }
    struct cg_hierarchy *h = &m->h[m->n];
    *h = (struct cg_hierarchy){ strdup(mount), strdup(controllers), v2 };
    m->n++;
    return h->mount && h->controllers ? 0 : -ENOMEM;
}

/* Options of a v1 super block that are no controllers. */
static void controllers_of(const char *options, char *out, size_t size)
{
    static const char *const skip[] = { "rw", "ro", "xattr", "noprefix", "clone_children", "seclabel", "none" };
    size_t len = 0;
    out[0] = '\0';
    for (const char *p = options; *p;) {
        size_t k = strcspn(p, ",");
        bool drop = (k >= 13 && memcmp(p, "release_agent", 13) == 0);
        for (size_t i = 0; i < ARRAY_LEN(skip); i++) {
            drop |= strlen(skip[i]) == k && memcmp(skip[i], p, k) == 0;
        }
        if (!drop && len + k + 2 < size) {
            len += (size_t)snprintf(out + len, size - len, "%s%.*s", len ? "," : "", (int)k, p);
        }
        p += k + (p[k] == ',');
    }
}

/* One line of mountinfo: … root(3) mountpoint(4) … " - " type source options. */
static int mount_line(struct cg_machine *m, char *line)
{
    char *tail = strstr(line, " - ");
    if (!tail || !strstr(tail, " cgroup")) {
        return 0;
    }
    char *save, *field = NULL, *mount = NULL;
    *tail = '\0';
    for (int i = 0; i < 5; i++) {
        field = strtok_r(i ? NULL : line, " ", &save);
    }
    mount = field;
    char *type = strtok_r(tail + 3, " ", &save);
    (void)strtok_r(NULL, " ", &save);
    char *options = strtok_r(NULL, " ", &save);
    if (!mount || !type || !options) {
        return 0;
    }
    if (str_eq(type, "cgroup2")) {
        return add(m, mount, "", true);
    }
    char controllers[256];
    controllers_of(options, controllers, sizeof(controllers));
    return str_eq(type, "cgroup") && *controllers ? add(m, mount, controllers, false) : 0;
}

static int mounts_read(struct cg_machine *m, struct err *e)
{
    struct statfs st;
    /* Pure v2, the usual case, needs no look at hundreds of mounts. */
    if (statfs("/sys/fs/cgroup", &st) == 0 && (unsigned long)st.f_type == CGROUP2_SUPER_MAGIC) {
        return add(m, "/sys/fs/cgroup", "", true) < 0 ? err_oom(e) : 0;
    }
    CLEANUP_BUF struct buf b = { 0 };
    int r = file_read(AT_FDCWD, "/proc/self/mountinfo", 16 << 20, &b, e);
    for (char *line = b.data, *next; r == 0 && line && *line; line = next) {
        next = line + strcspn(line, "\n");
        next += *next ? (*next = '\0', 1) : 0;
        int k = mount_line(m, line);
        if (k < 0) {
            r = err_sys(e, -k, "cgroup mounts");
        }
    }
    return r;
}

/* "4:memory:/path" or "0::/path": the path of the line that belongs to h, or NULL; ends the line in place. */
static char *self_line(char *text, const struct cg_hierarchy *h)
{
    for (char *line = text, *next; line && *line; line = next) {
        size_t n = strcspn(line, "\n");
        next = line + n + (line[n] == '\n');
        char *a = memchr(line, ':', n);
        char *b = a ? memchr(a + 1, ':', n - (size_t)(a + 1 - line)) : NULL;
        if (!b) {
            continue;
        }
        size_t len = (size_t)(b - a - 1);
        bool match = h->v2 ? len == 0 && line[0] == '0' : len == strlen(h->controllers) && memcmp(a + 1, h->controllers, len) == 0;
        if (!match && !h->v2 && len) {
            /* The order of joint controllers is not promised to be the same in both files. */
            size_t first = strcspn(h->controllers, ",");
            CLEANUP_FREE char *list = strndup(a + 1, len);
            CLEANUP_FREE char *word = strndup(h->controllers, first);
            match = list && word && cg_list_has(list, word);
        }
        if (match) {
            return strndup(b + 1, n - (size_t)(b + 1 - line));
        }
    }
    return NULL;
}

int cg_machine_read(struct cg_machine *ret, struct err *e)
{
    struct cg_machine m = { 0 };
    int r = mounts_read(&m, e);
    if (r < 0) {
        cg_machine_done(&m);
        return r;
    }
    *ret = m;
    return 0;
}

int cg_path_of_pid(pid_t pid, const struct cg_hierarchy *h, char **ret, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    int r = file_read(AT_FDCWD, path, 1 << 20, &b, e);
    if (r < 0) {
        return r;
    }
    char *self = self_line(b.data, h);
    if (!self) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "%s does not name the hierarchy '%s'", path, h->controllers);
    }
    *ret = self;
    return 0;
}

int cg_read_u64(int dirfd, const char *file, uint64_t *ret)
{
    char b[64];
    CLEANUP_FD int fd = openat(dirfd, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = read(fd, b, sizeof(b) - 1);
    if (n < 0) {
        return -errno;
    }
    b[n] = '\0';
    b[strcspn(b, " \n")] = '\0';
    if (str_eq(b, "max")) {
        *ret = UINT64_MAX;
        return 0;
    }
    return num_u64(b, ret);
}

int cg_read_key(int dirfd, const char *file, const char *key, uint64_t *ret)
{
    CLEANUP_BUF struct buf b = { 0 };
    size_t len = strlen(key);
    CLEANUP_FD int fd = openat(dirfd, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int r = fd_read_all(fd, &b, 1 << 20);
    if (r < 0) {
        return r;
    }
    for (const char *line = buf_str(&b); *line;) {
        size_t n = strcspn(line, "\n");
        if (n > len && memcmp(line, key, len) == 0 && line[len] == ' ') {
            char *end;
            *ret = strtoull(line + len + 1, &end, 10);
            return 0;
        }
        line += n + (line[n] == '\n');
    }
    return -ENOENT;
}
