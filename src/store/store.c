/* store/store.c: see store.h: opening, folders, digests, trash. */
#include "store/db.h"

#include "base/fd.h"
#include "base/num.h"
#include "sys/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *store_root(const struct store *s)
{
    return s->root;
}

const char *store_run(const struct store *s)
{
    return s->run;
}

int store_root_fd(const struct store *s)
{
    return s->root_fd;
}

int store_run_fd(const struct store *s)
{
    return s->run_fd;
}

const char *store_boot_id(const struct store *s)
{
    return s->boot_id;
}

int64_t store_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool digest_valid(const char *digest)
{
    return digest && str_starts(digest, "sha256:") && strlen(digest) == STORE_DIGEST_SIZE - 1 &&
           strspn(digest + 7, "0123456789abcdef") == 64;
}

const char *digest_hex(const char *digest)
{
    return digest + 7;
}

int store_digest_path(const char *kind, const char *digest, char out[static 160], struct err *e)
{
    if (!digest_valid(digest)) {
        return err_set(e, EINVAL, ERR_INVALID, "digest %.80s is not sha256 with 64 hexadecimal digits", digest ? digest : "(none)");
    }
    snprintf(out, 160, "%s%s", kind, digest_hex(digest));
    return 0;
}

int store_sync(struct store *s, struct err *e)
{
    return syncfs(s->root_fd) < 0 ? err_sys(e, errno, "flush %s", s->root) : 0;
}

int store_trash(struct store *s, const char *path, struct err *e)
{
    char to[80];
    pthread_mutex_lock(&s->lock);
    snprintf(to, sizeof(to), "trash/%d-%llu-%u", (int)getpid(), (unsigned long long)s->self_start, s->tmp_count++);
    pthread_mutex_unlock(&s->lock);
    if (renameat(s->root_fd, path, s->root_fd, to) < 0 && errno != ENOENT) {
        return err_sys(e, errno, "move %s/%s to the trash", s->root, path);
    }
    return 0;
}

int store_empty_trash(struct store *s, struct err *e)
{
    CLEANUP_FD int fd = openat(s->root_fd, "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        return err_sys(e, errno, "open %s/trash", s->root);
    }
    (void)fd_steal(&fd);
    int r = 0;
    for (struct dirent *de; r == 0 && (de = readdir(d));) {
        if (!str_eq(de->d_name, ".") && !str_eq(de->d_name, "..")) {
            r = dir_remove_all(dirfd(d), de->d_name, e);
        }
    }
    closedir(d);
    return r;
}

void store_measure(int dirfd_, const char *path, uint64_t *bytes, uint64_t *inodes)
{
    struct stat st;
    if (fstatat(dirfd_, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return;
    }
    /* A file with several names is counted by its share, which sums up well enough for figures. */
    uint64_t links = S_ISDIR(st.st_mode) || st.st_nlink < 1 ? 1 : (uint64_t)st.st_nlink;
    *bytes += (uint64_t)st.st_blocks * 512 / links;
    *inodes += 1;
    if (!S_ISDIR(st.st_mode)) {
        return;
    }
    CLEANUP_FD int fd = openat(dirfd_, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        return;
    }
    (void)fd_steal(&fd);
    for (struct dirent *de; (de = readdir(d));) {
        if (!str_eq(de->d_name, ".") && !str_eq(de->d_name, "..")) {
            store_measure(dirfd(d), de->d_name, bytes, inodes);
        }
    }
    closedir(d);
}

static const struct {
    const char *path;
    mode_t mode;
} root_dirs[] = {
    { "blobs", 0700 },  { "blobs/sha256", 0700 }, { "ingest", 0700 }, { "layers", 0700 },
    { "trash", 0700 },  { "containers", 0700 },   { "pods", 0711 },   { "volumes", 0700 },
};

/*
 * Set-user-id programs and device nodes of containers lie below some of these, and the database has the environment of containers: no
 * user of the host may come near, not even below a root that was made by an older version.
 */
static int restrict_mode(struct store *s, const char *path, mode_t mode, struct err *e)
{
    struct stat st;
    if (fstatat(s->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_sys(e, errno, "stat %s/%s", s->root, path);
    }
    if (!S_ISLNK(st.st_mode) && (st.st_mode & 07777 & ~mode) && fchmodat(s->root_fd, path, st.st_mode & mode, 0) < 0) {
        return err_sys(e, errno, "chmod %s/%s", s->root, path);
    }
    return 0;
}

static int make_dirs(struct store *s, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(root_dirs); i++) {
        if (mkdirat(s->root_fd, root_dirs[i].path, root_dirs[i].mode) < 0 && errno != EEXIST) {
            return err_sys(e, errno, "make %s/%s", s->root, root_dirs[i].path);
        }
        int r = restrict_mode(s, root_dirs[i].path, root_dirs[i].mode, e);
        if (r < 0) {
            return r;
        }
    }
    if (mkdirat(s->run_fd, "locks", 0700) < 0 && errno != EEXIST) {
        return err_sys(e, errno, "make %s/locks", s->run);
    }
    return 0;
}

static int check_version(struct store *s, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    if (faccessat(s->root_fd, "version", F_OK, 0) < 0) {
        char line[16];
        int len = snprintf(line, sizeof(line), "%d\n", STORE_FORMAT);
        return file_replace(s->root_fd, "version", line, (size_t)len, 0644, true, e);
    }
    int r = file_read(s->root_fd, "version", 64, &text, e);
    if (r < 0) {
        return r;
    }
    uint32_t have;
    size_t len = strcspn(buf_str(&text), "\n");
    CLEANUP_FREE char *num = strndup(buf_str(&text), len);
    if (!num || num_u32(num, &have) < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "%s/version: not a number", s->root);
    }
    if (have > STORE_FORMAT) {
        return err_set(e, ENOTSUP, ERR_UNSUPPORTED, "%s has format %u, this program knows %d: use a newer one", s->root, have,
                       STORE_FORMAT);
    }
    return 0;
}

static int open_dir(const char *path, int *ret_fd, struct err *e)
{
    int r = dir_make_all(AT_FDCWD, path, 0711, e);
    if (r < 0) {
        return r;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_sys(e, errno, "open %s", path);
    }
    *ret_fd = fd;
    return 0;
}

static int open_db(struct store *s, struct err *e)
{
    struct stat st;
    CLEANUP_FREE char *path = str_printf("%s/state.db", s->root);
    if (!path) {
        return err_oom(e);
    }
    /*
     * SQLite gives the database's mode to its other files. One that is there is not opened by us: closing any descriptor of it would
     * drop the locks that another connection of this process has.
     */
    if (fstatat(s->root_fd, "state.db", &st, AT_SYMLINK_NOFOLLOW) == 0) {
        int r = restrict_mode(s, "state.db", 0600, e);
        if (r < 0) {
            return r;
        }
    } else {
        CLEANUP_FD int fd = openat(s->root_fd, "state.db", O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            return err_sys(e, errno, "create %s", path);
        }
    }
    /* One connection behind our own mutex. WAL of another process that is writing is waited for, not an error. */
    int rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc != SQLITE_OK) {
        return db_fail(s, rc, e, "open");
    }
    sqlite3_busy_timeout(s->db, 30000);
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, 64 << 20);
    /*
     * Short-lived programs come and go all the time: were each that is the last one to leave to write the log back, every one of
     * them would wait for the disk four times. The log is written back when it has grown, so the next one reads 1 MiB at most.
     */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int r = db_exec(s,
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;"
                    "PRAGMA cache_size=-512; PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=4194304;"
                    "PRAGMA wal_autocheckpoint=256",
                    e);
    return r < 0 ? r : schema_migrate(s, e);
}

static int read_identity(struct store *s, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    int r = file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, e);
    if (r < 0) {
        return r;
    }
    snprintf(s->boot_id, sizeof(s->boot_id), "%.36s", buf_str(&text));
    r = proc_start_time(getpid(), &s->self_start, NULL);
    return r < 0 ? err_sys(e, -r, "read the start time of this process") : 0;
}

static int store_init(struct store *s, const char *root, const char *run, struct err *e)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&s->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    s->root_fd = s->run_fd = -1;
    s->root = strdup(root);
    s->run = strdup(run);
    if (!s->root || !s->run) {
        return err_oom(e);
    }
    int r = open_dir(root, &s->root_fd, e);
    if (r == 0) {
        r = open_dir(run, &s->run_fd, e);
    }
    if (r == 0) {
        r = read_identity(s, e);
    }
    if (r < 0) {
        return r;
    }
    /* Several programs may start at once on a new root: one sets it up. */
    CLEANUP_FD int guard = openat(s->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (guard < 0 || flock(guard, LOCK_EX) < 0) {
        return err_sys(e, errno, "lock %s", root);
    }
    r = check_version(s, e);
    if (r == 0) {
        r = make_dirs(s, e);
    }
    return r < 0 ? r : open_db(s, e);
}

int store_open(const char *root, const char *run, struct store **ret, struct err *e)
{
    CLEANUP_STORE struct store *s = calloc(1, sizeof(*s));
    if (!s) {
        return err_oom(e);
    }
    int r = store_init(s, root, run, e);
    if (r < 0) {
        return err_wrap(e, "open store %s", root);
    }
    *ret = PTR_STEAL(s);
    return 0;
}

void store_close(struct store *s)
{
    if (!s) {
        return;
    }
    for (size_t i = 0; i < s->n_cache; i++) {
        sqlite3_finalize(s->cache[i].st);
    }
    sqlite3_close(s->db);
    fd_close(&s->root_fd);
    fd_close(&s->run_fd);
    pthread_mutex_destroy(&s->lock);
    free(s->root);
    free(s->run);
    free(s);
}
