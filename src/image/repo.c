/* image/repo.c: reading from a repository: manifests, blobs, tags, referrers; the next endpoint when one fails. */
#include "image/registry-internal.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define ACCEPT_MANIFESTS                                                                                    \
    MEDIA_OCI_INDEX ", " MEDIA_OCI_MANIFEST ", " MEDIA_DOCKER_LIST ", " MEDIA_DOCKER_MANIFEST

void repo_manifest_done(struct repo_manifest *m)
{
    free(m->media_type);
    free(m->digest);
    free(m->text);
    free(m->endpoint);
    *m = (struct repo_manifest){ 0 };
}

/* Without parameters ("; charset=utf-8"). */
static char *bare_type(const char *content_type)
{
    size_t n = content_type ? strcspn(content_type, "; \t") : 0;
    return n > 0 ? strndup(content_type, n) : NULL;
}

/* Some servers say "application/json" or nothing: the document itself tells then. */
static char *manifest_type(const struct response *r)
{
    CLEANUP_FREE char *told = bare_type(r->content_type);
    if (told && (media_type_is_index(told) || media_type_is_manifest(told))) {
        return PTR_STEAL(told);
    }
    if (told && !str_eq(told, "application/json") && !str_eq(told, "text/plain") && !str_eq(told, "application/octet-stream")) {
        return NULL;
    }
    json_t *t = json_loadb(buf_str(&r->body), r->body.len, 0, NULL);
    const char *own = json_string_value(json_object_get(t, "mediaType"));
    const char *guess = json_is_array(json_object_get(t, "manifests"))  ? MEDIA_OCI_INDEX
                        : json_is_object(json_object_get(t, "config")) ? MEDIA_OCI_MANIFEST
                                                                       : NULL;
    const char *type = own ? (media_type_is_index(own) || media_type_is_manifest(own) ? own : NULL) : guess;
    char *out = type ? strdup(type) : NULL;
    json_decref(t);
    return out;
}

static int check_manifest(const struct repo *p, size_t i, const char *what, const struct response *r, struct repo_manifest *m,
                          struct err *e)
{
    const char *host = r->host;
    if (response_is_html(r)) {
        return err_set(e, EPROTO, ERR_UNAVAILABLE, "%s returned HTML instead of a manifest: it is not a registry, or a portal is in between",
                       host);
    }
    m->media_type = manifest_type(r);
    if (!m->media_type) {
        return err_set(e, EPROTO, ERR_UNSUPPORTED, "%s returned \"%.100s\" for %s:%s, which is no kind of manifest that is supported",
                       host, r->content_type ? r->content_type : "nothing", p->ref.path, what);
    }
    if (r->length >= 0 && (uint64_t)r->length != r->body.len) {
        return err_set(e, EPROTO, ERR_UNAVAILABLE, "%s sent %zu of %lld bytes of a manifest", host, r->body.len, (long long)r->length);
    }
    CLEANUP_FREE char *same = NULL;
    bool by_digest = strchr(what, ':') != NULL;
    const char *want = by_digest ? what : r->digest && reference_digest_valid(r->digest) ? r->digest : NULL;
    int f = text_digest(buf_str(&r->body), r->body.len, NULL, &m->digest, e);
    f = f < 0 ? f : text_digest(buf_str(&r->body), r->body.len, want, &same, e);
    if (f == 0 && want && !str_eq(want, same)) {
        return err_set(e, EBADMSG, ERR_INVALID, "%s sent a manifest with the digest %s instead of %s", host, same, want);
    }
    m->size = r->body.len;
    m->text = f < 0 ? NULL : strndup(buf_str(&r->body), r->body.len);
    m->endpoint = str_printf("%s://%s", endpoint_scheme(p, i), p->endpoints.v[i].host);
    return f < 0 ? f : m->text && m->endpoint ? 0 : err_oom(e);
}

static int manifest_from(struct repo *p, size_t i, const char *what, bool head, struct repo_manifest *m, struct err *e)
{
    CLEANUP_RESPONSE struct response r = { 0 };
    CLEANUP_FREE char *path = str_printf("/manifests/%s", what);
    CLEANUP_FREE char *name = str_printf("%s%s%s", p->endpoints.v[i].path, strchr(what, ':') ? "@" : ":", what);
    const struct request q = { .method = head ? "HEAD" : "GET", .accept = ACCEPT_MANIFESTS, .actions = p->push ? "pull,push" : "pull",
                               .max = IMAGE_MANIFEST_MAX };
    if (!path || !name) {
        return err_oom(e);
    }
    int f = repo_request(p, i, path, &q, &r, e);
    if (f < 0) {
        return f;
    }
    if (r.status != 200) {
        return response_error(p, i, &q, &r, name, e);
    }
    if (!head) {
        return check_manifest(p, i, what, &r, m, e);
    }
    m->media_type = bare_type(r.content_type);
    m->digest = r.digest && reference_digest_valid(r.digest) ? strdup(r.digest) : NULL;
    m->size = r.length > 0 ? (uint64_t)r.length : 0;
    m->endpoint = str_printf("%s://%s", endpoint_scheme(p, i), p->endpoints.v[i].host);
    return 0;
}

/* The registry's own answer counts in the end; what mirrors said before it is put behind. */
static void join_errors(struct err *all, const struct err *one, bool first)
{
    if (first) {
        *all = *one;
        return;
    }
    CLEANUP_FREE char *before = strdup(all->text);
    *all = *one;
    size_t n = strlen(all->text);
    (void)snprintf(all->text + n, sizeof(all->text) - n, "; before that: %s", before ? before : "");
}

static int fail_with(const struct err *all, struct err *e)
{
    return err_set(e, all->code, all->kind, "%s", all->text);
}

static int any_manifest(struct repo *p, const char *what, bool head, struct repo_manifest *ret, struct err *e)
{
    struct err all = { 0 };
    if (!reference_tag_valid(what) && !reference_digest_valid(what)) {
        return err_set(e, EINVAL, ERR_INVALID, "\"%.200s\" is neither a tag nor a digest", what);
    }
    unsigned need = strchr(what, ':') ? ENDPOINT_PULL | ENDPOINT_RESOLVE : ENDPOINT_RESOLVE;
    for (size_t i = 0; i < p->endpoints.n; i++) {
        CLEANUP_REPO_MANIFEST struct repo_manifest m = { 0 };
        struct err one = { 0 };
        if (!p->push && !(p->endpoints.v[i].capabilities & need)) {
            continue;
        }
        int f = manifest_from(p, i, what, head, &m, &one);
        if (f == 0) {
            *ret = m;
            m = (struct repo_manifest){ 0 };
            return 0;
        }
        join_errors(&all, &one, all.code == 0);
        if (f == -ECANCELED) {
            break;
        }
    }
    return all.code ? fail_with(&all, e)
                    : err_set(e, ENOTSUP, ERR_UNSUPPORTED, "no server configured for %s can resolve tags", p->ref.domain);
}

int repo_manifest_get(struct repo *p, const char *what, struct repo_manifest *ret, struct err *e)
{
    return any_manifest(p, what, false, ret, e);
}

int repo_manifest_head(struct repo *p, const char *what, struct repo_manifest *ret, struct err *e)
{
    return any_manifest(p, what, true, ret, e);
}

/* ---- blobs ---------------------------------------------------------------------------------------- */

struct blob_state {
    const struct repo_blob *b;
    repo_sink_fn *sink;
    void *data;
    uint64_t at;
};

static int blob_sink(void *data, const void *bytes, size_t len, struct err *e)
{
    struct blob_state *s = data;
    if (s->b->size && len > s->b->size - s->at) {
        return err_set(e, EBADMSG, ERR_INVALID, "blob %s is longer than its %llu bytes", s->b->digest, (unsigned long long)s->b->size);
    }
    int r = s->sink(s->data, bytes, len, e);
    s->at += r == 0 ? len : 0;
    return r;
}

/* One transfer. 0: all is there; -errno. s->at says how far it got. */
static int blob_from(struct repo *p, size_t i, struct blob_state *s, struct response *r, struct err *e)
{
    CLEANUP_FREE char *path = str_printf("/blobs/%s", s->b->digest);
    CLEANUP_FREE char *name = str_printf("blob %s in %s", s->b->digest, p->endpoints.v[i].path);
    const struct request q = { .method = "GET", .actions = "pull", .range_from = s->at, .sink = blob_sink, .sink_data = s };
    if (!path || !name) {
        return err_oom(e);
    }
    int f = repo_request(p, i, path, &q, r, e);
    if (f < 0) {
        return f;
    }
    if (r->status != 200 && r->status != 206) {
        return response_error(p, i, &q, r, name, e);
    }
    if (response_is_html(r)) {
        return err_set(e, EPROTO, ERR_UNAVAILABLE, "%s returned HTML instead of %s", r->host, name);
    }
    return s->b->size && s->at < s->b->size ? err_set(e, ENODATA, ERR_UNAVAILABLE, "%s ended after %llu of %llu bytes of %s", r->host,
                                                      (unsigned long long)s->at, (unsigned long long)s->b->size, name)
                                            : 0;
}

/* Stays with one endpoint as long as bytes arrive; retries without a byte are counted. */
static int blob_endpoint(struct repo *p, size_t i, struct repo_blob *b, struct blob_state *s, struct err *e)
{
    struct registry *g = p->registry;
    for (int idle = 0;;) {
        CLEANUP_RESPONSE struct response r = { 0 };
        uint64_t before = s->at;
        int f = blob_from(p, i, s, &r, e);
        b->used |= s->at > before ? UINT64_C(1) << i : 0;
        /* A transfer that was cut goes on where it stopped; another failure has been retried below already. */
        bool cut = r.sink_error == 0 && f != -ECANCELED && (s->at > before || f == -ENODATA);
        idle = s->at > before ? 0 : idle + 1;
        if (f == 0 || !cut || idle > g->retries) {
            return f;
        }
        struct err why = { 0 };
        if (registry_sleep(g, 100 + idle * 400, &why) < 0) {
            return fail_with(&why, e);
        }
    }
}

int repo_blob_get(struct repo *p, struct repo_blob *b, repo_sink_fn *sink, void *data, struct err *e)
{
    struct blob_state s = { .b = b, .sink = sink, .data = data, .at = b->offset };
    struct err all = { 0 };
    b->used = 0;
    if (b->size && s.at == b->size) {
        return 0;
    }
    for (size_t i = 0; i < p->endpoints.n && i < 64; i++) {
        struct err one = { 0 };
        if ((b->avoid >> i & 1) || !(p->endpoints.v[i].capabilities & ENDPOINT_PULL)) {
            continue;
        }
        int f = blob_endpoint(p, i, b, &s, &one);
        if (f == 0) {
            return 0;
        }
        join_errors(&all, &one, all.code == 0);
        /* Wrong bytes: they may all be this server's. What cannot be written is nobody's fault but ours. */
        if (f == -EBADMSG) {
            b->used = UINT64_C(1) << i;
        }
        if (f == -ECANCELED || f == -EBADMSG || f == -ENOSPC || f == -EDQUOT) {
            break;
        }
    }
    return all.code ? fail_with(&all, e) : err_set(e, ENOLINK, ERR_UNAVAILABLE, "no server is left that could have blob %s", b->digest);
}

static int text_sink(void *data, const void *bytes, size_t len, struct err *e)
{
    struct buf *b = data;
    buf_add(b, bytes, len);
    return buf_failed(b) ? err_set(e, EFBIG, ERR_INVALID, "document is larger than %zu bytes", b->max) : 0;
}

int repo_blob_text(struct repo *p, const char *digest, uint64_t size, size_t max, char **ret, size_t *ret_len, struct err *e)
{
    struct repo_blob b = { .digest = digest, .size = size };
    if (size > max) {
        return err_set(e, EFBIG, ERR_INVALID, "blob %s of %llu bytes is larger than %zu", digest, (unsigned long long)size, max);
    }
    for (int wrong = 0;;) {
        CLEANUP_BUF struct buf text = { .max = max };
        CLEANUP_FREE char *got = NULL;
        struct err why = { 0 };
        int f = repo_blob_get(p, &b, text_sink, &text, &why);
        if (f == -ENOLINK && wrong < 0) {
            return wrong; /* with the error that was set then */
        }
        if (f == -EBADMSG && b.used) {
            wrong = fail_with(&why, e);
            b.avoid |= b.used;
            continue;
        }
        f = f < 0 ? fail_with(&why, e) : text_digest(buf_str(&text), text.len, digest, &got, e);
        if (f < 0) {
            return f;
        }
        if (str_eq(got, digest)) {
            *ret_len = text.len;
            *ret = buf_steal(&text);
            return *ret ? 0 : err_oom(e);
        }
        wrong = err_set(e, EBADMSG, ERR_INVALID, "blob %s arrived with the digest %s", digest, got);
        if (b.used == 0) {
            return wrong;
        }
        b.avoid |= b.used;
    }
}

int repo_blob_exists(struct repo *p, const char *digest, struct err *e)
{
    CLEANUP_FREE char *path = str_printf("/blobs/%s", digest);
    struct err all = { 0 };
    for (size_t i = 0; path && i < p->endpoints.n; i++) {
        CLEANUP_RESPONSE struct response r = { 0 };
        const struct request q = { .method = "HEAD", .actions = p->push ? "pull,push" : "pull" };
        struct err one = { 0 };
        int f = repo_request(p, i, path, &q, &r, &one);
        if (f == 0 && r.status == 200) {
            return 1;
        }
        if (f == 0 && r.status != 404) {
            f = response_error(p, i, &q, &r, digest, &one);
        }
        if (f < 0) {
            join_errors(&all, &one, all.code == 0);
        }
    }
    return !path ? err_oom(e) : all.code ? fail_with(&all, e) : 0;
}
