/* tests/fuzz/fuzz-oci-config.c: config.json: parsing, the checks, and that what was accepted is accepted again when written out. */
#include "base/buf.h"
#include "spec/oci-runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err e = { 0 };
    CLEANUP_OCI_SPEC struct oci_spec *s = NULL;
    if (oci_spec_parse((const char *)data, len, &s, &e) < 0) {
        if (!e.text[0]) {
            abort(); /* an error without words */
        }
        return 0;
    }
    CLEANUP_BUF struct buf text = { 0 };
    CLEANUP_OCI_SPEC struct oci_spec *again = NULL;
    if (json_format(&oci_spec_type, s, 0, &text, &e) < 0 || oci_spec_parse(text.data, text.len, &again, &e) < 0) {
        abort();
    }
    return 0;
}
