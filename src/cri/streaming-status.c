/* cri/streaming-status.c: how a session ended, as the Kubernetes clients read it. */
#include "cri/streaming-internal.h"

#include <stdio.h>

static char *dump(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

char *status_ok(void)
{
    return dump(json_pack("{s:{}, s:s}", "metadata", "status", "Success"));
}

char *status_exit(int32_t code)
{
    char text[16];
    (void)snprintf(text, sizeof(text), "%d", code);
    return dump(json_pack("{s:{}, s:s, s:s, s:s, s:{s:[{s:s, s:s}]}}", "metadata", "status", "Failure", "message",
                          "command terminated with non-zero exit code", "reason", "NonZeroExitCode", "details", "causes", "reason",
                          "ExitCode", "message", text));
}

char *status_error(const char *message)
{
    return dump(json_pack("{s:{}, s:s, s:s, s:s, s:i}", "metadata", "status", "Failure", "message", message, "reason",
                          "InternalError", "code", 500));
}
