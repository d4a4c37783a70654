/* tests/fuzz/fuzz-logs.c: lines of log files, which the container's output and anybody with the file can shape. */
#include "engine/logs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const enum engine_log_format formats[] = { ENGINE_LOG_CRI, ENGINE_LOG_JSON };
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct log_line l;
        if (log_line_parse(formats[i], (const char *)data, len, &l) == 0 && l.len > len * 4 + 16) {
            abort();
        }
        free(l.owned);
    }
    return 0;
}
