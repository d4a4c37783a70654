/*
 * engine/seccomp-default.h: the filter of a container that asks for the default one: what Docker and the container engines allow, so that
 * an image runs here as it does there.
 */
#pragma once

#include "spec/oci-runtime.h"

/*
 * The profile for a container with these capabilities ("CAP_SYS_ADMIN", …; NULL-terminated): some system calls are allowed only with the
 * capability that they need anyhow. The caller releases it with json_free(&oci_seccomp_type, *ret) and free().
 */
MUST_USE int seccomp_default(char *const *caps, struct oci_seccomp **ret, struct err *e);
/*
 * A profile in Docker's extended form (archMap, includes and excludes by capability, architecture and kernel) or in the plain OCI form,
 * resolved for this machine and these capabilities.
 */
MUST_USE int seccomp_profile_resolve(const char *text, size_t len, char *const *caps, struct oci_seccomp **ret, struct err *e);
