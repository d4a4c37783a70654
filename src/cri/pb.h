/*
 * cri/pb.h: the generated messages, with a short way to name them: V1(PodSandbox) is the struct, V1_NEW() and V1_UNPACK() make
 * one, V1_FREE() releases it with all that it holds. Strings in a message are never NULL: empty ones are a shared constant.
 */
#pragma once

#ifdef linux
#undef linux /* a field's name */
#endif
#include "cri.pb-c.h"

#define V1(name) Runtime__V1__##name
#define V1_DESC(name) (&runtime__v1__##name##__descriptor)

/* Fills in the defaults of a struct of the type (snake_case name, as in the generated functions). */
#define V1_INIT(name, p) runtime__v1__##name##__init(p)
#define V1_UNPACK(name, data, len) ((void *)protobuf_c_message_unpack(V1_DESC(name), NULL, len, data))
#define V1_FREE(p) protobuf_c_message_free_unpacked((p) ? &(p)->base : NULL, NULL)
