/* engine/files.c: resolv.conf, hosts and hostname of a pod, which are mounted into its containers. */
#include "engine/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/utsname.h>

enum { HOST_FILE_MAX = 1 << 20 };

/* systemd-resolved's stub listens on the host's loopback, which a pod cannot reach: then the real file behind it counts. */
static void host_resolv(struct buf *b)
{
    if (file_read(AT_FDCWD, "/etc/resolv.conf", HOST_FILE_MAX, b, NULL) < 0) {
        buf_reset(b);
        return;
    }
    if (strstr(buf_str(b), "nameserver 127.0.0.53")) {
        CLEANUP_BUF struct buf real = { 0 };
        if (file_read(AT_FDCWD, "/run/systemd/resolve/resolv.conf", HOST_FILE_MAX, &real, NULL) == 0) {
            buf_reset(b);
            buf_add(b, real.data, real.len);
        }
    }
}

static void put_list(struct buf *b, const char *word, char *const *v)
{
    if (strv_len(v) > 0) {
        buf_adds(b, word);
        for (; *v; v++) {
            buf_addf(b, " %s", *v);
        }
        buf_addc(b, '\n');
    }
}

static void make_resolv(const struct engine_pod_spec *s, struct buf *b)
{
    if (!s->has_dns && strv_len(s->dns_servers) == 0) {
        host_resolv(b);
    }
    for (char **v = s->dns_servers; v && *v; v++) {
        buf_addf(b, "nameserver %s\n", *v);
    }
    put_list(b, "search", s->dns_searches);
    put_list(b, "options", s->dns_options);
}

static void make_hosts(const struct pod *p, const char *hostname, struct buf *b)
{
    if (p->spec.net == ENGINE_NS_HOST && file_read(AT_FDCWD, "/etc/hosts", HOST_FILE_MAX, b, NULL) == 0) {
        if (b->len > 0 && b->data[b->len - 1] != '\n') {
            buf_addc(b, '\n');
        }
    } else {
        buf_reset(b);
        buf_adds(b, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
                    "ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    }
    for (char **ip = p->st.ips; ip && *ip; ip++) {
        buf_addf(b, "%s\t%s\n", *ip, hostname);
    }
    for (char **v = p->spec.extra_hosts; v && *v; v++) {
        const char *colon = strchr(*v, ':');
        if (colon) {
            buf_addf(b, "%s\t%.*s\n", colon + 1, (int)(colon - *v), *v);
        }
    }
}

static int put(int dirfd, const char *name, const struct buf *b, struct err *e)
{
    return buf_failed(b) ? err_oom(e) : file_replace(dirfd, name, buf_str(b), b->len, 0644, false, e);
}

int files_write(struct engine *g, const struct pod *p, struct err *e)
{
    CLEANUP_BUF struct buf resolv = { 0 }, hosts = { 0 }, name = { 0 };
    struct utsname un;
    (void)g;
    uname(&un);
    CLEANUP_FD int dir = open(p->data, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return err_sys(e, errno, "open %s", p->data);
    }
    const char *hostname = p->spec.net == ENGINE_NS_HOST && str_empty(p->spec.hostname) ? un.nodename : p->spec.hostname;
    CLEANUP_FREE char *shortened = str_empty(hostname) ? str_printf("%.12s", p->row.id) : strdup(hostname);
    if (!shortened) {
        return err_oom(e);
    }
    make_resolv(&p->spec, &resolv);
    make_hosts(p, shortened, &hosts);
    buf_addf(&name, "%s\n", shortened);
    int r = put(dir, "resolv.conf", &resolv, e);
    if (r == 0) {
        r = put(dir, "hosts", &hosts, e);
    }
    return r < 0 ? r : put(dir, "hostname", &name, e);
}
