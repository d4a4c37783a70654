/* base/test.h: what every unit test includes first: cmocka and one checking macro. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Integers of any type; prints both values on failure. */
#define CHECK_EQ(got, want)                                                                        \
    _assert_int_equal((LargestIntegralType)(intmax_t)(got), (LargestIntegralType)(intmax_t)(want), \
                      __FILE__, __LINE__)
