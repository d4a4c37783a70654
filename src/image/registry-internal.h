/* image/registry-internal.h: what the files of the registry client share. */
#pragma once

#include "image/challenge.h"
#include "image/registry.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    REGISTRY_IDLE_MAX = 16,
    REGISTRY_TOKENS_MAX = 256,
    REDIRECTS_MAX = 10,
    ERROR_BODY_MAX = 64 << 10,
    TOKEN_BODY_MAX = 256 << 10,
    LIST_BODY_MAX = 4 << 20,
    RETRY_AFTER_MAX_S = 120,
};

struct registry_token {
    char *key; /* host, repository and action */
    char *header; /* value of Authorization */
    int64_t expires; /* CLOCK_MONOTONIC, ns; 0: never */
};

struct registry {
    struct hosts *hosts;
    struct auth_paths auth_paths; /* its texts are ours */
    struct credential given;
    char *given_server;
    bool insecure;
    int retries, stall_seconds, connect_timeout_ms;
    char *user_agent;
    CURLSH *share;
    pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];
    pthread_mutex_t lock; /* idle, tokens */
    CURL *idle[REGISTRY_IDLE_MAX];
    size_t n_idle;
    struct registry_token tokens[REGISTRY_TOKENS_MAX];
    size_t n_tokens, next_token;
    atomic_bool cancelled;
};

struct repo {
    struct registry *registry;
    struct reference ref;
    bool push;
    struct endpoints endpoints;
    atomic_bool *plain;       /* of each endpoint: turned out to speak HTTP alone */
};

struct request {
    const char *method;
    const char *url;          /* whole; else path below the endpoint's prefix and repository */
    const char *accept, *content_type;
    const char *content_range; /* of a PATCH */
    uint64_t range_from;
    const char *text;         /* body */
    size_t text_len;
    int fd;                   /* body from a file when fd_len > 0 */
    uint64_t fd_from, fd_len;
    const char *actions;      /* "pull", "pull,push", "delete" */
    const char *mount_from;   /* other repository to have "pull" of */
    repo_sink_fn *sink;       /* for 200 and 206; NULL: into response.body */
    void *sink_data;
    size_t max;               /* of response.body */
    bool ranged_strict;       /* a 200 that answers a range is an error instead of being skipped through */
    void (*progress)(void *data, uint64_t done);
    void *progress_data;
};

struct response {
    long status;
    char *content_type, *digest, *location, *link, *range, *filters;
    struct challenges challenges;
    int64_t retry_after;      /* seconds, -1: none */
    int64_t length;           /* Content-Length, -1: none */
    uint64_t first_byte;      /* of Content-Range */
    bool has_range, sank;     /* sank: bytes went to the sink */
    struct buf body;
    int sink_error;
    bool bad_challenge;
    CURLcode curl;
    char curl_text[CURL_ERROR_SIZE];
    char host[300];           /* that answered last */
};
void response_done(struct response *r);
#define CLEANUP_RESPONSE CLEANUP(response_done)

/* ---- transfer.c: one exchange with a server, redirects followed ---- */

/*
 * auth: value of Authorization for the endpoint's own host; NULL: none. Returns 0 when the server answered at all (any status), else
 * -errno with the error; -EAGAIN, -ETIMEDOUT, … of a broken connection are worth another try (response.curl says which).
 */
MUST_USE int transfer(struct registry *g, const struct endpoint *ep, const char *url, const char *auth, const struct request *q,
                      struct response *ret, struct err *e);
/* Is a failure of the connection (as opposed to an answer) worth another try? */
bool transfer_retryable(CURLcode c);
/* Waits, but not after registry_cancel(). -ECANCELED. */
MUST_USE int registry_sleep(struct registry *g, int64_t ms, struct err *e);

/* ---- token.c ---- */

/* Value of Authorization from the cache, allocated; NULL: none. */
char *token_cached(struct registry *g, const char *key);
void token_put(struct registry *g, const char *key, const char *header, int64_t seconds);
void token_forget(struct registry *g, const char *key);
/*
 * Answers the challenges of a 401: *ret_header is the new value of Authorization. key: under which it is cached.
 */
MUST_USE int token_answer(struct registry *g, const struct endpoint *ep, const struct challenges *c, const struct request *q,
                          const struct credential *cred, const char *key, char **ret_header, struct err *e);
MUST_USE int endpoint_credential(struct registry *g, const struct endpoint *ep, const struct reference *r, struct credential *ret,
                                 struct err *e);

/* ---- request.c: authentication, back-off, errors that help ---- */

/* path: below PREFIX/REPOSITORY ("/manifests/latest"), or with '/' of the root when root is set. Any status below 500 but 401 and 429 is returned. */
MUST_USE int repo_request(struct repo *p, size_t endpoint, const char *path, const struct request *q, struct response *ret, struct err *e);
/* Turns an unwelcome status into an error. */
MUST_USE int response_error(const struct repo *p, size_t endpoint, const struct request *q, const struct response *r, const char *what,
                            struct err *e);
/* "https://host" of an endpoint as it is reached now. */
const char *endpoint_scheme(const struct repo *p, size_t i);
/* Path bytes as they are, all others in %XX. */
void url_escape(struct buf *out, const char *s);
bool response_is_html(const struct response *r);
/* "sha256:…" of bytes. */
MUST_USE int text_digest(const void *text, size_t len, const char *like, char **ret, struct err *e);
