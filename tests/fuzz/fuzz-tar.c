/* tests/fuzz/fuzz-tar.c: layers, compressed or not, unpacked into a folder; nothing may appear beside it. */
#include "base/fd.h"
#include "image/unpack.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct bytes {
    const uint8_t *data;
    size_t len;
};

static ssize_t read_bytes(void *data, void *buf, size_t len)
{
    struct bytes *b = data;
    size_t n = b->len < len ? b->len : len;
    memcpy(buf, b->data, n);
    b->data += n;
    b->len -= n;
    return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char dir[] = "/tmp/tare-fuzz-tar-XXXXXX";
    struct err e = { 0 };
    struct stat st;
    if (!mkdtemp(dir)) {
        return 0;
    }
    CLEANUP_FD int outer = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mkdirat(outer, "in", 0755) == 0) {
        CLEANUP_FD int fd = openat(outer, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct bytes b = { data, len };
        struct unpack_result res;
        const struct unpack_options o = { .no_devices = true, .limits = { .entries = 200, .bytes = 1 << 20 } };
        int r = unpack_layer(read_bytes, &b, fd, &o, &res, &e);
        if (r > 0 || fstat(outer, &st) < 0 || st.st_nlink != 3) {
            abort();
        }
    }
    return dir_remove_all(AT_FDCWD, dir, NULL) > 0;
}
