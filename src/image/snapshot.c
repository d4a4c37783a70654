/* image/snapshot.c: see snapshot.h: overlay folders. */
#include "image/snapshot.h"

#include "base/fd.h"

#include <errno.h>
#include <stdio.h>

static int overlay_prepare(struct store *s, unpack_read_fn *read, void *data, const struct unpack_options *o, char **ret_tmp,
                           struct unpack_result *ret, struct err *e)
{
    CLEANUP_FREE char *tmp = NULL;
    CLEANUP_FD int fd = -1;
    int r = o->diff_id ? layer_tmp(s, o->diff_id, &tmp, &fd, e) : err_set(e, EINVAL, ERR_INVALID, "layer: no diff id");
    if (r < 0) {
        return r;
    }
    r = unpack_layer(read, data, fd, o, ret, e);
    if (r < 0) {
        layer_tmp_drop(s, tmp);
        return r;
    }
    *ret_tmp = PTR_STEAL(tmp);
    return 0;
}

static int overlay_lower(struct store *s, const char *diff_id, char **ret_path, struct err *e)
{
    CLEANUP_STORE_LAYER struct store_layer l = { 0 };
    int r = store_layer_get(s, diff_id, &l, e);
    char *path = r < 0 ? NULL : store_layer_path(s, diff_id);
    if (r == 0 && !path) {
        return err_oom(e);
    }
    if (r == 0) {
        *ret_path = path;
    }
    return r;
}

static const struct snapshotter snapshotters[] = { { "overlay", overlay_prepare, overlay_lower } };

const struct snapshotter *snapshotter_get(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(snapshotters); i++) {
        if (!name || str_eq(name, snapshotters[i].name)) {
            return &snapshotters[i];
        }
    }
    return NULL;
}

void rootfs_done(struct rootfs *r)
{
    strv_free(r->lowers);
    *r = (struct rootfs) { 0 };
}

int rootfs_get(struct store *s, char *const *layers, struct rootfs *ret, struct err *e)
{
    CLEANUP_ROOTFS struct rootfs f = { .lowers = strv_copy(NULL) };
    int r = f.lowers ? 0 : err_oom(e);
    for (size_t i = 0; r == 0 && layers && layers[i]; i++) {
        CLEANUP_FREE char *path = NULL;
        r = snapshotter_get(NULL)->lower(s, layers[i], &path, e);
        if (r == 0 && strv_push(&f.lowers, path) < 0) {
            r = err_oom(e);
        }
    }
    if (r == 0) {
        *ret = f;
        f = (struct rootfs) { 0 };
    }
    return r;
}
