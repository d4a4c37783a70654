/* image/auth-store.c: login and logout: entries of auth files, replaced as a whole with mode 0600, and credential helpers. */
#include "base/fd.h"
#include "image/auth-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <unistd.h>

static char *encode_pair(const struct credential *c)
{
    CLEANUP_FREE char *pair = str_printf("%s:%s", c->username ? c->username : "", c->password ? c->password : "");
    size_t n = pair ? strlen(pair) : 0;
    char *out = pair && n < 48 * 1024 ? calloc(1, (n + 2) / 3 * 4 + 1) : NULL;
    if (out) {
        EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)pair, (int)n);
    }
    if (pair) {
        explicit_bzero(pair, n);
    }
    return out;
}

static int save(const char *path, json_t *t, struct err *e)
{
    CLEANUP_FREE char *text = json_dumps(t, JSON_INDENT(8));
    if (!text) {
        return err_oom(e);
    }
    int r = file_replace(AT_FDCWD, path, text, strlen(text), 0600, true, e);
    explicit_bzero(text, strlen(text));
    return r;
}

/* The folder's lock file keeps two logins from losing each other's entry. */
static int lock_beside(const char *path, int *ret_fd, struct err *e)
{
    const char *slash = strrchr(path, '/');
    CLEANUP_FREE char *dir = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    CLEANUP_FREE char *lock = str_printf("%s.lock", path);
    if (!dir || !lock) {
        return err_oom(e);
    }
    int r = *dir ? dir_make_all(AT_FDCWD, dir, 0700, e) : 0;
    if (r < 0) {
        return r;
    }
    CLEANUP_FD int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        return err_sys(e, errno, "lock %s", lock);
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

/* Docker keeps its hub under an address of old; podman's files have plain host names. */
static const char *key_for(enum auth_file_kind kind, const char *host)
{
    return kind == AUTH_FILE_DOCKER && str_eq(host, "docker.io") ? "https://index.docker.io/v1/" : host;
}

/* Drops every spelling of host. Returns how many. */
static size_t drop_entries(json_t *object, const char *host)
{
    size_t n = 0;
    const char *key;
    json_t *v;
    void *next;
    json_object_foreach_safe(object, next, key, v) {
        CLEANUP_FREE char *normal = auth_key_normal(key);
        if (!host || str_eq(normal, host)) {
            json_object_del(object, key);
            n++;
        }
    }
    return n;
}

static const char *helper_for(json_t *t, const char *host)
{
    const char *h = json_string_value(json_object_get(json_object_get(t, "credHelpers"), host));
    return h ? h : json_string_value(json_object_get(t, "credsStore"));
}

static int store_in_helper(const struct auth_paths *p, const char *helper, const char *server, const struct credential *c, struct err *e)
{
    bool token = !str_empty(c->identity_token);
    json_t *t = json_pack("{s:s,s:s,s:s}", "ServerURL", server, "Username", token ? "<token>" : c->username ? c->username : "",
                          "Secret", token ? c->identity_token : c->password ? c->password : "");
    CLEANUP_FREE char *text = json_dumps(t, JSON_COMPACT);
    CLEANUP_BUF struct buf out = { 0 };
    json_decref(t);
    if (!text) {
        return err_oom(e);
    }
    int r = auth_helper_run(p, helper, "store", text, &out, e);
    explicit_bzero(text, strlen(text));
    return r;
}

static json_t *entry_of(const struct credential *c)
{
    CLEANUP_FREE char *pair = encode_pair(c);
    json_t *v = pair ? json_pack("{s:s}", "auth", pair) : NULL;
    if (v && !str_empty(c->identity_token)) {
        (void)json_object_set_new(v, "identitytoken", json_string(c->identity_token));
    }
    if (pair) {
        explicit_bzero(pair, strlen(pair));
    }
    return v;
}

static int store_in_file(const struct auth_paths *p, const struct auth_file *f, const char *host, const struct credential *c,
                         char **ret_where, struct err *e)
{
    CLEANUP_FD int lock = -1;
    json_t *t = NULL;
    int r = lock_beside(f->path, &lock, e);
    r = r < 0 ? r : auth_file_load(f->path, &t, e);
    if (r == -ENOENT) {
        t = json_object();
        r = t ? 0 : err_oom(e);
    }
    if (r < 0) {
        return r;
    }
    const char *helper = helper_for(t, host);
    if (!str_empty(helper)) {
        *ret_where = str_printf("docker-credential-%s", helper);
        r = store_in_helper(p, helper, key_for(AUTH_FILE_DOCKER, host), c, e);
        json_decref(t);
        return r;
    }
    json_t *auths = json_object_get(t, "auths");
    if (!json_is_object(auths)) {
        auths = json_object();
        (void)json_object_set_new(t, "auths", auths);
    }
    drop_entries(auths, host);
    json_t *v = entry_of(c);
    r = !v || json_object_set_new(auths, key_for(f->kind, host), v) < 0 ? err_oom(e) : save(f->path, t, e);
    json_decref(t);
    *ret_where = r == 0 ? strdup(f->path) : NULL;
    return r;
}

/* The first file that is there; else podman's first place (docker's only if it was all there is). */
static const struct auth_file *file_to_write(const struct auth_files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        if (access(f->v[i].path, F_OK) == 0) {
            return &f->v[i];
        }
    }
    return &f->v[0];
}

int auth_store(const struct auth_paths *p, const char *host, const struct credential *c, char **ret_where, struct err *e)
{
    static const struct auth_paths usual = { 0 };
    CLEANUP(auth_files_done) struct auth_files f = { 0 };
    CLEANUP_FREE char *name = auth_key_normal(host);
    CLEANUP_FREE char *where = NULL;
    p = p ? p : &usual;
    int r = name ? auth_files_get(p, &f, e) : err_oom(e);
    r = r < 0 ? r : store_in_file(p, file_to_write(&f), name, c, &where, e);
    if (r == 0 && ret_where) {
        *ret_where = PTR_STEAL(where);
    }
    return r;
}

/* *ret_n grows by what was removed. */
static int erase_in(const struct auth_paths *p, const struct auth_file *f, const char *host, size_t *ret_n, struct err *e)
{
    CLEANUP_FD int lock = -1;
    json_t *t = NULL;
    if (access(f->path, F_OK) < 0) {
        return 0;
    }
    int r = lock_beside(f->path, &lock, e);
    r = r < 0 ? r : auth_file_load(f->path, &t, e);
    if (r < 0) {
        return r == -ENOENT ? 0 : r;
    }
    const char *helper = host ? helper_for(t, host) : NULL;
    if (!str_empty(helper)) {
        CLEANUP_BUF struct buf out = { 0 };
        r = auth_helper_run(p, helper, "erase", key_for(AUTH_FILE_DOCKER, host), &out, e);
        *ret_n += r == 0;
        r = r == -ENOENT ? 0 : r;
    }
    size_t n = r == 0 ? drop_entries(json_object_get(t, "auths"), host) : 0;
    if (n > 0) {
        r = save(f->path, t, e);
        *ret_n += n;
    }
    json_decref(t);
    return r;
}

int auth_erase(const struct auth_paths *p, const char *host, char ***ret_where, struct err *e)
{
    static const struct auth_paths usual = { 0 };
    CLEANUP(auth_files_done) struct auth_files f = { 0 };
    CLEANUP_FREE char *name = host ? auth_key_normal(host) : NULL;
    size_t all = 0;
    p = p ? p : &usual;
    int r = !host || name ? auth_files_get(p, &f, e) : err_oom(e);
    for (size_t i = 0; r == 0 && i < f.n; i++) {
        size_t n = 0;
        r = erase_in(p, &f.v[i], name, &n, e);
        if (r == 0 && n > 0 && ret_where && strv_push(ret_where, f.v[i].path) < 0) {
            r = err_oom(e);
        }
        all += n;
    }
    if (r == 0 && all == 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "not logged in%s%s", host ? " to " : " anywhere", host ? host : "");
    }
    return r;
}
