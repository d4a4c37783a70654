/* image/auth-internal.h: what finding and writing credentials share. */
#pragma once

#include "image/auth.h"

#include <jansson.h>

enum auth_file_kind { AUTH_FILE_GIVEN, AUTH_FILE_RUNTIME, AUTH_FILE_CONFIG, AUTH_FILE_DOCKER };
struct auth_files {
    struct auth_file {
        char *path;
        enum auth_file_kind kind;
    } v[4];
    size_t n;
};
/* In order of search. */
MUST_USE int auth_files_get(const struct auth_paths *p, struct auth_files *f, struct err *e);
void auth_files_done(struct auth_files *f);
/* -ENOENT without an error when it is absent. */
MUST_USE int auth_file_load(const char *path, json_t **ret, struct err *e);
/* The registry (and path) that an entry's key means; allocated. */
char *auth_key_normal(const char *key);
bool auth_helper_valid(const char *name);
/* docker-credential-HELPER VERB; -ENOENT without an error when it has no such credential. */
MUST_USE int auth_helper_run(const struct auth_paths *p, const char *helper, const char *verb, const char *input, struct buf *out,
                             struct err *e);
