/* oci/features.h: what this runtime is built to do, for `tare-oci features`. */
#pragma once

#include "base/util.h"
#include "oci/seccomp.h"

struct oci_features {
    bool systemd, systemd_user, rdma, apparmor, selinux, intel_rdt, memory_policy, idmap, net_devices;
};
struct oci_features oci_features(void);
/* The i-th name of the mount options that are not left to the file system; NULL behind the last. */
const char *oci_mount_option(size_t i);
