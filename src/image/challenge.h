/* image/challenge.h: the Www-Authenticate header (RFC 9110, 11.6.1), read strictly. */
#pragma once

#include "spec/json.h"

enum challenge_scheme { CHALLENGE_OTHER, CHALLENGE_BASIC, CHALLENGE_BEARER };
struct challenge {
    enum challenge_scheme scheme;
    struct str_map params; /* names in lower case */
};
struct challenges {
    struct challenge v[8];
    size_t n;
};
void challenges_done(struct challenges *c);
#define CLEANUP_CHALLENGES CLEANUP(challenges_done)
/* One header line; appends. ERR_INVALID for what the grammar does not allow. */
MUST_USE int challenge_parse(const char *text, struct challenges *ret, struct err *e);
/* The first one of a scheme, or NULL. */
const struct challenge *challenge_get(const struct challenges *c, enum challenge_scheme scheme);
