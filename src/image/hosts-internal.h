/* image/hosts-internal.h: what the files of hosts.h share. */
#pragma once

#include "image/hosts.h"

struct hosts_mirror {
    char *location;
    bool insecure;
    char *when; /* "all", "digest-only", "tag-only" */
};

struct hosts_entry {
    char *prefix, *location, *file;
    bool insecure, blocked, digest_only;
    JSON_ARRAY(struct hosts_mirror) mirrors;
};

struct hosts {
    char *hosts_dir, *docker_dir;
    char **search;          /* unqualified-search-registries */
    char *search_from;      /* file */
    struct str_map aliases; /* short name → name */
    JSON_ARRAY(struct hosts_entry) entries;
};

/* The files of registries.conf into h. */
MUST_USE int hosts_load_registries(struct hosts *h, const struct hosts_paths *p, struct err *e);
void hosts_entry_done(struct hosts_entry *n);
/* The entry whose prefix matches best; NULL: none. */
const struct hosts_entry *hosts_entry_match(const struct hosts *h, const struct reference *r);
/* Endpoints of an entry, appended. */
MUST_USE int hosts_entry_resolve(const struct hosts *h, const struct hosts_entry *n, const struct reference *r, struct endpoints *ret,
                                 struct err *e);
/* 1: there is a folder for this registry and its endpoints are appended; 0: none. */
MUST_USE int hosts_toml_resolve(const struct hosts *h, const struct reference *r, struct endpoints *ret, struct err *e);

/* A zeroed one at the end of the list; NULL when out of memory. */
struct endpoint *endpoints_add(struct endpoints *l);
/* Scheme, host and prefix from "[http[s]://]host[:port][/path]". */
MUST_USE int endpoint_set_url(struct endpoint *ep, const char *url, bool override_path, struct err *e);
/* *.crt as CAs, *.cert with *.key as client certificates of the folder; an absent folder is fine. */
MUST_USE int endpoint_add_cert_dir(struct endpoint *ep, const char *dir, struct err *e);
MUST_USE int endpoint_add_client(struct endpoint *ep, const char *cert, const char *key);
