/*
 * cri/convert.h: CRI messages to the engine's structs and back. Pure but for the look at the host that AppArmor needs. An error
 * is ERR_INVALID and names the field.
 */
#pragma once

#include "cri/pb.h"
#include "engine/engine.h"

/* Fills in *ret, released with engine_pod_spec_done() also on failure. */
MUST_USE int convert_pod(const V1(PodSandboxConfig) *config, const char *handler, struct engine_pod_spec *ret, struct err *e);
/* pod: the pod's configuration as it was given. */
MUST_USE int convert_ctr(const V1(ContainerConfig) *config, const V1(PodSandboxConfig) *pod, struct engine_ctr_spec *ret,
                         struct err *e);
MUST_USE int convert_resources(const V1(LinuxContainerResources) *r, const char *field, struct engine_resources *ret, struct err *e);

/* Appends the packed answers; config is what the caller gave (NULL: made by another door, the engine's fields are shown). */
MUST_USE int convert_pod_item(const struct engine_pod *p, const V1(PodSandboxConfig) *config, struct buf *ret, struct err *e);
MUST_USE int convert_pod_status(const struct engine_pod *p, const V1(PodSandboxConfig) *config, struct buf *ret, struct err *e);
/* image_name: what the image is called. */
MUST_USE int convert_ctr_item(const struct engine_ctr *c, const V1(ContainerConfig) *config, const char *image_name, struct buf *ret,
                              struct err *e);
MUST_USE int convert_ctr_status(const struct engine_ctr *c, const V1(ContainerConfig) *config, const char *image_name,
                                struct buf *ret, struct err *e);
/* "1003:1004" is uid 1003, "www-data:www" the name www-data, none uid 0. user is cut at the colon and lent to the message. */
void convert_image_user(char *user, V1(Image) *image, V1(Int64Value) *uid);
V1(PodSandboxState) convert_pod_state(enum engine_pod_state s);
V1(ContainerState) convert_ctr_state(enum engine_ctr_state s);
/* "SIGRTMIN+3" for SIGRTMINPLUS3; NULL for RUNTIME_DEFAULT. Caller frees. */
char *convert_signal_name(V1(Signal) s);
/* The other way round; RUNTIME_DEFAULT when it is no signal's name. Takes "TERM" and "15" too. */
V1(Signal) convert_signal(const char *name);
