/*
 * base/fault.h: named points at which a test kills the program as SIGKILL would, to see what the next one makes of it.
 *
 * Compiled in with -Dfault=true alone; else there is nothing of it in a program. TARE_FAULT=NAME or NAME:N kills at the first or
 * the N-th passing of the point; TARE_FAULT_TRACE=FILE appends the name of each point that is passed, so that a test finds all that
 * a command has. Names: "subject.step"; what: the step where one line serves for many, else NULL.
 */
#pragma once

#ifdef TARE_FAULT
void fault_point(const char *name, const char *what);
#else
static inline void fault_point(const char *name, const char *what)
{
    (void)name;
    (void)what;
}
#endif
