/* oci/netdev.h: linux.netDevices: network devices of the host that move into the container (runtime-spec 1.3). */
#pragma once

#include "spec/oci-runtime.h"

#include <sys/types.h>

/* Moves each device into the network namespace of pid under its new name. */
MUST_USE int netdev_move_all(const struct oci_linux *l, pid_t pid, struct err *e);
