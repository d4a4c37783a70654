/* tests/fuzz/fuzz-toml.c: the TOML reader. */
#include "image/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err e = { 0 };
    json_t *t = NULL;
    if (toml_parse("fuzz", (const char *)data, len, &t, &e) == 0) {
        if (!json_is_object(t)) {
            abort();
        }
        json_decref(t);
    } else if (!e.text[0]) {
        abort();
    }
    return 0;
}
