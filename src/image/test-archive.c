/* image/test-archive.c: layouts made here, loaded, saved and loaded again; broken ones are refused and leave nothing. */
#include "base/test.h"

#include "base/fd.h"
#include "image/archive.h"
#include "image/stream.h"
#include "store/blob.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct env {
    char dir[64], layout[80];
    int fd;
    struct store *s;
};

static const struct archive_load_options options = { .platform = "linux/amd64" };

static struct store *open_store(struct env *v, const char *name)
{
    char root[100], run[100];
    struct store *s = NULL;
    struct err e = { 0 };
    snprintf(root, sizeof(root), "%s/%s", v->dir, name);
    snprintf(run, sizeof(run), "%s/%s-run", v->dir, name);
    CHECK_EQ(store_open(root, run, &s, &e), 0);
    return s;
}

static int setup(void **state)
{
    struct env *v = calloc(1, sizeof(*v));
    snprintf(v->dir, sizeof(v->dir), "/tmp/tare-store-XXXXXX");
    if (!mkdtemp(v->dir)) {
        return -1;
    }
    snprintf(v->layout, sizeof(v->layout), "%s/layout", v->dir);
    v->s = open_store(v, "root");
    if (dir_make_all(AT_FDCWD, v->layout, 0755, NULL) < 0) {
        return -1;
    }
    v->fd = open(v->layout, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = v;
    return dir_make_all(v->fd, "blobs/sha256", 0755, NULL);
}

static int teardown(void **state)
{
    struct env *v = *state;
    store_close(v->s);
    fd_close(&v->fd);
    int r = dir_remove_all(AT_FDCWD, v->dir, NULL);
    free(v);
    return r;
}

static void put(struct env *v, const void *data, size_t len, char digest[static STORE_DIGEST_SIZE])
{
    char path[100];
    CLEANUP_HASH struct hash *h = hash_new();
    hash_add(h, data, len);
    hash_digest(h, digest);
    snprintf(path, sizeof(path), "blobs/sha256/%s", digest_hex(digest));
    CHECK_EQ(file_replace(v->fd, path, data, len, 0644, false, NULL), 0);
}

/* Layer, config, manifest and index; ret: their digests. */
static void make_layout(struct env *v, char d[static 3][STORE_DIGEST_SIZE], const char *wrong_diff)
{
    char tar[10240], text[1024], name[] = "index.json";
    size_t used = 0;
    struct archive *a = archive_write_new();
    archive_write_set_format_ustar(a);
    archive_write_open_memory(a, tar, sizeof(tar), &used);
    struct archive_entry *t = archive_entry_new();
    archive_entry_copy_pathname(t, "hello");
    archive_entry_set_filetype(t, AE_IFREG);
    archive_entry_set_size(t, 0);
    archive_write_header(a, t);
    archive_entry_free(t);
    archive_write_close(a);
    archive_write_free(a);
    put(v, tar, used, d[0]);
    int n = snprintf(text, sizeof(text), "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
                     wrong_diff ? wrong_diff : d[0]);
    put(v, text, (size_t)n, d[1]);
    n = snprintf(text, sizeof(text),
                 "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%d},\"layers\":[{\"mediaType\":\"%s\","
                 "\"digest\":\"%s\",\"size\":%zu}]}",
                 MEDIA_OCI_CONFIG, d[1], n, MEDIA_OCI_LAYER, d[0], used);
    put(v, text, (size_t)n, d[2]);
    n = snprintf(text, sizeof(text),
                 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%d,\"annotations\":"
                 "{\"io.containerd.image.name\":\"docker.io/library/a:1\"}}]}",
                 MEDIA_OCI_MANIFEST, d[2], n);
    CHECK_EQ(file_replace(v->fd, name, text, (size_t)n, 0644, false, NULL), 0);
}

static void test_round_trip(void **state)
{
    struct env *v = *state;
    struct err e = { 0 };
    char d[3][STORE_DIGEST_SIZE], path[100];
    char *refs[] = { (char *)(uintptr_t)"docker.io/library/a:1", NULL };
    make_layout(v, d, NULL);
    CLEANUP_STRV char **names = NULL;
    CHECK_EQ(archive_load_dir(v->s, "default", v->layout, &options, &names, &e), 0);
    assert_string_equal(names[0], refs[0]);
    for (int format = ARCHIVE_DOCKER; format <= ARCHIVE_OCI; format++) {
        snprintf(path, sizeof(path), "%s/out.tar", v->dir);
        CLEANUP_FD int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        CHECK_EQ(archive_save(v->s, "default", refs, (enum archive_format)format, fd, &e), 0);
        CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
        struct store *other = open_store(v, format == ARCHIVE_OCI ? "oci" : "docker");
        CLEANUP_STRV char **again = NULL;
        CHECK_EQ(archive_load(other, "default", fd, &options, &again, &e), 0);
        CLEANUP_STORE_IMAGE struct store_image i = { 0 };
        CHECK_EQ(image_get(other, "default", refs[0], &i, &e), 0);
        assert_string_equal(i.id, d[1]);
        assert_string_equal(i.manifest_digest, d[2]);
        CHECK_EQ(image_remove(other, "default", refs[0], &(struct image_removal) { 0 }, NULL, &e), 0);
        CHECK_EQ(blob_stat(other, d[0], NULL, &e), -ENOENT);
        store_close(other);
    }
}

static void test_broken(void **state)
{
    struct env *v = *state;
    char d[3][STORE_DIGEST_SIZE], path[100];
    /* Damaged layer, config, manifest; then each of them missing; then a diff id that is not the layer's. */
    static const int want[] = { -EFBIG, -EBADMSG, -EBADMSG, -ENOENT, -ENOENT, -ENOENT, -EBADMSG };
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct err e = { 0 };
        CLEANUP_STRV char **names = NULL;
        make_layout(v, d, i == 6 ? "sha256:0000000000000000000000000000000000000000000000000000000000000000" : NULL);
        snprintf(path, sizeof(path), "blobs/sha256/%s", digest_hex(d[i % 3]));
        if (i < 3) {
            CLEANUP_FD int fd = openat(v->fd, path, O_WRONLY | O_APPEND | O_CLOEXEC);
            CHECK_EQ(write(fd, " ", 1), 1);
        } else if (i < 6) {
            CHECK_EQ(unlinkat(v->fd, path, 0), 0);
        }
        int r = archive_load_dir(v->s, "default", v->layout, &options, &names, &e);
        if (r != want[i]) {
            print_error("case %zu: %d %s\n", i, r, e.text);
        }
        CHECK_EQ(r, want[i]);
        CLEANUP_STORE_IMAGES struct store_images list = { 0 };
        CHECK_EQ(image_list(v->s, "default", &list, &e), 0);
        CHECK_EQ(list.n, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
    };
    return geteuid() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
