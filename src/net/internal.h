/* net/internal.h: what the files of this room share. */
#pragma once

#include "net/net.h"

enum { CONF_MAX = 1 << 20, RESULT_MAX = 1 << 20, FILES_MAX = 256 };

struct net {
    char *conf_dir, *cache_dir, *data_dir;
    char **bin_dirs;
    char *path; /* CNI_PATH */
    int timeout_ms;
};

/* conf.c */
/* name NULL: the first valid one by file name, else the built-in one. file (may be NULL): its path, NULL for the built-in. */
MUST_USE int conf_find(const struct net *n, const char *name, struct cni_list **ret, char **ret_file, struct err *e);
/* Each valid list; errors of invalid files are appended to problems (may be NULL). fn returns < 0 to end. */
typedef int conf_fn(void *data, const struct cni_list *l, const char *file);
MUST_USE int conf_each(const struct net *n, conf_fn *fn, void *data, struct buf *problems, struct err *e);
MUST_USE int conf_builtin(const struct net *n, struct cni_list **ret, struct err *e);

/* plugin.c */
struct plugin_call {
    const struct net *net;
    const char *command; /* "ADD" */
    const char *id, *netns, *ifname, *args;
};
/* The program of a plugin; ERR_NOT_FOUND names the folders that were searched. */
MUST_USE int plugin_find(const struct net *n, const char *type, char **ret, struct err *e);
/* Runs it; *ret (may be NULL) is what it wrote, NULL if it wrote nothing. */
MUST_USE int plugin_run(const struct plugin_call *c, const char *type, const json_t *input, json_t **ret, struct err *e);

/* cache.c: one file an attachment: {"id", "netns", "ifname", "args", "capabilities", "config", "result"} */
struct attachment {
    char *id, *netns, *ifname, *args;
    json_t *capabilities, *result; /* may be NULL */
    struct cni_list *list;
};
void attachment_done(struct attachment *a);
#define CLEANUP_ATTACHMENT CLEANUP(attachment_done)
MUST_USE int cache_put(const struct net *n, const struct attachment *a, struct err *e);
MUST_USE int cache_drop(const struct net *n, const struct attachment *a, struct err *e);
/* Those of one id, or all (id NULL). A file that cannot be read is skipped and named in problems (may be NULL). */
typedef int cache_fn(void *data, struct attachment *a, struct err *e);
MUST_USE int cache_each(const struct net *n, const char *id, cache_fn *fn, void *data, struct buf *problems, struct err *e);
