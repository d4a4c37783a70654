/* tests/fuzz/fuzz-reference.c: image references and challenges: what is taken comes out again as it went in. */
#include "image/challenge.h"
#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP_FREE char *text = strndup((const char *)data, len);
    struct reference r, again;
    struct err e = { 0 };
    if (text && reference_parse(text, &r, &e) == 0) {
        CLEANUP_FREE char *whole = reference_string(&r);
        CLEANUP_FREE char *familiar = reference_familiar(&r);
        if (!whole || !familiar || reference_parse(whole, &again, &e) < 0 || strcmp(again.path, r.path) != 0 ||
            strcmp(again.domain, r.domain) != 0 || strcmp(again.tag, r.tag) != 0 || strcmp(again.digest, r.digest) != 0 ||
            reference_parse(familiar, &again, &e) < 0 || strcmp(again.path, r.path) != 0) {
            abort();
        }
    }
    CLEANUP_CHALLENGES struct challenges c = { 0 };
    if (text) {
        (void)!challenge_parse(text, &c, &e);
    }
    return 0;
}
