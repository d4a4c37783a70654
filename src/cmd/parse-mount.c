/* cmd/parse-mount.c: -v, --mount and --tmpfs. See parse.h. */
#include "cmd/parse.h"

#include "base/num.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

void parse_mount_done(struct engine_mount *m)
{
    free(m->source);
    free(m->target);
    free(m->propagation);
    free(m->options);
    free(m->sub_path);
    *m = (struct engine_mount){ 0 };
}
#define CLEANUP_MOUNT CLEANUP(parse_mount_done)

static bool is_propagation(const char *s)
{
    static const char *const names[] = { "private", "rprivate", "shared", "rshared", "slave", "rslave" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(s, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_volume_name(const char *s)
{
    size_t n = strlen(s);
    if (n < 2 || n > 255 || !isalnum((unsigned char)s[0])) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)s[i]) && !strchr("_.-", s[i])) {
            return false;
        }
    }
    return true;
}

static int dup_to(char **to, const char *s, size_t len, struct err *e)
{
    char *copy = strndup(s, len);
    if (!copy) {
        return err_oom(e);
    }
    free(*to);
    *to = copy;
    return 0;
}

/* One of the options behind the second colon of -v. */
static int volume_option(struct engine_mount *m, const char *o, struct err *e)
{
    static const char *const ignored[] = { "rw", "consistent", "cached", "delegated", "copy" };
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
        if (strcmp(o, ignored[i]) == 0) {
            return 0;
        }
    }
    if (is_propagation(o)) {
        return dup_to(&m->propagation, o, strlen(o), e);
    }
    if (strcmp(o, "ro") == 0) {
        m->readonly = true;
    } else if (strcmp(o, "rro") == 0) {
        m->readonly = m->recursive_readonly = true;
    } else if (strcmp(o, "z") == 0 || strcmp(o, "Z") == 0) {
        m->relabel = true;
    } else if (strcmp(o, "nocopy") == 0) {
        m->no_copy = true;
    } else if (strcmp(o, "idmap") == 0) {
        m->userns_map = true;
    } else {
        return err_set(e, EINVAL, ERR_INVALID, "invalid mode: %.100s (ro, rw, rro, z, nocopy, idmap, rslave, rshared, ...)", o);
    }
    return 0;
}

static int volume_options(struct engine_mount *m, const char *s, struct err *e)
{
    char o[64];
    while (*s) {
        size_t n = strcspn(s, ",");
        snprintf(o, sizeof(o), "%.*s", (int)(n < sizeof(o) ? n : sizeof(o) - 1), s);
        int r = volume_option(m, o, e);
        if (r < 0) {
            return r;
        }
        s += n + (s[n] == ',');
    }
    return 0;
}

static int volume_source(struct engine_mount *m, const char *s, size_t len, struct err *e)
{
    int r = dup_to(&m->source, s, len, e);
    if (r < 0) {
        return r;
    }
    if (m->source[0] == '.' && (m->source[1] == '\0' || m->source[1] == '/' || m->source[1] == '.')) {
        CLEANUP_FREE char *cwd = getcwd(NULL, 0);
        char *path = cwd ? str_printf("%s/%s", cwd, m->source) : NULL;
        if (!path) {
            return err_sys(e, errno, "current folder");
        }
        free(m->source);
        m->source = path;
    }
    if (m->source[0] == '/') {
        m->kind = ENGINE_MOUNT_BIND;
        m->create_source = true;
        return 0;
    }
    m->kind = ENGINE_MOUNT_VOLUME;
    if (!is_volume_name(m->source)) {
        return err_set(e, EINVAL, ERR_INVALID,
                       "\"%.200s\" is no volume name ([a-zA-Z0-9][a-zA-Z0-9_.-]+); for a host folder give its absolute path",
                       m->source);
    }
    return 0;
}

static int check_target(const struct engine_mount *m, const char *s, struct err *e)
{
    if (!m->target || m->target[0] != '/') {
        return err_set(e, EINVAL, ERR_INVALID, "invalid mount specification '%.200s': the path in the container must be absolute", s);
    }
    if (m->target[strspn(m->target, "/")] == '\0') {
        return err_set(e, EINVAL, ERR_INVALID, "invalid mount specification '%.200s': destination can't be '/'", s);
    }
    return 0;
}

int parse_volume(const char *s, struct engine_mount *ret, struct err *e)
{
    CLEANUP_MOUNT struct engine_mount m = { .kind = ENGINE_MOUNT_VOLUME };
    size_t first = strcspn(s, ":");
    const char *second = s[first] ? s + first + 1 : NULL;
    int r = 0;
    if (!*s || first == 0 || (second && !*second)) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid volume specification: '%.200s'; [SOURCE:]TARGET[:OPTIONS] is wanted", s);
    }
    if (!second) {
        r = dup_to(&m.target, s, first, e);
    } else {
        size_t len = strcspn(second, ":");
        r = volume_source(&m, s, first, e);
        if (r == 0) {
            r = dup_to(&m.target, second, len, e);
        }
        if (r == 0 && second[len]) {
            r = volume_options(&m, second + len + 1, e);
        }
    }
    if (r == 0) {
        r = check_target(&m, s, e);
    }
    if (r == 0) {
        *ret = m;
        m = (struct engine_mount){ 0 };
    }
    return r;
}

int parse_tmpfs(const char *s, struct engine_mount *ret, struct err *e)
{
    CLEANUP_MOUNT struct engine_mount m = { .kind = ENGINE_MOUNT_TMPFS };
    size_t n = strcspn(s, ":");
    int r = dup_to(&m.target, s, n, e);
    if (r == 0) {
        r = check_target(&m, s, e);
    }
    if (r == 0 && s[n]) {
        r = dup_to(&m.options, s + n + 1, strlen(s + n + 1), e);
    }
    if (r == 0) {
        *ret = m;
        m = (struct engine_mount){ 0 };
    }
    return r;
}

/* ---- --mount -------------------------------------------------------------------------------- */

/* Value "" with has_value false: the key stood alone. */
struct pair {
    char key[64];
    char value[4096];
    bool has_value;
};

typedef int pair_fn(struct engine_mount *m, const struct pair *p, struct err *e);

static int pair_bool(const struct pair *p, bool *ret, struct err *e)
{
    if (!p->has_value || !strcmp(p->value, "true") || !strcmp(p->value, "1")) {
        *ret = true;
    } else if (!strcmp(p->value, "false") || !strcmp(p->value, "0")) {
        *ret = false;
    } else {
        return err_set(e, EINVAL, ERR_INVALID, "invalid value for %s: %.100s (true or false)", p->key, p->value);
    }
    return 0;
}

static int mount_type(struct engine_mount *m, const struct pair *p, struct err *e)
{
    static const struct {
        const char *name;
        enum engine_mount_kind kind;
    } types[] = { { "bind", ENGINE_MOUNT_BIND },
                  { "volume", ENGINE_MOUNT_VOLUME },
                  { "tmpfs", ENGINE_MOUNT_TMPFS },
                  { "image", ENGINE_MOUNT_IMAGE } };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(p->value, types[i].name) == 0) {
            m->kind = types[i].kind;
            return 0;
        }
    }
    return err_set(e, EINVAL, ERR_INVALID, "unknown mount type '%.100s' (bind, volume, tmpfs, image)", p->value);
}

static int mount_source(struct engine_mount *m, const struct pair *p, struct err *e)
{
    return dup_to(&m->source, p->value, strlen(p->value), e);
}

static int mount_target(struct engine_mount *m, const struct pair *p, struct err *e)
{
    return dup_to(&m->target, p->value, strlen(p->value), e);
}

static int mount_readonly(struct engine_mount *m, const struct pair *p, struct err *e)
{
    return pair_bool(p, &m->readonly, e);
}

static int mount_propagation(struct engine_mount *m, const struct pair *p, struct err *e)
{
    if (!is_propagation(p->value)) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid propagation: %.100s", p->value);
    }
    return dup_to(&m->propagation, p->value, strlen(p->value), e);
}

static int mount_recursive(struct engine_mount *m, const struct pair *p, struct err *e)
{
    if (strcmp(p->value, "readonly") == 0) {
        m->readonly = m->recursive_readonly = true;
        return 0;
    }
    if (strcmp(p->value, "enabled") == 0 || strcmp(p->value, "writable") == 0) {
        return 0;
    }
    return err_set(e, EINVAL, ERR_INVALID, "invalid value for bind-recursive: %.100s (enabled, writable, readonly)", p->value);
}

static int mount_nocopy(struct engine_mount *m, const struct pair *p, struct err *e)
{
    return pair_bool(p, &m->no_copy, e);
}

static int mount_subpath(struct engine_mount *m, const struct pair *p, struct err *e)
{
    return dup_to(&m->sub_path, p->value, strlen(p->value), e);
}

static int add_option(struct engine_mount *m, const char *key, const char *value, struct err *e)
{
    char *joined = str_printf("%s%s%s=%s", m->options ? m->options : "", m->options ? "," : "", key, value);
    if (!joined) {
        return err_oom(e);
    }
    free(m->options);
    m->options = joined;
    return 0;
}

static int mount_tmpfs_size(struct engine_mount *m, const struct pair *p, struct err *e)
{
    uint64_t v;
    if (num_size(p->value, &v) < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid value for tmpfs-size: %.100s", p->value);
    }
    return add_option(m, "size", p->value, e);
}

static int mount_tmpfs_mode(struct engine_mount *m, const struct pair *p, struct err *e)
{
    if (!*p->value || p->value[strspn(p->value, "01234567")] || strlen(p->value) > 5) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid value for tmpfs-mode: %.100s (octal)", p->value);
    }
    return add_option(m, "mode", p->value, e);
}

static int mount_nothing(struct engine_mount *m, const struct pair *p, struct err *e)
{
    (void)m, (void)p, (void)e;
    return 0;
}

static int mount_create(struct engine_mount *m, const struct pair *p, struct err *e)
{
    return pair_bool(p, &m->create_source, e);
}

static int mount_idmap(struct engine_mount *m, const struct pair *p, struct err *e)
{
    return pair_bool(p, &m->userns_map, e);
}

static const struct {
    const char *key;
    pair_fn *fn;
    bool flag; /* may stand without a value */
} mount_keys[] = {
    { "type", mount_type, false },
    { "source", mount_source, false },
    { "src", mount_source, false },
    { "target", mount_target, false },
    { "dst", mount_target, false },
    { "destination", mount_target, false },
    { "readonly", mount_readonly, true },
    { "ro", mount_readonly, true },
    { "bind-propagation", mount_propagation, false },
    { "bind-recursive", mount_recursive, false },
    { "bind-create-src", mount_create, true },
    { "volume-nocopy", mount_nocopy, true },
    { "volume-subpath", mount_subpath, false },
    { "image-subpath", mount_subpath, false },
    { "tmpfs-size", mount_tmpfs_size, false },
    { "tmpfs-mode", mount_tmpfs_mode, false },
    { "consistency", mount_nothing, false },
    { "idmap", mount_idmap, true },
};

static int mount_pair(struct engine_mount *m, const struct pair *p, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(mount_keys); i++) {
        if (strcmp(p->key, mount_keys[i].key) != 0) {
            continue;
        }
        if (!p->has_value && !mount_keys[i].flag) {
            return err_set(e, EINVAL, ERR_INVALID, "invalid field '%s' must be a key=value pair", p->key);
        }
        return mount_keys[i].fn(m, p, e);
    }
    return err_set(e, EINVAL, ERR_INVALID, "unexpected key '%s'", p->key);
}

/* The next field of the comma-separated line, "…" quotes honoured. Returns where the one after it begins, NULL on error. */
static const char *next_pair(const char *s, struct pair *p)
{
    bool quoted = *s == '"';
    size_t n = 0;
    char text[sizeof(p->key) + sizeof(p->value)];
    for (s += quoted; *s && (quoted || *s != ','); s++) {
        if (quoted && *s == '"') {
            if (s[1] != '"') {
                quoted = false;
                continue;
            }
            s++;
        }
        if (n + 1 >= sizeof(text)) {
            return NULL;
        }
        text[n++] = *s;
    }
    text[n] = '\0';
    char *eq = strchr(text, '=');
    p->has_value = eq != NULL;
    size_t key = eq ? (size_t)(eq - text) : n;
    if (quoted || key >= sizeof(p->key) || n - key >= sizeof(p->value)) {
        return NULL;
    }
    snprintf(p->key, sizeof(p->key), "%.*s", (int)key, text);
    snprintf(p->value, sizeof(p->value), "%s", eq ? eq + 1 : "");
    return *s == ',' ? s + 1 : s;
}

static int check_mount(const struct engine_mount *m, const char *s, struct err *e)
{
    if (!m->target) {
        return err_set(e, EINVAL, ERR_INVALID, "target is required");
    }
    int r = check_target(m, s, e);
    if (r < 0) {
        return r;
    }
    if (m->kind == ENGINE_MOUNT_BIND && (!m->source || m->source[0] != '/')) {
        return err_set(e, EINVAL, ERR_INVALID, "a bind mount needs source=ABSOLUTE-PATH");
    }
    if (m->kind == ENGINE_MOUNT_IMAGE && !m->source) {
        return err_set(e, EINVAL, ERR_INVALID, "an image mount needs source=IMAGE");
    }
    if (m->kind == ENGINE_MOUNT_TMPFS && m->source) {
        return err_set(e, EINVAL, ERR_INVALID, "a tmpfs has no source");
    }
    if (m->kind == ENGINE_MOUNT_VOLUME && m->source && !is_volume_name(m->source)) {
        return err_set(e, EINVAL, ERR_INVALID, "\"%.200s\" is no volume name; for a host folder say type=bind", m->source);
    }
    if (m->options && m->kind != ENGINE_MOUNT_TMPFS) {
        return err_set(e, EINVAL, ERR_INVALID, "tmpfs options are for type=tmpfs");
    }
    return 0;
}

int parse_mount(const char *s, struct engine_mount *ret, struct err *e)
{
    CLEANUP_MOUNT struct engine_mount m = { .kind = ENGINE_MOUNT_VOLUME };
    const char *at = s;
    if (!*s) {
        return err_set(e, EINVAL, ERR_INVALID, "value is empty; type=bind,src=/HOST,dst=/CTR is wanted");
    }
    while (*at) {
        struct pair p;
        at = next_pair(at, &p);
        if (!at) {
            return err_set(e, EINVAL, ERR_INVALID, "'%.200s' is no list of key=value", s);
        }
        int r = mount_pair(&m, &p, e);
        if (r < 0) {
            return r;
        }
    }
    int r = check_mount(&m, s, e);
    if (r == 0) {
        *ret = m;
        m = (struct engine_mount){ 0 };
    }
    return r;
}
