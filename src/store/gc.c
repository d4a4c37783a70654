/*
 * store/gc.c: see blob.h: what nothing names goes away.
 *
 * Rows go first, in one transaction; then, in a second one that looks again whether anybody has leased or added the digest since, the files
 * move to trash/; then the trash is emptied. A crash in between leaves files without rows, which store_sweep() takes.
 */
#include "base/fault.h"
#include "base/fd.h"
#include "base/num.h"
#include "store/blob.h"
#include "store/db.h"
#include "store/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct garbage {
    const char *kind, *folder; /* "blob", "blobs/sha256/" */
    const char *select, *delete, *in_use;
};
static const struct garbage kinds[] = {
    { "blob", "blobs/sha256/",
      "SELECT digest FROM blobs WHERE digest NOT IN (SELECT digest FROM image_blobs)"
      " AND digest NOT IN (SELECT digest FROM lease_items WHERE kind = 'blob')",
      "DELETE FROM blobs WHERE digest = ?",
      "SELECT 1 FROM blobs WHERE digest = ?1 UNION SELECT 1 FROM lease_items WHERE kind = 'blob' AND digest = ?1" },
    { "layer", "layers/",
      "SELECT diff_id FROM layers WHERE diff_id NOT IN (SELECT diff_id FROM image_layers)"
      " AND diff_id NOT IN (SELECT diff_id FROM container_layers)"
      " AND diff_id NOT IN (SELECT digest FROM lease_items WHERE kind = 'layer')",
      "DELETE FROM layers WHERE diff_id = ?",
      "SELECT 1 FROM layers WHERE diff_id = ?1 UNION SELECT 1 FROM lease_items WHERE kind = 'layer' AND digest = ?1" },
};

struct lease {
    uint64_t id;
    struct store_op owner;
    int64_t expires, items;
};

/* What the dead were doing when they died; their leases say it. */
enum { DEAD_NONE, DEAD_BRINGING, DEAD_COLLECTING };
enum { RESUME_HOURS = 24, RESUME_SIZE = 64 << 10 };

static void op_done(void *o)
{
    store_op_done(o);
}

static void lease_done(void *l)
{
    store_op_done(&((struct lease *)l)->owner);
}

/* Returns the greatest of DEAD_*. */
static int drop_dead_leases(struct store *s, struct err *e)
{
    int dead = DEAD_NONE;
    static const struct db_col cols[] = {
        { DB_U64, offsetof(struct lease, id) },
        { DB_TEXT, offsetof(struct lease, owner.boot_id) },
        { DB_I32, offsetof(struct lease, owner.owner_pid) },
        { DB_U64, offsetof(struct lease, owner.owner_start) },
        { DB_I64, offsetof(struct lease, expires) },
        { DB_I64, offsetof(struct lease, items) },
    };
    void *v = NULL;
    size_t n = 0;
    int r;
    {
        CLEANUP_DB_Q struct db_q q = { 0 };
        r = db_query(s, &q, e, "SELECT id, boot, owner_pid, owner_start, expires,"
                     " (SELECT count(*) FROM lease_items WHERE lease = leases.id) FROM leases", "");
        if (r == 0) {
            r = db_rows(&q, cols, ARRAY_LEN(cols), sizeof(struct lease), &v, &n, lease_done, e);
        }
    }
    struct lease *leases = v;
    for (size_t i = 0; i < n; i++) {
        if (r == 0 && (leases[i].expires < store_now() || !op_owner_alive(s, &leases[i].owner))) {
            int changed = db_run(s, e, "DELETE FROM leases WHERE id = ?", "i", (int64_t)leases[i].id);
            int was = leases[i].items > 0 ? DEAD_BRINGING : DEAD_COLLECTING;
            dead = was > dead ? was : dead;
            r = changed < 0 ? changed : 0;
        }
        lease_done(&leases[i]);
    }
    free(leases);
    return r < 0 ? r : dead;
}

static int drop_rows(struct store *s, char **lists[static ARRAY_LEN(kinds)], int *dead, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        r = *dead = drop_dead_leases(s, e);
    }
    for (size_t k = 0; r >= 0 && k < ARRAY_LEN(kinds); k++) {
        r = db_strings(s, &lists[k], e, kinds[k].select, "");
        for (size_t i = 0; r >= 0 && lists[k][i]; i++) {
            r = db_run(s, e, kinds[k].delete, "t", lists[k][i]);
        }
    }
    return r < 0 ? r : store_commit(&tx, e);
}

static int trash_one(struct store *s, const struct garbage *k, const char *digest, struct store_gc *gc, struct err *e)
{
    char path[160];
    int64_t used;
    int r = store_digest_path(k->folder, digest, path, e);
    if (r == 0) {
        r = db_int(s, 0, &used, e, k->in_use, "t", digest);
    }
    struct stat st;
    if (r < 0 || used || fstatat(s->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return r;
    }
    uint64_t inodes = 0;
    store_measure(s->root_fd, path, &gc->bytes, &inodes);
    gc->blobs += str_eq(k->kind, "blob");
    gc->layers += str_eq(k->kind, "layer");
    r = store_trash(s, path, e);
    fault_point("gc.trashed", NULL);
    return r;
}

static int collect(struct store *s, struct store_gc *gc, int *dead, struct err *e)
{
    char **lists[ARRAY_LEN(kinds)] = { 0 };
    int r = drop_rows(s, lists, dead, e);
    fault_point("gc.rows", NULL);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        for (size_t i = 0; r == 0 && lists[k][i]; i++) {
            CLEANUP_STORE_TX struct store_tx tx = { 0 };
            r = store_begin(s, &tx, e);
            if (r == 0) {
                r = trash_one(s, &kinds[k], lists[k][i], gc, e);
            }
            if (r == 0) {
                r = store_commit(&tx, e);
            }
        }
        strv_free(lists[k]);
    }
    return r < 0 ? r : store_empty_trash(s, e);
}

/* "HEX.tmp-PID-START-N": alive while that process is. */
static bool tmp_owner_alive(struct store *s, const char *name)
{
    int pid;
    unsigned long long start;
    const char *at = strstr(name, ".tmp-");
    if (!at || sscanf(at, ".tmp-%d-%llu-", &pid, &start) != 2) {
        return false;
    }
    struct store_op owner = { .boot_id = s->boot_id, .owner_pid = pid, .owner_start = start };
    return op_owner_alive(s, &owner);
}

static bool too_young(int dirfd_, const char *name, int64_t max_age_ns)
{
    struct stat st;
    return fstatat(dirfd_, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec > store_now() - max_age_ns;
}

static bool ingest_busy(int dirfd_, const char *name)
{
    CLEANUP_FD int fd = openat(dirfd_, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

/* One entry of a folder: whether nothing needs it. */
static int sweep_entry(struct store *s, const struct garbage *k, int dirfd_, const char *name, int64_t max_age_ns, struct store_gc *gc,
                       struct err *e)
{
    char path[400], digest[STORE_DIGEST_SIZE];
    snprintf(path, sizeof(path), "%s%s", k ? k->folder : "ingest/", name);
    snprintf(digest, sizeof(digest), "sha256:%.64s", name);
    uint64_t inodes = 0;
    if (strstr(name, ".tmp-")) {
        if (tmp_owner_alive(s, name)) {
            return 0;
        }
        store_measure(s->root_fd, path, &gc->bytes, &inodes);
        return store_trash(s, path, e);
    }
    if (!k) {
        if (too_young(dirfd_, name, max_age_ns) || ingest_busy(dirfd_, name)) {
            return 0;
        }
        store_measure(s->root_fd, path, &gc->bytes, &inodes);
        return store_trash(s, path, e);
    }
    /* A blob that came whole before its pull was killed is of use to the next one. */
    if (max_age_ns > 0 && str_eq(k->kind, "blob") && too_young(dirfd_, name, max_age_ns)) {
        return 0;
    }
    return strlen(name) == 64 && digest_valid(digest) ? trash_one(s, k, digest, gc, e) : 0;
}

static int sweep_folder(struct store *s, const char *folder, const struct garbage *k, int64_t max_age_ns, struct store_gc *gc,
                        struct err *e)
{
    CLEANUP_FD int fd = openat(s->root_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        return err_sys(e, errno, "open %s/%s", s->root, folder);
    }
    (void)fd_steal(&fd);
    int r = 0;
    for (struct dirent *de; r == 0 && (de = readdir(d));) {
        if (de->d_name[0] == '.') {
            continue;
        }
        CLEANUP_STORE_TX struct store_tx tx = { 0 };
        r = store_begin(s, &tx, e);
        if (r == 0) {
            r = sweep_entry(s, k, dirfd(d), de->d_name, max_age_ns, gc, e);
        }
        if (r == 0) {
            r = store_commit(&tx, e);
        }
    }
    closedir(d);
    return r;
}

/* Under a lease without items, which tells whoever comes after a crash that files without rows may be left. */
static int sweep(struct store *s, int64_t max_age_ns, bool always, struct store_gc *ret, struct err *e)
{
    struct store_gc gc = { 0 };
    uint64_t lease = 0;
    int dead = DEAD_NONE;
    int r = store_lease_begin(s, 0, &lease, e);
    r = r < 0 ? r : collect(s, &gc, &dead, e);
    bool folders = always || dead != DEAD_NONE;
    int64_t age = dead == DEAD_COLLECTING ? 0 : max_age_ns;
    for (size_t k = 0; r == 0 && folders && k < ARRAY_LEN(kinds); k++) {
        r = sweep_folder(s, kinds[k].folder, &kinds[k], age, &gc, e);
    }
    if (r == 0 && folders) {
        r = sweep_folder(s, "ingest", NULL, age, &gc, e);
    }
    if (r == 0 && folders) {
        r = store_empty_trash(s, e);
    }
    store_lease_end(s, lease);
    if (r == 0 && ret) {
        *ret = gc;
    }
    return r < 0 ? err_wrap(e, "collect garbage") : 0;
}

static int abandon_blob(struct store *s, const char *digest, bool resume, struct store_gc *gc, struct err *e)
{
    char path[160];
    struct stat st;
    int r = store_digest_path(kinds[0].folder, digest, path, e);
    if (r < 0 || (resume && fstatat(s->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size >= RESUME_SIZE)) {
        return r;
    }
    r = trash_one(s, &kinds[0], digest, gc, e);
    if (r == 0 && !resume) {
        r = store_digest_path("ingest/", digest, path, e);
        if (r == 0 && !ingest_busy(s->root_fd, path)) {
            unlinkat(s->root_fd, path, 0);
        }
    }
    return r;
}

void store_lease_abandon(struct store *s, uint64_t lease, bool resume)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    CLEANUP_STRV char **digests = NULL;
    struct store_gc gc = { 0 };
    struct err e = { 0 };
    int r = lease ? store_begin(s, &tx, &e) : -ENOENT;
    if (r == 0) {
        r = db_strings(s, &digests, &e, "SELECT digest FROM lease_items WHERE lease = ? AND kind = 'blob'", "i", (int64_t)lease);
    }
    if (r >= 0) {
        r = db_run(s, &e, "DELETE FROM leases WHERE id = ?", "i", (int64_t)lease);
        r = r < 0 ? r : 0;
    }
    for (size_t i = 0; r == 0 && digests && digests[i]; i++) {
        r = abandon_blob(s, digests[i], resume, &gc, &e);
    }
    if (r == 0) {
        r = store_commit(&tx, &e);
    }
    if (r == 0 && gc.blobs > 0) {
        r = store_empty_trash(s, &e);
    }
    (void)r; /* what is left goes when its lease is found dead */
}

int store_collect(struct store *s, struct store_gc *ret, struct err *e)
{
    return sweep(s, (int64_t)RESUME_HOURS * 3600 * 1000000000, false, ret, e);
}

int store_sweep(struct store *s, int64_t max_age_ns, struct store_gc *ret, struct err *e)
{
    return sweep(s, max_age_ns, true, ret, e);
}

int store_collect_after_crash(struct store *s, struct err *e)
{
    static const struct db_col cols[] = {
        { DB_TEXT, offsetof(struct store_op, boot_id) },
        { DB_I32, offsetof(struct store_op, owner_pid) },
        { DB_U64, offsetof(struct store_op, owner_start) },
    };
    void *v = NULL;
    size_t n = 0;
    bool dead = false;
    {
        CLEANUP_DB_Q struct db_q q = { 0 };
        int r = db_query(s, &q, e, "SELECT boot, owner_pid, owner_start FROM leases", "");
        r = r < 0 ? r : db_rows(&q, cols, ARRAY_LEN(cols), sizeof(struct store_op), &v, &n, op_done, e);
        if (r < 0) {
            return r;
        }
    }
    struct store_ops owners = { v, n };
    for (size_t i = 0; i < n; i++) {
        dead |= !op_owner_alive(s, &owners.v[i]);
    }
    store_ops_done(&owners);
    return dead ? store_collect(s, NULL, e) : 0;
}
