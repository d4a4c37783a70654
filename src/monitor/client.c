/* monitor/client.c: connections: taking packets, sending answers and events. A client that does not read loses its connection. */
#include "monitor/mon.h"

#include "base/fd.h"
#include "sys/sock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

void client_free(struct client *c)
{
    for (struct client **p = &c->m->clients; *p; p = &(*p)->next) {
        if (*p == c) {
            *p = c->next;
            c->m->n_clients--;
            break;
        }
    }
    loop_remove(c->source);
    fd_close(&c->fd);
    free(c);
}

struct client *client_find(struct monitor *m, uint32_t id)
{
    for (struct client *c = m->clients; c; c = c->next) {
        if (c->id == id) {
            return c;
        }
    }
    return NULL;
}

/* One packet. False: the connection has ended, or is not worth keeping. */
static bool take_packet(struct client *c)
{
    int fds[MON_FDS_MAX];
    size_t n_fds = MON_FDS_MAX;
    ssize_t n = sock_peek(c->fd, MSG_DONTWAIT);
    if (n == -EAGAIN) {
        return true;
    }
    if (n <= 0 || n > MON_MESSAGE_MAX) {
        return false;
    }
    CLEANUP_FREE char *packet = malloc((size_t)n);
    if (!packet) {
        return false;
    }
    n = sock_recv(c->fd, packet, (size_t)n, fds, &n_fds, MSG_DONTWAIT);
    if (n <= 0) {
        return n == -EAGAIN;
    }
    uint32_t id = c->id;
    struct monitor *m = c->m;
    request_handle(c, packet, (size_t)n, fds, n_fds);
    for (size_t i = 0; i < n_fds; i++) {
        fd_close(&fds[i]);
    }
    return client_find(m, id) != NULL;
}

static void on_client(struct loop_source *s, int fd, uint32_t events, void *data)
{
    struct client *c = data;
    struct monitor *m = c->m;
    uint32_t id = c->id;
    (void)s;
    (void)fd;
    bool fine = events & EPOLLIN ? take_packet(c) : !(events & (EPOLLHUP | EPOLLERR));
    if (!fine) {
        c = client_find(m, id);
        if (c) {
            client_free(c);
        }
    }
}

void client_accept(struct loop_source *s, int fd, uint32_t events, void *data)
{
    struct monitor *m = data;
    (void)s;
    (void)events;
    int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (conn < 0) {
        if (errno == EMFILE || errno == ENFILE) {
            usleep(1000); /* nothing can be done but not to spin */
        }
        return;
    }
    struct client *c = m->n_clients < MON_CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (!c) {
        close(conn);
        return;
    }
    *c = (struct client){ .m = m, .fd = conn, .id = ++m->next_client, .next = m->clients };
    if (c->id == 0) {
        c->id = ++m->next_client;
    }
    if (loop_add_fd(m->loop, conn, EPOLLIN, on_client, c, &c->source, NULL) < 0) {
        close(conn);
        free(c);
        return;
    }
    m->clients = c;
    m->n_clients++;
}

void client_send(struct client *c, const struct mon_header *h, const struct mon_type *type, const void *fields)
{
    CLEANUP_BUF struct buf b = { 0 };
    int fds[MON_FDS_MAX];
    size_t n_fds;
    if (mon_encode(h, type, fields, &b, fds, &n_fds, NULL) < 0 || sock_send(c->fd, b.data, b.len, fds, n_fds, MSG_DONTWAIT) < 0) {
        client_free(c);
    }
}

void reply_ok(struct monitor *m, const struct reply_to *to, const struct mon_type *type, const void *fields)
{
    struct client *c = to->client ? client_find(m, to->client) : NULL;
    if (c) {
        struct mon_header h = { .major = MON_MAJOR, .minor = c->minor, .type = to->type, .flags = MON_REPLY, .seq = to->seq };
        client_send(c, &h, type, fields);
    }
}

void reply_error(struct monitor *m, const struct reply_to *to, const struct err *e)
{
    struct client *c = to->client ? client_find(m, to->client) : NULL;
    if (c) {
        struct mon_error me = { .code = (uint32_t)e->code, .kind = e->kind, .text = (char *)(uintptr_t)e->text };
        struct mon_header h = { .major = MON_MAJOR, .minor = c->minor, .type = to->type, .flags = MON_REPLY | MON_ERROR,
                                .seq = to->seq };
        client_send(c, &h, &mon_error_type, &me);
    }
}

void event_send(struct monitor *m, unsigned type, const struct mon_ctr_state *s)
{
    for (struct client *c = m->clients, *next; c; c = next) {
        next = c->next;
        if (c->subscribed) {
            struct mon_header h = { .major = MON_MAJOR, .minor = c->minor, .type = (uint16_t)type, .flags = MON_EVENT };
            client_send(c, &h, &mon_ctr_state_type, s);
        }
    }
}
