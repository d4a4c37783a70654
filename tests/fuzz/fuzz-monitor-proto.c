/* tests/fuzz/fuzz-monitor-proto.c: a packet as a monitor or its client would take it, and a stream of attach frames. */
#include "ipc/proto.h"
#include "ipc/status.h"
#include "ipc/stream.h"

static void one(const struct mon_type *type, const uint8_t *data, size_t len)
{
    struct err e = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    CLEANUP_FREE void *obj = malloc(type->size);
    int fds[MON_FDS_MAX] = { -1, -1, -1, -1 };
    size_t n_fds;
    struct mon_header h = { .major = MON_MAJOR, .type = 1 };
    if (!obj || mon_decode(type, data, len, fds, 0, obj, &e) < 0) {
        return;
    }
    if (mon_encode(&h, type, obj, &b, fds, &n_fds, &e) == 0 && b.len > len) {
        abort(); /* what was read is never longer when it is written */
    }
    mon_struct_done(type, obj);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct mon_type *const replies[] = { &mon_error_type, &mon_exec_reply_type, &mon_ctr_state_type,
                                                      &mon_pod_state_type };
    struct mon_header h;
    struct err e = { 0 };
    if (mon_decode_header(data, len, &h, &e) == 0) {
        const struct mon_type *type = mon_request_type(h.type);
        if (type) {
            one(type, data, len);
        }
        for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
            one(replies[i], data, len);
        }
    }
    struct stream_reader r = { 0 };
    struct stream_frame f;
    buf_add(&r.in, data, len);
    while (r.in.data && stream_next(&r, &f) == 1) {
        if (f.len > STREAM_PAYLOAD_MAX) {
            abort();
        }
    }
    stream_reader_done(&r);
    struct mon_status s;
    if (mon_status_parse((const char *)data, len, &s, &e) == 0) {
        mon_status_alive(&s);
    }
    return 0;
}
