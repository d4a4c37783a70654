/*
 * net/netns.c: see netns.h. unshare() and setns() concern one thread, so a thread of its own that ends afterwards is all it takes: no fork,
 * and nothing of the caller's changes.
 */
#include "net/netns.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

struct job {
    const char *path;
    int (*fn)(void *data, struct err *e);
    void *data;
    struct err *e;
    int result;
};

/* One RTM_NEWLINK that sets IFF_UP on interface 1, which lo always is in a new namespace. */
static int lo_up(struct err *e)
{
    struct {
        struct nlmsghdr h;
        struct ifinfomsg i;
    } req = { .h = { .nlmsg_len = sizeof(req), .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK, .nlmsg_seq = 1 },
              .i = { .ifi_family = AF_UNSPEC, .ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP } };
    struct {
        struct nlmsghdr h;
        struct nlmsgerr err;
        char more[512];
    } answer = { 0 };
    CLEANUP_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || send(fd, &req, sizeof(req), 0) < 0 || recv(fd, &answer, sizeof(answer), 0) < 0) {
        return err_sys(e, errno, "netlink: bring lo up");
    }
    if (answer.h.nlmsg_type == NLMSG_ERROR && answer.err.error != 0) {
        return err_sys(e, -answer.err.error, "bring lo up");
    }
    return 0;
}

static int make_here(const char *path, struct err *e)
{
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);
    if (fd < 0) {
        return err_sys(e, errno, "create %s", path);
    }
    if (unshare(CLONE_NEWNET) < 0) {
        return err_sys(e, errno, "make a network namespace");
    }
    int r = lo_up(e);
    if (r < 0) {
        return r;
    }
    if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) < 0) {
        return err_sys(e, errno, "pin a network namespace at %s", path);
    }
    return 0;
}

static void *create_main(void *p)
{
    struct job *j = p;
    j->result = make_here(j->path, j->e);
    return NULL;
}

static void *run_main(void *p)
{
    struct job *j = p;
    CLEANUP_FD int fd = open(j->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
        j->result = err_sys(j->e, errno, "enter network namespace %s", j->path);
    } else {
        j->result = j->fn(j->data, j->e);
    }
    return NULL;
}

static int in_thread(void *(*main)(void *), struct job *j, struct err *e)
{
    pthread_t t;
    int r = pthread_create(&t, NULL, main, j);
    if (r != 0) {
        return err_sys(e, r, "start a thread");
    }
    pthread_join(t, NULL);
    return j->result;
}

bool netns_is(const char *path)
{
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct statfs st;
    if (fd < 0 || fstatfs(fd, &st) < 0 || st.f_type != NSFS_MAGIC) {
        return false;
    }
    return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
}

int netns_create(const char *path, struct err *e)
{
    if (netns_is(path)) {
        return 0;
    }
    struct job j = { .path = path, .e = e };
    int r = in_thread(create_main, &j, e);
    if (r < 0) {
        unlink(path);
    }
    return r;
}

int netns_remove(const char *path, struct err *e)
{
    /* More than one mount may lie there if two programs were killed at the wrong moment. */
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
    }
    if (errno != EINVAL && errno != ENOENT) {
        return err_sys(e, errno, "unpin network namespace %s", path);
    }
    if (unlink(path) < 0 && errno != ENOENT) {
        return err_sys(e, errno, "remove %s", path);
    }
    return 0;
}

int netns_run(const char *path, int (*fn)(void *data, struct err *e), void *data, struct err *e)
{
    struct job j = { .path = path, .fn = fn, .data = data, .e = e };
    return in_thread(run_main, &j, e);
}
