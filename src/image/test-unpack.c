/* image/test-unpack.c: layers made here, honest and hostile, unpacked into a folder of the test's own. Needs root. */
#include "base/test.h"

#include "base/fd.h"
#include "image/image.h"
#include "image/layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct entry {
    const char *name;
    mode_t type; /* 0: hard link */
    const char *data; /* content, or target */
};

struct bytes {
    const char *data;
    size_t len, at;
};

static ssize_t read_bytes(void *data, void *buf, size_t len)
{
    struct bytes *b = data;
    size_t n = b->len - b->at < len ? b->len - b->at : len;
    n = n > 777 ? 777 : n;
    memcpy(buf, b->data + b->at, n);
    b->at += n;
    return (ssize_t)n;
}

static size_t make_tar(const struct entry *v, size_t n, bool gzip, char *out, size_t max)
{
    size_t used = 0;
    struct archive *a = archive_write_new();
    archive_write_set_format_pax(a);
    if (gzip) {
        archive_write_add_filter_gzip(a);
    }
    archive_write_open_memory(a, out, max, &used);
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *t = archive_entry_new();
        archive_entry_copy_pathname(t, v[i].name);
        archive_entry_set_perm(t, v[i].type == S_IFREG ? 04755 : 0750);
        archive_entry_set_uid(t, 1234);
        archive_entry_set_gid(t, 5678);
        archive_entry_set_mtime(t, 1000000000, 123456789);
        archive_entry_set_filetype(t, v[i].type ? v[i].type : S_IFREG);
        if (!v[i].type) {
            archive_entry_copy_hardlink(t, v[i].data);
        } else if (v[i].type == S_IFLNK) {
            archive_entry_copy_symlink(t, v[i].data);
        } else if (v[i].type == S_IFREG) {
            archive_entry_set_size(t, (int64_t)strlen(v[i].data));
            archive_entry_xattr_add_entry(t, "user.k", "v", 1);
            archive_entry_xattr_add_entry(t, "trusted.overlay.redirect", "/x", 2);
        }
        archive_write_header(a, t);
        if (v[i].type == S_IFREG) {
            archive_write_data(a, v[i].data, strlen(v[i].data));
        }
        archive_entry_free(t);
    }
    archive_write_close(a);
    archive_write_free(a);
    return used;
}

enum { TAR_MAX = 1 << 20 };

struct env {
    char dir[64];
    int outer, fd;
    char *tar;
};

static int setup(void **state)
{
    struct env *v = calloc(1, sizeof(*v));
    snprintf(v->dir, sizeof(v->dir), "/tmp/tare-store-XXXXXX");
    if (!mkdtemp(v->dir)) {
        return -1;
    }
    v->outer = open(v->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    v->tar = malloc(TAR_MAX);
    if (mkdirat(v->outer, "in", 0755) < 0 || mkdirat(v->outer, "victim", 0755) < 0) {
        return -1;
    }
    v->fd = openat(v->outer, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = v;
    return v->fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    struct env *v = *state;
    fd_close(&v->fd);
    fd_close(&v->outer);
    int r = dir_remove_all(AT_FDCWD, v->dir, NULL);
    free(v->tar);
    free(v);
    return r;
}

static int unpack(struct env *v, const struct entry *list, size_t n, const struct unpack_options *o, struct unpack_result *res, struct err *e)
{
    struct bytes b = { v->tar, make_tar(list, n, !o->media_type, v->tar, TAR_MAX), 0 };
    return unpack_layer(read_bytes, &b, v->fd, o, res, e);
}

static void test_honest(void **state)
{
    struct env *v = *state;
    static const struct entry list[] = {
        { "d/", S_IFDIR, NULL },          { "d/f", S_IFREG, "hello" },   { "d/l", 0, "d/f" },
        { "d/s", S_IFLNK, "../f" },       { "d/.wh.gone", S_IFREG, "" }, { "o/.wh..wh..opq", S_IFREG, "" },
        { "d/p", S_IFIFO, NULL },         { "d/f2", S_IFREG, "old" },    { "d/f2", S_IFREG, "new" },
        { "n/\xff\xfe", S_IFREG, "raw" }, { "./d/../abs", S_IFREG, "x" }, { "/rooted", S_IFREG, "y" },
        { ".wh.both", S_IFREG, "" },      { "both/", S_IFDIR, NULL },    { "both/in", S_IFREG, "z" },
        { "was-dir/a", S_IFREG, "1" },    { "was-dir", S_IFREG, "2" },   { ".wh..wh.plnk/1", S_IFREG, "aufs" },
    };
    struct err e = { 0 };
    struct unpack_result res;
    int r = unpack(v, list, ARRAY_LEN(list), &(struct unpack_options) { 0 }, &res, &e);
    if (r < 0) {
        print_error("%s\n", e.text);
    }
    CHECK_EQ(r, 0);
    struct stat st, other;
    CHECK_EQ(fstatat(v->fd, "d/f", &st, AT_SYMLINK_NOFOLLOW), 0);
    CHECK_EQ(st.st_mode, S_IFREG | 04755);
    CHECK_EQ(st.st_uid, 1234);
    CHECK_EQ(st.st_gid, 5678);
    CHECK_EQ(st.st_mtim.tv_nsec, 123456789);
    CHECK_EQ(st.st_nlink, 2);
    CHECK_EQ(fstatat(v->fd, "d", &other, AT_SYMLINK_NOFOLLOW), 0);
    CHECK_EQ(other.st_mtim.tv_sec, 1000000000);
    CHECK_EQ(other.st_mode, S_IFDIR | 0750);
    CHECK_EQ(fstatat(v->fd, "d/gone", &st, AT_SYMLINK_NOFOLLOW), 0);
    CHECK_EQ(S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0), 1);
    static const char *const there[] = { "d/s", "d/p", "n/\xff\xfe", "abs", "rooted", "both/in" };
    for (size_t i = 0; i < ARRAY_LEN(there); i++) {
        CHECK_EQ(fstatat(v->fd, there[i], &st, AT_SYMLINK_NOFOLLOW), 0);
    }
    CHECK_EQ(fstatat(v->fd, "was-dir", &st, AT_SYMLINK_NOFOLLOW), 0);
    CHECK_EQ(S_ISREG(st.st_mode), 1);
    char path[128], value[8];
    static const char *const opaque[] = { "o", "both" };
    for (size_t i = 0; i < ARRAY_LEN(opaque); i++) {
        snprintf(path, sizeof(path), "%s/in/%s", v->dir, opaque[i]);
        CHECK_EQ(lgetxattr(path, "trusted.overlay.opaque", value, sizeof(value)), 1);
    }
    snprintf(path, sizeof(path), "%s/in/d/f", v->dir);
    CHECK_EQ(lgetxattr(path, "user.k", value, sizeof(value)), 1);
    CHECK_EQ(lgetxattr(path, "trusted.overlay.redirect", value, sizeof(value)), -1);
    CLEANUP_BUF struct buf b = { 0 };
    CHECK_EQ(file_read(v->fd, "d/f2", 10, &b, &e), 0);
    assert_string_equal(buf_str(&b), "new");
}

/* Each way out that is known: refused with the entry's name, or kept inside; nothing appears outside. */
static void test_hostile(void **state)
{
    static const struct {
        struct entry list[3];
        int want; /* 0: contained */
    } t[] = {
        { { { "../victim/x", S_IFREG, "" } }, -EPERM },
        { { { "a/../../victim/x", S_IFREG, "" } }, -EPERM },
        { { { "..", S_IFDIR, NULL } }, -EPERM },
        { { { "/../victim/x", S_IFREG, "" } }, -EPERM },
        { { { "l", S_IFLNK, "../victim" }, { "l/x", S_IFREG, "" } }, -ENOTDIR },
        { { { "l", S_IFLNK, "/" }, { "l/x", S_IFREG, "" } }, 0 },
        { { { "l", S_IFLNK, "../victim" }, { "l", S_IFREG, "over" } }, 0 },
        { { { "l", S_IFLNK, "../victim/x" }, { "l", S_IFREG, "over" } }, 0 },
        { { { "h", 0, "../victim" } }, -EPERM },
        { { { "h", 0, "/etc/passwd" } }, -ENOENT },
        { { { "l", S_IFLNK, "../victim" }, { "h", 0, "l/y" } }, -ENOTDIR },
        { { { "l", S_IFLNK, "../victim" }, { "l/.wh.y", S_IFREG, "" } }, -ENOTDIR },
        { { { "l", S_IFLNK, "../victim" }, { "l/.wh..wh..opq", S_IFREG, "" } }, -ENOTDIR },
        { { { ".wh...", S_IFREG, "" } }, -EPERM },
        { { { ".wh..", S_IFREG, "" } }, -EPERM },
        { { { "d/.wh.", S_IFREG, "" } }, -EPERM },
        { { { "./", S_IFREG, "x" } }, -EINVAL },
        { { { "f", S_IFREG, "" }, { "f/g", S_IFREG, "" } }, -ENOTDIR },
    };
    struct env *v = *state;
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct err e = { 0 };
        struct unpack_result res;
        size_t n = 0;
        while (n < 3 && t[i].list[n].name) {
            n++;
        }
        int r = unpack(v, t[i].list, n, &(struct unpack_options) { 0 }, &res, &e);
        if (r != t[i].want) {
            print_error("case %zu (%s): %d %s\n", i, t[i].list[0].name, r, e.text);
        }
        CHECK_EQ(r, t[i].want);
        struct stat st;
        CHECK_EQ(fstatat(v->outer, "victim/x", &st, AT_SYMLINK_NOFOLLOW), -1);
        CHECK_EQ(fstatat(v->outer, "victim/y", &st, AT_SYMLINK_NOFOLLOW), -1);
        CHECK_EQ(fstatat(v->outer, "victim", &st, AT_SYMLINK_NOFOLLOW), 0);
        CHECK_EQ(st.st_nlink, 2);
        CHECK_EQ(dir_remove_all(v->outer, "in", &e), 0);
        fd_close(&v->fd);
        CHECK_EQ(mkdirat(v->outer, "in", 0755), 0);
        v->fd = openat(v->outer, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
}

static void test_bounds(void **state)
{
    struct env *v = *state;
    static const struct entry list[] = { { "a", S_IFREG, "12345" }, { "b", S_IFREG, "12345" } };
    static const struct {
        struct unpack_options o;
        int want;
    } t[] = {
        { { .limits = { .entries = 1 } }, -E2BIG },
        { { .limits = { .bytes = 10 } }, -EFBIG },
        { { .limits = { .xattr = 3 } }, -E2BIG },
        { { .media_type = "application/vnd.oci.image.layer.v1.tar+zstd" }, -EINVAL },
        { { .media_type = "application/vnd.oci.image.layer.v1.tar" }, 0 },
        { { .diff_id = "sha256:00" }, -EBADMSG },
        { { .blob_digest = "sha256:00" }, -EBADMSG },
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct err e = { 0 };
        struct unpack_result res;
        int r = unpack(v, list, ARRAY_LEN(list), &t[i].o, &res, &e);
        if (r != t[i].want) {
            print_error("case %zu: %d %s\n", i, r, e.text);
        }
        CHECK_EQ(r, t[i].want);
    }
    /* Cut anywhere: an error, never a hang. */
    size_t whole = make_tar(list, ARRAY_LEN(list), true, v->tar, TAR_MAX);
    for (size_t cut = 3; cut < whole; cut += 11) {
        struct err e = { 0 };
        struct unpack_result res;
        struct bytes b = { v->tar, cut, 0 };
        CHECK_EQ(unpack_layer(read_bytes, &b, v->fd, &(struct unpack_options) { 0 }, &res, &e) < 0, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_honest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
    };
    return geteuid() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
