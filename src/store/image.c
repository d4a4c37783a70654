/* store/image.c: see layers.h: images, their references, layers and blobs as rows. */
#include "store/db.h"
#include "store/layers.h"

#include <errno.h>
#include <stdio.h>

#define COL(kind, type, member) { DB_##kind, offsetof(struct type, member) }

static const struct db_col image_cols[] = {
    COL(TEXT, store_image, ns),     COL(TEXT, store_image, id),
    COL(TEXT, store_image, manifest_digest), COL(TEXT, store_image, manifest_media_type),
    COL(I64, store_image, created), COL(BOOL, store_image, pinned),
    COL(U64, store_image, size),
};
#define IMAGE_SELECT                                                                                                    \
    "SELECT namespace, id, manifest, manifest_media_type, created, pinned, (SELECT coalesce(sum(size), 0) FROM layers"  \
    " WHERE diff_id IN (SELECT diff_id FROM image_layers WHERE image = images.n)) FROM images "
#define IMAGE_N "(SELECT n FROM images WHERE namespace = ?1 AND id = ?2)"

void store_image_done(struct store_image *i)
{
    free(i->ns);
    free(i->id);
    free(i->manifest_digest);
    free(i->manifest_media_type);
    strv_free(i->layers);
    strv_free(i->blobs);
    strv_free(i->tags);
    strv_free(i->digests);
    *i = (struct store_image) { 0 };
}

static void image_done(void *i)
{
    store_image_done(i);
}

void store_images_done(struct store_images *i)
{
    for (size_t k = 0; k < i->n; k++) {
        store_image_done(&i->v[k]);
    }
    free(i->v);
    *i = (struct store_images) { 0 };
}

static int put_names(struct store *s, const struct store_image *i, char *const *names, struct err *e)
{
    int r = 0;
    for (size_t k = 0; r >= 0 && names && names[k]; k++) {
        r = store_image_tag(s, i->ns, i->id, names[k], e);
    }
    return r;
}

static int put_parts(struct store *s, const struct store_image *i, bool new, struct err *e)
{
    int r = 0;
    for (size_t k = 0; r >= 0 && new && i->layers && i->layers[k]; k++) {
        r = db_run(s, e, "INSERT INTO image_layers VALUES (" IMAGE_N ", ?3, ?4)", "ttit", i->ns, i->id, (int64_t)k, i->layers[k]);
    }
    for (size_t k = 0; r >= 0 && i->blobs && i->blobs[k]; k++) {
        r = db_run(s, e, "INSERT INTO image_blobs VALUES (" IMAGE_N ", ?3) ON CONFLICT DO NOTHING", "ttt", i->ns, i->id, i->blobs[k]);
    }
    r = r < 0 ? r : put_names(s, i, i->tags, e);
    return r < 0 ? r : put_names(s, i, i->digests, e);
}

int store_image_put(struct store *s, const struct store_image *i, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int64_t have = 0;
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        r = db_int(s, 0, &have, e, "SELECT n FROM images WHERE namespace = ?1 AND id = ?2", "tt", i->ns, i->id);
    }
    if (r == 0) {
        r = db_run(s, e,
                   "INSERT INTO images (namespace, id, manifest, manifest_media_type, created, pinned) VALUES (?,?,?,?,?,?)"
                   " ON CONFLICT (namespace, id) DO UPDATE SET manifest = excluded.manifest,"
                   " manifest_media_type = excluded.manifest_media_type, pinned = max(pinned, excluded.pinned)",
                   "ttttii", i->ns, i->id, i->manifest_digest, i->manifest_media_type, i->created ? i->created : store_now(),
                   (int64_t)i->pinned);
    }
    if (r >= 0) {
        r = put_parts(s, i, have == 0, e);
    }
    return r < 0 ? err_wrap(e, "record image %s", i->id) : store_commit(&tx, e);
}

/* What lies in tables of its own. */
static int fill(struct store *s, struct store_image *i, struct err *e)
{
    int r = db_strings(s, &i->layers, e, "SELECT diff_id FROM image_layers WHERE image = " IMAGE_N " ORDER BY idx", "tt", i->ns, i->id);
    if (r == 0) {
        r = db_strings(s, &i->blobs, e, "SELECT digest FROM image_blobs WHERE image = " IMAGE_N " ORDER BY digest", "tt", i->ns, i->id);
    }
    if (r == 0) {
        r = db_strings(s, &i->tags, e, "SELECT name FROM image_refs WHERE image = " IMAGE_N " AND instr(name, '@') = 0 ORDER BY name",
                       "tt", i->ns, i->id);
    }
    if (r == 0) {
        r = db_strings(s, &i->digests, e, "SELECT name FROM image_refs WHERE image = " IMAGE_N " AND instr(name, '@') > 0 ORDER BY name",
                       "tt", i->ns, i->id);
    }
    return r;
}

static int image_row(struct store *s, struct db_q *q, const char *ref, struct store_image *ret, struct err *e)
{
    CLEANUP_STORE_IMAGE struct store_image i = { 0 };
    int r = db_step(q, e);
    if (r == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no image %s", ref);
    }
    if (r > 0) {
        r = db_row(q, image_cols, ARRAY_LEN(image_cols), &i, e);
    }
    if (r == 0 && (r = db_step(q, e)) > 0) {
        return err_set(e, EINVAL, ERR_INVALID, "image %s: several match", ref);
    }
    if (r == 0) {
        r = fill(s, &i, e);
    }
    if (r == 0) {
        *ret = i;
        i = (struct store_image) { 0 };
    }
    return r;
}

int store_image_get(struct store *s, const char *ns, const char *id, struct store_image *ret, struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = db_query(s, &q, e, IMAGE_SELECT "WHERE namespace = ? AND id = ?", "tt", ns, id);
    return r < 0 ? r : image_row(s, &q, id, ret, e);
}

static int find_by_name(struct store *s, const char *ns, const char *ref, struct store_image *ret, struct err *e)
{
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = db_query(s, &q, e, IMAGE_SELECT "WHERE n = (SELECT image FROM image_refs WHERE namespace = ? AND name = ?)", "tt", ns, ref);
    return r < 0 ? r : image_row(s, &q, ref, ret, e);
}

int store_image_find(struct store *s, const char *ns, const char *ref, struct store_image *ret, struct err *e)
{
    int r = find_by_name(s, ns, ref, ret, e);
    const char *hex = str_starts(ref, "sha256:") ? ref + 7 : ref;
    size_t len = strlen(hex);
    if (r != -ENOENT || len < 3 || len > 64 || strspn(hex, "0123456789abcdef") != len) {
        return r;
    }
    char low[80], high[80];
    snprintf(low, sizeof(low), "sha256:%s", hex);
    snprintf(high, sizeof(high), "sha256:%sg", hex);
    CLEANUP_DB_Q struct db_q q = { 0 };
    r = db_query(s, &q, e, IMAGE_SELECT "WHERE namespace = ? AND id >= ? AND id < ? LIMIT 2", "ttt", ns, low, high);
    return r < 0 ? r : image_row(s, &q, ref, ret, e);
}

int store_image_list(struct store *s, const char *ns, struct store_images *ret, struct err *e)
{
    CLEANUP_STORE_IMAGES struct store_images list = { 0 };
    void *v = NULL;
    CLEANUP_DB_Q struct db_q q = { 0 };
    int r = db_query(s, &q, e, IMAGE_SELECT "WHERE ?1 IS NULL OR namespace = ?1 ORDER BY n DESC LIMIT 100000", "t", ns);
    if (r == 0) {
        r = db_rows(&q, image_cols, ARRAY_LEN(image_cols), sizeof(struct store_image), &v, &list.n, image_done, e);
        list.v = v;
    }
    for (size_t i = 0; r == 0 && i < list.n; i++) {
        r = fill(s, &list.v[i], e);
    }
    if (r == 0) {
        *ret = list;
        list = (struct store_images) { 0 };
    }
    return r;
}

int store_image_tag(struct store *s, const char *ns, const char *id, const char *name, struct err *e)
{
    if (str_empty(name) || strlen(name) > 512) {
        return err_set(e, EINVAL, ERR_INVALID, "image name is empty or longer than 512 bytes");
    }
    int r = db_run(s, e,
                   "INSERT INTO image_refs SELECT ?1, ?3, n FROM images WHERE namespace = ?1 AND id = ?2"
                   " ON CONFLICT (namespace, name) DO UPDATE SET image = excluded.image",
                   "ttt", ns, id, name);
    if (r == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no image %s", id);
    }
    return r < 0 ? err_wrap(e, "tag %s", name) : 0;
}

int store_image_untag(struct store *s, const char *ns, const char *name, struct err *e)
{
    int r = db_run(s, e, "DELETE FROM image_refs WHERE namespace = ? AND name = ?", "tt", ns, name);
    if (r == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no image %s", name);
    }
    return r < 0 ? err_wrap(e, "untag %s", name) : 0;
}

int store_image_delete(struct store *s, const char *ns, const char *id, struct err *e)
{
    int r = db_run(s, e, "DELETE FROM images WHERE namespace = ? AND id = ?", "tt", ns, id);
    return r < 0 ? err_wrap(e, "forget image %s", id) : 0;
}

int store_image_pin(struct store *s, const char *ns, const char *id, bool pinned, struct err *e)
{
    int r = db_run(s, e, "UPDATE images SET pinned = ? WHERE namespace = ? AND id = ?", "itt", (int64_t)pinned, ns, id);
    if (r == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no image %s", id);
    }
    return r < 0 ? r : 0;
}

int store_image_users(struct store *s, const char *ns, const char *id, char ***ret_ctr_ids, struct err *e)
{
    return db_strings(s, ret_ctr_ids, e, "SELECT id FROM containers WHERE namespace = ? AND image = ? ORDER BY n LIMIT 1000", "tt", ns, id);
}

int store_disk_usage(struct store *s, const char *ns, uint64_t *bytes, uint64_t *inodes, uint64_t *reclaimable, struct err *e)
{
    int64_t b = 0, n = 0, free_ = 0;
    int r = db_int(s, 0, &b, e, "SELECT (SELECT coalesce(sum(size), 0) FROM layers) + (SELECT coalesce(sum(size), 0) FROM blobs)", "");
    if (r == 0) {
        r = db_int(s, 0, &n, e, "SELECT (SELECT coalesce(sum(inodes), 0) FROM layers) + (SELECT count(*) FROM blobs)", "");
    }
    if (r == 0) {
        r = db_int(s, 0, &free_, e,
                   "SELECT coalesce(sum(size), 0) FROM layers WHERE diff_id NOT IN (SELECT diff_id FROM container_layers)"
                   " AND diff_id NOT IN (SELECT diff_id FROM image_layers JOIN images ON images.n = image_layers.image"
                   " JOIN containers ON containers.image = images.id AND containers.namespace = images.namespace"
                   " WHERE ?1 IS NULL OR images.namespace = ?1)",
                   "t", ns);
    }
    if (r == 0) {
        *bytes = (uint64_t)b;
        *inodes = (uint64_t)n;
        *reclaimable = (uint64_t)free_;
    }
    return r;
}
