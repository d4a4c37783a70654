/* store/test-store.c: rows, transactions, locks, blobs, garbage; two processes at once; a crash between stages. */
#include "base/test.h"

#include "base/fd.h"
#include "store/blob.h"
#include "store/journal.h"
#include "store/layers.h"
#include "store/lock.h"
#include "store/object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct env {
    char dir[64], root[80], run[80];
    struct store *s;
};

static int setup(void **state)
{
    struct env *v = calloc(1, sizeof(*v));
    struct err e = { 0 };
    snprintf(v->dir, sizeof(v->dir), "/tmp/tare-store-XXXXXX");
    if (!mkdtemp(v->dir)) {
        return -1;
    }
    snprintf(v->root, sizeof(v->root), "%s/root", v->dir);
    snprintf(v->run, sizeof(v->run), "%s/run", v->dir);
    *state = v;
    int r = store_open(v->root, v->run, &v->s, &e);
    if (r < 0) {
        print_error("%s\n", e.text);
    }
    return r;
}

static int teardown(void **state)
{
    struct env *v = *state;
    struct err e = { 0 };
    store_close(v->s);
    int r = dir_remove_all(AT_FDCWD, v->dir, &e);
    free(v);
    return r;
}

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        int got_ = (call);                                                                                             \
        if (got_ < 0) {                                                                                                \
            print_error("%s\n", e.text);                                                                               \
        }                                                                                                              \
        CHECK_EQ(got_ < 0, 0);                                                                                         \
    } while (0)

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "abbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ID_C "accccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define HELLO "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define NONE "sha256:0000000000000000000000000000000000000000000000000000000000000000"

static void add_pod(struct store *s, const char *id, const char *key, const char *name)
{
    struct err e = { 0 };
    struct store_pod p = { .id = strdup(id), .ns = strdup("default"), .key = key ? strdup(key) : NULL, .name = strdup(name),
                           .state = strdup("creating"), .created = 5, .spec = strdup("{}") };
    OK(store_pod_add(s, &p, &e));
    store_pod_done(&p);
}

static void test_objects(void **state)
{
    struct store *s = ((struct env *)*state)->s;
    struct err e = { 0 };
    add_pod(s, ID_A, "k/1", "web");
    add_pod(s, ID_B, NULL, "web");
    struct store_pod dup = { .id = (char *)"c", .ns = (char *)"default", .key = (char *)"k/1", .name = (char *)"x", .state = (char *)"creating" };
    CHECK_EQ(store_pod_add(s, &dup, &e), -EEXIST);
    CHECK_EQ(e.kind, ERR_EXISTS);
    CLEANUP_STORE_POD struct store_pod p = { 0 };
    CHECK_EQ(store_pod_get(s, "default", "web", &p, &e), -EINVAL);
    CHECK_EQ(store_pod_get(s, "default", "a", &p, &e), -EINVAL);
    CHECK_EQ(store_pod_get(s, "other", "aa", &p, &e), -ENOENT);
    OK(store_pod_get(s, "default", "aa", &p, &e));
    assert_string_equal(p.id, ID_A);
    struct store_ctr c = { .id = (char *)ID_B, .ns = (char *)"default", .pod_id = (char *)ID_A, .name = (char *)"c1", .state = (char *)"created",
                           .exit_code = -1, .pid_start = 77, .oom_killed = true };
    OK(store_ctr_add(s, &c, &e));
    c.id = (char *)ID_A;
    CHECK_EQ(store_ctr_add(s, &c, &e), -EEXIST);
    CHECK_EQ(store_pod_delete(s, ID_A, &e), -EBUSY);
    c.id = (char *)"dd";
    c.name = NULL;
    c.pod_id = (char *)"none";
    CHECK_EQ(store_ctr_add(s, &c, &e), -ENOENT);
    CLEANUP_STORE_CTR struct store_ctr got = { 0 };
    OK(store_ctr_get(s, "default", "c1", &got, &e));
    CHECK_EQ(got.exit_code, -1);
    CHECK_EQ(got.pid_start, 77);
    CHECK_EQ(got.oom_killed, true);
    got.exit_code = 3;
    OK(store_ctr_update(s, &got, &e));
    CLEANUP_STORE_CTRS struct store_ctrs list = { 0 };
    OK(store_ctr_list(s, "default", ID_A, &list, &e));
    CHECK_EQ(list.n, 1);
    CHECK_EQ(list.v[0].exit_code, 3);
    OK(store_ctr_delete(s, ID_B, &e));
    OK(store_ctr_delete(s, ID_B, &e));
    OK(store_pod_delete(s, ID_A, &e));
}

static void test_transactions(void **state)
{
    struct store *s = ((struct env *)*state)->s;
    struct err e = { 0 };
    struct store_event ev = { .ns = (char *)"default", .type = (char *)"pod", .action = (char *)"create", .object = (char *)ID_A };
    {
        CLEANUP_STORE_TX struct store_tx tx = { 0 };
        OK(store_begin(s, &tx, &e));
        add_pod(s, ID_A, NULL, "x");
        OK(event_append(s, &ev, NULL, &e));
    }
    CLEANUP_STORE_EVENTS struct store_events list = { 0 };
    OK(event_list(s, NULL, 0, 0, 0, 0, &list, &e));
    CHECK_EQ(list.n, 0);
    CLEANUP_STORE_TX struct store_tx outer = { 0 };
    OK(store_begin(s, &outer, &e));
    struct store_tx inner = { 0 };
    OK(store_begin(s, &inner, &e));
    store_rollback(&inner);
    CHECK_EQ(store_commit(&outer, &e), -ECANCELED);
    CLEANUP_STORE_POD struct store_pod p = { 0 };
    CHECK_EQ(store_pod_get(s, NULL, ID_A, &p, &e), -ENOENT);
}

static void test_journal(void **state)
{
    struct store *s = ((struct env *)*state)->s;
    struct err e = { 0 };
    uint64_t id, last;
    OK(op_begin(s, "default", "pod/a", "run-pod", ID_A, "record", NULL, &id, &e));
    CHECK_EQ(op_begin(s, "default", "pod/a", "run-pod", ID_A, "record", NULL, &last, &e), -EEXIST);
    CHECK_EQ(e.kind, ERR_BUSY);
    OK(op_stage(s, id, "netns", "{\"n\":1}", &e));
    OK(op_finish(s, id, "no network", &e));
    CHECK_EQ(op_stage(s, id, "late", NULL, &e), -ENOENT);
    pid_t pid = fork();
    if (pid == 0) { /* dies in the middle of an operation */
        struct store *mine = NULL;
        struct env *v = *state;
        _exit(store_open(v->root, v->run, &mine, &e) < 0 || op_begin(mine, "default", "pod/b", "run-pod", ID_B, "dirs", NULL, &id, &e) < 0);
    }
    int status;
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
    CLEANUP_STORE_OPS struct store_ops ops = { 0 };
    OK(op_list(s, &(struct op_query) { .unfinished = true }, &ops, &e));
    CHECK_EQ(ops.n, 1);
    assert_string_equal(ops.v[0].stage, "dirs");
    CHECK_EQ(op_owner_alive(s, &ops.v[0]), false);
    OK(op_adopt(s, ops.v[0].id, &e));
    OK(op_finish(s, ops.v[0].id, NULL, &e));
    struct store_event ev = { .ns = (char *)"default", .type = (char *)"pod", .action = (char *)"create", .object = (char *)ID_A };
    for (int i = 0; i < 50; i++) {
        OK(event_append(s, &ev, &last, &e));
    }
    OK(journal_trim(s, 10, INT64_C(3600000000000), &e));
    CLEANUP_STORE_EVENTS struct store_events list = { 0 };
    OK(event_list(s, "default", 0, 0, 0, 0, &list, &e));
    CHECK_EQ(list.n, 10);
    CHECK_EQ(list.v[9].id, last);
    uint64_t seen = 0;
    OK(event_last(s, &seen, &e));
    CHECK_EQ(seen, last);
}

static void test_ingest(void **state)
{
    struct store *s = ((struct env *)*state)->s;
    struct err e = { 0 };
    struct ingest *i = NULL;
    uint64_t at;
    OK(ingest_open(s, HELLO, 5, &i, &at, &e));
    OK(ingest_write(i, "he", 2, &e));
    CHECK_EQ(ingest_write(i, "lloo", 4, &e), -EFBIG);
    CHECK_EQ(ingest_finish(i, &e), -ENODATA);
    ingest_free(i);
    OK(ingest_open(s, HELLO, 5, &i, &at, &e));
    CHECK_EQ(at, 2);
    OK(ingest_write(i, "llo", 3, &e));
    OK(ingest_finish(i, &e));
    ingest_free(i);
    CHECK_EQ(blob_stat(s, HELLO, NULL, &e), -ENOENT);
    /* Finished, never committed: found again without fetching. */
    OK(ingest_open(s, HELLO, 5, &i, &at, &e));
    CHECK_EQ(at, 5);
    OK(ingest_finish(i, &e));
    ingest_free(i);
    uint64_t lease;
    OK(store_lease_begin(s, 0, &lease, &e));
    OK(store_lease_add(s, lease, "blob", HELLO, &e));
    OK(store_sync(s, &e));
    OK(blob_add(s, HELLO, 5, "text/plain", &e));
    struct store_gc gc;
    OK(store_collect(s, &gc, &e));
    CHECK_EQ(gc.blobs, 0);
    CLEANUP_BUF struct buf b = { 0 };
    OK(blob_read(s, HELLO, 100, &b, &e));
    assert_string_equal(buf_str(&b), "hello");
    store_lease_end(s, lease);
    OK(store_collect(s, &gc, &e));
    CHECK_EQ(gc.blobs, 1);
    CHECK_EQ(blob_stat(s, HELLO, NULL, &e), -ENOENT);
    CHECK_EQ(blob_put(s, NONE, "x", 1, &e), -EBADMSG);
    CHECK_EQ(blob_put(s, "sha256:../../x", "x", 1, &e), -EINVAL);
}

static void commit_layer(struct store *s, const char *diff)
{
    struct err e = { 0 };
    CLEANUP_FREE char *tmp = NULL;
    CLEANUP_FD int fd = -1;
    OK(layer_tmp(s, diff, &tmp, &fd, &e));
    OK(mkdirat(fd, "d", 0755));
    OK(layer_commit(s, tmp, &(struct store_layer) { .diff_id = (char *)diff, .size = 10, .inodes = 1 }, &e));
}

static void test_images(void **state)
{
    struct store *s = ((struct env *)*state)->s;
    struct err e = { 0 };
    char *layers[] = { (char *)HELLO, NULL }, *tags[] = { (char *)"docker.io/library/a:1", NULL };
    struct store_image i = { .ns = (char *)"default", .id = (char *)NONE, .manifest_digest = (char *)HELLO, .layers = layers, .tags = tags };
    CHECK_EQ(store_image_put(s, &i, &e), -ENOENT);
    commit_layer(s, HELLO);
    commit_layer(s, HELLO);
    OK(store_image_put(s, &i, &e));
    tags[0] = (char *)"docker.io/library/a@" HELLO;
    OK(store_image_put(s, &i, &e));
    CLEANUP_STORE_IMAGE struct store_image got = { 0 };
    OK(store_image_find(s, "default", "0000", &got, &e));
    CHECK_EQ(strv_len(got.tags), 1);
    CHECK_EQ(strv_len(got.digests), 1);
    CHECK_EQ(got.size, 10);
    CHECK_EQ(store_image_find(s, "other", "0000", &got, &e), -ENOENT);
    add_pod(s, ID_A, NULL, "p");
    struct store_ctr c = { .id = (char *)ID_A, .ns = (char *)"default", .pod_id = (char *)ID_A, .state = (char *)"created",
                           .image_id = (char *)NONE, .layers = layers };
    uint64_t bytes, inodes, reclaimable;
    OK(store_disk_usage(s, "default", &bytes, &inodes, &reclaimable, &e));
    CHECK_EQ(bytes, 10);
    CHECK_EQ(reclaimable, 10);
    OK(store_ctr_add(s, &c, &e));
    OK(store_disk_usage(s, NULL, &bytes, &inodes, &reclaimable, &e));
    CHECK_EQ(reclaimable, 0);
    OK(store_image_delete(s, "default", NONE, &e));
    struct store_gc gc;
    OK(store_collect(s, &gc, &e));
    CHECK_EQ(gc.layers, 0);
    OK(store_ctr_delete(s, ID_A, &e));
    OK(store_collect(s, &gc, &e));
    CHECK_EQ(gc.layers, 1);
    CLEANUP_FREE char *path = store_layer_path(s, HELLO);
    CHECK_EQ(access(path, F_OK), -1);
}

/* Nobody but root sees the environment of containers in the database, or comes to the set-user-id programs of a container. */
static void test_modes(void **state)
{
    struct env *v = *state;
    struct err e = { 0 };
    struct stat st;
    static const char *const closed[] = { "state.db", "state.db-wal", "state.db-shm", "blobs", "ingest", "layers", "trash", "containers",
                                          "volumes" };
    add_pod(v->s, ID_A, NULL, "p");
    CLEANUP_FD int root = open(v->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(closed); i++) {
            CHECK_EQ(fstatat(root, closed[i], &st, AT_SYMLINK_NOFOLLOW), 0);
            CHECK_EQ(st.st_mode & 077, 0);
        }
        /* As an older version made it. */
        store_close(v->s);
        v->s = NULL;
        CHECK_EQ(fchmodat(root, "state.db", 0644, 0), 0);
        CHECK_EQ(fchmodat(root, "containers", 0711, 0), 0);
        OK(store_open(v->root, v->run, &v->s, &e));
        add_pod(v->s, round ? ID_C : ID_B, NULL, round ? "r" : "q");
    }
}

static void test_newer_format(void **state)
{
    struct env *v = *state;
    struct err e = { 0 };
    struct store *other = NULL;
    sqlite3 *db;
    char path[120];
    snprintf(path, sizeof(path), "%s/state.db", v->root);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, "INSERT INTO schema_versions VALUES (99, 0)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    CHECK_EQ(store_open(v->root, v->run, &other, &e), -ENOTSUP);
    CHECK_EQ(e.kind, ERR_UNSUPPORTED);
}

static void test_two_processes(void **state)
{
    struct env *v = *state;
    struct err e = { 0 };
    pid_t pids[2];
    for (int k = 0; k < 2; k++) {
        pids[k] = fork();
        if (pids[k] == 0) {
            struct store *s = NULL;
            int r = store_open(v->root, v->run, &s, &e);
            struct store_event ev = { .ns = (char *)"default", .type = (char *)"t", .action = (char *)"a", .object = (char *)"o" };
            for (int i = 0; r == 0 && i < 200; i++) {
                int fd = -1;
                r = lock_take(s, "pod", "x", false, LOCK_WAIT, &fd, &e);
                r = r < 0 ? r : event_append(s, &ev, NULL, &e);
                if (r == 0 && i % 10 == 0) {
                    lock_forget(s, "pod", "x");
                }
                fd_close(&fd);
            }
            _exit(r < 0);
        }
    }
    for (int k = 0; k < 2; k++) {
        int status;
        waitpid(pids[k], &status, 0);
        CHECK_EQ(status, 0);
    }
    CLEANUP_STORE_EVENTS struct store_events list = { 0 };
    OK(event_list(v->s, NULL, 0, 0, 0, 0, &list, &e));
    CHECK_EQ(list.n, 400);
    int fd = -1, second = -1;
    OK(lock_take(v->s, "pod", "y", false, LOCK_TRY, &fd, &e));
    CHECK_EQ(lock_take(v->s, "pod", "y", false, 5, &second, &e), -EAGAIN);
    CHECK_EQ(lock_take(v->s, "pod", "../y", false, LOCK_TRY, &second, &e), -EINVAL);
    fd_close(&fd);
}

static void test_sweep(void **state)
{
    struct store *s = ((struct env *)*state)->s;
    struct err e = { 0 };
    int root = store_root_fd(s);
    OK(dir_make_all(root, "layers/" ID_A ".tmp-999999-5-1/diff", 0755, &e));
    OK(dir_make_all(root, "layers/" ID_B "/diff", 0755, &e));
    OK(store_sweep(s, 0, NULL, &e));
    CHECK_EQ(faccessat(root, "layers/" ID_A ".tmp-999999-5-1", F_OK, 0), -1);
    CHECK_EQ(faccessat(root, "layers/" ID_B, F_OK, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_objects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ingest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_images, setup, teardown),
        cmocka_unit_test_setup_teardown(test_modes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_format, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_processes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
