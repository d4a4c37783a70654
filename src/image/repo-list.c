/* image/repo-list.c: what a repository holds: tags page by page, referrers by the API or by the tag schema; deleting. */
#include "image/registry-internal.h"

#include <errno.h>

enum { PAGES_MAX = 1000, TAGS_MAX = 200000 };

/* Link: </v2/…?last=x>; rel="next". Allocated, or NULL. */
static char *next_page(const char *link)
{
    const char *open = link ? strchr(link, '<') : NULL;
    const char *close = open ? strchr(open, '>') : NULL;
    return close && strstr(close, "next") ? strndup(open + 1, (size_t)(close - open - 1)) : NULL;
}

/* Only a page of the same server is asked for: the credential goes with it. */
static char *page_url(const struct repo *p, size_t i, const char *next)
{
    CLEANUP_FREE char *origin = str_printf("%s://%s", endpoint_scheme(p, i), p->endpoints.v[i].host);
    if (!origin || str_empty(next)) {
        return NULL;
    }
    if (next[0] == '/' && next[1] != '/') {
        return str_printf("%s%s", origin, next);
    }
    size_t n = strlen(origin);
    return str_starts(next, origin) && next[n] == '/' ? strdup(next) : NULL;
}

static int add_tags(const struct response *r, char ***all, size_t *n, struct err *e)
{
    json_t *t = json_loadb(buf_str(&r->body), r->body.len, 0, NULL);
    const json_t *list = json_object_get(t, "tags");
    int f = json_is_object(t) ? 0 : err_set(e, EPROTO, ERR_UNAVAILABLE, "%s answered with something else than a list of tags", r->host);
    for (size_t i = 0; f == 0 && i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (!s || !reference_tag_valid(s)) {
            continue;
        }
        if (++*n > TAGS_MAX) {
            f = err_set(e, E2BIG, ERR_EXHAUSTED, "%s has more than %d tags", r->host, TAGS_MAX);
        } else if (strv_push(all, s) < 0) {
            f = err_oom(e);
        }
    }
    json_decref(t);
    return f;
}

static int tags_from(struct repo *p, size_t i, char ***all, struct err *e)
{
    CLEANUP_FREE char *url = NULL;
    size_t n = 0;
    for (int page = 0; page < PAGES_MAX; page++) {
        CLEANUP_RESPONSE struct response r = { 0 };
        const struct request q = { .method = "GET", .url = url, .actions = "pull", .max = LIST_BODY_MAX };
        int f = repo_request(p, i, "/tags/list?n=1000", &q, &r, e);
        if (f == 0 && r.status != 200) {
            f = response_error(p, i, &q, &r, p->ref.path, e);
        }
        f = f < 0 ? f : add_tags(&r, all, &n, e);
        if (f < 0) {
            return f;
        }
        CLEANUP_FREE char *next = next_page(r.link);
        free(url);
        url = page_url(p, i, next);
        if (!url) {
            return 0;
        }
    }
    return err_set(e, ELOOP, ERR_UNAVAILABLE, "the list of tags of %s has no end", p->ref.path);
}

int repo_tags(struct repo *p, char ***ret, struct err *e)
{
    struct err last = { 0 };
    for (size_t i = 0; i < p->endpoints.n; i++) {
        CLEANUP_STRV char **all = strv_copy(NULL);
        int f = all ? tags_from(p, i, &all, &last) : err_oom(&last);
        if (f == 0) {
            *ret = PTR_STEAL(all);
            return 0;
        }
    }
    return err_set(e, last.code, last.kind, "%s", last.text);
}

int repo_manifest_delete(struct repo *p, const char *what, struct err *e)
{
    CLEANUP_RESPONSE struct response r = { 0 };
    CLEANUP_FREE char *path = str_printf("/manifests/%s", what);
    const struct request q = { .method = "DELETE", .actions = "delete", .max = LIST_BODY_MAX };
    size_t i = p->endpoints.n - 1;
    if (!reference_tag_valid(what) && !reference_digest_valid(what)) {
        return err_set(e, EINVAL, ERR_INVALID, "\"%.200s\" is neither a tag nor a digest", what);
    }
    int f = path ? repo_request(p, i, path, &q, &r, e) : err_oom(e);
    return f < 0 || r.status == 202 || r.status == 200 ? f : response_error(p, i, &q, &r, what, e);
}

/* 0: read; 1: this server has no such API. */
static int referrers_from(struct repo *p, size_t i, const char *digest, struct image_index *ret, struct err *e)
{
    CLEANUP_RESPONSE struct response r = { 0 };
    CLEANUP_FREE char *path = str_printf("/referrers/%s", digest);
    const struct request q = { .method = "GET", .accept = MEDIA_OCI_INDEX, .actions = "pull", .max = LIST_BODY_MAX };
    int f = path ? repo_request(p, i, path, &q, &r, e) : err_oom(e);
    if (f < 0) {
        return f;
    }
    if (r.status == 404 || r.status == 400 || r.status == 405 || response_is_html(&r)) {
        return 1;
    }
    return r.status != 200 ? response_error(p, i, &q, &r, digest, e)
                           : image_index_parse(buf_str(&r.body), r.body.len, NULL, ret, e);
}

/* "sha256-HEX" as a tag. */
static int referrers_by_tag(struct repo *p, const char *digest, struct image_index *ret, struct err *e)
{
    CLEANUP_REPO_MANIFEST struct repo_manifest m = { 0 };
    char tag[7 + 64 + 1];
    struct err why = { 0 };
    memcpy(tag, digest, 71);
    tag[6] = '-';
    tag[71] = '\0';
    int f = repo_manifest_get(p, tag, &m, &why);
    if (f < 0) {
        *ret = (struct image_index){ .schema_version = 2 };
        return why.kind == ERR_NOT_FOUND ? 0 : err_set(e, why.code, why.kind, "%s", why.text);
    }
    return image_index_parse(m.text, m.size, m.media_type, ret, e);
}

/* A server may filter, or may not. */
static void keep_type(struct image_index *index, const char *type)
{
    size_t n = 0;
    for (size_t i = 0; i < index->manifests.n; i++) {
        if (str_eq(index->manifests.v[i].artifact_type, type)) {
            index->manifests.v[n++] = index->manifests.v[i];
        } else {
            image_descriptor_done(&index->manifests.v[i]);
        }
    }
    index->manifests.n = n;
}

int repo_referrers(struct repo *p, const char *digest, const char *artifact_type, struct image_index *ret, struct err *e)
{
    struct image_index index = { 0 };
    if (!reference_digest_valid(digest)) {
        return err_set(e, EINVAL, ERR_INVALID, "\"%.200s\" is not a digest", digest);
    }
    int f = referrers_from(p, p->endpoints.n - 1, digest, &index, e);
    f = f == 1 ? referrers_by_tag(p, digest, &index, e) : f;
    if (f < 0) {
        return f;
    }
    if (artifact_type) {
        keep_type(&index, artifact_type);
    }
    *ret = index;
    return 0;
}
