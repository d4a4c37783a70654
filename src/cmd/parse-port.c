/* cmd/parse-port.c: -p. See parse.h. */
#include "cmd/parse.h"

#include "base/num.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

struct range {
    uint32_t first, last;
};

void parse_port_done(struct engine_port *p)
{
    free(p->protocol);
    free(p->host_ip);
    *p = (struct engine_port){ 0 };
}

static int parse_range(const char *s, size_t len, const char *what, struct range *ret, struct err *e)
{
    char text[16];
    struct range r;
    bool ok = len > 0 && len < sizeof(text);
    if (ok) {
        snprintf(text, sizeof(text), "%.*s", (int)len, s);
        char *dash = strchr(text, '-');
        if (dash) {
            *dash = '\0';
        }
        ok = num_u32(text, &r.first) == 0 && num_u32(dash ? dash + 1 : text, &r.last) == 0 && r.first <= r.last &&
             r.last <= 65535 && r.first > 0;
    }
    if (!ok) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid %s: %.*s", what, len > 100 ? 100 : (int)len, s);
    }
    *ret = r;
    return 0;
}

static int parse_ip(const char *s, size_t len, char **ret, struct err *e)
{
    struct in6_addr addr;
    if (len >= 2 && s[0] == '[' && s[len - 1] == ']') {
        s++;
        len -= 2;
    }
    CLEANUP_FREE char *ip = strndup(s, len);
    if (!ip) {
        return err_oom(e);
    }
    if (*ip && inet_pton(AF_INET, ip, &addr) != 1 && inet_pton(AF_INET6, ip, &addr) != 1) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid IP address: %.100s", ip);
    }
    *ret = PTR_STEAL(ip);
    return 0;
}

static int add_port(struct engine_port **v, size_t *n, const char *ip, const char *proto, uint32_t host, uint32_t ctr)
{
    struct engine_port *grown = realloc(*v, (*n + 1) * sizeof(**v));
    if (!grown) {
        return -ENOMEM;
    }
    *v = grown;
    grown[*n] = (struct engine_port){ strdup(proto), ip ? strdup(ip) : NULL, (uint16_t)host, (uint16_t)ctr };
    if (!grown[*n].protocol || (ip && !grown[*n].host_ip)) {
        parse_port_done(&grown[*n]);
        return -ENOMEM;
    }
    (*n)++;
    return 0;
}

/* The last colon before end that is not inside brackets; NULL if there is none. */
static const char *last_colon(const char *s, const char *end)
{
    while (end > s) {
        if (*--end == ':') {
            return end;
        }
        if (*end == ']') {
            return NULL;
        }
    }
    return NULL;
}

int parse_publish(const char *s, struct engine_port **v, size_t *n, struct err *e)
{
    const char *slash = strchr(s, '/'), *end = slash ? slash : s + strlen(s);
    const char *proto = slash ? slash + 1 : "tcp";
    if (strcmp(proto, "tcp") != 0 && strcmp(proto, "udp") != 0 && strcmp(proto, "sctp") != 0) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid proto: %.100s (tcp, udp, sctp)", proto);
    }
    if (end == s) {
        return err_set(e, EINVAL, ERR_INVALID, "no port specified: %.100s", s);
    }
    const char *colon = last_colon(s, end), *ctr_at = colon ? colon + 1 : s;
    struct range ctr, host = { 0, 0 };
    CLEANUP_FREE char *ip = NULL;
    int r = parse_range(ctr_at, (size_t)(end - ctr_at), "containerPort", &ctr, e);
    if (r == 0 && colon) {
        const char *colon2 = last_colon(s, colon), *host_at = colon2 ? colon2 + 1 : s;
        if (host_at < colon) {
            r = parse_range(host_at, (size_t)(colon - host_at), "hostPort", &host, e);
        }
        if (r == 0 && colon2) {
            r = parse_ip(s, (size_t)(colon2 - s), &ip, e);
        }
    }
    if (r < 0) {
        return r;
    }
    uint32_t n_ctr = ctr.last - ctr.first, n_host = host.last - host.first;
    if (host.first && n_ctr != n_host) {
        return err_set(e, EINVAL, ERR_INVALID, "invalid ranges specified for container and host ports: %.100s", s);
    }
    for (uint32_t i = 0; r == 0 && i <= n_ctr; i++) {
        r = add_port(v, n, ip, proto, host.first ? host.first + i : 0, ctr.first + i);
    }
    return r < 0 ? err_oom(e) : 0;
}
