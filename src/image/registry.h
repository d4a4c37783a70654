/*
 * image/registry.h: client of registries: OCI distribution-spec 1.1 and Docker registry v2, over libcurl.
 *
 * A registry client serves any number of threads; it keeps connections and tokens. A repo is one image's repository at all of its
 * endpoints (mirrors first). Calls block; every one of them authenticates, follows redirects, backs off and goes on to the next
 * endpoint by itself. There is no total time-out: a transfer fails when too few bytes arrive for a while.
 */
#pragma once

#include "image/auth.h"
#include "image/hosts.h"
#include "spec/image.h"

#include <sys/types.h>

struct registry;
struct registry_options {
    struct hosts_paths hosts;
    struct auth_paths auth_paths;
    const struct registry_auth *auth; /* given by the caller; borrowed during registry_new() alone; NULL: from files */
    bool insecure;                    /* --tls-verify=false */
    const char *user_agent;           /* NULL: tare/VERSION */
    int retries;                      /* of one request; 0: 5, -1: none */
    int stall_seconds;                /* 0: 30: with less than 1 kB/s for that long a transfer is broken off and resumed */
    int connect_timeout_ms;           /* 0: 15 s */
};
MUST_USE int registry_new(const struct registry_options *o, struct registry **ret, struct err *e);
void registry_free(struct registry *g);
static inline void registry_free_p(struct registry **g)
{
    registry_free(*g);
}
#define CLEANUP_REGISTRY CLEANUP(registry_free_p)
const struct hosts *registry_hosts(const struct registry *g);
/* Makes running and further transfers fail with -ECANCELED. */
void registry_cancel(struct registry *g);

/* Tries a credential with a registry's /v2/ ("docker.io"). ERR_DENIED when it is refused. */
MUST_USE int registry_check(struct registry *g, const char *domain, const struct credential *c, struct err *e);

struct repo;
/* push: also credentials and endpoints to push with. */
MUST_USE int repo_open(struct registry *g, const struct reference *r, bool push, struct repo **ret, struct err *e);
void repo_free(struct repo *p);
static inline void repo_free_p(struct repo **p)
{
    repo_free(*p);
}
#define CLEANUP_REPO CLEANUP(repo_free_p)

struct repo_manifest {
    char *media_type, *digest; /* digest: sha256 of the text (and what was asked for, if that was a digest) */
    char *text;                /* NULL after a HEAD */
    uint64_t size;
    char *endpoint;            /* "https://host" that it came from */
};
void repo_manifest_done(struct repo_manifest *m);
#define CLEANUP_REPO_MANIFEST CLEANUP(repo_manifest_done)

/* what: tag or digest. ERR_NOT_FOUND. Any known manifest or index type; anything else (HTML) is refused. At most IMAGE_MANIFEST_MAX. */
MUST_USE int repo_manifest_get(struct repo *p, const char *what, struct repo_manifest *ret, struct err *e);
/* digest is NULL when the server does not tell it. */
MUST_USE int repo_manifest_head(struct repo *p, const char *what, struct repo_manifest *ret, struct err *e);

/* Takes the next bytes; 0, or -errno with *e set, which ends the transfer. */
typedef int repo_sink_fn(void *data, const void *bytes, size_t len, struct err *e);
struct repo_blob {
    const char *digest;
    uint64_t size;    /* 0: unknown; what is longer or shorter is refused */
    uint64_t offset;  /* bytes the sink has already */
    uint64_t avoid;   /* endpoints (bit i) that sent wrong bytes before; not asked again */
    uint64_t used;    /* out: endpoints that bytes came from */
};
/*
 * Calls sink with the blob's bytes from offset to its end. A broken or stalled transfer is resumed by Range at the same or the next
 * endpoint. The digest is the caller's to check: on a mismatch it starts over with avoid |= used. -EBADMSG: more bytes came than there
 * are (start over likewise); -ENOLINK: every endpoint is avoided.
 */
MUST_USE int repo_blob_get(struct repo *p, struct repo_blob *b, repo_sink_fn *sink, void *data, struct err *e);
/* A small blob (config) in memory, size and digest checked. */
MUST_USE int repo_blob_text(struct repo *p, const char *digest, uint64_t size, size_t max, char **ret, size_t *ret_len, struct err *e);
/* 1: there, 0: not. */
MUST_USE int repo_blob_exists(struct repo *p, const char *digest, struct err *e);

struct repo_upload {
    const char *digest;
    uint64_t size;
    int fd;              /* regular file, read from 0 */
    const char *mount_from; /* repository of the same registry that may have it; NULL: none */
    uint64_t chunk;      /* 0: in one request; else PATCHes of that many bytes */
    void (*progress)(void *data, uint64_t done); /* may be NULL */
    void *data;
};
enum repo_upload_how { REPO_UPLOADED, REPO_MOUNTED, REPO_EXISTED };
/* Does nothing when the registry has it. */
MUST_USE int repo_blob_put(struct repo *p, const struct repo_upload *u, enum repo_upload_how *ret, struct err *e);
/* what: tag or digest. *ret_digest (may be NULL): as the registry has it. */
MUST_USE int repo_manifest_put(struct repo *p, const char *what, const char *media_type, const char *text, size_t len, char **ret_digest,
                               struct err *e);
/* Tag or digest. */
MUST_USE int repo_manifest_delete(struct repo *p, const char *what, struct err *e);
MUST_USE int repo_tags(struct repo *p, char ***ret, struct err *e);
/* Manifests that name this one as their subject; artifact_type NULL: all. By the API, else by the tag schema. */
MUST_USE int repo_referrers(struct repo *p, const char *digest, const char *artifact_type, struct image_index *ret, struct err *e);

/* ---- explain ------------------------------------------------------------------------------------- */

struct registry_explanation {
    char *reference;            /* completed */
    struct endpoints endpoints; /* in order of trial, each with its `why` */
    char **credentials;         /* source for each endpoint, "anonymous" if there is none */
};
void registry_explanation_done(struct registry_explanation *x);
/* Asks no server. */
MUST_USE int registry_explain(struct registry *g, const struct reference *r, struct registry_explanation *ret, struct err *e);
