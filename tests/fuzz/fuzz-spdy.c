/*
 * fuzz-spdy: bytes of a client into the stream server over a socket pair: upgrade, frames, headers, messages. The first byte
 * chooses what is put in front of them: nothing, or a request for SPDY, for WebSocket, or for SPDY inside WebSocket.
 */
#include "base/fd.h"
#include "http/stream-server.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define WS "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"

static int on_request(void *data, const char *path, struct stream_target *ret, struct err *e)
{
    static const uint16_t ports[] = { 80, 81 };
    (void)e;
    *ret = (struct stream_target){ .kind = path[1] == 'p' ? STREAM_FORWARD : STREAM_SESSION, .has_stdin = true, .has_stdout = true,
                                   .tty = true, .ports = ports, .n_ports = 2, .data = data };
    return path[1] ? 0 : -ENOENT;
}

static void on_target_free(void *data, void *target)
{
    (void)data;
    (void)target;
}

static void *on_start(void *data, void *target, struct link *l, uint16_t port)
{
    (void)data;
    (void)target;
    (void)port;
    return l;
}

/* An echo that ends when its input does. */
static void on_input(void *peer, enum link_channel channel, const char *bytes, size_t len, bool end)
{
    (void)channel;
    link_write(peer, LINK_STDOUT, bytes, len);
    link_hold(peer, link_full(peer));
    if (end) {
        link_finish(peer, &(struct link_status){ "{}", "text" });
    }
}

static void on_drained(void *peer)
{
    (void)peer;
}

static const struct stream_ops ops = { on_request, on_target_free, on_start, on_input, on_drained, on_drained };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const heads[] = {
        "",
        GET("/exec/1") "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n",
        GET("/portforward/1") "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n",
        GET("/exec/1") WS "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n",
        GET("/exec/1") WS "Sec-WebSocket-Protocol: base64.channel.k8s.io\r\n\r\n",
        GET("/portforward/1") WS "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n\r\n",
        GET("/portforward/1") WS "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n",
    };
    struct loop *loop = NULL;
    struct stream_server *server = NULL;
    int pair[2];
    if (len < 1 || len > 60000 || loop_new(&loop, NULL) < 0) {
        return 0;
    }
    struct stream_server_options o = { .ops = &ops, .limits = { .streams = 16 } };
    const char *head = heads[data[0] % ARRAY_LEN(heads)];
    if (stream_server_new(loop, &o, &server, NULL) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
        if (stream_server_add(server, pair[0], NULL) == 0) {
            bool sent = fd_write_all(pair[1], head, strlen(head)) == 0 && fd_write_all(pair[1], data + 1, len - 1) == 0;
            char sink[4096];
            for (int i = 0; sent && i < 16 && stream_server_conns(server) > 0; i++) {
                if (loop_once(loop, 0, NULL) < 0) {
                    break;
                }
                while (recv(pair[1], sink, sizeof(sink), MSG_DONTWAIT) > 0) {
                }
            }
        }
        close(pair[1]);
        (void)!loop_once(loop, 0, NULL);
    }
    stream_server_free(server);
    loop_free(loop);
    return 0;
}
