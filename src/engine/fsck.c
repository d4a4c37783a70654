/* engine/fsck.c: whether what the database names is there: blobs by their digests, layers' folders, containers' and pods' folders. */
#include "engine/internal.h"

#include "store/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
    struct engine *g;
    bool repair;
    engine_fsck_fn *fn;
    void *data;
    size_t problems;
};

static void found(struct check *c, const char *object, const char *what, bool repaired)
{
    c->problems += repaired ? 0 : 1;
    c->fn(c->data, object, what, repaired);
}

static int check_images(struct check *c, struct err *e)
{
    CLEANUP_STORE_IMAGES struct store_images rows = { 0 };
    int r = store_image_list(c->g->store, NULL, &rows, e);
    for (size_t i = 0; r == 0 && i < rows.n; i++) {
        struct err le = { 0 };
        CLEANUP_IMAGE_CONFIG struct image_config ic = { 0 };
        CLEANUP_ROOTFS struct rootfs fs = { 0 };
        if (image_config(c->g->store, &rows.v[i], &ic, &le) < 0 || image_rootfs(c->g->store, &rows.v[i], &fs, &le) < 0) {
            /* Without its configuration or a layer it is no image; pulling it again brings back what is missing. */
            bool gone = c->repair && store_image_delete(c->g->store, rows.v[i].ns, rows.v[i].id, e) == 0;
            found(c, rows.v[i].id, le.text, gone);
        }
    }
    return r;
}

static int check_ctrs(struct check *c, struct err *e)
{
    CLEANUP_STORE_CTRS struct store_ctrs rows = { 0 };
    int r = store_ctr_list(c->g->store, c->g->ns, NULL, &rows, e);
    for (size_t i = 0; r == 0 && i < rows.n; i++) {
        CLEANUP_FREE char *upper = str_printf("%s/containers/%s/upper", c->g->root, rows.v[i].id);
        struct stat st;
        if (!upper) {
            return err_oom(e);
        }
        if (!str_eq(rows.v[i].state, "creating") && stat(upper, &st) < 0) {
            struct err le = { 0 };
            bool gone = c->repair && engine_ctr_remove(c->g, rows.v[i].id, true, &le) == 0;
            found(c, rows.v[i].id, "its writable layer is missing", gone);
        }
    }
    return r;
}

static int check_ops(struct check *c, struct err *e)
{
    CLEANUP_STORE_OPS struct store_ops ops = { 0 };
    struct op_query q = { .ns = c->g->ns, .unfinished = true };
    int r = op_list(c->g->store, &q, &ops, e);
    for (size_t i = 0; r == 0 && i < ops.n; i++) {
        if (!op_owner_alive(c->g->store, &ops.v[i]) || str_eq(ops.v[i].stage, "cleanup")) {
            CLEANUP_FREE char *what = str_printf("%s is unfinished at stage %s", ops.v[i].kind, ops.v[i].stage);
            found(c, ops.v[i].object, what ? what : "unfinished", false);
        }
    }
    return r;
}

int engine_fsck(struct engine *g, bool repair, engine_fsck_fn *fn, void *data, size_t *ret_problems, struct err *e)
{
    struct check c = { .g = g, .repair = repair, .fn = fn, .data = data };
    int r = repair ? engine_recover(g, e) : 0;
    r = r ? r : check_images(&c, e);
    r = r ? r : check_ctrs(&c, e);
    r = r ? r : check_ops(&c, e);
    if (r == 0 && repair) {
        r = store_sweep(g->store, 0, NULL, e);
    }
    if (r == 0) {
        *ret_problems = c.problems;
    }
    return r;
}
