/* fuzz-cni.c: network configuration lists, results and errors of CNI plugins. */
#include "spec/cni.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err e = { 0 };
    CLEANUP_CNI_LIST struct cni_list *l = NULL;
    CLEANUP_BUF struct buf b = { .max = 4096 };
    const char *text = (const char *)data;
    json_t *o = json_loadb(text, len, 0, NULL), *other = NULL;
    if (cni_list_parse(text, len, &l, &e) == 0) {
        json_decref(cni_plugin_input(l, &l->plugins.v[0], o, o));
        json_decref(cni_list_encode(l));
    }
    if (o) {
        struct cni_result r = { 0 };
        if (cni_result_decode(o, &r, &e) == 0) {
            cni_result_done(&r);
        }
        if (cni_result_convert(o, "0.4.0", &other, &e) == 0) {
            json_decref(other);
        }
    }
    json_decref(o);
    cni_error_text(text, len, &b);
    return 0;
}
