/* monitor/init.h: PID 1 of a pod that shares its PID namespace: reaps, and ends at SIGTERM. */
#pragma once

_Noreturn void init_main(void);
