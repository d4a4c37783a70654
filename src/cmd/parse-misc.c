/* cmd/parse-misc.c: devices, limits, labels, environment, signals, detach keys, CPUs. See parse.h. */
#include "cmd/parse.h"

#include "base/fd.h"
#include "base/num.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>

enum { ENV_FILE_MAX = 4 << 20 };

static bool is_permissions(const char *s)
{
    return *s && s[strspn(s, "rwm")] == '\0' && strlen(s) <= 3;
}

int parse_device(const char *s, struct engine_device *ret, struct err *e)
{
    size_t a = strcspn(s, ":");
    const char *second = s[a] ? s + a + 1 : NULL;
    size_t b = second ? strcspn(second, ":") : 0;
    const char *third = second && second[b] ? second + b + 1 : NULL;
    const char *perms = third ? third : "rwm";
    bool second_is_perms = second && !third && second[0] != '/';
    if (second_is_perms) {
        perms = second;
    }
    if (s[0] != '/' || !is_permissions(perms) || (second && !second_is_perms && second[0] != '/')) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid device specification: %.200s; /HOST[:/CTR][:rwm] is wanted", s);
    }
    struct engine_device d = {
        .host_path = strndup(s, a),
        .container_path = second && !second_is_perms ? strndup(second, b) : strndup(s, a),
        .permissions = strdup(perms),
    };
    if (!d.host_path || !d.container_path || !d.permissions) {
        free(d.host_path);
        free(d.container_path);
        free(d.permissions);
        return err_oom(e);
    }
    *ret = d;
    return 0;
}

static int limit_value(const char *s, uint64_t *ret)
{
    if (strcmp(s, "-1") == 0 || strcmp(s, "unlimited") == 0) {
        *ret = UINT64_MAX;
        return 0;
    }
    return num_u64(s, ret);
}

int parse_ulimit(const char *s, struct engine_rlimit *ret, struct err *e)
{
    static const char *const names[] = { "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
                                         "nproc", "rss", "rtprio", "rttime", "sigpending", "stack" };
    char name[16] = "", value[64];
    size_t n = strcspn(s, "=");
    uint64_t soft, hard;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strlen(names[i]) == n && strncmp(s, names[i], n) == 0) {
            snprintf(name, sizeof(name), "%s", names[i]);
        }
    }
    if (!*name || s[n] != '=') {
        return err_set(e, EINVAL, ERR_INVALID, "invalid ulimit type: %.100s; NAME=SOFT[:HARD] is wanted", s);
    }
    snprintf(value, sizeof(value), "%.60s", s + n + 1);
    char *colon = strchr(value, ':');
    if (colon) {
        *colon = '\0';
    }
    if (limit_value(value, &soft) < 0 || limit_value(colon ? colon + 1 : value, &hard) < 0) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid ulimit value: %.100s", s);
    }
    if (soft > hard) {
        return err_set(e, EINVAL, ERR_INVALID, "ulimit soft limit must be less than or equal to hard limit: %.100s", s);
    }
    *ret = (struct engine_rlimit){ strdup(name), soft, hard };
    return ret->name ? 0 : err_oom(e);
}

int parse_label(const char *s, struct str_map *m, const char *what, struct err *e)
{
    size_t n = strcspn(s, "=");
    if (n == 0) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid %s '%.200s': KEY=VALUE is wanted", what, s);
    }
    CLEANUP_FREE char *key = strndup(s, n);
    return !key || str_map_set(m, key, s[n] ? s + n + 1 : "") < 0 ? err_oom(e) : 0;
}

int parse_env(const char *s, char ***env, struct err *e)
{
    size_t n = strcspn(s, "=");
    if (n == 0) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid environment variable: %.200s", s);
    }
    if (s[n]) {
        return strv_push(env, s) < 0 ? err_oom(e) : 0;
    }
    const char *value = getenv(s);
    CLEANUP_FREE char *pair = value ? str_printf("%s=%s", s, value) : NULL;
    if (value && (!pair || strv_push(env, pair) < 0)) {
        return err_oom(e);
    }
    return 0;
}

typedef int line_fn(const char *line, void *to, struct err *e);

static int each_line(const char *path, line_fn *fn, void *to, struct err *e)
{
    CLEANUP_BUF struct buf text = { 0 };
    int r = file_read(AT_FDCWD, path, ENV_FILE_MAX, &text, e);
    unsigned line = 1;
    for (char *at = text.data; r == 0 && at && *at; line++) {
        char *end = at + strcspn(at, "\n"), *next = end + (*end == '\n');
        char *last = end > at && end[-1] == '\r' ? end - 1 : end;
        *last = '\0';
        at += strspn(at, " \t");
        if (*at && *at != '#') {
            r = fn(at, to, e);
        }
        if (r < 0) {
            return err_wrap(e, "%s:%u", path, line);
        }
        at = next;
    }
    return r;
}

static int env_line(const char *line, void *to, struct err *e)
{
    if (line[strcspn(line, " \t=")] == ' ') {
        return err_set(e, EINVAL, ERR_INVALID, "variable '%.100s' contains whitespaces", line);
    }
    return parse_env(line, to, e);
}

static int label_line(const char *line, void *to, struct err *e)
{
    return parse_label(line, to, "label", e);
}

int parse_env_file(const char *path, char ***env, struct err *e)
{
    return each_line(path, env_line, env, e);
}

int parse_label_file(const char *path, struct str_map *m, struct err *e)
{
    return each_line(path, label_line, m, e);
}

/* "RTMIN+3", "RTMAX-1"; 0: neither. */
static int realtime_signal(const char *s)
{
    uint32_t v = 0;
    bool min = strncasecmp(s, "RTMIN", 5) == 0, max = strncasecmp(s, "RTMAX", 5) == 0;
    if ((!min && !max) || (s[5] && (s[5] != (min ? '+' : '-') || num_u32(s + 6, &v) < 0 || v > 30))) {
        return 0;
    }
    return min ? SIGRTMIN + (int)v : SIGRTMAX - (int)v;
}

int parse_signal(const char *s, int *ret, struct err *e)
{
    const char *name = strncasecmp(s, "SIG", 3) == 0 ? s + 3 : s;
    uint32_t number;
    if (num_u32(s, &number) == 0 && number > 0 && number < 65) {
        *ret = (int)number;
        return 0;
    }
    for (int i = 1; i < 32; i++) {
        const char *abbrev = sigabbrev_np(i);
        if (abbrev && strcasecmp(abbrev, name) == 0) {
            *ret = i;
            return 0;
        }
    }
    int rt = realtime_signal(name);
    if (rt == 0) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid signal: %.100s", s);
    }
    *ret = rt;
    return 0;
}

int parse_detach_keys(const char *s, uint8_t *keys, size_t max, size_t *ret_n, struct err *e)
{
    size_t n = 0;
    while (*s) {
        size_t len = strcspn(s, ",");
        int key = -1;
        if (len == 1) {
            key = (unsigned char)s[0];
        } else if (len == 6 && strncasecmp(s, "ctrl-", 5) == 0) {
            int c = toupper((unsigned char)s[5]);
            key = c >= '@' && c <= '_' ? c - '@' : -1;
        }
        if (key < 0 || n == max) {
            return err_set(e, EINVAL, ERR_INVALID, "invalid detach keys (%.100s): ctrl-X or single characters, comma-separated", s);
        }
        keys[n++] = (uint8_t)key;
        s += len + (s[len] == ',');
    }
    *ret_n = n;
    return 0;
}

int parse_cpus(const char *s, int64_t *ret_quota, struct err *e)
{
    char *end = NULL;
    double v = isdigit((unsigned char)s[0]) || s[0] == '.' ? strtod(s, &end) : -1;
    if (!end || *end || s[strspn(s, "0123456789.")] || !isfinite(v) || v < 0.01 || v > 8192) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid number of CPUs: %.100s (0.01 or more)", s);
    }
    *ret_quota = (int64_t)(v * 100000 + 0.5);
    return 0;
}
