/* monitor/monitor.h: tare-monitor as a function. */
#pragma once

#include "base/err.h"

/*
 * Serves the pod whose folder is dir until it is told to end. boot_fd: a socket pair's end on which the MON_POD message comes
 * and is answered; it is closed. The caller has already become a process of its own (session, parent).
 */
MUST_USE int monitor_run(const char *dir, int boot_fd, struct err *e);
