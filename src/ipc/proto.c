/* ipc/proto.c: see proto.h. Every length is checked against what is there before anything is read. */
#include "ipc/proto.h"

#include "base/fd.h"

#include <endian.h>
#include <errno.h>

struct wire_header {
    uint32_t magic;
    uint8_t major, minor;
    uint16_t type;
    uint32_t flags, seq, len;
};

struct wire_field {
    uint16_t tag, zero;
    uint32_t len;
};

_Static_assert(sizeof(struct wire_header) == MON_HEADER_LEN, "header");
_Static_assert(sizeof(struct wire_field) == MON_FIELD_LEN, "field");

/* ---- encoding -------------------------------------------------------------------------------------- */

static void put_bytes(struct buf *out, uint16_t tag, const void *data, size_t len)
{
    struct wire_field f = { .tag = htole16(tag), .len = htole32((uint32_t)len) };
    if (len > MON_MESSAGE_MAX) {
        out->failed = true;
        return;
    }
    buf_add(out, &f, sizeof(f));
    buf_add(out, data, len);
}

/* 0 need not be told, unless the reader insists on the field. */
static void put_number(struct buf *out, const struct mon_field *f, uint64_t v)
{
    if (v != 0 || f->required) {
        v = htole64(v);
        put_bytes(out, f->tag, &v, sizeof(v));
    }
}

static void put_strs(struct buf *out, uint16_t tag, char *const *v)
{
    for (; v && *v; v++) {
        put_bytes(out, tag, *v, strlen(*v));
    }
}

/* Index 0 has to be told as well, so descriptors are put even if the number is 0. */
static void put_fd(struct buf *out, uint16_t tag, int fd, int *fds, size_t *n_fds)
{
    if (fd < 0) {
        return;
    }
    if (*n_fds >= MON_FDS_MAX) {
        out->failed = true;
        return;
    }
    uint64_t v = htole64(*n_fds);
    fds[(*n_fds)++] = fd;
    put_bytes(out, tag, &v, sizeof(v));
}

static void put_field(const struct mon_field *f, const void *in, struct buf *out, int *fds, size_t *n_fds)
{
    const char *p = (const char *)in + f->offset;
    switch ((enum mon_kind)f->kind) {
    case MON_K_BOOL:
        put_number(out, f, *(const bool *)p);
        break;
    case MON_K_I32:
        put_number(out, f, (uint64_t)(int64_t) * (const int32_t *)(const void *)p);
        break;
    case MON_K_U32:
        put_number(out, f, *(const uint32_t *)(const void *)p);
        break;
    case MON_K_I64:
    case MON_K_U64:
        put_number(out, f, *(const uint64_t *)(const void *)p);
        break;
    case MON_K_STR: {
        const char *s = *(char *const *)(const void *)p;
        if (s) {
            put_bytes(out, f->tag, s, strlen(s));
        }
        break;
    }
    case MON_K_STRS:
        put_strs(out, f->tag, *(char **const *)(const void *)p);
        break;
    case MON_K_BYTES: {
        const struct mon_bytes *b = (const void *)p;
        if (b->len) {
            put_bytes(out, f->tag, b->data, b->len);
        }
        break;
    }
    case MON_K_FD:
        put_fd(out, f->tag, *(const int *)(const void *)p, fds, n_fds);
        break;
    }
}

int mon_encode(const struct mon_header *h, const struct mon_type *type, const void *in, struct buf *out, int *fds, size_t *n_fds,
               struct err *e)
{
    size_t start = out->len;
    struct wire_header w = { .magic = htole32(MON_MAGIC), .major = h->major, .minor = h->minor, .type = htole16(h->type),
                             .flags = htole32(h->flags), .seq = htole32(h->seq) };
    *n_fds = 0;
    buf_add(out, &w, sizeof(w));
    for (size_t i = 0; type && i < type->n_fields; i++) {
        put_field(&type->fields[i], in, out, fds, n_fds);
    }
    size_t len = out->len - start;
    if (buf_failed(out) || len > MON_MESSAGE_MAX) {
        return err_set(e, EMSGSIZE, ERR_INVALID, "%s: message is longer than %d bytes, or out of memory",
                       mon_message_name(h->type), MON_MESSAGE_MAX);
    }
    w.len = htole32((uint32_t)(len - sizeof(w)));
    memcpy(out->data + start, &w, sizeof(w));
    return 0;
}

/* ---- decoding -------------------------------------------------------------------------------------- */

int mon_decode_header(const void *packet, size_t len, struct mon_header *ret, struct err *e)
{
    struct wire_header w;
    if (len < sizeof(w)) {
        return err_set(e, EPROTO, ERR_INVALID, "message of %zu bytes is shorter than its header", len);
    }
    memcpy(&w, packet, sizeof(w));
    if (le32toh(w.magic) != MON_MAGIC) {
        return err_set(e, EPROTO, ERR_INVALID, "message does not begin with the magic number");
    }
    if (w.major != MON_MAJOR) {
        return err_set(e, EPROTO, ERR_UNSUPPORTED, "protocol version %d is not supported, only %d", w.major, MON_MAJOR);
    }
    if (le32toh(w.len) != len - sizeof(w)) {
        return err_set(e, EPROTO, ERR_INVALID, "message of %zu bytes says that it has %u", len - sizeof(w), le32toh(w.len));
    }
    *ret = (struct mon_header){ .major = w.major, .minor = w.minor, .type = le16toh(w.type), .flags = le32toh(w.flags),
                                .seq = le32toh(w.seq), .len = le32toh(w.len) };
    return 0;
}

void mon_struct_init(const struct mon_type *type, void *obj)
{
    memset(obj, 0, type->size);
    for (size_t i = 0; i < type->n_fields; i++) {
        if (type->fields[i].kind == MON_K_FD) {
            *(int *)(void *)((char *)obj + type->fields[i].offset) = -1;
        }
    }
}

void mon_struct_done(const struct mon_type *type, void *obj)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        void *p = (char *)obj + type->fields[i].offset;
        switch ((enum mon_kind)type->fields[i].kind) {
        case MON_K_STR:
            free(*(char **)p);
            break;
        case MON_K_STRS:
            strv_free(*(char ***)p);
            break;
        case MON_K_BYTES:
            free(((struct mon_bytes *)p)->data);
            break;
        case MON_K_FD:
            fd_close(p);
            break;
        default:
            break;
        }
    }
    mon_struct_init(type, obj);
}

static int take_number(const struct mon_field *f, const char *value, size_t len, uint64_t *ret)
{
    uint64_t v;
    if (len != sizeof(v)) {
        return -EPROTO;
    }
    memcpy(&v, value, sizeof(v));
    *ret = le64toh(v);
    switch ((enum mon_kind)f->kind) {
    case MON_K_BOOL:
        return *ret > 1 ? -ERANGE : 0;
    case MON_K_I32:
        return (int64_t)*ret != (int32_t)*ret ? -ERANGE : 0;
    case MON_K_U32:
        return *ret > UINT32_MAX ? -ERANGE : 0;
    default:
        return 0;
    }
}

static char *take_string(const char *value, size_t len)
{
    char *s = malloc(len + 1);
    if (s) {
        if (len) {
            memcpy(s, value, len);
        }
        s[len] = '\0';
    }
    return s;
}

static int take_text(const struct mon_field *f, void *p, const char *value, size_t len)
{
    if (f->kind != MON_K_BYTES && len && memchr(value, '\0', len)) {
        return -EPROTO;
    }
    CLEANUP_FREE char *s = take_string(value, len);
    if (!s) {
        return -ENOMEM;
    }
    if (f->kind == MON_K_STR) {
        free(*(char **)p);
        *(char **)p = PTR_STEAL(s);
        return 0;
    }
    if (f->kind == MON_K_BYTES) {
        struct mon_bytes *b = p;
        free(b->data);
        *b = (struct mon_bytes){ .data = PTR_STEAL(s), .len = len };
        return 0;
    }
    return strv_len(*(char ***)p) >= MON_LIST_MAX ? -E2BIG : strv_push(p, s);
}

static int take_field(const struct mon_field *f, void *out, const char *value, size_t len, int *fds, size_t n_fds)
{
    void *p = (char *)out + f->offset;
    uint64_t v = 0;
    if (f->kind == MON_K_STR || f->kind == MON_K_STRS || f->kind == MON_K_BYTES) {
        return take_text(f, p, value, len);
    }
    int r = take_number(f, value, len, &v);
    if (r < 0) {
        return r;
    }
    switch ((enum mon_kind)f->kind) {
    case MON_K_BOOL:
        *(bool *)p = v != 0;
        break;
    case MON_K_I32:
        *(int32_t *)p = (int32_t)v;
        break;
    case MON_K_U32:
        *(uint32_t *)p = (uint32_t)v;
        break;
    case MON_K_I64:
    case MON_K_U64:
        *(uint64_t *)p = v;
        break;
    default: /* MON_K_FD */
        if (v >= n_fds || fds[v] < 0) {
            return -EBADF;
        }
        fd_close(p);
        *(int *)p = fd_steal(&fds[v]);
    }
    return 0;
}

static const struct mon_field *find_field(const struct mon_type *type, uint16_t tag)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        if (type->fields[i].tag == tag) {
            return &type->fields[i];
        }
    }
    return NULL;
}

/* Which required fields came is a bit each; types have fewer than 64 fields. */
static int check_required(const struct mon_type *type, uint64_t seen, struct err *e)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        if (type->fields[i].required && !(seen & (UINT64_C(1) << i))) {
            return err_set(e, EPROTO, ERR_INVALID, "%s: field %u is missing", type->name, type->fields[i].tag);
        }
    }
    return 0;
}

static int decode_fields(const struct mon_type *type, const char *p, size_t len, int *fds, size_t n_fds, void *out, struct err *e)
{
    uint64_t seen = 0;
    while (len > 0) {
        struct wire_field w;
        if (len < sizeof(w)) {
            return err_set(e, EPROTO, ERR_INVALID, "%s: %zu stray bytes at the end", type->name, len);
        }
        memcpy(&w, p, sizeof(w));
        uint16_t tag = le16toh(w.tag);
        size_t n = le32toh(w.len);
        p += sizeof(w);
        len -= sizeof(w);
        if (n > len) {
            return err_set(e, EPROTO, ERR_INVALID, "%s: field %u of %zu bytes, %zu are left", type->name, tag, n, len);
        }
        const struct mon_field *f = find_field(type, tag);
        int r = f ? take_field(f, out, p, n, fds, n_fds) : 0;
        if (r == -ENOMEM) {
            return err_oom(e);
        }
        if (r < 0) {
            return err_set(e, EPROTO, ERR_INVALID, "%s: field %u is malformed", type->name, tag);
        }
        if (f) {
            seen |= UINT64_C(1) << (f - type->fields);
        }
        p += n;
        len -= n;
    }
    return check_required(type, seen, e);
}

int mon_decode(const struct mon_type *type, const void *packet, size_t len, int *fds, size_t n_fds, void *out, struct err *e)
{
    mon_struct_init(type, out);
    int r = len < MON_HEADER_LEN ?
                    err_set(e, EPROTO, ERR_INVALID, "%s: too short", type->name) :
                    decode_fields(type, (const char *)packet + MON_HEADER_LEN, len - MON_HEADER_LEN, fds, n_fds, out, e);
    if (r < 0) {
        mon_struct_done(type, out);
    }
    return r;
}
