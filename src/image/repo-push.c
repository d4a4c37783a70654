/* image/repo-push.c: writing to a repository: blobs in one request or in chunks, mounted from another repository, and manifests. */
#include "image/registry-internal.h"

#include <errno.h>
#include <stdio.h>

enum { SESSION_TRIES = 3 };

struct upload {
    struct repo *p;
    const struct repo_upload *u;
    size_t i;       /* endpoint: the registry itself, which is the last one */
    char *location; /* of the session; NULL: none */
};
static void upload_done(struct upload *x)
{
    free(x->location);
}

/* Takes over where the session goes on; relative addresses are the endpoint's. */
static int take_location(struct upload *x, const struct response *r, struct err *e)
{
    const struct endpoint *ep = &x->p->endpoints.v[x->i];
    const char *scheme = endpoint_scheme(x->p, x->i), *at = r->location;
    CLEANUP_FREE char *base = str_printf("%s://%s%s/%s/blobs/uploads/", scheme, ep->host, ep->prefix, ep->path);
    CURLU *u = curl_url();
    char *out = NULL;
    bool fine = base && u && !str_empty(at) && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
                curl_url_set(u, CURLUPART_URL, at, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_URL, &out, 0) == CURLUE_OK &&
                (str_starts(out, "https://") || (str_starts(out, "http://") && (str_eq(scheme, "http") || ep->skip_verify)));
    char *copy = fine ? strdup(out) : NULL;
    curl_free(out);
    curl_url_cleanup(u);
    if (!copy) {
        return err_set(e, EPROTO, ERR_UNAVAILABLE, "%s gave \"%.200s\" as the address to upload to, which cannot be used", r->host,
                       at ? at : "nothing");
    }
    free(x->location);
    x->location = copy;
    return 0;
}

/* POST: 1: the registry had it or mounted it; 0: a session is open. */
static int open_session(struct upload *x, struct err *e)
{
    CLEANUP_RESPONSE struct response r = { 0 };
    CLEANUP_BUF struct buf path = { 0 };
    buf_adds(&path, "/blobs/uploads/");
    if (x->u->mount_from) {
        buf_adds(&path, "?mount=");
        url_escape(&path, x->u->digest);
        buf_adds(&path, "&from=");
        url_escape(&path, x->u->mount_from);
    }
    const struct request q = { .method = "POST", .actions = "pull,push", .mount_from = x->u->mount_from, .max = LIST_BODY_MAX };
    int f = buf_failed(&path) ? err_oom(e) : repo_request(x->p, x->i, buf_str(&path), &q, &r, e);
    if (f < 0) {
        return f;
    }
    if (r.status == 201) {
        return 1;
    }
    return r.status == 202 ? take_location(x, &r, e) : response_error(x->p, x->i, &q, &r, "an upload", e);
}

/* A registry that has hosts of its own for uploads gets no credential of ours there: they sign their addresses. */
static char *closing_url(const struct upload *x)
{
    CLEANUP_BUF struct buf b = { 0 };
    buf_addf(&b, "%s%sdigest=", x->location, strchr(x->location, '?') ? "&" : "?");
    url_escape(&b, x->u->digest);
    return buf_steal(&b);
}

static int send_whole(struct upload *x, struct err *e)
{
    CLEANUP_RESPONSE struct response r = { 0 };
    CLEANUP_FREE char *url = closing_url(x);
    const struct request q = { .method = "PUT", .url = url, .actions = "pull,push", .content_type = "application/octet-stream",
                               .fd = x->u->fd, .fd_len = x->u->size, .progress = x->u->progress, .progress_data = x->u->data,
                               .mount_from = x->u->mount_from, .max = LIST_BODY_MAX };
    int f = url ? repo_request(x->p, x->i, "", &q, &r, e) : err_oom(e);
    return f < 0 || r.status == 201 ? f : response_error(x->p, x->i, &q, &r, x->u->digest, e);
}

static int send_chunk(struct upload *x, uint64_t from, uint64_t len, struct err *e)
{
    CLEANUP_RESPONSE struct response r = { 0 };
    char range[48];
    (void)snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)from, (unsigned long long)(from + len - 1));
    const struct request q = { .method = "PATCH", .url = x->location, .actions = "pull,push", .content_range = range,
                               .content_type = "application/octet-stream", .fd = x->u->fd, .fd_from = from, .fd_len = len,
                               .progress = x->u->progress, .progress_data = x->u->data, .mount_from = x->u->mount_from,
                               .max = LIST_BODY_MAX };
    int f = repo_request(x->p, x->i, "", &q, &r, e);
    if (f < 0) {
        return f;
    }
    return r.status == 202 ? take_location(x, &r, e) : response_error(x->p, x->i, &q, &r, x->u->digest, e);
}

static int send_chunks(struct upload *x, struct err *e)
{
    int f = 0;
    for (uint64_t at = 0; f == 0 && at < x->u->size; at += x->u->chunk) {
        uint64_t left = x->u->size - at;
        f = send_chunk(x, at, left < x->u->chunk ? left : x->u->chunk, e);
    }
    if (f < 0) {
        return f;
    }
    CLEANUP_RESPONSE struct response r = { 0 };
    CLEANUP_FREE char *url = closing_url(x);
    const struct request q = { .method = "PUT", .url = url, .actions = "pull,push", .mount_from = x->u->mount_from, .max = LIST_BODY_MAX };
    f = url ? repo_request(x->p, x->i, "", &q, &r, e) : err_oom(e);
    return f < 0 || r.status == 201 ? f : response_error(x->p, x->i, &q, &r, x->u->digest, e);
}

int repo_blob_put(struct repo *p, const struct repo_upload *u, enum repo_upload_how *ret, struct err *e)
{
    CLEANUP(upload_done) struct upload x = { .p = p, .u = u, .i = p->endpoints.n - 1 };
    int f = repo_blob_exists(p, u->digest, e);
    if (f != 0) {
        *ret = REPO_EXISTED;
        return f < 0 ? f : 0;
    }
    /* A session that broke is given up for a new one. */
    for (int tries = 1;; tries++) {
        f = open_session(&x, e);
        if (f == 1) {
            *ret = REPO_MOUNTED;
            return 0;
        }
        f = f < 0 ? f : u->chunk > 0 && u->size > 0 ? send_chunks(&x, e) : send_whole(&x, e);
        if (f == 0) {
            *ret = REPO_UPLOADED;
        }
        if (f == 0 || tries >= SESSION_TRIES || !e || e->kind != ERR_UNAVAILABLE || f == -ECANCELED) {
            return f;
        }
    }
}

int repo_manifest_put(struct repo *p, const char *what, const char *media_type, const char *text, size_t len, char **ret_digest,
                      struct err *e)
{
    CLEANUP_RESPONSE struct response r = { 0 };
    CLEANUP_FREE char *path = str_printf("/manifests/%s", what);
    CLEANUP_FREE char *digest = NULL;
    size_t i = p->endpoints.n - 1;
    const struct request q = { .method = "PUT", .actions = "pull,push", .content_type = media_type, .text = text, .text_len = len,
                               .max = LIST_BODY_MAX };
    if (!reference_tag_valid(what) && !reference_digest_valid(what)) {
        return err_set(e, EINVAL, ERR_INVALID, "\"%.200s\" is neither a tag nor a digest", what);
    }
    int f = path ? text_digest(text, len, NULL, &digest, e) : err_oom(e);
    f = f < 0 ? f : repo_request(p, i, path, &q, &r, e);
    if (f < 0) {
        return f;
    }
    if (r.status != 201 && r.status != 200) {
        return response_error(p, i, &q, &r, what, e);
    }
    if (r.digest && str_starts(r.digest, "sha256:") && !str_eq(r.digest, digest)) {
        return err_set(e, EBADMSG, ERR_INVALID, "%s says the manifest has the digest %s instead of %s", r.host, r.digest, digest);
    }
    if (ret_digest) {
        *ret_digest = PTR_STEAL(digest);
    }
    return 0;
}
