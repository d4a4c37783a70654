/* image/archive-load.c: see archive.h: members → blobs and layers → images. */
#include "base/fd.h"
#include "image/archive-source.h"
#include "image/layer.h"
#include "image/reference.h"
#include "image/stream.h"
#include "store/blob.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct load {
    struct archive_source *src;
    struct image_new *n;
    const struct archive_load_options *o;
    struct image_manifest manifest;
    struct image_config config;
    char id[STORE_DIGEST_SIZE], manifest_digest[STORE_DIGEST_SIZE];
    const char *manifest_media_type;
    char **tags;
};

static void digest_of(const void *data, size_t len, char out[static STORE_DIGEST_SIZE])
{
    CLEANUP_HASH struct hash *h = hash_new();
    out[0] = '\0';
    if (h) {
        hash_add(h, data, len);
        hash_digest(h, out);
    }
}

static int add_name(char ***names, const char *text, struct err *e)
{
    struct reference ref;
    int r = reference_parse_tagged(text, &ref, e);
    if (r < 0) {
        return err_wrap(e, "archive");
    }
    CLEANUP_FREE char *name = reference_tagged(&ref);
    return name && strv_push(names, name) == 0 ? 0 : err_oom(e);
}

static int blob_path(const char *digest, char out[static 100], struct err *e)
{
    if (!digest_valid(digest)) {
        return err_set(e, EINVAL, ERR_INVALID, "archive: malformed digest %.100s", digest ? digest : "(none)");
    }
    snprintf(out, 100, "blobs/sha256/%s", digest_hex(digest));
    return 0;
}

/* Copies a file of the archive into the store under its digest, which is checked. */
static int ingest_fd(struct load *l, int fd, const char *digest, uint64_t size, const char *media_type, struct err *e)
{
    CLEANUP_INGEST struct ingest *i = NULL;
    CLEANUP_FREE char *chunk = malloc(256 << 10);
    uint64_t offset;
    int r = chunk ? image_new_lease_blob(l->n, digest, e) : err_oom(e);
    if (r == 0 && blob_stat(l->n->store, digest, NULL, NULL) == 0) {
        return image_new_keep(l->n, digest, media_type, size, e);
    }
    if (r == 0) {
        r = ingest_open(l->n->store, digest, size, &i, &offset, e);
    }
    if (r == 0 && offset) {
        r = ingest_restart(i, e);
    }
    for (ssize_t n; r == 0 && (n = pread(fd, chunk, 256 << 10, (off_t)ingest_offset(i))) != 0;) {
        r = n < 0 ? err_sys(e, errno, "read archive") : ingest_write(i, chunk, (size_t)n, e);
    }
    if (r == 0) {
        r = ingest_finish(i, e);
    }
    return r < 0 ? r : image_new_keep(l->n, digest, media_type, size, e);
}

static int load_layer(struct load *l, int fd, const struct image_descriptor *d, const char *diff_id, struct err *e)
{
    const struct layer_desc desc = { .diff_id = diff_id, .blob_digest = d->digest, .media_type = d->media_type, .blob_size = d->size };
    int r = ingest_fd(l, fd, d->digest, d->size, d->media_type, e);
    if (r == 0) {
        r = image_new_have_layer(l->n, &desc, e);
    }
    for (size_t i = 0; r == 0 && i < l->n->n_layers; i++) {
        r = str_eq(l->n->layers[i].row.diff_id, diff_id); /* twice in this image */
    }
    if (r != 0) {
        return r < 0 ? r : 0;
    }
    return lseek(fd, 0, SEEK_SET) < 0 ? err_sys(e, errno, "rewind the layer") : image_new_layer(l->n, &desc, unpack_read_fd, &fd, NULL, e);
}

static int commit(struct load *l, char ***ret_names, struct err *e)
{
    struct store_image i = { .id = l->id, .manifest_digest = l->manifest_digest, .layers = l->config.rootfs.diff_ids, .tags = l->tags,
                             .manifest_media_type = (char *)(uintptr_t)l->manifest_media_type };
    int r = image_new_commit(l->n, &i, "load", e);
    if (r == 0 && strv_len(l->tags) == 0 && strv_push(ret_names, l->id) < 0) {
        return err_oom(e);
    }
    for (size_t k = 0; r == 0 && l->tags && l->tags[k]; k++) {
        r = strv_push(ret_names, l->tags[k]) < 0 ? err_oom(e) : 0;
    }
    return r;
}

static int load_config(struct load *l, const char *text, size_t len, const char *media_type, struct err *e)
{
    digest_of(text, len, l->id);
    int r = image_config_parse(text, len, &l->config, e);
    return r < 0 ? r : image_new_blob(l->n, l->id, media_type, text, len, e);
}

/* ---- OCI ---- */

static int load_oci_layers(struct load *l, struct err *e)
{
    size_t n = strv_len(l->config.rootfs.diff_ids);
    if (n != l->manifest.layers.n) {
        return err_set(e, EINVAL, ERR_INVALID, "archive: manifest has %zu layers, its config %zu", l->manifest.layers.n, n);
    }
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        CLEANUP_FD int fd = -1;
        char path[100];
        r = blob_path(l->manifest.layers.v[i].digest, path, e);
        if (r == 0) {
            r = archive_source_open(l->src, path, &fd, e);
        }
        if (r == 0) {
            r = load_layer(l, fd, &l->manifest.layers.v[i], l->config.rootfs.diff_ids[i], e);
        }
    }
    return r;
}

static int load_oci_manifest(struct load *l, const struct image_descriptor *d, const char *text, size_t len, struct err *e)
{
    CLEANUP_BUF struct buf config = { 0 };
    char path[100];
    int r = image_manifest_parse(text, len, d->media_type, &l->manifest, e);
    l->manifest_media_type = l->manifest.media_type ? l->manifest.media_type : d->media_type;
    snprintf(l->manifest_digest, sizeof(l->manifest_digest), "%s", d->digest);
    if (r == 0) {
        r = image_new_blob(l->n, d->digest, l->manifest_media_type, text, len, e);
    }
    if (r == 0) {
        r = blob_path(l->manifest.config.digest, path, e);
    }
    if (r == 0) {
        r = archive_source_read(l->src, path, IMAGE_CONFIG_MAX, &config, e);
    }
    if (r == 0) {
        r = load_config(l, buf_str(&config), config.len, l->manifest.config.media_type, e);
    }
    if (r == 0 && !str_eq(l->id, l->manifest.config.digest)) {
        r = err_set(e, EBADMSG, ERR_INVALID, "archive: config %s has the digest %s", l->manifest.config.digest, l->id);
    }
    return r < 0 ? r : load_oci_layers(l, e);
}

/* A descriptor of the index: a manifest, or an index to choose in (once). */
static int load_oci_one(struct load *l, const struct image_descriptor *d, bool nested, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    char path[100], digest[STORE_DIGEST_SIZE];
    int r = blob_path(d->digest, path, e);
    if (r == 0) {
        r = archive_source_read(l->src, path, IMAGE_MANIFEST_MAX, &text, e);
    }
    if (r < 0) {
        return r;
    }
    digest_of(buf_str(&text), text.len, digest);
    if (!str_eq(digest, d->digest)) {
        return err_set(e, EBADMSG, ERR_INVALID, "archive: blob %s has the digest %s", d->digest, digest);
    }
    if (!media_type_is_index(d->media_type)) {
        return load_oci_manifest(l, d, buf_str(&text), text.len, e);
    }
    CLEANUP_IMAGE_INDEX struct image_index index = { 0 };
    const struct image_descriptor *chosen;
    r = nested ? err_set(e, EINVAL, ERR_INVALID, "archive: indexes nest too deep")
               : image_index_parse(buf_str(&text), text.len, d->media_type, &index, e);
    if (r == 0) {
        r = image_index_choose(&index, l->o->platform, &chosen, e);
    }
    return r < 0 ? r : load_oci_one(l, chosen, true, e);
}

static int oci_names(struct load *l, const struct image_descriptor *d, struct err *e)
{
    const char *full = str_map_get(&d->annotations, "io.containerd.image.name");
    const char *name = str_map_get(&d->annotations, "org.opencontainers.image.ref.name");
    if (full) {
        return add_name(&l->tags, full, e);
    }
    /* A bare tag is no name of an image; a whole reference, as some tools write it, is. */
    if (name && strpbrk(name, "/:")) {
        return add_name(&l->tags, name, e);
    }
    return l->o->name ? add_name(&l->tags, l->o->name, e) : 0;
}

static void load_done(struct load *l)
{
    image_manifest_done(&l->manifest);
    image_config_done(&l->config);
    strv_free(l->tags);
}

static int load_oci(struct archive_source *src, const char *ns, const struct archive_load_options *o, char ***ret_names, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    CLEANUP_IMAGE_INDEX struct image_index index = { 0 };
    int r = archive_source_read(src, "index.json", IMAGE_MANIFEST_MAX, &text, e);
    if (r == 0) {
        r = image_index_parse(buf_str(&text), text.len, NULL, &index, e);
    }
    for (size_t i = 0; r == 0 && i < index.manifests.n; i++) {
        CLEANUP_IMAGE_NEW struct image_new n = { 0 };
        struct load l = { .src = src, .n = &n, .o = o };
        r = image_new_init(&n, src->store, ns, e);
        if (r == 0) {
            r = oci_names(&l, &index.manifests.v[i], e);
        }
        if (r == 0) {
            r = load_oci_one(&l, &index.manifests.v[i], false, e);
        }
        if (r == 0) {
            r = commit(&l, ret_names, e);
        }
        load_done(&l);
    }
    return r == 0 && index.manifests.n == 0 ? err_set(e, ENOENT, ERR_NOT_FOUND, "archive: there is no image in it") : r;
}

/* ---- docker ---- */

/* Digest, size and kind of a layer's file: manifest.json tells none of them. */
static int describe(int fd, struct image_descriptor *d, struct err *e)
{
    CLEANUP_HASH struct hash *h = hash_new();
    CLEANUP_FREE unsigned char *chunk = malloc(256 << 10);
    if (!h || !chunk) {
        return err_oom(e);
    }
    bool gzip = false;
    for (ssize_t n; (n = pread(fd, chunk, 256 << 10, (off_t)d->size)) != 0;) {
        if (n < 0) {
            return err_sys(e, errno, "read the layer");
        }
        gzip = d->size == 0 ? n > 1 && chunk[0] == 0x1f && chunk[1] == 0x8b : gzip;
        hash_add(h, chunk, (size_t)n);
        d->size += (uint64_t)n;
    }
    char digest[STORE_DIGEST_SIZE];
    hash_digest(h, digest);
    d->digest = strdup(digest);
    d->media_type = strdup(gzip ? MEDIA_DOCKER_LAYER_GZIP : MEDIA_DOCKER_LAYER);
    return d->digest && d->media_type ? 0 : err_oom(e);
}

/* The manifest that a registry would hold for what the archive describes. */
static int make_manifest(struct load *l, size_t config_len, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    l->manifest.schema_version = 2;
    l->manifest.media_type = strdup(MEDIA_DOCKER_MANIFEST);
    l->manifest.config = (struct image_descriptor) { .media_type = strdup(MEDIA_DOCKER_CONFIG), .digest = strdup(l->id), .size = config_len };
    if (!l->manifest.media_type || !l->manifest.config.media_type || !l->manifest.config.digest) {
        return err_oom(e);
    }
    int r = json_format(&image_manifest_type, &l->manifest, 0, &text, e);
    if (r < 0) {
        return r;
    }
    digest_of(buf_str(&text), text.len, l->manifest_digest);
    l->manifest_media_type = MEDIA_DOCKER_MANIFEST;
    return image_new_blob(l->n, l->manifest_digest, MEDIA_DOCKER_MANIFEST, buf_str(&text), text.len, e);
}

static int load_docker_one(struct load *l, const struct docker_archive_entry *entry, struct err *e)
{
    CLEANUP_BUF struct buf config = { 0 };
    int r = archive_source_read(l->src, entry->config, IMAGE_CONFIG_MAX, &config, e);
    if (r == 0) {
        r = load_config(l, buf_str(&config), config.len, MEDIA_DOCKER_CONFIG, e);
    }
    size_t n = strv_len(entry->layers);
    if (r == 0 && n != strv_len(l->config.rootfs.diff_ids)) {
        return err_set(e, EINVAL, ERR_INVALID, "archive: %zu layers, but config %s has %zu", n, entry->config, strv_len(l->config.rootfs.diff_ids));
    }
    if (r == 0 && n > 0) {
        l->manifest.layers.v = calloc(n, sizeof(*l->manifest.layers.v));
        l->manifest.layers.n = l->manifest.layers.v ? n : 0;
        r = l->manifest.layers.v ? 0 : err_oom(e);
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        CLEANUP_FD int fd = -1;
        r = archive_source_open(l->src, entry->layers[i], &fd, e);
        if (r == 0) {
            r = describe(fd, &l->manifest.layers.v[i], e);
        }
        if (r == 0) {
            r = load_layer(l, fd, &l->manifest.layers.v[i], l->config.rootfs.diff_ids[i], e);
        }
    }
    for (size_t i = 0; r == 0 && entry->repo_tags && entry->repo_tags[i]; i++) {
        r = add_name(&l->tags, entry->repo_tags[i], e);
    }
    if (r == 0 && strv_len(entry->repo_tags) == 0 && l->o->name) {
        r = add_name(&l->tags, l->o->name, e);
    }
    return r < 0 ? r : make_manifest(l, config.len, e);
}

struct docker_list {
    JSON_ARRAY(struct docker_archive_entry) entries;
};
static const struct json_field list_fields[] = {
    JSON_FIELD(struct docker_list, entries, "entries", OBJS, JSON_REQUIRED, &docker_archive_entry_type),
};
static const struct json_type list_type = JSON_TYPE(struct docker_list, list_fields);

static int load_docker(struct archive_source *src, const char *ns, const struct archive_load_options *o, char ***ret_names, struct err *e)
{
    /* The document is a bare list: the decoder wants an object around it. */
    CLEANUP_BUF struct buf text = { 0 };
    struct docker_list list = { 0 };
    buf_adds(&text, "{\"entries\":");
    int r = archive_source_read(src, "manifest.json", IMAGE_MANIFEST_MAX, &text, e);
    buf_addc(&text, '}');
    if (r == 0) {
        r = json_parse(&list_type, buf_str(&text), text.len, &list, e);
    }
    for (size_t i = 0; r == 0 && i < list.entries.n; i++) {
        CLEANUP_IMAGE_NEW struct image_new n = { 0 };
        struct load l = { .src = src, .n = &n, .o = o };
        r = image_new_init(&n, src->store, ns, e);
        if (r == 0) {
            r = load_docker_one(&l, &list.entries.v[i], e);
        }
        if (r == 0) {
            r = commit(&l, ret_names, e);
        }
        load_done(&l);
    }
    json_free(&list_type, &list);
    return r < 0 ? err_wrap(e, "manifest.json") : 0;
}

static int load_source(struct archive_source *src, const char *ns, const struct archive_load_options *o, char ***ret_names, struct err *e)
{
    if (archive_source_has(src, "index.json")) {
        return load_oci(src, ns, o, ret_names, e);
    }
    if (archive_source_has(src, "manifest.json")) {
        return load_docker(src, ns, o, ret_names, e);
    }
    return err_set(e, EINVAL, ERR_INVALID, "archive: neither index.json nor manifest.json is in it: no image");
}

int archive_load(struct store *s, const char *ns, int fd, const struct archive_load_options *o, char ***ret_names, struct err *e)
{
    CLEANUP_ARCHIVE_SOURCE struct archive_source src = { .dirfd = -1 };
    int r = archive_source_tar(&src, s, fd, e);
    return r < 0 ? r : load_source(&src, ns, o, ret_names, e);
}

int archive_load_dir(struct store *s, const char *ns, const char *dir, const struct archive_load_options *o, char ***ret_names,
                     struct err *e)
{
    CLEANUP_ARCHIVE_SOURCE struct archive_source src = { .dirfd = -1 };
    int r = archive_source_dir(&src, s, dir, e);
    return r < 0 ? r : load_source(&src, ns, o, ret_names, e);
}
