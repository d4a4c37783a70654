/*
 * image/pull-layer.c: one layer on its way: the worker writes what arrives into the ingest file while a second thread unpacks from that file
 * as far as it has grown. The file is the buffer between them: a slow disk never stalls the connection, and what
 * arrived before a crash is unpacked again without being fetched again.
 */
#include "base/fd.h"
#include "image/pull-internal.h"
#include "store/blob.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

struct fetch {
    struct pull *p;
    const struct image_descriptor *d;
    struct layer_desc desc;
    struct ingest *ingest;
    int64_t told; /* when progress was told last, ms */

    pthread_mutex_t lock;
    pthread_cond_t more;
    int fd;                /* reads the ingest */
    uint64_t have, taken;
    bool ended, broken;    /* all is there and right; nothing more will come */
    bool unpack_ended;
    int unpack_result;
    struct err unpack_err;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* For the unpacker: waits for bytes. */
static ssize_t read_arrived(void *data, void *buf, size_t len)
{
    struct fetch *f = data;
    pthread_mutex_lock(&f->lock);
    while (f->taken == f->have && !f->ended && !f->broken) {
        pthread_cond_wait(&f->more, &f->lock);
    }
    uint64_t left = f->have - f->taken;
    bool broken = f->broken;
    pthread_mutex_unlock(&f->lock);
    if (broken) {
        return -ECANCELED;
    }
    if (left == 0) {
        return 0;
    }
    ssize_t n;
    do {
        n = pread(f->fd, buf, left < len ? (size_t)left : len, (off_t)f->taken);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        return n < 0 ? -errno : -EIO;
    }
    f->taken += (uint64_t)n; /* only this thread changes it */
    return n;
}

static void *unpack_arriving(void *data)
{
    struct fetch *f = data;
    struct err e = { 0 };
    int r = image_new_layer(&f->p->image, &f->desc, read_arrived, f, NULL, &e);
    pthread_mutex_lock(&f->lock);
    f->unpack_result = r;
    f->unpack_err = e;
    f->unpack_ended = true;
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static int on_bytes(void *data, const void *bytes, size_t len, struct err *e)
{
    struct fetch *f = data;
    int r = ingest_write(f->ingest, bytes, len, e);
    if (r < 0) {
        return r;
    }
    pthread_mutex_lock(&f->lock);
    f->have += len;
    pthread_cond_signal(&f->more);
    pthread_mutex_unlock(&f->lock);
    int64_t now = now_ms();
    if (now - f->told >= 100) {
        f->told = now;
        pull_tell(f->p, PULL_DOWNLOADING, f->d->digest, f->have, f->d->size);
    }
    return 0;
}

static void end_bytes(struct fetch *f, bool whole)
{
    pthread_mutex_lock(&f->lock);
    f->ended = whole;
    f->broken = !whole;
    pthread_cond_signal(&f->more);
    pthread_mutex_unlock(&f->lock);
}

/* One try from what is in the ingest to the end. 1: the bytes were wrong, another source may have the right ones. */
static int fetch_once(struct fetch *f, struct repo_blob *b, struct err *e)
{
    pthread_t thread;
    f->have = ingest_offset(f->ingest);
    f->taken = 0;
    f->ended = f->broken = f->unpack_ended = false;
    int r = ingest_reader(f->ingest, &f->fd, e);
    if (r < 0) {
        return r;
    }
    r = pthread_create(&thread, NULL, unpack_arriving, f);
    if (r != 0) {
        close(f->fd);
        return err_sys(e, r, "start a thread");
    }
    b->offset = f->have;
    pull_tell(f->p, PULL_DOWNLOADING, f->d->digest, f->have, f->d->size);
    r = repo_blob_get(f->p->repo, b, on_bytes, f, e);
    r = r < 0 ? r : ingest_finish(f->ingest, e);
    end_bytes(f, r == 0);
    if (r == 0) {
        pull_tell(f->p, PULL_UNPACKING, f->d->digest, f->d->size, f->d->size);
    }
    pthread_join(thread, NULL);
    close(f->fd);
    f->fd = -1;
    /*
     * Bytes that are not what the digest says cannot be unpacked either, so the download went on to its end to tell a server that
     * sends wrong bytes from a layer that is broken.
     */
    if (r == -EBADMSG) {
        return 1;
    }
    if (r == 0 && f->unpack_result < 0) {
        return err_set(e, f->unpack_err.code, f->unpack_err.kind, "%s", f->unpack_err.text);
    }
    return r;
}

/*
 * When wrong bytes came, the servers that sent them are left out; when none is left, all get one more chance. Bytes that were there from
 * before are nobody's fault.
 */
static int fetch_layer(struct fetch *f, struct err *e)
{
    struct repo_blob b = { .digest = f->d->digest, .size = f->d->size };
    CLEANUP_INGEST struct ingest *ingest = NULL;
    uint64_t offset = 0;
    bool second_round = false;
    struct err wrong = { 0 };
    int r = ingest_open(f->p->store, f->d->digest, f->d->size, &ingest, &offset, e);
    f->ingest = ingest;
    while (r >= 0) {
        struct err why = { 0 };
        r = fetch_once(f, &b, &why);
        if (r == 0) {
            break;
        }
        if (r == 1) {
            wrong = why;
        }
        bool again = r == 1 && (b.used != 0 || b.offset > 0);
        b.avoid |= r == 1 ? b.used : 0;
        if (r == -ENOLINK && wrong.code && !second_round) {
            again = second_round = true;
            b.avoid = 0;
        }
        if (!again) {
            const struct err *told = wrong.code ? &wrong : &why;
            return err_set(e, told->code, told->kind, "%s", told->text);
        }
        r = ingest_restart(ingest, e);
    }
    if (r < 0) {
        return r;
    }
    return f->p->o->drop_blobs ? ingest_drop(ingest, f->p->image.lease, e)
                               : image_new_keep(&f->p->image, f->d->digest, f->d->media_type, f->d->size, e);
}

/* The compressed blob is in the store already. */
static int unpack_blob(struct fetch *f, int fd, struct err *e)
{
    pull_tell(f->p, PULL_UNPACKING, f->d->digest, f->d->size, f->d->size);
    int r = image_new_layer(&f->p->image, &f->desc, unpack_read_fd, &fd, NULL, e);
    return r < 0 ? r : image_new_keep(&f->p->image, f->d->digest, f->d->media_type, f->d->size, e);
}

static int bring_layer(struct fetch *f, struct err *e)
{
    struct pull *p = f->p;
    CLEANUP_FD int fd = -1;
    struct err why = { 0 };
    int r = image_new_have_layer(&p->image, &f->desc, e);
    if (r < 0) {
        return r;
    }
    bool layer = r == 1;
    r = image_new_lease_blob(&p->image, f->d->digest, e);
    if (r < 0) {
        return r;
    }
    bool blob = blob_open(p->store, f->d->digest, &fd, &why) == 0;
    if (layer) {
        pull_tell(p, PULL_EXISTS, f->d->digest, f->d->size, f->d->size);
        return blob ? image_new_keep(&p->image, f->d->digest, f->d->media_type, f->d->size, e) : 0;
    }
    r = blob ? unpack_blob(f, fd, e) : -EBADMSG;
    /* A blob that is damaged is fetched again. */
    return r == -EBADMSG ? fetch_layer(f, e) : r;
}

int pull_layer(struct pull *p, size_t index, struct err *e)
{
    const struct image_descriptor *d = &p->m.layers.v[index];
    struct fetch f = { .p = p, .d = d, .fd = -1 };
    f.desc = (struct layer_desc){ .diff_id = p->config.rootfs.diff_ids[index], .blob_digest = d->digest, .media_type = d->media_type,
                                  .blob_size = d->size, .source = p->name };
    pthread_mutex_init(&f.lock, NULL);
    pthread_cond_init(&f.more, NULL);
    int r = bring_layer(&f, e);
    pthread_cond_destroy(&f.more);
    pthread_mutex_destroy(&f.lock);
    if (r < 0) {
        return err_wrap(e, "layer %.19s", d->digest);
    }
    pull_tell(p, PULL_LAYER_DONE, d->digest, d->size, d->size);
    return 0;
}
