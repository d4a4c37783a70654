/* tests/fuzz/fuzz-manifest.c: image manifests, indexes and configurations, in turn. */
#include "spec/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err e = { 0 };
    const char *text = (const char *)data;
    CLEANUP_IMAGE_MANIFEST struct image_manifest m = { 0 };
    CLEANUP_IMAGE_INDEX struct image_index x = { 0 };
    CLEANUP_IMAGE_CONFIG struct image_config c = { 0 };
    const struct image_descriptor *d;
    if (image_manifest_parse(text, len, NULL, &m, &e) == 0 && !m.config.digest) {
        abort();
    }
    if (image_index_parse(text, len, NULL, &x, &e) == 0 && image_index_choose(&x, "linux/arm/v7", &d, &e) == 0 && !d->digest) {
        abort();
    }
    int r = image_config_parse(text, len, &c, &e);
    return r > 0;
}
