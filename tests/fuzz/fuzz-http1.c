/* fuzz-http1: the head of a request; what parses has to hold what the parser promises. */
#include "http/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct http1_request q = { 0 };
    char token[HTTP1_TOKEN_MAX];
    ssize_t n = http1_parse((const char *)data, len, &q, NULL);
    if (n <= 0) {
        return 0;
    }
    if ((size_t)n > len || q.path[0] != '/' || q.n_headers > HTTP1_HEADERS_MAX || !http1_get(&q, "host")) {
        abort();
    }
    for (size_t i = 0; i < q.n_headers; i++) {
        for (size_t at = 0; http1_next(&q, q.headers[i].name, &at, token);) {
        }
    }
    (void)http1_has(&q, "upgrade", "SPDY/3.1");
    http1_request_done(&q);
    return 0;
}
