/* store/blob.c: see blob.h: ingests, blobs and leases. */
#include "store/blob.h"

#include "base/fault.h"
#include "base/fd.h"
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct ingest {
    struct store *s;
    char digest[STORE_DIGEST_SIZE];
    char path[160], final[160];
    int fd;
    uint64_t size, offset;
    EVP_MD_CTX *md;
    bool linked, finished; /* linked: shares its file with an uncommitted blob */
};

void ingest_free(struct ingest *i)
{
    if (i) {
        fd_close(&i->fd);
        EVP_MD_CTX_free(i->md);
        free(i);
    }
}

static int hash_begin(EVP_MD_CTX *md, struct err *e)
{
    return EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 ? 0 : err_set(e, EIO, ERR_INTERNAL, "sha256 is not available");
}

static int hash_end(EVP_MD_CTX *md, char out[static STORE_DIGEST_SIZE], struct err *e)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    if (EVP_DigestFinal_ex(md, raw, NULL) != 1) {
        return err_set(e, EIO, ERR_INTERNAL, "sha256 failed");
    }
    memcpy(out, "sha256:", 7);
    for (size_t i = 0; i < 32; i++) {
        snprintf(out + 7 + i * 2, 3, "%02x", raw[i]);
    }
    return 0;
}

/* Opens the file and waits for its lock; it may have been moved away meanwhile by who had it. */
static int ingest_lock(struct ingest *i, struct err *e)
{
    for (;;) {
        CLEANUP_FD int fd = openat(i->s->root_fd, i->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            return err_sys(e, errno, "open %s/%s", i->s->root, i->path);
        }
        int r;
        while ((r = flock(fd, LOCK_EX)) < 0 && errno == EINTR) {
        }
        struct stat held, named;
        if (r < 0 || fstat(fd, &held) < 0) {
            return err_sys(e, errno, "lock %s/%s", i->s->root, i->path);
        }
        if (fstatat(i->s->root_fd, i->path, &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_ino == held.st_ino) {
            i->linked = held.st_nlink > 1;
            i->fd = fd_steal(&fd);
            return 0;
        }
    }
}

/* Takes in what lies there already. */
static int ingest_resume(struct ingest *i, struct err *e)
{
    CLEANUP_FREE char *chunk = malloc(256 << 10);
    if (!chunk) {
        return err_oom(e);
    }
    int r = hash_begin(i->md, e);
    for (ssize_t n; r == 0 && (n = pread(i->fd, chunk, 256 << 10, (off_t)i->offset)) != 0;) {
        if (n < 0) {
            return err_sys(e, errno, "read %s/%s", i->s->root, i->path);
        }
        EVP_DigestUpdate(i->md, chunk, (size_t)n);
        i->offset += (uint64_t)n;
    }
    if (r == 0 && i->size && i->offset > i->size) {
        return ingest_restart(i, e);
    }
    return r;
}

int ingest_open(struct store *s, const char *digest, uint64_t size, struct ingest **ret, uint64_t *ret_offset, struct err *e)
{
    CLEANUP_INGEST struct ingest *i = calloc(1, sizeof(*i));
    if (!i) {
        return err_oom(e);
    }
    i->fd = -1;
    i->s = s;
    i->size = size;
    i->md = EVP_MD_CTX_new();
    if (!i->md) {
        return err_oom(e);
    }
    int r = store_digest_path("ingest/", digest, i->path, e);
    if (r == 0) {
        r = store_digest_path("blobs/sha256/", digest, i->final, e);
    }
    if (r < 0) {
        return r;
    }
    snprintf(i->digest, sizeof(i->digest), "%s", digest);
    /* A blob that arrived whole but was never committed is checked again instead of being fetched again. */
    if (linkat(s->root_fd, i->final, s->root_fd, i->path, 0) < 0 && errno != ENOENT && errno != EEXIST) {
        return err_sys(e, errno, "link %s/%s", s->root, i->path);
    }
    r = ingest_lock(i, e);
    if (r == 0) {
        r = ingest_resume(i, e);
    }
    if (r < 0) {
        return err_wrap(e, "ingest %s", digest);
    }
    *ret_offset = i->offset;
    *ret = PTR_STEAL(i);
    return 0;
}

int ingest_write(struct ingest *i, const void *data, size_t len, struct err *e)
{
    if (i->size && len > i->size - i->offset) {
        return err_set(e, EFBIG, ERR_INVALID, "blob %s is longer than its %llu bytes", i->digest, (unsigned long long)i->size);
    }
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(i->fd, (const char *)data + done, len - done, (off_t)(i->offset + done));
        if (n < 0 && errno != EINTR) {
            return err_sys(e, errno, "write %s/%s", i->s->root, i->path);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    EVP_DigestUpdate(i->md, data, len);
    i->offset += len;
    return 0;
}

int ingest_restart(struct ingest *i, struct err *e)
{
    if (i->linked) {
        /* The bytes may be somebody's blob by now: leave them, begin with a file of our own. */
        unlinkat(i->s->root_fd, i->path, 0);
        fd_close(&i->fd);
        int r = ingest_lock(i, e);
        if (r < 0) {
            return r;
        }
    }
    if (ftruncate(i->fd, 0) < 0) {
        return err_sys(e, errno, "truncate %s/%s", i->s->root, i->path);
    }
    i->offset = 0;
    return hash_begin(i->md, e);
}

uint64_t ingest_offset(const struct ingest *i)
{
    return i->offset;
}

int ingest_reader(const struct ingest *i, int *ret_fd, struct err *e)
{
    int fd = openat(i->s->root_fd, i->finished ? i->final : i->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_sys(e, errno, "open blob %s", i->digest);
    }
    *ret_fd = fd;
    return 0;
}

int ingest_finish(struct ingest *i, struct err *e)
{
    if (i->size && i->offset < i->size) {
        return err_set(e, ENODATA, ERR_UNAVAILABLE, "blob %s ends after %llu of %llu bytes", i->digest, (unsigned long long)i->offset,
                       (unsigned long long)i->size);
    }
    char got[STORE_DIGEST_SIZE];
    int r = hash_end(i->md, got, e);
    if (r < 0) {
        return r;
    }
    if (!str_eq(got, i->digest)) {
        r = ingest_restart(i, e);
        return r < 0 ? r : err_set(e, EBADMSG, ERR_INVALID, "blob %s has the digest %s", i->digest, got);
    }
    fault_point("blob.arrived", NULL);
    if (renameat(i->s->root_fd, i->path, i->s->root_fd, i->final) < 0) {
        return err_sys(e, errno, "commit blob %s", i->digest);
    }
    fault_point("blob.named", NULL);
    if (i->linked) {
        unlinkat(i->s->root_fd, i->path, 0); /* two names of one file: the rename did nothing */
    }
    i->finished = true;
    return 0;
}

int ingest_drop(struct ingest *i, uint64_t lease, struct err *e)
{
    /* Whoever wants the blob has leased it before looking for the file: in this transaction either the lease or no user is seen. */
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int64_t used = 0;
    int r = i->finished ? store_begin(i->s, &tx, e) : err_set(e, EINVAL, ERR_INTERNAL, "blob %s is not finished", i->digest);
    if (r == 0) {
        r = db_int(i->s, 0, &used, e,
                   "SELECT 1 FROM blobs WHERE digest = ?1 UNION SELECT 1 FROM lease_items"
                   " WHERE kind = 'blob' AND digest = ?1 AND lease <> ?2",
                   "ti", i->digest, (int64_t)lease);
    }
    if (r == 0 && !used && unlinkat(i->s->root_fd, i->final, 0) < 0 && errno != ENOENT) {
        r = err_sys(e, errno, "remove blob %s", i->digest);
    }
    return r < 0 ? r : store_commit(&tx, e);
}

void store_blob_done(struct store_blob *b)
{
    free(b->media_type);
    *b = (struct store_blob) { 0 };
}

int blob_put(struct store *s, const char *digest, const void *data, size_t len, struct err *e)
{
    CLEANUP_INGEST struct ingest *i = NULL;
    uint64_t offset;
    int r = ingest_open(s, digest, 0, &i, &offset, e);
    if (r == 0 && offset) {
        r = ingest_restart(i, e);
    }
    if (r == 0) {
        r = ingest_write(i, data, len, e);
    }
    return r == 0 ? ingest_finish(i, e) : r;
}

int blob_add(struct store *s, const char *digest, uint64_t size, const char *media_type, struct err *e)
{
    char path[160];
    struct stat st;
    int r = store_digest_path("blobs/sha256/", digest, path, e);
    if (r < 0) {
        return r;
    }
    if (fstatat(s->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "blob %s of %llu bytes is not in the store", digest, (unsigned long long)size);
    }
    r = db_run(s, e, "INSERT INTO blobs VALUES (?,?,?,?) ON CONFLICT (digest) DO NOTHING", "titi", digest, (int64_t)size, media_type,
               store_now());
    return r < 0 ? err_wrap(e, "record blob %s", digest) : 0;
}

int blob_stat(struct store *s, const char *digest, struct store_blob *ret, struct err *e)
{
    char path[160];
    int r = store_digest_path("blobs/sha256/", digest, path, e);
    if (r < 0) {
        return r;
    }
    CLEANUP_DB_Q struct db_q q = { 0 };
    static const struct db_col cols[] = { { DB_U64, offsetof(struct store_blob, size) },
                                          { DB_TEXT, offsetof(struct store_blob, media_type) },
                                          { DB_I64, offsetof(struct store_blob, created) } };
    r = db_query(s, &q, e, "SELECT size, media_type, created FROM blobs WHERE digest = ?", "t", digest);
    if (r == 0) {
        r = db_step(&q, e);
    }
    if (r < 0) {
        return r;
    }
    if (r == 0 || faccessat(s->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        return err_set(e, ENOENT, ERR_NOT_FOUND, "no blob %s", digest);
    }
    if (!ret) {
        return 0;
    }
    struct store_blob b = { 0 };
    r = db_row(&q, cols, ARRAY_LEN(cols), &b, e);
    if (r == 0) {
        snprintf(b.digest, sizeof(b.digest), "%s", digest);
        *ret = b;
    }
    return r;
}

int blob_open(struct store *s, const char *digest, int *ret_fd, struct err *e)
{
    char path[160];
    int r = store_digest_path("blobs/sha256/", digest, path, e);
    if (r == 0) {
        r = blob_stat(s, digest, NULL, e);
    }
    if (r < 0) {
        return r;
    }
    int fd = openat(s->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_sys(e, errno, "open blob %s", digest);
    }
    *ret_fd = fd;
    return 0;
}

int blob_read(struct store *s, const char *digest, size_t max, struct buf *out, struct err *e)
{
    CLEANUP_FD int fd = -1;
    int r = blob_open(s, digest, &fd, e);
    if (r < 0) {
        return r;
    }
    size_t before = out->len;
    r = fd_read_all(fd, out, max);
    if (r < 0) {
        return err_sys(e, -r, "read blob %s", digest);
    }
    char got[STORE_DIGEST_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    r = md ? hash_begin(md, e) : err_oom(e);
    if (r == 0) {
        EVP_DigestUpdate(md, buf_str(out) + before, out->len - before);
        r = hash_end(md, got, e);
    }
    EVP_MD_CTX_free(md);
    if (r == 0 && !str_eq(got, digest)) {
        return err_set(e, EBADMSG, ERR_INVALID, "blob %s is damaged: its digest is %s", digest, got);
    }
    return r;
}

int store_lease_begin(struct store *s, int64_t ttl_ns, uint64_t *ret_lease, struct err *e)
{
    CLEANUP_STORE_TX struct store_tx tx = { 0 };
    int r = store_begin(s, &tx, e);
    if (r == 0) {
        int64_t ttl = ttl_ns ? ttl_ns : (int64_t)24 * 3600 * 1000000000;
        r = db_run(s, e, "INSERT INTO leases (boot, owner_pid, owner_start, expires) VALUES (?,?,?,?)", "tiii", s->boot_id,
                   (int64_t)getpid(), (int64_t)s->self_start, store_now() + ttl);
    }
    if (r < 0) {
        return err_wrap(e, "take a lease");
    }
    uint64_t id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    r = store_commit(&tx, e);
    if (r == 0) {
        *ret_lease = id;
    }
    return r;
}

int store_lease_add(struct store *s, uint64_t lease, const char *kind, const char *digest, struct err *e)
{
    int r = db_run(s, e, "INSERT INTO lease_items VALUES (?,?,?) ON CONFLICT DO NOTHING", "itt", (int64_t)lease, kind, digest);
    return r < 0 ? err_wrap(e, "lease %s %s", kind, digest) : 0;
}

void store_lease_end(struct store *s, uint64_t lease)
{
    if (lease) {
        int r = db_run(s, NULL, "DELETE FROM leases WHERE id = ?", "i", (int64_t)lease);
        (void)r; /* it ends with the process in any case */
    }
}
