/*
 * engine/ports.c: host ports of people's containers: a free one for those that leave the choice, and a clear refusal of one that is
 * taken, be it by another container (whose port no socket shows, since packets are redirected) or by a program of the host. Pods
 * made through CRI are not asked: the kubelet's scheduler minds their ports, and they may shadow the host's on purpose.
 */
#include "engine/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool wild(const char *ip)
{
    return str_empty(ip) || str_eq(ip, "0.0.0.0") || str_eq(ip, "::");
}

static bool clash(const struct engine_port *a, const struct engine_port *b)
{
    return a->host_port != 0 && a->host_port == b->host_port && str_eq(a->protocol, b->protocol) &&
           (wild(a->host_ip) || wild(b->host_ip) || str_eq(a->host_ip, b->host_ip));
}

static socklen_t address_of(const struct engine_port *p, union address *ret)
{
    *ret = (union address){ 0 };
    if (!str_empty(p->host_ip) && inet_pton(AF_INET6, p->host_ip, &ret->v6.sin6_addr) == 1) {
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons(p->host_port);
        return sizeof(ret->v6);
    }
    ret->v4.sin_family = AF_INET;
    ret->v4.sin_port = htons(p->host_port);
    if (!str_empty(p->host_ip) && inet_pton(AF_INET, p->host_ip, &ret->v4.sin_addr) != 1) {
        return 0;
    }
    return sizeof(ret->v4);
}

/* Binds for a moment: is it free on the host? Fills in a port that was left open. */
static int probe(struct engine_port *p, struct err *e)
{
    union address a;
    socklen_t len = address_of(p, &a);
    bool udp = str_eq(p->protocol, "udp");
    if (len == 0 || str_eq(p->protocol, "sctp")) {
        return 0;
    }
    CLEANUP_FD int fd = socket(a.any.sa_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0) {
        return err_sys(e, errno, "socket");
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, udp ? 0 : sizeof(on));
    if (bind(fd, &a.any, len) < 0) {
        const char *ip = str_empty(p->host_ip) ? "0.0.0.0" : p->host_ip;
        return errno == EADDRINUSE ? err_set(e, EADDRINUSE, ERR_BUSY, "port %s:%u/%s is in use on this host", ip, p->host_port, p->protocol)
                                   : err_sys(e, errno, "publish port %s:%u/%s", ip, p->host_port, p->protocol);
    }
    if (p->host_port == 0 && getsockname(fd, &a.any, &len) == 0) {
        p->host_port = ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
    }
    return 0;
}

static int against(const struct engine_pod_spec *s, const struct pod *other, struct err *e)
{
    for (size_t i = 0; i < s->ports.n; i++) {
        for (size_t k = 0; k < other->spec.ports.n; k++) {
            const struct engine_port *p = &s->ports.v[i];
            if (clash(p, &other->spec.ports.v[k])) {
                return err_set(e, EADDRINUSE, ERR_BUSY, "port %s:%u/%s is published by %s %.12s already",
                               str_empty(p->host_ip) ? "0.0.0.0" : p->host_ip, p->host_port, p->protocol,
                               other->spec.kind == ENGINE_POD_CONTAINER ? "container" : "pod", other->row.id);
            }
        }
    }
    return 0;
}

/* A container that has ended, but whose end nobody has seen to yet, gives its ports up now. */
static int ask(struct engine *g, const struct engine_pod_spec *s, const char *id, struct err *e)
{
    CLEANUP_POD struct pod p = { 0 }, again = { 0 };
    struct err le = { 0 };
    if (pod_load(g, id, &p, &le) < 0 || str_eq(p.row.state, "notready") || against(s, &p, &le) == 0) {
        return 0;
    }
    if (p.spec.kind == ENGINE_POD_CONTAINER) {
        int r = engine_ctr_cleanup(g, id, &le);
        (void)r; /* what counts is how it is now */
    }
    if (pod_load(g, id, &again, &le) < 0 || str_eq(again.row.state, "notready")) {
        return 0;
    }
    return against(s, &again, e);
}

int ports_take(struct engine *g, struct engine_pod_spec *s, const char *id, struct err *e)
{
    CLEANUP_STORE_PODS struct store_pods rows = { 0 };
    int r = 0;
    if (s->kind != ENGINE_POD_CONTAINER || s->ports.n == 0 || s->net != ENGINE_NS_POD || str_eq(s->network, "none")) {
        return 0;
    }
    for (size_t i = 0; r == 0 && i < s->ports.n; i++) {
        r = probe(&s->ports.v[i], e);
    }
    if (r == 0) {
        r = store_pod_list(g->store, g->ns, &rows, e);
    }
    for (size_t i = 0; r == 0 && i < rows.n; i++) {
        r = str_eq(rows.v[i].id, id) ? 0 : ask(g, s, rows.v[i].id, e);
    }
    return r;
}
