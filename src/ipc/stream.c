/* ipc/stream.c: see stream.h. */
#include "ipc/stream.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

void stream_header(uint8_t out[static STREAM_HEADER_LEN], enum stream_type type, size_t len)
{
    uint32_t n = htole32((uint32_t)len);
    memset(out, 0, STREAM_HEADER_LEN);
    out[0] = (uint8_t)type;
    memcpy(out + 4, &n, sizeof(n));
}

void stream_put(struct buf *out, enum stream_type type, const void *payload, size_t len)
{
    uint8_t h[STREAM_HEADER_LEN];
    stream_header(h, type, len);
    buf_add(out, h, sizeof(h));
    if (payload) {
        buf_add(out, payload, len);
    }
}

void stream_reader_done(struct stream_reader *r)
{
    buf_done(&r->in);
    r->taken = 0;
}

ssize_t stream_fill(struct stream_reader *r, int fd)
{
    buf_consume(&r->in, r->taken);
    r->taken = 0;
    char *p = buf_reserve(&r->in, 8192);
    if (!p) {
        return -ENOMEM;
    }
    ssize_t n;
    do {
        n = read(fd, p, r->in.cap - r->in.len - 1);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    r->in.len += (size_t)n;
    return n;
}

int stream_next(struct stream_reader *r, struct stream_frame *ret)
{
    uint32_t n;
    if (r->in.len - r->taken < STREAM_HEADER_LEN) {
        return 0;
    }
    const char *p = r->in.data + r->taken;
    memcpy(&n, p + 4, sizeof(n));
    n = le32toh(n);
    if (n > STREAM_PAYLOAD_MAX || p[1] || p[2] || p[3]) {
        return -EPROTO;
    }
    if (r->in.len - r->taken - STREAM_HEADER_LEN < n) {
        return 0;
    }
    *ret = (struct stream_frame){ .type = (enum stream_type)(uint8_t)p[0], .data = p + STREAM_HEADER_LEN, .len = n };
    r->taken += STREAM_HEADER_LEN + n;
    return 1;
}

static int wait_for(int fd, short events)
{
    struct pollfd p = { .fd = fd, .events = events };
    return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

int stream_read(struct stream_reader *r, int fd, struct stream_frame *ret)
{
    for (;;) {
        int got = stream_next(r, ret);
        if (got != 0) {
            return got;
        }
        ssize_t n = stream_fill(r, fd);
        if (n == -EAGAIN) {
            n = wait_for(fd, POLLIN) < 0 ? -EIO : 1;
        }
        if (n <= 0) {
            return n == -ECONNRESET ? 0 : (int)n;
        }
    }
}

static int send_all(int fd, struct iovec *iov, size_t n_iov)
{
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = n_iov };
    while (m.msg_iovlen > 0) {
        ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN && wait_for(fd, POLLOUT) == 0) {
                continue;
            }
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        while (m.msg_iovlen > 0 && (size_t)n >= m.msg_iov->iov_len) {
            n -= (ssize_t)m.msg_iov->iov_len;
            m.msg_iov++;
            m.msg_iovlen--;
        }
        if (m.msg_iovlen > 0) {
            m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + n;
            m.msg_iov->iov_len -= (size_t)n;
        }
    }
    return 0;
}

int stream_write(int fd, enum stream_type type, const void *payload, size_t len)
{
    const char *p = payload;
    do {
        size_t n = len > STREAM_PAYLOAD_MAX ? STREAM_PAYLOAD_MAX : len;
        uint8_t h[STREAM_HEADER_LEN];
        stream_header(h, type, n);
        struct iovec iov[2] = { { h, sizeof(h) }, { (void *)(uintptr_t)p, n } };
        int r = send_all(fd, iov, n ? 2 : 1);
        if (r < 0) {
            return r;
        }
        p = p ? p + n : p;
        len -= n;
    } while (len > 0);
    return 0;
}

int stream_write_resize(int fd, uint32_t rows, uint32_t cols)
{
    uint16_t v[2] = { htole16((uint16_t)rows), htole16((uint16_t)cols) };
    return rows > UINT16_MAX || cols > UINT16_MAX ? -ERANGE : stream_write(fd, STREAM_RESIZE, v, sizeof(v));
}

int stream_exit_code(const struct stream_frame *f, int32_t *ret)
{
    uint32_t v;
    if (f->type != STREAM_EXIT || f->len < sizeof(v)) {
        return -EPROTO;
    }
    memcpy(&v, f->data, sizeof(v));
    *ret = (int32_t)le32toh(v);
    return 0;
}
