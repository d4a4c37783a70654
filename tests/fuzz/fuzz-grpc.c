/*
 * fuzz-grpc: bytes of a client into the gRPC server over a socket pair: HTTP/2 frames, headers, messages. The first byte tells
 * whether the preface is put in front, so that mutations reach the frames.
 */
#include "base/fd.h"
#include "http/grpc.h"

#include <sys/socket.h>
#include <unistd.h>

static int fn_echo(struct grpc_call *c, const uint8_t *msg, size_t len, void *data, struct err *e)
{
    (void)data;
    return grpc_send(c, msg, len, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static const struct grpc_method methods[] = { { "/t.S/Echo", fn_echo, false, NULL }, { "/t.S/Many", fn_echo, true, NULL } };
    struct grpc_options o = { .methods = methods, .n_methods = ARRAY_LEN(methods), .in_loop = true,
                              .limits = { .message = 4096, .requests = 8192, .headers = 2048, .streams = 16 } };
    struct loop *loop = NULL;
    struct grpc_server *server = NULL;
    int pair[2];
    if (len < 1 || len > 60000 || loop_new(&loop, NULL) < 0) {
        return 0;
    }
    if (grpc_server_new(loop, &o, &server, NULL) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
        if (grpc_server_add(server, pair[0], NULL) == 0) {
            bool sent = ((data[0] & 1) || fd_write_all(pair[1], preface, sizeof(preface) - 1) == 0) &&
                        fd_write_all(pair[1], data + 1, len - 1) == 0;
            char sink[4096];
            for (int i = 0; sent && i < 24; i++) {
                if (loop_once(loop, 0, NULL) < 0) {
                    break;
                }
                while (recv(pair[1], sink, sizeof(sink), MSG_DONTWAIT) > 0) {
                }
            }
        }
        close(pair[1]);
        (void)!loop_once(loop, 0, NULL);
        (void)grpc_server_stop(server, 0);
        grpc_server_free(server);
    }
    loop_free(loop);
    return 0;
}
