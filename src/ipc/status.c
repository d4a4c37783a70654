/* ipc/status.c: see status.h. */
#include "ipc/status.h"

#include "base/fd.h"
#include "base/num.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static const char *const state_names[] = {
    [MON_STATE_CREATING] = "creating", [MON_STATE_CREATED] = "created", [MON_STATE_RUNNING] = "running",
    [MON_STATE_PAUSED] = "paused",     [MON_STATE_EXITED] = "exited",
};

const char *mon_state_name(enum mon_state s)
{
    return (size_t)s < ARRAY_LEN(state_names) ? state_names[s] : "unknown";
}

enum key_kind { KEY_STATE, KEY_I32, KEY_U64, KEY_I64, KEY_BOOL, KEY_TEXT };

#define KEY(name, kind) { #name, kind, offsetof(struct mon_status, name) }

static const struct {
    const char *name;
    enum key_kind kind;
    size_t offset;
} keys[] = {
    KEY(state, KEY_STATE),       KEY(pid, KEY_I32),         KEY(start_time, KEY_U64),  KEY(created_ns, KEY_I64),
    KEY(started_ns, KEY_I64),    KEY(exited_ns, KEY_I64),   KEY(exit_code, KEY_I32),   KEY(exit_signal, KEY_I32),
    KEY(oom_killed, KEY_BOOL),   KEY(lost_lines, KEY_U64),  KEY(reason, KEY_TEXT),
};

static int parse_state(const char *value, enum mon_state *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(state_names); i++) {
        if (str_eq(value, state_names[i])) {
            *ret = (enum mon_state)i;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse_value(enum key_kind kind, const char *value, void *p)
{
    int64_t i = 0;
    int r;
    switch (kind) {
    case KEY_STATE:
        return parse_state(value, p);
    case KEY_U64:
        return num_u64(value, p);
    case KEY_I64:
        return num_i64(value, p);
    case KEY_I32:
    case KEY_BOOL:
        r = num_i64(value, &i);
        if (r < 0 || i != (int32_t)i || (kind == KEY_BOOL && (i < 0 || i > 1))) {
            return r < 0 ? r : -ERANGE;
        }
        if (kind == KEY_BOOL) {
            *(bool *)p = i == 1;
        } else {
            *(int32_t *)p = (int32_t)i;
        }
        return 0;
    case KEY_TEXT:
        snprintf(p, sizeof(((struct mon_status *)NULL)->reason), "%s", value);
        return 0;
    }
    return -EINVAL;
}

/* One "key=value"; keys of a later version are skipped. */
static int parse_line(char *line, struct mon_status *s)
{
    char *value = strchr(line, '=');
    if (!value) {
        return -EINVAL;
    }
    *value++ = '\0';
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (str_eq(line, keys[i].name)) {
            return parse_value(keys[i].kind, value, (char *)s + keys[i].offset);
        }
    }
    return 0;
}

int mon_status_parse(const char *text, size_t len, struct mon_status *ret, struct err *e)
{
    struct mon_status s = { 0 };
    char line[256];
    bool has_state = false;
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t n = end ? (size_t)(end - text) : len;
        if (!end || n >= sizeof(line) || memchr(text, '\0', n)) {
            return err_set(e, EPROTO, ERR_INVALID, "status: malformed line");
        }
        memcpy(line, text, n);
        line[n] = '\0';
        has_state = has_state || str_starts(line, "state=");
        if (parse_line(line, &s) < 0) {
            return err_set(e, EPROTO, ERR_INVALID, "status: malformed line '%s'", line);
        }
        text += n + 1;
        len -= n + 1;
    }
    if (!has_state) {
        return err_set(e, EPROTO, ERR_INVALID, "status: no state");
    }
    *ret = s;
    return 0;
}

void mon_status_format(const struct mon_status *s, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const void *p = (const char *)s + keys[i].offset;
        switch (keys[i].kind) {
        case KEY_STATE:
            buf_addf(out, "%s=%s\n", keys[i].name, mon_state_name(s->state));
            break;
        case KEY_I32:
            buf_addf(out, "%s=%d\n", keys[i].name, *(const int32_t *)p);
            break;
        case KEY_U64:
            buf_addf(out, "%s=%llu\n", keys[i].name, (unsigned long long)*(const uint64_t *)p);
            break;
        case KEY_I64:
            buf_addf(out, "%s=%lld\n", keys[i].name, (long long)*(const int64_t *)p);
            break;
        case KEY_BOOL:
            buf_addf(out, "%s=%d\n", keys[i].name, *(const bool *)p);
            break;
        case KEY_TEXT: {
            const char *t = p;
            size_t n = strcspn(t, "\n");
            buf_addf(out, "%s=%.*s\n", keys[i].name, (int)n, t);
            break;
        }
        }
    }
}

int mon_status_read(const char *ctr_dir, struct mon_status *ret, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    CLEANUP_FREE char *path = str_printf("%s/status", ctr_dir);
    if (!path) {
        return err_oom(e);
    }
    int r = file_read(AT_FDCWD, path, 4096, &b, e);
    if (r == 0) {
        r = mon_status_parse(buf_str(&b), b.len, ret, e);
        r = r < 0 ? err_wrap(e, "%s", path) : 0;
    }
    return r;
}

int mon_status_write(int dirfd, const char *path, const struct mon_status *s, struct err *e)
{
    CLEANUP_BUF struct buf b = { 0 };
    mon_status_format(s, &b);
    return buf_failed(&b) ? err_oom(e) : file_replace(dirfd, path, b.data, b.len, 0644, false, e);
}

bool mon_status_alive(const struct mon_status *s)
{
    uint64_t start;
    char state;
    return s->pid > 0 && s->state != MON_STATE_EXITED && proc_start_time(s->pid, &start, &state) == 0 &&
           start == s->start_time && state != 'Z' && state != 'X';
}
