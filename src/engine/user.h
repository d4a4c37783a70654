/*
 * engine/user.h: who a container runs as: docker's and CRI's forms of a user ("1000", "www-data", "1003:1004", "www-data:adm"), looked up
 * in /etc/passwd and /etc/group of the image, which are opened inside its root only.
 */
#pragma once

#include "spec/json.h"

struct user {
    uint32_t uid, gid;
    JSON_ARRAY(uint32_t) groups; /* supplementary, sorted, without repeats */
    char *home;                  /* "/" if the user is not listed */
    char *name;                  /* NULL if it is not listed */
};
void user_done(struct user *u);
#define CLEANUP_USER CLEANUP(user_done)

/*
 * rootfd: the container's root file system. spec: "" or NULL is root. A name that is not listed is ERR_NOT_FOUND, a number that is not is
 * fine. groups: those of /etc/group that list the user are added to u->groups when merge is set.
 */
MUST_USE int user_lookup(int rootfd, const char *spec, bool merge, struct user *ret, struct err *e);
/* A group by name or number. */
MUST_USE int user_group(int rootfd, const char *spec, uint32_t *ret, struct err *e);
/* Adds one if it is not there. */
MUST_USE int user_groups_add(struct user *u, uint32_t gid);
