/*
 * image/reference.h: names of images: DOMAIN[:PORT]/PATH[:TAG][@DIGEST], read strictly and completed as docker does
 * ("busybox" is docker.io/library/busybox). A reference holds its parts in place: nothing to free.
 */
#pragma once

#include "base/buf.h"

enum {
    REFERENCE_NAME_MAX = 255, /* DOMAIN/PATH */
    REFERENCE_TAG_MAX = 128,
    REFERENCE_DIGEST_MAX = 135, /* "sha512:" and 128 digits */
    REFERENCE_TEXT_MAX = REFERENCE_NAME_MAX + 1 + REFERENCE_TAG_MAX + 1 + REFERENCE_DIGEST_MAX,
};

struct reference {
    char domain[REFERENCE_NAME_MAX + 1]; /* "docker.io", "localhost:5000", "[::1]:5000" */
    char path[REFERENCE_NAME_MAX + 1];   /* "library/busybox" */
    char tag[REFERENCE_TAG_MAX + 1];     /* "": none */
    char digest[REFERENCE_DIGEST_MAX + 1]; /* "": none */
    bool is_short; /* was written without a domain */
};

/* Completes domain and path, not the tag. ERR_INVALID says what is wrong with which part. */
MUST_USE int reference_parse(const char *text, struct reference *ret, struct err *e);
/* As reference_parse(), and the tag "latest" if there is neither tag nor digest. */
MUST_USE int reference_parse_tagged(const char *text, struct reference *ret, struct err *e);
/* A short name below another domain: "busybox" at "quay.io" is quay.io/busybox (at docker.io: docker.io/library/busybox). */
MUST_USE int reference_parse_at(const char *domain, const char *text, struct reference *ret, struct err *e);

/* "docker.io/library/busybox"; reference_put(): with ":TAG" and "@DIGEST". */
void reference_put_name(const struct reference *r, struct buf *out);
void reference_put(const struct reference *r, struct buf *out);
/* Allocated; NULL when out of memory. reference_tagged(): NAME:TAG alone; reference_at(): NAME@digest. */
char *reference_string(const struct reference *r);
char *reference_name(const struct reference *r);
char *reference_tagged(const struct reference *r);
char *reference_at(const struct reference *r, const char *digest);
/* As people write it: "busybox:1.36" for docker.io/library/busybox:1.36. */
char *reference_familiar(const struct reference *r);

/* "sha256:" or "sha512:" and lower-case digits of the right number. */
bool reference_digest_valid(const char *digest);
bool reference_tag_valid(const char *tag);
/* A host with an optional port, as in a reference. */
bool reference_domain_valid(const char *domain);
/* The host that answers for a domain: "docker.io" is served by "registry-1.docker.io". */
const char *reference_host(const char *domain);
/* 127.0.0.0/8, ::1 or localhost, with or without port. */
bool reference_is_loopback(const char *host);
