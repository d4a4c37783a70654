/* store/layers.c: see layers.h: the folders and rows of layers. */
#include "store/layers.h"

#include "base/fault.h"
#include "base/fd.h"
#include "store/db.h"
#include "store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define COL(kind, type, member) { DB_##kind, offsetof(struct type, member) }

static const struct db_col layer_cols[] = {
    COL(TEXT, store_layer, diff_id),     COL(U64, store_layer, size),
    COL(U64, store_layer, inodes),       COL(TEXT, store_layer, blob_digest),
    COL(TEXT, store_layer, blob_media_type), COL(U64, store_layer, blob_size),
    COL(TEXT, store_layer, source),      COL(TEXT, store_layer, snapshotter),
    COL(I64, store_layer, created),
};
#define LAYER_SELECT                                                                                                    \
    "SELECT diff_id, size, inodes, blob_digest, blob_media_type, blob_size, source, snapshotter, created FROM layers "

void store_layer_done(struct store_layer *l)
{
    free(l->diff_id);
    free(l->blob_digest);
    free(l->blob_media_type);
    free(l->source);
    free(l->snapshotter);
    *l = (struct store_layer) { 0 };
}

static void layer_done(void *l)
{
    store_layer_done(l);
}

void store_layers_done(struct store_layers *l)
{
    for (size_t i = 0; i < l->n; i++) {
        store_layer_done(&l->v[i]);
    }
    free(l->v);
    *l = (struct store_layers) { 0 };
}

static bool layer_on_disk(struct store *s, const char *diff_id)
{
    char path[160];
    return store_digest_path("layers/", diff_id, path, NULL) == 0 && faccessat(s->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int layer_row(struct store *s, struct db_q *q, const char *what, struct store_layer *ret, struct err *e)
{
    CLEANUP_STORE_LAYER struct store_layer l = { 0 };
    int r = db_step(q, e);
    if (r > 0) {
        r = db_row(q, layer_cols, ARRAY_LEN(layer_cols), &l, e);
        r = r < 0 ? r : 1;
    }
    if (r < 0) {
        return r;
    }
    if (r == 0 || !layer_on_disk(s, l.diff_id)) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no layer %s", what);
    }
    *ret = l;
    l = (struct store_layer) { 0 };
    return 0;
}

int store_layer_get(struct store *s, const char *diff_id, struct store_layer *ret, struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = db_query(s, &q, e, LAYER_SELECT "WHERE diff_id = ?", "t", diff_id);
    return r < 0 ? r : layer_row(s, &q, diff_id, ret, e);
}

int store_layer_by_blob(struct store *s, const char *blob_digest, struct store_layer *ret, struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = db_query(s, &q, e, LAYER_SELECT "WHERE blob_digest = ? LIMIT 1", "t", blob_digest);
    return r < 0 ? r : layer_row(s, &q, blob_digest, ret, e);
}

int store_layer_list(struct store *s, struct store_layers *ret, struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    void *v = NULL;
    size_t n = 0;
    int r = db_query(s, &q, e, LAYER_SELECT "ORDER BY diff_id LIMIT 1000000", "");
    if (r == 0) {
        r = db_rows(&q, layer_cols, ARRAY_LEN(layer_cols), sizeof(struct store_layer), &v, &n, layer_done, e);
    }
    if (r == 0) {
        *ret = (struct store_layers) { v, n };
    }
    return r;
}

char *store_layer_path(const struct store *s, const char *diff_id)
{
    return digest_valid(diff_id) ? str_printf("%s/layers/%s/diff", s->root, digest_hex(diff_id)) : NULL;
}

int layer_tmp(struct store *s, const char *diff_id, char **ret_name, int *ret_fd, struct err *e)
{
    char path[160];
    int r = store_digest_path("layers/", diff_id, path, e);
    if (r < 0) {
        return r;
    }
    pthread_mutex_lock(&s->lock);
    unsigned count = s->tmp_count++;
    pthread_mutex_unlock(&s->lock);
    CLEANUP_FREE char *name = str_printf("%s.tmp-%d-%llu-%u", digest_hex(diff_id), (int)getpid(), (unsigned long long)s->self_start, count);
    CLEANUP_FREE char *diff = name ? str_printf("layers/%s/diff", name) : NULL;
    if (!diff) {
        return err_oom(e);
    }
    r = dir_make_all(s->root_fd, diff, 0755, e);
    if (r < 0) {
        return r;
    }
    int fd = openat(s->root_fd, diff, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    /* Whatever the umask is, a container's root is to be entered by its users. */
    if (fd < 0 || fchmod(fd, 0755) < 0) {
        r = err_sys(e, errno, "open %s/%s", s->root, diff);
        fd_close(&fd);
        layer_tmp_drop(s, name);
        return r;
    }
    *ret_fd = fd;
    *ret_name = PTR_STEAL(name);
    return 0;
}

void layer_tmp_drop(struct store *s, const char *name)
{
    CLEANUP_FREE char *path = name ? str_printf("layers/%s", name) : NULL;
    if (path && dir_remove_all(s->root_fd, path, NULL) < 0) {
        int r = store_trash(s, path, NULL);
        (void)r; /* swept later by its name */
    }
}

static int layer_rename(struct store *s, const char *tmp, const char *diff_id, struct err *e)
{
    char to[160];
    CLEANUP_FREE char *from = str_printf("layers/%s", tmp);
    int r = from ? store_digest_path("layers/", diff_id, to, e) : err_oom(e);
    if (r == 0) {
        r = store_trash(s, to, e); /* a folder without a row was never whole */
    }
    if (r < 0) {
        return r;
    }
    CLEANUP_FD int layers = openat(s->root_fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (layers < 0 || renameat(s->root_fd, from, s->root_fd, to) < 0) {
        return err_sys(e, errno, "rename %s/%s", s->root, from);
    }
    /* The name has to be on disk before its row is. */
    return fsync(layers) < 0 ? err_sys(e, errno, "flush %s/layers", s->root) : 0;
}

int layer_commit(struct store *s, const char *tmp, const struct store_layer *l, struct err *e)
{
    CLEANUP_FD int lock = -1;
    CLEANUP_STORE_LAYER struct store_layer have = { 0 };
    if (!digest_valid(l->diff_id)) {
        return err_set(e, EINVAL, ERR_INVALID, "layer: malformed diff id");
    }
    int r = lock_take(s, "layer", digest_hex(l->diff_id), false, LOCK_WAIT, &lock, e);
    if (r < 0) {
        return r;
    }
    if (store_layer_get(s, l->diff_id, &have, NULL) == 0) {
        layer_tmp_drop(s, tmp);
        r = 0;
    } else {
        r = layer_rename(s, tmp, l->diff_id, e);
        fault_point("layer.named", NULL);
        if (r == 0) {
            r = db_run(s, e, "INSERT INTO layers VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (diff_id) DO UPDATE SET"
                       " size = excluded.size, inodes = excluded.inodes, snapshotter = excluded.snapshotter", "tiittitti", l->diff_id, (int64_t)l->size,
                       (int64_t)l->inodes, l->blob_digest, l->blob_media_type, (int64_t)l->blob_size, l->source,
                       l->snapshotter ? l->snapshotter : "overlay", store_now());
        }
    }
    lock_forget(s, "layer", digest_hex(l->diff_id));
    return r < 0 ? err_wrap(e, "commit layer %s", l->diff_id) : 0;
}
