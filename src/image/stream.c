/* image/stream.c: see stream.h: hashing, inflating by isa-l and libzstd, and the ring between two threads. */
#include "image/stream.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <zstd.h>

enum { INPUT_SIZE = 256 << 10, CHUNK_SIZE = 256 << 10, CHUNKS = 8 };

ssize_t unpack_read_fd(void *fd, void *buf, size_t len)
{
    ssize_t n;
    while ((n = read(*(int *)fd, buf, len)) < 0 && errno == EINTR) {
    }
    return n < 0 ? -errno : n;
}

/* ---- hash ---- */

struct hash {
    EVP_MD_CTX *md;
};

struct hash *hash_new(void)
{
    struct hash *h = calloc(1, sizeof(*h));
    if (h) {
        h->md = EVP_MD_CTX_new();
    }
    if (!h || !h->md || EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) != 1) {
        hash_free(h);
        return NULL;
    }
    return h;
}

void hash_free(struct hash *h)
{
    if (h) {
        EVP_MD_CTX_free(h->md);
        free(h);
    }
}

void hash_add(struct hash *h, const void *data, size_t len)
{
    EVP_DigestUpdate(h->md, data, len);
}

void hash_digest(struct hash *h, char out[static STORE_DIGEST_SIZE])
{
    unsigned char raw[EVP_MAX_MD_SIZE] = { 0 };
    EVP_DigestFinal_ex(h->md, raw, NULL);
    memcpy(out, "sha256:", 7);
    for (size_t i = 0; i < 32; i++) {
        snprintf(out + 7 + i * 2, 3, "%02x", raw[i]);
    }
}

/* ---- inflate ---- */

struct inflate {
    unpack_read_fn *read;
    void *data;
    struct hash *hash;
    uint64_t size;
    enum unpack_compression how;
    struct err err;
    uint8_t *in;
    size_t at, have;
    bool eof, between; /* between: two members or frames, where the input may end */
    bool done;         /* only padding is left */
    struct inflate_state *gzip;
    ZSTD_DStream *zstd;
};

int unpack_compression_of(const char *media_type)
{
    static const struct {
        const char *suffix;
        enum unpack_compression how;
    } table[] = { { "+gzip", UNPACK_GZIP }, { ".gzip", UNPACK_GZIP }, { "+zstd", UNPACK_ZSTD }, { ".zstd", UNPACK_ZSTD }, { ".tar", UNPACK_PLAIN } };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (str_ends(media_type, table[i].suffix)) {
            return (int)table[i].how;
        }
    }
    return -EINVAL;
}

/* More compressed bytes behind those that are there. Returns bytes, 0 at the end, or -errno. */
static ssize_t fill(struct inflate *i)
{
    if (i->at > 0) {
        memmove(i->in, i->in + i->at, i->have - i->at);
        i->have -= i->at;
        i->at = 0;
    }
    if (i->eof || i->have == INPUT_SIZE) {
        return 0;
    }
    ssize_t n = i->read(i->data, i->in + i->have, INPUT_SIZE - i->have);
    if (n < 0) {
        return err_sys(&i->err, (int)-n, "read layer");
    }
    i->eof = n == 0;
    hash_add(i->hash, i->in + i->have, (size_t)n);
    i->have += (size_t)n;
    i->size += (uint64_t)n;
    return n;
}

static int detect(struct inflate *i, const char *media_type)
{
    while (i->have < 4) {
        ssize_t n = fill(i);
        if (n < 0) {
            return (int)n;
        }
        if (n == 0) {
            break;
        }
    }
    static const uint8_t zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };
    if (i->have >= 2 && i->in[0] == 0x1f && i->in[1] == 0x8b) {
        i->how = UNPACK_GZIP;
    } else if (i->have >= 4 && memcmp(i->in, zstd_magic, 4) == 0) {
        i->how = UNPACK_ZSTD;
    } else {
        i->how = UNPACK_PLAIN;
    }
    static const char *const names[] = { "plain tar", "gzip", "zstd" };
    int want = media_type ? unpack_compression_of(media_type) : (int)i->how;
    if (want < 0) {
        return err_set(&i->err, EINVAL, ERR_UNSUPPORTED, "layers of media type %.100s are not supported", media_type);
    }
    if (want != (int)i->how) {
        return err_set(&i->err, EINVAL, ERR_INVALID, "layer is %s, but its media type is %.100s", names[i->how], media_type);
    }
    return 0;
}

static int inflate_init(struct inflate *i)
{
    if (i->how == UNPACK_GZIP) {
        i->gzip = malloc(sizeof(*i->gzip));
        if (!i->gzip) {
            return err_oom(&i->err);
        }
        isal_inflate_init(i->gzip);
        i->gzip->crc_flag = ISAL_GZIP;
    } else if (i->how == UNPACK_ZSTD) {
        i->zstd = ZSTD_createDStream();
        if (!i->zstd) {
            return err_oom(&i->err);
        }
        ZSTD_DCtx_setParameter(i->zstd, ZSTD_d_windowLogMax, 27);
    }
    return 0;
}

int inflate_open(unpack_read_fn *read, void *data, const char *media_type, struct inflate **ret, struct err *e)
{
    struct inflate *i = calloc(1, sizeof(*i));
    if (!i) {
        return err_oom(e);
    }
    i->read = read;
    i->data = data;
    i->hash = hash_new();
    i->in = malloc(INPUT_SIZE);
    int r = i->hash && i->in ? detect(i, media_type) : err_oom(&i->err);
    if (r == 0) {
        r = inflate_init(i);
    }
    if (r < 0) {
        if (e) {
            *e = i->err;
        }
        inflate_free(i);
        return r;
    }
    *ret = i;
    return 0;
}

void inflate_free(struct inflate *i)
{
    if (i) {
        hash_free(i->hash);
        ZSTD_freeDStream(i->zstd);
        free(i->gzip);
        free(i->in);
        free(i);
    }
}

static ssize_t step_gzip(struct inflate *i, void *buf, size_t len)
{
    struct inflate_state *z = i->gzip;
    if (z->block_state == ISAL_BLOCK_FINISH) {
        /* Behind a member: another one, or padding that is only hashed. */
        while (i->have - i->at < 2) {
            ssize_t n = fill(i);
            if (n < 0) {
                return n;
            }
            if (n == 0) {
                i->done = true;
                return 0;
            }
        }
        if (i->in[i->at] != 0x1f || i->in[i->at + 1] != 0x8b) {
            i->done = true;
            return 0;
        }
        isal_inflate_reset(z);
        z->crc_flag = ISAL_GZIP;
    }
    z->next_in = i->in + i->at;
    z->avail_in = (uint32_t)(i->have - i->at);
    z->next_out = buf;
    z->avail_out = (uint32_t)len;
    int rc = isal_inflate(z);
    i->at = i->have - z->avail_in;
    if (rc < 0) {
        return err_set(&i->err, EBADMSG, ERR_INVALID, "layer: damaged gzip data (%d)", rc);
    }
    i->between = z->block_state == ISAL_BLOCK_FINISH;
    return (ssize_t)(len - z->avail_out);
}

static ssize_t step_zstd(struct inflate *i, void *buf, size_t len)
{
    ZSTD_inBuffer in = { i->in, i->have, i->at };
    ZSTD_outBuffer out = { buf, len, 0 };
    size_t rc = ZSTD_decompressStream(i->zstd, &out, &in);
    i->at = in.pos;
    if (ZSTD_isError(rc)) {
        return err_set(&i->err, EBADMSG, ERR_INVALID, "layer: damaged zstd data: %s", ZSTD_getErrorName(rc));
    }
    i->between = rc == 0;
    return (ssize_t)out.pos;
}

static ssize_t step_plain(struct inflate *i, void *buf, size_t len)
{
    size_t n = i->have - i->at < len ? i->have - i->at : len;
    memcpy(buf, i->in + i->at, n);
    i->at += n;
    i->between = true;
    return (ssize_t)n;
}

ssize_t inflate_read(void *inflate, void *buf, size_t len)
{
    static ssize_t (*const steps[])(struct inflate *, void *, size_t) = { step_plain, step_gzip, step_zstd };
    struct inflate *i = inflate;
    for (;;) {
        size_t before = i->at;
        ssize_t n = steps[i->how](i, buf, len);
        if (n != 0 || i->done) {
            return n;
        }
        if (i->at != before && i->at < i->have) {
            continue;
        }
        n = fill(i);
        if (n < 0) {
            return n;
        }
        if (n == 0 && i->at == before) {
            return i->between ? 0 : err_set(&i->err, EBADMSG, ERR_INVALID, "layer: the compressed data ends too early");
        }
    }
}

const struct err *inflate_error(const struct inflate *i)
{
    return &i->err;
}

int inflate_finish(struct inflate *i, char digest[static STORE_DIGEST_SIZE], uint64_t *ret_size, struct err *e)
{
    while (!i->eof) {
        i->at = i->have;
        ssize_t n = fill(i);
        if (n < 0) {
            if (e) {
                *e = i->err;
            }
            return (int)n;
        }
    }
    hash_digest(i->hash, digest);
    *ret_size = i->size;
    return 0;
}

/* ---- ring ---- */

struct ring {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t head, tail; /* chunks written, chunks read */
    size_t used[CHUNKS];
    bool ended, abandoned;
    int code;
    uint8_t *mem;
};

struct ring *ring_new(void)
{
    struct ring *r = calloc(1, sizeof(*r));
    if (r) {
        r->mem = malloc((size_t)CHUNKS * CHUNK_SIZE);
    }
    if (!r || !r->mem) {
        free(r);
        return NULL;
    }
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    return r;
}

void ring_free(struct ring *r)
{
    if (r) {
        pthread_mutex_destroy(&r->lock);
        pthread_cond_destroy(&r->changed);
        free(r->mem);
        free(r);
    }
}

void *ring_room(struct ring *r, size_t *len)
{
    pthread_mutex_lock(&r->lock);
    while (r->head - r->tail == CHUNKS && !r->abandoned) {
        pthread_cond_wait(&r->changed, &r->lock);
    }
    void *at = r->abandoned ? NULL : r->mem + r->head % CHUNKS * CHUNK_SIZE;
    *len = CHUNK_SIZE;
    pthread_mutex_unlock(&r->lock);
    return at;
}

void ring_wrote(struct ring *r, size_t len)
{
    pthread_mutex_lock(&r->lock);
    r->used[r->head++ % CHUNKS] = len;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void ring_end(struct ring *r, int code)
{
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    r->code = code;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

const void *ring_bytes(struct ring *r, size_t *len, int *code)
{
    pthread_mutex_lock(&r->lock);
    while (r->head == r->tail && !r->ended) {
        pthread_cond_wait(&r->changed, &r->lock);
    }
    const void *at = NULL;
    *len = 0;
    if (r->head != r->tail) {
        at = r->mem + r->tail % CHUNKS * CHUNK_SIZE;
        *len = r->used[r->tail % CHUNKS];
    } else {
        *code = r->code;
    }
    pthread_mutex_unlock(&r->lock);
    return at;
}

void ring_took(struct ring *r, size_t len)
{
    (void)len; /* always a whole chunk */
    pthread_mutex_lock(&r->lock);
    r->tail++;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void ring_abandon(struct ring *r)
{
    pthread_mutex_lock(&r->lock);
    r->abandoned = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}
