/*
 * oci/netdev.c: one RTM_NEWLINK a device, with IFLA_NET_NS_PID and IFLA_IFNAME: the kernel moves and renames in one step, so that
 * no half of it can be left.
 */
#include "oci/netdev.h"

#include "base/fd.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

struct request {
    struct nlmsghdr head;
    struct ifinfomsg info;
    char attrs[128];
};

static void attr_add(struct request *q, unsigned short type, const void *data, size_t len)
{
    struct rtattr *a = (struct rtattr *)(void *)((char *)q + NLMSG_ALIGN(q->head.nlmsg_len));
    a->rta_type = type;
    a->rta_len = (unsigned short)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), data, len);
    q->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(q->head.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

static int talk(int sock, const void *msg, size_t len)
{
    union {
        struct nlmsghdr head;
        char raw[4096];
    } reply;
    if (send(sock, msg, len, 0) < 0) {
        return -errno;
    }
    ssize_t n = recv(sock, &reply, sizeof(reply), 0);
    if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || reply.head.nlmsg_type != NLMSG_ERROR) {
        return n < 0 ? -errno : -EPROTO;
    }
    return ((struct nlmsgerr *)NLMSG_DATA(&reply.head))->error;
}

static int netdev_move(int sock, const struct oci_net_device *d, pid_t pid, struct err *e)
{
    unsigned index = if_nametoindex(d->host_name);
    if (!index) {
        return err_set(e, ENODEV, ERR_NOT_FOUND, "linux.netDevices.%s: the host has no such network device", d->host_name);
    }
    struct request q = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                                   .nlmsg_type = RTM_NEWLINK,
                                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
                         .info = { .ifi_family = AF_UNSPEC, .ifi_index = (int)index } };
    uint32_t to = (uint32_t)pid;
    attr_add(&q, IFLA_NET_NS_PID, &to, sizeof(to));
    attr_add(&q, IFLA_IFNAME, d->name, strlen(d->name) + 1);
    int r = talk(sock, &q, q.head.nlmsg_len);
    return r < 0 ? err_sys(e, -r, "linux.netDevices.%s: move into the container as %s", d->host_name, d->name) : 0;
}

int netdev_move_all(const struct oci_linux *l, pid_t pid, struct err *e)
{
    if (!l->net_devices.n) {
        return 0;
    }
    CLEANUP_FD int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (sock < 0) {
        return err_sys(e, errno, "netlink socket");
    }
    int r = 0;
    for (size_t i = 0; r == 0 && i < l->net_devices.n; i++) {
        r = netdev_move(sock, &l->net_devices.v[i], pid, e);
    }
    return r;
}
