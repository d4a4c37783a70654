/*
 * oci/hooks.c: programs that the config wants run at points of a container's life. Each gets the state as JSON on its standard input;
 * what it writes is kept only to explain a failure. It gets no descriptor of ours.
 */
#include "oci/oci.h"

#include "base/fd.h"
#include "sys/spawn.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

enum { OUTPUT_MAX = 4096 };

/* createContainer and startContainer hooks run inside the container, where our environment is nobody's business. */
static char *const container_env[] = { (char *)(uintptr_t)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL };

static int state_text(const struct oci_hook_state *s, struct buf *out, struct err *e)
{
    struct oci_state state = {
        .oci_version = (char *)(uintptr_t)OCI_VERSION,
        .id = (char *)(uintptr_t)s->id,
        .status = (char *)(uintptr_t)s->status,
        .pid = s->pid,
        .bundle = (char *)(uintptr_t)s->bundle,
    };
    if (s->annotations) {
        state.annotations = *s->annotations;
    }
    return json_format(&oci_state_type, &state, 0, out, e);
}

/* The last line says most. */
static const char *last_line(struct buf *b)
{
    while (b->len > 0 && (unsigned char)b->data[b->len - 1] <= ' ') {
        b->data[--b->len] = '\0';
    }
    const char *nl = b->len ? strrchr(b->data, '\n') : NULL;
    return nl ? nl + 1 : buf_str(b);
}

static int hook_run(const struct oci_hook *h, const struct buf *state, bool inside, struct err *e)
{
    CLEANUP_BUF struct buf out = { 0 };
    CLEANUP_BUF struct buf errout = { 0 };
    char *no_args[] = { h->path, NULL };
    struct spawn_options o = {
        .path = h->path,
        .argv = strv_len(h->args) ? h->args : no_args,
        .envp = h->env ? h->env : inside ? container_env : NULL,
    };
    int timeout = !h->timeout ? -1 : *h->timeout > INT_MAX / 1000 ? INT_MAX : *h->timeout * 1000;
    int code = 0;
    int r = spawn_run(&o, state->data, state->len, OUTPUT_MAX, timeout, &out, &errout, &code, e);
    if (r < 0) {
        return r;
    }
    if (code != 0) {
        const char *why = last_line(&errout);
        why = *why ? why : last_line(&out);
        return err_set(e, EIO, ERR_INTERNAL, "%s ended with %d%s%.300s", h->path, code, *why ? ": " : "", why);
    }
    return 0;
}

int oci_hooks_run(const struct oci_hook_list *l, const char *name, const struct oci_hook_state *state, struct err *e)
{
    if (l->n == 0) {
        return 0;
    }
    CLEANUP_BUF struct buf text = { 0 };
    int r = state_text(state, &text, e);
    bool inside = str_eq(name, "createContainer") || str_eq(name, "startContainer");
    for (size_t i = 0; r == 0 && i < l->n; i++) {
        r = hook_run(&l->v[i], &text, inside, e);
        if (r < 0) {
            err_wrap(e, "hooks.%s[%zu]", name, i);
        }
    }
    return r;
}
