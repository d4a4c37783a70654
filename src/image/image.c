/* image/image.c: see image.h. */
#include "image/image.h"

#include "base/fault.h"
#include "base/fd.h"
#include "store/blob.h"
#include "store/journal.h"

#include <errno.h>
#include <stdio.h>

static int append_event(struct store *s, const char *ns, const char *action, const char *id, struct err *e)
{
    const struct store_event ev = { .ns = (char *)(uintptr_t)ns, .type = (char *)(uintptr_t)"image",
                                    .action = (char *)(uintptr_t)action, .object = (char *)(uintptr_t)id };
    return event_append(s, &ev, NULL, e);
}

int image_list(struct store *s, const char *ns, struct store_images *ret, struct err *e)
{
    return store_image_list(s, ns, ret, e);
}

int image_get(struct store *s, const char *ns, const char *ref, struct store_image *ret, struct err *e)
{
    return store_image_find(s, ns, ref, ret, e);
}

static int blob_text(struct store *s, const char *digest, size_t max, char **ret, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    int r = ret ? blob_read(s, digest, max, &b, e) : 0;
    if (r == 0 && ret) {
        char *text = buf_steal(&b);
        if (!text) {
            return err_oom(e);
        }
        *ret = text;
    }
    return r;
}

int image_texts(struct store *s, const struct store_image *i, char **ret_config, char **ret_manifest, struct err *e)
{
    CLEANUP_FREE char *config = NULL;
    int r = blob_text(s, i->id, IMAGE_CONFIG_MAX, ret_config ? &config : NULL, e);
    if (r == 0) {
        r = blob_text(s, i->manifest_digest, IMAGE_MANIFEST_MAX, ret_manifest, e);
    }
    if (r == 0 && ret_config) {
        *ret_config = PTR_STEAL(config);
    }
    return r < 0 ? err_wrap(e, "image %s", i->id) : 0;
}

int image_config(struct store *s, const struct store_image *i, struct image_config *ret, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    int r = blob_read(s, i->id, IMAGE_CONFIG_MAX, &b, e);
    if (r == 0) {
        r = image_config_parse(buf_str(&b), b.len, ret, e);
    }
    return r < 0 ? err_wrap(e, "image %s", i->id) : 0;
}

int image_tag(struct store *s, const char *ns, const char *ref, const char *name, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    CLEANUP_STORE_IMAGE struct store_image i = { 0 };
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        r = store_image_find(s, ns, ref, &i, e);
    }
    if (r == 0) {
        r = store_image_tag(s, ns, i.id, name, e);
    }
    if (r == 0) {
        r = append_event(s, ns, "tag", i.id, e);
    }
    return r < 0 ? r : store_commit(&tx, e);
}

static int say(char ***lines, const char *what, const char *name, struct err *e)
{
    CLEANUP_FREE char *line = lines ? str_printf("%s: %s", what, name) : NULL;
    return lines && (!line || strv_push(lines, line) < 0) ? err_oom(e) : 0;
}

static int delete_whole(struct store *s, const char *ns, const struct store_image *i, bool force, char ***lines, struct err *e)
{
    CLEANUP_STRV char **users = NULL;
    int r = store_image_users(s, ns, i->id, &users, e);
    if (r == 0 && !force && strv_len(users) > 0) {
        return err_set(e, EBUSY, ERR_BUSY, "image %s is used by container %.12s", i->id, users[0]);
    }
    char *const *const names[] = { i->tags, i->digests };
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        for (size_t n = 0; r == 0 && names[k] && names[k][n]; n++) {
            r = say(lines, "untagged", names[k][n], e);
        }
    }
    if (r == 0) {
        r = store_image_delete(s, ns, i->id, e);
    }
    if (r == 0) {
        r = append_event(s, ns, "delete", i->id, e);
    }
    return r < 0 ? r : say(lines, "deleted", i->id, e);
}

static bool has_name(char *const *v, const char *name)
{
    for (size_t i = 0; v && v[i]; i++) {
        if (str_eq(v[i], name)) {
            return true;
        }
    }
    return false;
}

static int remove_rows(struct store *s, const char *ns, const char *ref, const struct image_removal *o, char ***lines, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    CLEANUP_STORE_IMAGE struct store_image i = { 0 };
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        r = store_image_find(s, ns, ref, &i, e);
    }
    if (r < 0) {
        return r;
    }
    bool by_tag = has_name(i.tags, ref), by_digest = has_name(i.digests, ref);
    size_t tags = strv_len(i.tags), digests = strv_len(i.digests);
    if (!o->all_tags && ((by_tag && tags > 1) || (by_digest && (digests > 1 || tags > 0)))) {
        r = store_image_untag(s, ns, ref, e);
        if (r == 0) {
            r = append_event(s, ns, "untag", i.id, e);
        }
        if (r == 0) {
            r = say(lines, "untagged", ref, e);
        }
    } else if (!by_tag && !by_digest && tags > 1 && !o->force && !o->all_tags) {
        r = err_set(e, EBUSY, ERR_BUSY, "image %s has several names: remove them, or force", i.id);
    } else {
        r = delete_whole(s, ns, &i, o->force, lines, e);
    }
    return r < 0 ? r : store_commit(&tx, e);
}

int image_remove(struct store *s, const char *ns, const char *ref, const struct image_removal *o, char ***ret_lines, struct err *e)
{
    uint64_t lease = 0;
    /* If we die before the files have gone, an empty lease of the dead says so. */
    int r = store_lease_begin(s, 0, &lease, e);
    r = r < 0 ? r : remove_rows(s, ns, ref, o, ret_lines, e);
    fault_point("rmi.untagged", NULL);
    r = r < 0 ? err_wrap(e, "remove image") : store_collect(s, NULL, e);
    store_lease_end(s, lease);
    return r;
}

int image_prune(struct store *s, const char *ns, bool all, char ***ret_lines, uint64_t *ret_bytes, struct err *e)
{
    CLEANUP_STORE_IMAGES struct store_images list = { 0 };
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        r = store_image_list(s, ns, &list, e);
    }
    for (size_t k = 0; r == 0 && k < list.n; k++) {
        const struct store_image *i = &list.v[k];
        if (i->pinned || (!all && strv_len(i->tags) > 0)) {
            continue;
        }
        r = delete_whole(s, ns, i, false, ret_lines, e);
        r = r == -EBUSY ? 0 : r;
    }
    if (r == 0) {
        r = store_commit(&tx, e);
    }
    struct store_gc gc = { 0 };
    if (r == 0) {
        r = store_collect(s, &gc, e);
    }
    if (r == 0 && ret_bytes) {
        *ret_bytes = gc.bytes;
    }
    return r;
}

int image_usage(struct store *s, const char *ns, struct image_usage *ret, struct err *e)
{
    struct image_usage u = { 0 };
    CLEANUP_STORE_IMAGES struct store_images list = { 0 };
    int r = store_image_list(s, ns, &list, e);
    if (r == 0) {
        r = store_disk_usage(s, ns, &u.bytes, &u.inodes, &u.reclaimable, e);
    }
    u.n_images = list.n;
    if (r == 0) {
        *ret = u;
    }
    return r;
}

int image_rootfs(struct store *s, const struct store_image *i, struct rootfs *ret, struct err *e)
{
    int r = rootfs_get(s, i->layers, ret, e);
    return r < 0 ? err_wrap(e, "image %s", i->id) : 0;
}
