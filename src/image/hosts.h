/*
 * image/hosts.h: which servers answer for an image, in which order: hosts.toml trees (containerd's certs.d), Docker's certs.d, and
 * registries.conf with its drop-ins, read as they are into one resolved view.
 *
 * A hosts.toml for the registry (or _default) decides alone; without one, the best matching [[registry]] of registries.conf; without
 * either the registry itself by HTTPS (plain HTTP only on loopback addresses, or when the caller does not verify).
 */
#pragma once

#include "image/reference.h"
#include "spec/json.h"

/* NULL: the usual place. "": none. */
struct hosts_paths {
    const char *hosts_dir;      /* /etc/containerd/certs.d */
    const char *docker_dir;     /* /etc/docker/certs.d */
    const char *registries_conf; /* $CONTAINERS_REGISTRIES_CONF, ~/.config/containers/…, /etc/containers/registries.conf */
    const char *registries_conf_d; /* /etc/containers/registries.conf.d */
};

struct hosts;
MUST_USE int hosts_open(const struct hosts_paths *p, struct hosts **ret, struct err *e);
void hosts_free(struct hosts *h);

enum { ENDPOINT_PULL = 1, ENDPOINT_RESOLVE = 2, ENDPOINT_PUSH = 4 };

struct endpoint {
    char *scheme;          /* "https", "http" */
    char *host;            /* with port, as in the URL; what credentials are looked up by */
    char *prefix;          /* "/v2", or what override_path says */
    char *path;            /* repository there */
    unsigned capabilities; /* ENDPOINT_… */
    bool try_http;         /* HTTPS first, then plain HTTP when no TLS is spoken there */
    bool skip_verify;
    bool is_mirror;        /* not the registry itself: a given credential is not for it */
    char *ns;              /* ?ns= for mirrors of hosts.toml; NULL: none */
    char **ca;             /* added to the system's */
    JSON_ARRAY(struct endpoint_client {
        char *cert;
        char *key; /* NULL: in cert */
    }) clients;
    struct str_map headers;
    int64_t connect_timeout_ms; /* 0: default */
    char *why;             /* the file (and entry) that says so */
};
struct endpoints {
    struct endpoint *v;
    size_t n;
};
void endpoint_done(struct endpoint *ep);
void endpoints_done(struct endpoints *l);
#define CLEANUP_ENDPOINTS CLEANUP(endpoints_done)

/*
 * In order of trial, those that are able to do one of `capabilities`. insecure: any certificate, and plain HTTP. A blocked registry
 * is ERR_DENIED naming the file.
 */
MUST_USE int hosts_resolve(const struct hosts *h, const struct reference *r, unsigned capabilities, bool insecure, struct endpoints *ret,
                           struct err *e);
/*
 * What a name may stand for: a name with a domain stands for itself; a short one for its alias, or for every registry of
 * unqualified-search-registries, or without those for docker.io's. Whole references ("quay.io/busybox:latest"), appended to *ret.
 */
MUST_USE int hosts_candidates(const struct hosts *h, const char *text, char ***ret, struct err *e);
