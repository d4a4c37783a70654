/*
 * net/net.h: networks of pods by CNI: which ones are configured, attaching a network namespace to one and detaching it.
 *
 * A struct net is immutable after net_open(), so any number of threads may use it. Configuration is read anew for each call: a
 * changed file counts from the next call on. Before a plugin is run for the first time, what is needed to undo it is written
 * to the cache folder; net_del() works from that alone, also when the configuration has gone or the attaching program was killed.
 */
#pragma once

#include "spec/cni.h"

struct net;

struct net_options {
    const char *conf_dir;       /* /etc/cni/net.d */
    char *const *bin_dirs;      /* first match counts */
    const char *cache_dir;      /* ROOT/cni/cache; one file an attachment, its name begins with the pod's id */
    const char *data_dir;       /* ROOT/cni/networks: the built-in network's addresses */
    int timeout_ms;             /* for each plugin; 0: 60 s */
};

MUST_USE int net_open(const struct net_options *o, struct net **ret, struct err *e);
void net_close(struct net *n);

/* The name of the network that is made up where no configuration exists. */
#define NET_DEFAULT_NAME "tare"

struct net_info {
    char *name, *type, *file, *subnet; /* file NULL: the built-in one */
};
struct net_infos {
    struct net_info *v;
    size_t n;
};
void net_infos_done(struct net_infos *i);
MUST_USE int net_list(struct net *n, struct net_infos *ret, struct err *e);
/* 0 if a pod could be attached to the default network now; else ERR_UNAVAILABLE with the reason. */
MUST_USE int net_status(struct net *n, struct err *e);

struct net_port {
    const char *protocol, *host_ip;
    uint16_t host_port, container_port;
};

struct net_attach {
    const char *id;     /* of the pod; part of file names: letters, digits, _.- */
    const char *netns;  /* path; NULL in net_del() when it has gone */
    const char *ifname; /* "eth0" */
    const char *network; /* NULL: the first by file name, or the built-in one */
    const char *k8s_namespace, *k8s_name, *k8s_uid; /* CNI_ARGS; may be NULL */
    const struct net_port *ports;
    size_t n_ports;
    char *const *dns_servers, *const *dns_searches, *const *dns_options;
    int64_t ingress_rate, egress_rate; /* bits a second; 0: no limit */
};

/* Attaches; on failure what was done is undone as far as plugins let it be. ret: cni_result_done(). */
MUST_USE int net_add(struct net *n, const struct net_attach *a, struct cni_result *ret, struct err *e);
/* Detaches from everything that the cache knows for this id; nothing known is fine. */
MUST_USE int net_del(struct net *n, const char *id, const char *netns, struct err *e);
/* CHECK by the plugins, where the configuration's version has it. */
MUST_USE int net_check(struct net *n, const char *id, struct err *e);
/* The result of an attachment that was made before. ERR_NOT_FOUND. */
MUST_USE int net_cached(struct net *n, const char *id, struct cni_result *ret, struct err *e);
/* Ids that the cache knows. *ret: strv_free(). */
MUST_USE int net_cached_ids(struct net *n, char ***ret, struct err *e);
/* GC (1.1.0) on each configured network with the attachments that the cache knows. */
MUST_USE int net_gc(struct net *n, struct err *e);
