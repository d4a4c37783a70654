/* cmd/progress.c: progress of layers. See progress.h. */
#include "cmd/progress.h"

#include "base/fd.h"
#include "cmd/cli.h"
#include "cmd/human.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LAYERS_MAX = 512, REDRAW_MS = 80 };
enum mode { MODE_TTY, MODE_PLAIN, MODE_JSON, MODE_NONE };

struct layer {
    char id[80], status[24];
    uint64_t done, total, from; /* from: done when this status began */
    int64_t since;              /* when this status began */
};

struct progress {
    enum mode mode;
    int fd;
    struct layer *v;
    size_t n, cap, drawn;
    int64_t last;
    bool colour;
};

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

int progress_new(const char *mode, int fd, struct progress **ret, struct err *e)
{
    static const char *const names[] = { "tty", "plain", "json", "none" };
    struct progress p = { .fd = fd, .mode = isatty(fd) ? MODE_TTY : MODE_PLAIN, .colour = cli_colour(fd) };
    bool found = !mode || strcmp(mode, "auto") == 0;
    for (size_t i = 0; !found && i < ARRAY_LEN(names); i++) {
        if (strcmp(mode, names[i]) == 0) {
            p.mode = (enum mode)i;
            found = true;
        }
    }
    if (!found) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid progress '%.40s' (auto, plain, tty, json, none)", mode);
    }
    *ret = malloc(sizeof(p));
    if (!*ret) {
        return err_oom(e);
    }
    **ret = p;
    return 0;
}

static struct layer *layer_of(struct progress *p, const char *id)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->v[i].id, id) == 0) {
            return &p->v[i];
        }
    }
    if (p->n >= LAYERS_MAX || array_grow(&p->v, &p->cap, p->n + 1, sizeof(*p->v)) < 0) {
        return NULL;
    }
    snprintf(p->v[p->n].id, sizeof(p->v[0].id), "%s", id);
    return &p->v[p->n++];
}

static const char *short_id(const char *id)
{
    return str_starts(id, "sha256:") ? id + 7 : id;
}

/* "[=====>    ]  3.1MB/12MB  4.5MB/s  2s" */
static void add_bar(const struct progress *p, const struct layer *l, size_t width, struct buf *out)
{
    size_t bar = width > 78 ? 30 : width > 58 ? 12 : 0, full;
    double part = l->total > 0 ? (double)l->done / (double)l->total : 0;
    part = part > 1 ? 1 : part;
    full = (size_t)(part * (double)bar);
    if (bar > 0) {
        buf_adds(out, p->colour ? " [\033[36m" : " [");
        for (size_t i = 0; i < bar; i++) {
            buf_addc(out, i < full ? '=' : i == full ? '>' : ' ');
        }
        buf_adds(out, p->colour ? "\033[0m]" : "]");
    }
    buf_addc(out, ' ');
    human_size(l->done, out);
    buf_addc(out, '/');
    human_size(l->total, out);
    double seconds = (double)(now_ns() - l->since) / 1e9;
    if (seconds > 0.3 && l->done > l->from) {
        double rate = (double)(l->done - l->from) / seconds;
        buf_adds(out, " ");
        human_size((uint64_t)rate, out);
        buf_addf(out, "/s %.0fs", (double)(l->total > l->done ? l->total - l->done : 0) / rate);
    }
}

static void draw(struct progress *p)
{
    CLEANUP_BUF struct buf out = { 0 };
    size_t width = cli_width(p->fd);
    if (p->drawn > 0) {
        buf_addf(&out, "\033[%zuA", p->drawn);
    }
    for (size_t i = 0; i < p->n; i++) {
        const struct layer *l = &p->v[i];
        buf_addf(&out, "\r\033[K%.12s %-11s", short_id(l->id), l->status);
        if (l->total > 0 && l->done < l->total) {
            add_bar(p, l, width, &out);
        } else if (l->total > 0) {
            buf_addc(&out, ' ');
            human_size(l->total, &out);
        }
        buf_addc(&out, '\n');
    }
    p->drawn = p->n;
    p->last = now_ns();
    (void)!fd_write_all(p->fd, buf_str(&out), out.len);
}

static void put_json(struct progress *p, const struct engine_progress *u)
{
    CLEANUP_BUF struct buf out = { 0 };
    buf_addf(&out, "{\"id\":\"%s\",\"status\":\"%s\",\"current\":%llu,\"total\":%llu}\n", u->id ? u->id : "",
             u->status ? u->status : "", (unsigned long long)u->done, (unsigned long long)u->total);
    (void)!fd_write_all(p->fd, buf_str(&out), out.len);
}

static void put_plain(struct progress *p, const struct layer *l)
{
    CLEANUP_BUF struct buf out = { 0 };
    buf_addf(&out, "%.12s: %s", short_id(l->id), l->status);
    if (l->total > 0) {
        buf_addc(&out, ' ');
        human_size(l->total, &out);
    }
    buf_addc(&out, '\n');
    (void)!fd_write_all(p->fd, buf_str(&out), out.len);
}

void progress_update(void *progress, const struct engine_progress *u)
{
    struct progress *p = progress;
    if (p->mode == MODE_NONE) {
        return;
    }
    bool fresh = false;
    struct layer *l = u->kind == ENGINE_PROGRESS_LAYER && u->id ? layer_of(p, u->id) : NULL;
    if (l) {
        fresh = strcmp(l->status, u->status ? u->status : "") != 0;
        l->done = u->done;
        l->total = u->total > 0 ? u->total : l->total;
        if (fresh) {
            snprintf(l->status, sizeof(l->status), "%s", u->status ? u->status : "");
            l->since = now_ns();
            l->from = u->done;
        }
    }
    bool due = now_ns() - p->last > REDRAW_MS * INT64_C(1000000);
    if (p->mode == MODE_JSON && (fresh || due)) {
        put_json(p, u);
        p->last = now_ns();
    } else if (p->mode == MODE_PLAIN && l && fresh) {
        put_plain(p, l);
    } else if (p->mode == MODE_TTY && (fresh || due)) {
        draw(p);
    }
}

void progress_free(struct progress *p)
{
    if (p && p->mode == MODE_TTY && p->n > 0) {
        draw(p);
    }
    if (p) {
        free(p->v);
    }
    free(p);
}
