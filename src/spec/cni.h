/*
 * spec/cni.h: what the Container Network Interface specification (0.3.0 to 1.1.0) puts into JSON: network configuration lists,
 * results and errors of plugins. Pure functions; files and programs are net/'s.
 */
#pragma once

#include "spec/json.h"

#define CNI_VERSION_NEWEST "1.1.0"
enum { CNI_PLUGINS_MAX = 32, CNI_IPS_MAX = 64, CNI_INTERFACES_MAX = 128 };

struct cni_plugin {
    char *type;   /* name of its program, without a slash */
    json_t *conf; /* the object as it was written */
};

struct cni_list {
    char *name, *version; /* version: the highest that both sides know */
    bool disable_check, disable_gc;
    JSON_ARRAY(struct cni_plugin) plugins;
};

/* A .conflist, or a single plugin's configuration, which becomes a list of one. ERR_INVALID names the field. */
MUST_USE int cni_list_parse(const char *text, size_t len, struct cni_list **ret, struct err *e);
/* The list as a .conflist's object, for the cache. A new reference; NULL when out of memory. */
json_t *cni_list_encode(const struct cni_list *l);
void cni_list_free(struct cni_list *l);
static inline void cni_list_free_p(struct cni_list **l)
{
    cni_list_free(*l);
}
#define CLEANUP_CNI_LIST CLEANUP(cni_list_free_p)

/* -1, 0 or 1 for two versions "a.b.c"; what is no version counts as 0.0.0. */
int cni_version_compare(const char *a, const char *b);
/* Whether CHECK (0.4.0), and GC and STATUS (1.1.0) exist in it. */
bool cni_version_has_check(const char *version);
bool cni_version_has_gc(const char *version);

/*
 * What a plugin gets on its standard input: its configuration with name and cniVersion of the list, those of the capability
 * arguments that it declares as runtimeConfig, and prevResult. prev and capability_args may be NULL. A new reference.
 */
json_t *cni_plugin_input(const struct cni_list *l, const struct cni_plugin *p, const json_t *capability_args,
                         const json_t *prev);

struct cni_ip {
    char *address; /* "10.88.0.2/16" */
    char *gateway;
    int32_t *interface; /* index into interfaces */
};

struct cni_interface {
    char *name, *mac, *sandbox; /* sandbox: path of its netns, NULL: on the host */
    uint32_t mtu;
};

struct cni_dns {
    char **nameservers, *domain, **search, **options;
};

struct cni_result {
    char *version;
    JSON_ARRAY(struct cni_interface) interfaces;
    JSON_ARRAY(struct cni_ip) ips;
    struct cni_dns dns;
};

/* Reads and checks a result. */
MUST_USE int cni_result_decode(const json_t *value, struct cni_result *ret, struct err *e);
void cni_result_done(struct cni_result *r);
/*
 * The same result as another version writes it: up to 0.4.0 each address has a "version", from 1.0.0 on it has none; what only
 * 1.1.0 knows is left out below. A new reference.
 */
MUST_USE int cni_result_convert(const json_t *value, const char *version, json_t **ret, struct err *e);

/* A plugin's error object as text: "code 11: msg: details"; the raw output if it is none. */
void cni_error_text(const char *text, size_t len, struct buf *out);
