/* bench/profile.c: prints the default seccomp profile, for the configuration that bench/oci.py gives to every runtime. */
#include "base/fd.h"
#include "engine/seccomp-default.h"

#include <stdio.h>

int main(void)
{
    struct oci_seccomp *s;
    struct err e = { 0 };
    CLEANUP_BUF struct buf b = { 0 };
    if (seccomp_default(NULL, &s, &e) < 0 || json_format(&oci_seccomp_type, s, 1, &b, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    puts(buf_str(&b));
    json_free(&oci_seccomp_type, s);
    free(s);
    return 0;
}
