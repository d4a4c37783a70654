/* image/unpack.c: see unpack.h: inflate and hash in the caller's thread, hash and write files in a second one. */
#include "image/stream.h"

#include <errno.h>
#include <pthread.h>

struct writer {
    struct ring *ring;
    struct hash *diff;
    int dirfd;
    const struct unpack_options *o;
    struct unpack_result result;
    struct err err;
    int r;
};

static void *write_files(void *data)
{
    struct writer *w = data;
    w->r = untar(w->ring, w->diff, w->dirfd, w->o, &w->result, &w->err);
    ring_abandon(w->ring);
    return NULL;
}

/* Moves the plain bytes into the ring. Returns 0 (also when the writer gave up) or -errno. */
static int pump(struct inflate *in, struct ring *ring, uint64_t *diff_size)
{
    for (;;) {
        size_t room, used = 0;
        char *at = ring_room(ring, &room);
        if (!at) {
            return 0;
        }
        ssize_t n = 1;
        while (used < room && (n = inflate_read(in, at + used, room - used)) > 0) {
            used += (size_t)n;
        }
        *diff_size += used;
        if (used > 0 && n >= 0) {
            ring_wrote(ring, used);
        }
        if (n <= 0) {
            ring_end(ring, (int)n);
            return (int)n;
        }
    }
}

static int check(const char *what, const char *got, const char *want, struct err *e)
{
    return !want || str_eq(got, want) ? 0 : err_set(e, EBADMSG, ERR_INVALID, "%s is %s, not %s", what, got, want);
}

static int run(struct inflate *in, struct writer *w, struct unpack_result *ret, struct err *e)
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, write_files, w);
    if (r != 0) {
        return err_sys(e, r, "start a thread");
    }
    uint64_t diff_size = 0;
    int pumped = pump(in, w->ring, &diff_size);
    pthread_join(thread, NULL);
    if (pumped < 0) {
        if (e) {
            *e = *inflate_error(in);
        }
        return pumped;
    }
    if (w->r < 0) {
        if (e) {
            *e = w->err;
        }
        return w->r;
    }
    struct unpack_result res = w->result;
    res.diff_size = diff_size;
    hash_digest(w->diff, res.diff_id);
    r = inflate_finish(in, res.blob_digest, &res.blob_size, e);
    if (r == 0) {
        r = check("the layer's digest", res.blob_digest, w->o->blob_digest, e);
    }
    if (r == 0) {
        r = check("the digest of the layer's tar", res.diff_id, w->o->diff_id, e);
    }
    if (r == 0) {
        *ret = res;
    }
    return r;
}

int unpack_layer(unpack_read_fn *read, void *data, int dirfd, const struct unpack_options *o, struct unpack_result *ret, struct err *e)
{
    struct inflate *in = NULL;
    int r = inflate_open(read, data, o->media_type, &in, e);
    if (r < 0) {
        return r;
    }
    struct writer w = { .ring = ring_new(), .diff = hash_new(), .dirfd = dirfd, .o = o };
    r = w.ring && w.diff ? run(in, &w, ret, e) : err_oom(e);
    ring_free(w.ring);
    hash_free(w.diff);
    inflate_free(in);
    return r;
}
