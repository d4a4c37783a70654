/* image/archive-save.c: see archive.h: an OCI layout, in a tar or a folder; with manifest.json it is a docker archive as well. */
#include "base/fd.h"
#include "image/archive.h"
#include "image/reference.h"
#include "store/blob.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct save {
    struct store *s;
    struct archive *tar; /* NULL: into dirfd */
    int dirfd;
    char **done;         /* digests that are in it */
    struct image_index index;
    size_t cap;
    struct buf docker;   /* manifest.json */
};

static int tar_fail(struct save *v, const char *name, struct err *e)
{
    int code = archive_errno(v->tar);
    return err_set(e, code > 0 ? code : EIO, ERR_INTERNAL, "write %s: %s", name, archive_error_string(v->tar));
}

static int tar_header(struct save *v, const char *name, uint64_t size, struct err *e)
{
    struct archive_entry *entry = archive_entry_new();
    if (!entry) {
        return err_oom(e);
    }
    archive_entry_copy_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0444);
    archive_entry_set_size(entry, (int64_t)size);
    archive_entry_set_mtime(entry, 0, 0);
    int rc = archive_write_header(v->tar, entry);
    archive_entry_free(entry);
    return rc < ARCHIVE_WARN ? tar_fail(v, name, e) : 0;
}

static int put_bytes(struct save *v, const char *name, const void *data, size_t len, struct err *e)
{
    if (!v->tar) {
        return file_replace(v->dirfd, name, data, len, 0644, false, e);
    }
    int r = tar_header(v, name, len, e);
    return r < 0 ? r : archive_write_data(v->tar, data, len) < 0 ? tar_fail(v, name, e) : 0;
}

static int copy_fd(struct save *v, const char *name, int from, uint64_t size, struct err *e)
{
    CLEANUP_FREE char *chunk = malloc(256 << 10);
    CLEANUP_FREE char *part = v->tar ? NULL : str_printf("%s.part", name);
    CLEANUP_FD int to = part ? openat(v->dirfd, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644) : -1;
    if (!chunk || (!v->tar && !part)) {
        return err_oom(e);
    }
    if (!v->tar && to < 0) {
        return err_sys(e, errno, "write %s", name);
    }
    int r = v->tar ? tar_header(v, name, size, e) : 0;
    for (ssize_t n; r == 0 && (n = read(from, chunk, 256 << 10)) != 0;) {
        if (n < 0) {
            return err_sys(e, errno, "read blob");
        }
        if (v->tar) {
            r = archive_write_data(v->tar, chunk, (size_t)n) < 0 ? tar_fail(v, name, e) : 0;
        } else if ((r = fd_write_all(to, chunk, (size_t)n)) < 0) {
            r = err_sys(e, -r, "write %s", name);
        }
    }
    if (r == 0 && part && renameat(v->dirfd, part, v->dirfd, name) < 0) {
        return err_sys(e, errno, "write %s", name);
    }
    return r;
}

static int put_blob(struct save *v, const char *digest, struct err *e)
{
    for (size_t i = 0; v->done && v->done[i]; i++) {
        if (str_eq(v->done[i], digest)) {
            return 0;
        }
    }
    CLEANUP_FD int fd = -1;
    char name[100];
    struct stat st;
    int r = blob_open(v->s, digest, &fd, e);
    if (r < 0) {
        return r;
    }
    if (fstat(fd, &st) < 0) {
        return err_sys(e, errno, "blob %s", digest);
    }
    snprintf(name, sizeof(name), "blobs/sha256/%s", digest_hex(digest));
    r = copy_fd(v, name, fd, (uint64_t)st.st_size, e);
    return r == 0 && strv_push(&v->done, digest) < 0 ? err_oom(e) : r;
}

static int put_layers(struct save *v, const struct store_image *i, const struct image_manifest *m, struct err *e)
{
    int r = 0;
    for (size_t k = 0; r == 0 && k < m->layers.n; k++) {
        r = put_blob(v, m->layers.v[k].digest, e);
        if (r == -ENOENT) {
            CLEANUP_STORE_LAYER struct store_layer l = { 0 };
            const char *diff = k < strv_len(i->layers) ? i->layers[k] : "";
            bool known = store_layer_get(v->s, diff, &l, NULL) == 0;
            r = err_set(e, ENOENT, ERR_NOT_FOUND, "layer %s is kept unpacked only; its compressed form %s came from %s", diff,
                        m->layers.v[k].digest, known && l.source ? l.source : "an unknown place");
        }
    }
    return r;
}

static int add_descriptor(struct save *v, const struct store_image *i, size_t size, const char *name, struct err *e)
{
    if (array_grow(&v->index.manifests.v, &v->cap, v->index.manifests.n + 1, sizeof(*v->index.manifests.v)) < 0) {
        return err_oom(e);
    }
    struct image_descriptor *d = &v->index.manifests.v[v->index.manifests.n++];
    *d = (struct image_descriptor) { .size = size };
    d->digest = strdup(i->manifest_digest);
    d->media_type = strdup(i->manifest_media_type ? i->manifest_media_type : MEDIA_OCI_MANIFEST);
    const char *tag = name ? strrchr(name, ':') : NULL;
    int r = d->digest && d->media_type ? 0 : -ENOMEM;
    if (r == 0 && name) {
        r = str_map_set(&d->annotations, "io.containerd.image.name", name);
    }
    if (r == 0 && tag) {
        r = str_map_set(&d->annotations, "org.opencontainers.image.ref.name", tag + 1);
    }
    return r < 0 ? err_oom(e) : 0;
}

/* One element of manifest.json; digests and checked references need no escaping. */
static void add_docker(struct save *v, const struct store_image *i, const struct image_manifest *m, const char *name)
{
    struct reference ref;
    CLEANUP_FREE char *familiar = name && reference_parse(name, &ref, NULL) == 0 ? reference_familiar(&ref) : NULL;
    buf_addf(&v->docker, "%s{\"Config\":\"blobs/sha256/%s\",\"RepoTags\":[", v->docker.len ? "," : "[", digest_hex(i->id));
    if (familiar) {
        buf_addf(&v->docker, "\"%s\"", familiar);
    }
    buf_adds(&v->docker, "],\"Layers\":[");
    for (size_t k = 0; k < m->layers.n; k++) {
        buf_addf(&v->docker, "%s\"blobs/sha256/%s\"", k ? "," : "", digest_hex(m->layers.v[k].digest));
    }
    buf_adds(&v->docker, "]}");
}

static int save_one(struct save *v, const char *ns, const char *ref, struct err *e)
{
    CLEANUP_STORE_IMAGE struct store_image i = { 0 };
    CLEANUP_IMAGE_MANIFEST struct image_manifest m = { 0 };
    CLEANUP_BUF struct buf text = { 0 };
    int r = image_get(v->s, ns, ref, &i, e);
    if (r == 0) {
        r = blob_read(v->s, i.manifest_digest, IMAGE_MANIFEST_MAX, &text, e);
    }
    if (r == 0) {
        r = image_manifest_parse(buf_str(&text), text.len, i.manifest_media_type, &m, e);
    }
    if (r == 0) {
        r = put_layers(v, &i, &m, e);
    }
    if (r == 0) {
        r = put_blob(v, i.id, e);
    }
    if (r == 0) {
        r = put_blob(v, i.manifest_digest, e);
    }
    const char *name = NULL;
    for (size_t k = 0; i.tags && i.tags[k]; k++) {
        name = str_eq(i.tags[k], ref) ? i.tags[k] : name;
    }
    if (r == 0) {
        r = add_descriptor(v, &i, text.len, name, e);
    }
    if (r == 0) {
        add_docker(v, &i, &m, name);
    }
    return r < 0 ? err_wrap(e, "save %s", ref) : 0;
}

static int save_all(struct save *v, const char *ns, char *const *refs, bool docker, struct err *e)
{
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    CLEANUP_BUF struct buf index = { 0 };
    int r = put_bytes(v, "oci-layout", layout, sizeof(layout) - 1, e);
    for (size_t i = 0; r == 0 && refs[i]; i++) {
        r = save_one(v, ns, refs[i], e);
    }
    v->index.schema_version = 2;
    if (r == 0) {
        r = json_format(&image_index_type, &v->index, 0, &index, e);
    }
    if (r == 0) {
        r = put_bytes(v, "index.json", buf_str(&index), index.len, e);
    }
    buf_addc(&v->docker, ']');
    if (r == 0 && docker) {
        r = buf_failed(&v->docker) ? err_oom(e) : put_bytes(v, "manifest.json", buf_str(&v->docker), v->docker.len, e);
    }
    strv_free(v->done);
    image_index_done(&v->index);
    buf_done(&v->docker);
    return r;
}

int archive_save(struct store *s, const char *ns, char *const *refs, enum archive_format format, int fd, struct err *e)
{
    struct save v = { .s = s, .tar = archive_write_new(), .dirfd = -1 };
    if (!v.tar) {
        return err_oom(e);
    }
    archive_write_set_format_pax_restricted(v.tar);
    int r = archive_write_open_fd(v.tar, fd) < ARCHIVE_WARN ? tar_fail(&v, "the archive", e)
                                                            : save_all(&v, ns, refs, format == ARCHIVE_DOCKER, e);
    if (r == 0 && archive_write_close(v.tar) < ARCHIVE_WARN) {
        r = tar_fail(&v, "the archive", e);
    }
    archive_write_free(v.tar);
    return r;
}

int archive_save_dir(struct store *s, const char *ns, char *const *refs, const char *dir, struct err *e)
{
    struct save v = { .s = s };
    int r = dir_make_all(AT_FDCWD, dir, 0755, e);
    CLEANUP_FD int fd = r < 0 ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r == 0 && fd < 0) {
        return err_sys(e, errno, "open %s", dir);
    }
    if (r == 0) {
        r = dir_make_all(fd, "blobs/sha256", 0755, e);
    }
    v.dirfd = fd;
    return r < 0 ? r : save_all(&v, ns, refs, false, e);
}
