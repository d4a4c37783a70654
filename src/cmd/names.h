/* cmd/names.h: names for containers that were given none, such as "calm_otter". */
#pragma once

#include "base/util.h"

/* One of some four thousand; it may be taken. NULL when out of memory. The caller frees. */
char *name_random(void);
