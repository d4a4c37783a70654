/* engine/images.c: images as the doors see them; the work is image/'s. */
#include "engine/internal.h"

#include "image/archive.h"
#include "image/reference.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

static bool looks_like_id(const char *ref)
{
    const char *hex = str_starts(ref, "sha256:") ? ref + 7 : ref;
    size_t n = strlen(hex);
    return n >= 3 && n <= 64 && strspn(hex, "0123456789abcdef") == n;
}

/* The whole name that people's short one stands for; NULL if it is no name. */
static char *whole_name(const char *ref)
{
    struct reference r;
    struct err ignored = { 0 };
    if (reference_parse_tagged(ref, &r, &ignored) < 0) {
        return NULL;
    }
    return r.digest[0] ? reference_at(&r, r.digest) : reference_string(&r);
}

int image_locate(struct engine *g, const char *ref, struct store_image *ret, struct err *e)
{
    struct err le = { 0 };
    if (str_empty(ref)) {
        return err_set(e, EINVAL, ERR_INVALID, "no image was named");
    }
    CLEANUP_FREE char *name = whole_name(ref);
    int r = name ? image_get(g->store, g->ns, name, ret, &le) : -ENOENT;
    if (r < 0 && looks_like_id(ref)) {
        r = image_get(g->store, g->ns, ref, ret, &le);
    }
    if (r < 0 && (!name || le.kind == ERR_NOT_FOUND)) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no such image: %.256s", ref);
    }
    if (r < 0 && e) {
        *e = le;
    }
    return r;
}

/* What image/ is given: a whole name, or the id as it is. */
static char *given(struct engine *g, const char *ref)
{
    CLEANUP_FREE char *name = whole_name(ref);
    struct store_image i = { 0 };
    struct err ignored = { 0 };
    if (name && image_get(g->store, g->ns, name, &i, &ignored) == 0) {
        store_image_done(&i);
        return PTR_STEAL(name);
    }
    return looks_like_id(ref) || !name ? strdup(ref) : PTR_STEAL(name);
}

void engine_image_free(struct engine_image *i)
{
    if (i) {
        free(i->id);
        strv_free(i->tags);
        strv_free(i->digests);
        free(i->os);
        free(i->architecture);
        free(i->variant);
        free(i->user);
        str_map_done(&i->labels);
        free(i);
    }
}

void engine_images_done(struct engine_images *i)
{
    for (size_t k = 0; k < i->n; k++) {
        engine_image_free(i->v[k]);
    }
    free(i->v);
    *i = (struct engine_images){ 0 };
}

static int64_t created_of(const char *text)
{
    struct tm tm = { 0 };
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    return rest ? (int64_t)timegm(&tm) * 1000000000 : 0;
}

static int to_public(struct engine *g, struct store_image *s, struct engine_image **ret, struct err *e)
{
    CLEANUP_IMAGE_CONFIG struct image_config c = { 0 };
    struct engine_image *o = calloc(1, sizeof(*o));
    if (!o) {
        return err_oom(e);
    }
    int r = image_config(g->store, s, &c, e);
    if (r < 0) {
        free(o);
        return r;
    }
    o->id = PTR_STEAL(s->id);
    o->tags = PTR_STEAL(s->tags);
    o->digests = PTR_STEAL(s->digests);
    o->created_at = created_of(c.created);
    o->size = s->size;
    o->os = PTR_STEAL(c.os);
    o->architecture = PTR_STEAL(c.architecture);
    o->variant = PTR_STEAL(c.variant);
    o->user = PTR_STEAL(c.config.user);
    o->labels = c.config.labels;
    c.config.labels = (struct str_map){ 0 };
    o->pinned = s->pinned;
    *ret = o;
    return 0;
}

int engine_image_list(struct engine *g, struct engine_images *ret, struct err *e)
{
    CLEANUP_STORE_IMAGES struct store_images rows = { 0 };
    struct engine_images out = { 0 };
    int r = image_list(g->store, g->ns, &rows, e);
    if (r == 0 && rows.n > 0) {
        out.v = calloc(rows.n, sizeof(*out.v));
        r = out.v ? 0 : err_oom(e);
    }
    for (size_t i = 0; r == 0 && i < rows.n; i++) {
        struct err le = { 0 };
        /* One that was removed meanwhile spoils nobody's list. */
        if (to_public(g, &rows.v[i], &out.v[out.n], &le) == 0) {
            out.n++;
        }
    }
    if (r < 0) {
        engine_images_done(&out);
        return r;
    }
    *ret = out;
    return 0;
}

int engine_image_get(struct engine *g, const char *ref, struct engine_image **ret, struct err *e)
{
    CLEANUP_STORE_IMAGE struct store_image s = { 0 };
    int r = image_locate(g, ref, &s, e);
    return r < 0 ? r : to_public(g, &s, ret, e);
}

int engine_image_config(struct engine *g, const char *ref, char **ret_config, char **ret_manifest, struct err *e)
{
    CLEANUP_STORE_IMAGE struct store_image s = { 0 };
    int r = image_locate(g, ref, &s, e);
    return r < 0 ? r : image_texts(g->store, &s, ret_config, ret_manifest, e);
}

int engine_image_tag(struct engine *g, const char *ref, const char *new_ref, struct err *e)
{
    struct reference n;
    CLEANUP_FREE char *from = given(g, ref), *to = NULL;
    int r = reference_parse_tagged(new_ref, &n, e);
    if (r == 0) {
        to = reference_tagged(&n);
        r = from && to ? image_tag(g->store, g->ns, from, to, e) : err_oom(e);
    }
    engine_wake(g);
    return r;
}

int engine_image_remove(struct engine *g, const char *ref, bool force, bool all_tags, char ***ret_deleted, struct err *e)
{
    CLEANUP_FREE char *name = given(g, ref);
    struct image_removal o = { .force = force, .all_tags = all_tags };
    int r = name ? image_remove(g->store, g->ns, name, &o, ret_deleted, e) : err_oom(e);
    engine_wake(g);
    return r;
}

int engine_image_prune(struct engine *g, bool all, char ***ret_deleted, uint64_t *ret_bytes, struct err *e)
{
    int r = image_prune(g->store, g->ns, all, ret_deleted, ret_bytes, e);
    engine_wake(g);
    return r;
}

int engine_image_load(struct engine *g, int fd, const char *layout_dir, char ***ret_names, struct err *e)
{
    struct archive_load_options o = { 0 };
    int r = layout_dir ? archive_load_dir(g->store, g->ns, layout_dir, &o, ret_names, e) : archive_load(g->store, g->ns, fd, &o, ret_names, e);
    engine_wake(g);
    return r;
}

int engine_image_save(struct engine *g, char *const *refs, enum engine_archive format, int fd, struct err *e)
{
    CLEANUP_STRV char **names = NULL;
    for (; refs && *refs; refs++) {
        CLEANUP_FREE char *name = given(g, *refs);
        if (!name || strv_push(&names, name) < 0) {
            return err_oom(e);
        }
    }
    return archive_save(g->store, g->ns, names, format == ENGINE_ARCHIVE_DOCKER ? ARCHIVE_DOCKER : ARCHIVE_OCI, fd, e);
}
