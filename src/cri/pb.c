/* cri/pb.c: see pb.h. */
#include "cri/pb.h"

#include <errno.h>

void pb_free_p(void *p)
{
    ProtobufCMessage *m = *(ProtobufCMessage **)p;
    if (m) {
        protobuf_c_message_free_unpacked(m, NULL);
    }
}

void pb_pack(const void *message, struct buf *out)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    char *to = buf_reserve(out, len);
    if (to) {
        out->len += protobuf_c_message_pack(message, (uint8_t *)to);
        out->data[out->len] = '\0';
    }
}

static void put_varint(struct buf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) {
        buf_addc(out, (char)(uint8_t)(v | 0x80));
    }
    buf_addc(out, (char)(uint8_t)v);
}

void pb_put_bytes(struct buf *out, unsigned field, const void *data, size_t len)
{
    put_varint(out, (uint64_t)field << 3 | 2);
    put_varint(out, len);
    if (len > 0) {
        buf_add(out, data, len);
    }
}

void pb_put_u64(struct buf *out, unsigned field, uint64_t value)
{
    put_varint(out, (uint64_t)field << 3);
    put_varint(out, value);
}

/* Length of the sequence at s, or 0. */
static size_t utf8_len(const unsigned char *s)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t min;
    } forms[] = { { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if ((*s & forms[i].mask) != forms[i].lead) {
            continue;
        }
        uint32_t c = *s & (unsigned char)~forms[i].mask;
        for (size_t k = 1; k <= i; k++) {
            if ((s[k] & 0xc0) != 0x80) {
                return 0;
            }
            c = c << 6 | (s[k] & 0x3f);
        }
        return c < forms[i].min || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : i + 1;
    }
    return 0;
}

static bool utf8_ok(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (s && *s) {
        size_t n = utf8_len(s);
        if (n == 0) {
            return false;
        }
        s += n;
    }
    return true;
}

static int check_value(const ProtobufCFieldDescriptor *f, void *value, struct err *e)
{
    if (f->type == PROTOBUF_C_TYPE_STRING && !utf8_ok(value)) {
        return err_set(e, EILSEQ, ERR_INVALID, "%s: is not UTF-8", f->name);
    }
    if (f->type == PROTOBUF_C_TYPE_MESSAGE && value) {
        int r = pb_check_utf8(value, e);
        if (r < 0 && e) {
            struct err inner = *e;
            return err_set(e, EILSEQ, ERR_INVALID, "%s.%s", f->name, inner.text);
        }
        return r;
    }
    return 0;
}

int pb_check_utf8(const ProtobufCMessage *m, struct err *e)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const char *base = (const char *)m;
        if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        int r = 0;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = *(const size_t *)(const void *)(base + f->quantifier_offset);
            void *const *v = *(void *const *const *)(const void *)(base + f->offset);
            for (size_t k = 0; k < n && r == 0; k++) {
                r = check_value(f, v[k], e);
            }
        } else {
            r = check_value(f, *(void *const *)(const void *)(base + f->offset), e);
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int pb_map_copy(struct str_map *to, size_t n, void *entries)
{
    struct pb_pair **v = entries;
    for (size_t i = 0; i < n; i++) {
        if (str_map_set(to, v[i]->key, v[i]->value) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

bool pb_map_matches(const struct str_map *have, size_t n, void *entries)
{
    struct pb_pair **v = entries;
    for (size_t i = 0; i < n; i++) {
        const char *value = str_map_get(have, v[i]->key);
        if (!value || strcmp(value, v[i]->value) != 0) {
            return false;
        }
    }
    return true;
}
