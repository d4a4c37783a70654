/*
 * cri/pb.h: the generated messages, with a short way to name them, and what every call needs of protobuf-c. Strings in a
 * message are never NULL: an empty one is a shared constant.
 */
#pragma once

#ifdef linux
#undef linux /* a field's name */
#endif
#define PROTOBUF_C__NO_DEPRECATED /* old fields are read too */
#include "cri.pb-c.h"

#include "base/buf.h"
#include "spec/json.h"

/* V1(PodSandbox) is the struct; pod_sandbox is the name in functions. */
#define V1(name) Runtime__V1__##name
#define V1_DESC(name) (&runtime__v1__##name##__descriptor)
#define V1_INIT(name, p) runtime__v1__##name##__init(p)
#define V1_UNPACK(name, data, len) ((void *)protobuf_c_message_unpack(V1_DESC(name), NULL, len, (const uint8_t *)(data)))

void pb_free_p(void *p);
/* For a pointer to any unpacked message. */
#define CLEANUP_PB CLEANUP(pb_free_p)

/* Appends the packed message. */
void pb_pack(const void *message, struct buf *out);
/* Appends a field of a message by hand: its tag, and for bytes its length. */
void pb_put_bytes(struct buf *out, unsigned field, const void *data, size_t len);
void pb_put_u64(struct buf *out, unsigned field, uint64_t value);
/* ERR_INVALID, with the path of the field, for a string that is not UTF-8: no client could read it in an answer. */
MUST_USE int pb_check_utf8(const ProtobufCMessage *m, struct err *e);

/* Every map<string, string> has the same layout. */
struct pb_pair {
    ProtobufCMessage base;
    char *key, *value;
};
MUST_USE int pb_map_copy(struct str_map *to, size_t n, void *entries);
/* True when the map has all of the entries. */
bool pb_map_matches(const struct str_map *have, size_t n, void *entries);
