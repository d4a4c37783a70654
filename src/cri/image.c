/* cri/image.c: calls about images. */
#include "cri/convert.h"
#include "cri/cri-internal.h"
#include "cri/list.h"

#include <errno.h>

/* Appends one image as field 1. */
static void put_image(const struct engine_image *i, struct buf *out)
{
    V1(Image) m;
    V1(ImageSpec) spec;
    V1(Int64Value) uid;
    CLEANUP_BUF struct buf packed = { 0 };
    CLEANUP_FREE char *user = i->user ? strdup(i->user) : NULL;
    V1_INIT(image, &m);
    V1_INIT(image_spec, &spec);
    m.id = i->id;
    m.n_repo_tags = strv_len(i->tags);
    m.repo_tags = i->tags;
    m.n_repo_digests = strv_len(i->digests);
    m.repo_digests = i->digests;
    m.size = i->size;
    m.pinned = i->pinned;
    spec.image = i->id;
    m.spec = &spec;
    convert_image_user(user, &m, &uid);
    pb_pack(&m, &packed);
    pb_put_bytes(out, 1, packed.data, packed.len);
}

static int each_image(struct cri *c, const V1(ImageFilter) *f, void (*fn)(void *data, const struct engine_image *i), void *data,
                      struct err *e)
{
    if (f && f->image && !str_empty(f->image->image)) {
        struct engine_image *i = NULL;
        struct err why = { 0 };
        int r = engine_image_get(c->engine, f->image->image, &i, &why);
        if (r == 0) {
            fn(data, i);
            engine_image_free(i);
        }
        return r == 0 || why.kind == ERR_NOT_FOUND ? 0 : err_set(e, -r, why.kind, "%s", why.text);
    }
    struct engine_images all = { 0 };
    int r = engine_image_list(c->engine, &all, e);
    for (size_t k = 0; r == 0 && k < all.n; k++) {
        fn(data, all.v[k]);
    }
    engine_images_done(&all);
    return r;
}

static void list_one(void *data, const struct engine_image *i)
{
    put_image(i, data);
}

int cri_image_list(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ListImagesRequest) *q = request;
    CLEANUP_BUF struct buf out = { 0 };
    list_begin(&out);
    int r = each_image(c, q->filter, list_one, &out, e);
    return r < 0 ? r : grpc_send_buf(call, &out, e);
}

struct image_stream {
    struct grpc_call *call;
    struct err *e;
    int r;
};

static void stream_one(void *data, const struct engine_image *i)
{
    struct image_stream *s = data;
    CLEANUP_BUF struct buf out = { 0 };
    put_image(i, &out);
    s->r = s->r < 0 ? s->r : grpc_send(s->call, out.data, out.len, s->e);
}

int cri_image_stream(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(StreamImagesRequest) *q = request;
    struct image_stream s = { call, e, 0 };
    int r = each_image(c, q->filter, stream_one, &s, e);
    return r < 0 ? r : s.r;
}

static int image_of(const V1(ImageSpec) *s, const char **ret, struct err *e)
{
    int r = cri_require(s ? s->image : NULL, "image.image", e);
    *ret = r < 0 ? NULL : s->image;
    return r;
}

static int image_info(struct cri *c, const char *ref, struct buf *out, struct err *e)
{
    CLEANUP_FREE char *config = NULL;
    CLEANUP_FREE char *manifest = NULL;
    int r = engine_image_config(c->engine, ref, &config, &manifest, e);
    if (r < 0) {
        return r;
    }
    json_t *spec = json_loads(config ? config : "{}", 0, NULL);
    return list_put_info(out, 2, "info", json_pack("{s:o*}", "imageSpec", spec), e);
}

int cri_image_status(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(ImageStatusRequest) *q = request;
    CLEANUP_BUF struct buf out = { 0 };
    const char *ref = NULL;
    struct engine_image *i = NULL;
    struct err why = { 0 };
    int r = image_of(q->image, &ref, e);
    if (r < 0) {
        return r;
    }
    list_begin(&out);
    r = engine_image_get(c->engine, ref, &i, &why);
    if (r < 0 && why.kind != ERR_NOT_FOUND) {
        return err_set(e, -r, why.kind, "%s", why.text);
    }
    bool found = r == 0; /* an absent image is an empty answer */
    r = 0;
    if (found) {
        put_image(i, &out);
        r = q->verbose ? image_info(c, i->id, &out, e) : 0;
    }
    engine_image_free(i);
    return r < 0 ? r : grpc_send_buf(call, &out, e);
}

int cri_image_pull(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(PullImageRequest) *q = request;
    struct engine_auth auth = { 0 };
    struct engine_pull_options o = { .tls_verify = true };
    CLEANUP_FREE char *id = NULL;
    const char *ref = NULL;
    V1(PullImageResponse) m;
    int r = image_of(q->image, &ref, e);
    if (r < 0) {
        return r;
    }
    if (q->auth) {
        auth = (struct engine_auth){ .username = q->auth->username, .password = q->auth->password, .auth = q->auth->auth,
                                     .identity_token = q->auth->identity_token, .registry_token = q->auth->registry_token,
                                     .server = q->auth->server_address };
        o.auth = &auth;
    }
    r = engine_image_pull(c->engine, ref, &o, &id, e);
    if (r < 0) {
        return r;
    }
    V1_INIT(pull_image_response, &m);
    m.image_ref = id;
    return cri_reply(call, &m, e);
}

int cri_image_remove(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    const V1(RemoveImageRequest) *q = request;
    const char *ref = NULL;
    struct err why = { 0 };
    V1(RemoveImageResponse) m;
    int r = image_of(q->image, &ref, e);
    if (r < 0) {
        return r;
    }
    r = engine_image_remove(c->engine, ref, false, true, NULL, &why);
    if (r < 0 && why.kind != ERR_NOT_FOUND) {
        return err_set(e, -r, why.kind, "%s", why.text);
    }
    V1_INIT(remove_image_response, &m);
    return cri_reply(call, &m, e);
}

static void put_usage(const struct engine_fs_usage *u, unsigned field, struct buf *out)
{
    V1(FilesystemUsage) m;
    V1(FilesystemIdentifier) id;
    V1(UInt64Value) bytes, inodes;
    CLEANUP_BUF struct buf packed = { 0 };
    V1_INIT(filesystem_usage, &m);
    V1_INIT(filesystem_identifier, &id);
    V1_INIT(uint64_value, &bytes);
    V1_INIT(uint64_value, &inodes);
    id.mountpoint = u->mountpoint ? u->mountpoint : id.mountpoint;
    bytes.value = u->bytes;
    inodes.value = u->inodes;
    m.timestamp = u->timestamp;
    m.fs_id = &id;
    m.used_bytes = &bytes;
    m.inodes_used = &inodes;
    pb_pack(&m, &packed);
    pb_put_bytes(out, field, packed.data, packed.len);
}

int cri_image_fs_info(struct cri *c, struct grpc_call *call, const void *request, struct err *e)
{
    (void)request;
    CLEANUP_BUF struct buf out = { 0 };
    struct engine_usage u = { 0 };
    int r = engine_usage(c->engine, &u, e);
    if (r < 0) {
        return r;
    }
    list_begin(&out);
    put_usage(&u.images, 1, &out);
    put_usage(&u.containers, 2, &out);
    engine_usage_done(&u);
    return grpc_send_buf(call, &out, e);
}
