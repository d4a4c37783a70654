/*
 * image/auth.h: credentials for registries: what the caller gave, auth files of podman and docker, credential helpers; and writing
 * them (login, logout). The most specific entry wins: HOST/ns/repo before HOST/ns before HOST; files in this order:
 * $REGISTRY_AUTH_FILE (then no other), $XDG_RUNTIME_DIR/containers/auth.json (/run/containers/UID/auth.json without it),
 * $XDG_CONFIG_HOME or ~/.config/containers/auth.json, $DOCKER_CONFIG or ~/.docker/config.json.
 */
#pragma once

#include "image/reference.h"

/* What a caller may give; any member may be NULL. */
struct registry_auth {
    const char *username, *password;
    const char *auth;           /* base64 of "user:password" */
    const char *identity_token; /* refresh token of an OAuth2 token service */
    const char *registry_token; /* bearer token for the registry itself */
    const char *server;         /* host it is for; NULL: the image's registry, never a mirror */
};

struct credential {
    char *username, *password, *identity_token, *registry_token;
    char *source; /* where it comes from, for people: a file and entry, "docker-credential-x", "given"; NULL: anonymous */
};
void credential_done(struct credential *c);
#define CLEANUP_CREDENTIAL CLEANUP(credential_done)
bool credential_empty(const struct credential *c);

/* Where to look; NULL members: from the environment. */
struct auth_paths {
    const char *file;          /* used alone, as with $REGISTRY_AUTH_FILE */
    const char *runtime_dir, *config_home, *home, *docker_config;
    int helper_timeout_ms;     /* 0: 20 s */
};

/*
 * host: as the registry is reached ("registry-1.docker.io" and "index.docker.io" are the same as "docker.io"); path: repository, may be NULL.
 * Nothing found is an empty credential. A file that cannot be read as JSON is an error that names it.
 */
MUST_USE int auth_find(const struct auth_paths *p, const char *host, const char *path, struct credential *ret, struct err *e);
/* Turns what a caller gave into a credential. */
MUST_USE int auth_given(const struct registry_auth *a, struct credential *ret, struct err *e);

/* Stores in $REGISTRY_AUTH_FILE, else in an auth.json of podman's (docker's config.json when that one exists alone), or in its helper. */
MUST_USE int auth_store(const struct auth_paths *p, const char *host, const struct credential *c, char **ret_where, struct err *e);
/* host NULL: all. Removes it from every file and helper that has it. ERR_NOT_FOUND when none had. */
MUST_USE int auth_erase(const struct auth_paths *p, const char *host, char ***ret_where, struct err *e);
