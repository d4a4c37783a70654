/* net/plugin.c: runs one CNI plugin: environment, JSON in and out, time limit. */
#include "net/internal.h"

#include "sys/spawn.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

int plugin_find(const struct net *n, const char *type, char **ret, struct err *e)
{
    for (char **d = n->bin_dirs; d && *d; d++) {
        CLEANUP_FREE char *path = str_printf("%s/%s", *d, type);
        struct stat st;
        if (!path) {
            return err_oom(e);
        }
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0) {
            *ret = PTR_STEAL(path);
            return 0;
        }
    }
    return err_set(e, ENOENT, ERR_NOT_FOUND, "CNI plugin %s is not in %s", type, n->path);
}

static int add_env(char ***env, const char *key, const char *value, struct err *e)
{
    CLEANUP_FREE char *kv = str_printf("%s=%s", key, value ? value : "");
    return !kv || strv_push(env, kv) < 0 ? err_oom(e) : 0;
}

static int make_env(const struct plugin_call *c, char ***env, struct err *e)
{
    const char *path = getenv("PATH");
    const struct {
        const char *key, *value;
    } v[] = {
        { "PATH", path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
        { "CNI_COMMAND", c->command },
        { "CNI_PATH", c->net->path },
        { "CNI_CONTAINERID", c->id },
        { "CNI_NETNS", c->netns },
        { "CNI_IFNAME", c->ifname },
        { "CNI_ARGS", c->args },
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        int r = add_env(env, v[i].key, v[i].value, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int take_output(const struct buf *out, const char *type, json_t **ret, struct err *e)
{
    json_error_t je;
    if (strspn(buf_str(out), " \t\r\n") == out->len) {
        *ret = NULL;
        return 0;
    }
    *ret = json_loadb(out->data, out->len, 0, &je);
    if (!*ret) {
        return err_set(e, EPROTO, ERR_INTERNAL, "CNI plugin %s: its answer is no JSON: line %d: %s", type, je.line, je.text);
    }
    return 0;
}

int plugin_run(const struct plugin_call *c, const char *type, const json_t *input, json_t **ret, struct err *e)
{
    CLEANUP_FREE char *path = NULL;
    CLEANUP_STRV char **env = NULL;
    CLEANUP_BUF struct buf out = { 0 }, errout = { 0 }, why = { .max = 800 };
    int code = 0;
    json_t *answer = NULL;
    int r = plugin_find(c->net, type, &path, e);
    if (r == 0) {
        r = make_env(c, &env, e);
    }
    char *text = r == 0 ? json_dumps(input, JSON_COMPACT) : NULL;
    if (r == 0 && !text) {
        r = err_oom(e);
    }
    if (r == 0) {
        char *argv[] = { path, NULL };
        struct spawn_options o = { .path = path, .argv = argv, .envp = env, .cwd = "/" };
        r = spawn_run(&o, text, strlen(text), RESULT_MAX, c->net->timeout_ms, &out, &errout, &code, e);
    }
    free(text);
    if (r < 0) {
        return err_wrap(e, "CNI plugin %s %s", type, c->command);
    }
    if (code != 0) {
        cni_error_text(out.len > 0 ? out.data : buf_str(&errout), out.len > 0 ? out.len : errout.len, &why);
        return err_set(e, EIO, ERR_INTERNAL, "CNI plugin %s %s failed (exit code %d): %s", type, c->command, code, buf_str(&why));
    }
    if (ret) {
        r = take_output(&out, type, &answer, e);
        *ret = answer;
    }
    return r;
}
