/* cri/streaming.c: the socket, the thread, and the tickets. See streaming.h. */
#include "cri/streaming-internal.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STREAMING_STACK = 256 << 10, STREAMING_BACKLOG = 1024, STREAMING_THREADS = 32, STREAMING_FREE_MS = 60000 };

static uint64_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec;
}

/* ---- tickets ------------------------------------------------------------------------------------ */

void ticket_unref(struct ticket *t)
{
    if (t && t->refs-- <= 1) {
        free(t->id);
        strv_free(t->args);
        free(t->ports);
        free(t);
    }
}

/* Lock held. */
static size_t drop_expired(struct streaming *s)
{
    uint64_t now = now_s();
    size_t n = 0;
    for (struct ticket **at = &s->tickets; *at;) {
        struct ticket *t = *at;
        if (t->expires <= now) {
            *at = t->next;
            ticket_unref(t);
        } else {
            at = &t->next;
            n++;
        }
    }
    return n;
}

static const char *const kinds[] = { "exec", "attach", "portforward" };

int streaming_url(struct streaming *s, struct ticket *t, char **ret_url, struct err *e)
{
    unsigned char bytes[TOKEN_LEN / 2];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        ticket_unref(t);
        return err_sys(e, EIO, "get random bytes");
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(t->token + 2 * i, 3, "%02x", bytes[i]);
    }
    t->refs = 1;
    char *url = str_printf("%s/%s/%s", s->base, kinds[t->kind], t->token);
    pthread_mutex_lock(&s->lock);
    bool room = url && drop_expired(s) < TICKETS_MAX;
    if (room) {
        t->expires = now_s() + TICKET_S;
        t->next = s->tickets;
        s->tickets = t;
    }
    pthread_mutex_unlock(&s->lock);
    if (!room) {
        ticket_unref(t);
        bool oom = !url;
        free(url);
        return oom ? err_oom(e) : err_set(e, EAGAIN, ERR_EXHAUSTED, "%d URLs are waiting for their clients", TICKETS_MAX);
    }
    *ret_url = url;
    return 0;
}

/* In time that does not depend on where the strings differ. */
static bool same_token(const char *a, const char *b)
{
    unsigned char diff = 0;
    for (size_t i = 0; i < TOKEN_LEN; i++) {
        diff |= (unsigned char)(a[i] ^ b[i]);
    }
    return diff == 0;
}

static struct ticket *take(struct streaming *s, const char *kind, size_t kind_len, const char *token)
{
    struct ticket *found = NULL;
    if (strlen(token) != TOKEN_LEN) {
        return NULL;
    }
    pthread_mutex_lock(&s->lock);
    drop_expired(s);
    for (struct ticket **at = &s->tickets; *at; at = &(*at)->next) {
        if (same_token((*at)->token, token) && strlen(kinds[(*at)->kind]) == kind_len &&
            memcmp(kinds[(*at)->kind], kind, kind_len) == 0) {
            found = *at;
            *at = found->next;
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

static int on_request(void *data, const char *path, struct stream_target *ret, struct err *e)
{
    size_t kind_len = strcspn(path + 1, "/");
    struct ticket *t = path[1 + kind_len] ? take(data, path + 1, kind_len, path + 2 + kind_len) : NULL;
    if (!t) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no such stream: its URL serves once, and for a minute");
    }
    *ret = (struct stream_target){ .kind = t->kind == TICKET_FORWARD ? STREAM_FORWARD : STREAM_SESSION,
                                   .has_stdin = t->has_stdin, .has_stdout = t->has_stdout, .has_stderr = t->has_stderr,
                                   .tty = t->tty, .ports = t->ports, .n_ports = t->n_ports, .data = t };
    return 0;
}

static void on_target_free(void *data, void *target)
{
    (void)data;
    ticket_unref(target);
}

static const struct stream_ops ops = { on_request, on_target_free, peer_start, peer_input, peer_drained, peer_gone };

/* ---- life --------------------------------------------------------------------------------------- */

static int bind_socket(struct streaming *s, const char *address, uint16_t port, struct err *e)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = { .v4 = { .sin_family = AF_INET, .sin_port = htons(port) } };
    socklen_t len = sizeof(a.v4);
    bool v6 = strchr(address, ':');
    int on = 1;
    if (v6) {
        a.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
        len = sizeof(a.v6);
    }
    if (inet_pton(a.any.sa_family, address, v6 ? (void *)&a.v6.sin6_addr : (void *)&a.v4.sin_addr) != 1) {
        return err_set(e, EINVAL, ERR_INVALID, "streaming.address: %s is no IP address", address);
    }
    s->listen = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen < 0 || setsockopt(s->listen, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 || bind(s->listen, &a.any, len) < 0 ||
        listen(s->listen, STREAMING_BACKLOG) < 0 || getsockname(s->listen, &a.any, &len) < 0) {
        return err_sys(e, errno, "listen for streams on %s port %u", address, port);
    }
    s->base = str_printf(v6 ? "http://[%s]:%u" : "http://%s:%u", address, ntohs(v6 ? a.v6.sin6_port : a.v4.sin_port));
    return s->base ? 0 : err_oom(e);
}

static void on_stop(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source;
    (void)fd;
    (void)events;
    loop_stop(((struct streaming *)data)->loop);
}

int streaming_new(struct engine *g, const struct cri_streaming *o, struct streaming **ret, struct err *e)
{
    struct streaming *s = calloc(1, sizeof(*s));
    if (!s) {
        return err_oom(e);
    }
    *s = (struct streaming){ .engine = g, .listen = -1, .stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    pthread_mutex_init(&s->lock, NULL);
    struct stream_server_options so = { .ops = &ops, .data = s, .limits = { .conns = o->connections, .idle_ns = o->idle_ns } };
    struct loop_source *source = NULL;
    int r = s->stop < 0 ? err_sys(e, errno, "eventfd") : loop_new(&s->loop, e);
    r = r < 0 ? r : bind_socket(s, o->address ? o->address : "127.0.0.1", o->port, e);
    r = r < 0 ? r : stream_server_new(s->loop, &so, &s->server, e);
    r = r < 0 ? r : stream_server_listen(s->server, s->listen, e);
    r = r < 0 ? r : jobs_new(s->loop, STREAMING_THREADS, &s->jobs, e);
    r = r < 0 ? r : loop_add_fd(s->loop, s->stop, EPOLLIN, on_stop, s, &source, e);
    if (r < 0) {
        streaming_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

static void *run(void *data)
{
    struct streaming *s = data;
    (void)!loop_run(s->loop, NULL);
    return NULL;
}

int streaming_start(struct streaming *s, struct err *e)
{
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STREAMING_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&s->thread, &attr, run, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    s->has_thread = r == 0;
    return r == 0 ? 0 : err_sys(e, r, "start thread");
}

unsigned streaming_stop(struct streaming *s, int timeout_ms)
{
    if (s->has_thread) {
        uint64_t one = 1;
        (void)!write(s->stop, &one, sizeof(one));
        pthread_join(s->thread, NULL);
        s->has_thread = false;
    }
    stream_server_free(PTR_STEAL(s->server));
    return s->jobs ? jobs_stop(s->jobs, timeout_ms) : 0;
}

void streaming_free(struct streaming *s)
{
    if (!s) {
        return;
    }
    (void)streaming_stop(s, STREAMING_FREE_MS);
    while (s->tickets) {
        struct ticket *t = s->tickets;
        s->tickets = t->next;
        ticket_unref(t);
    }
    jobs_free(s->jobs);
    loop_free(s->loop);
    fd_close(&s->listen);
    fd_close(&s->stop);
    free(s->base);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
