/*
 * What every unit test includes: cmocka, and what cmocka needs before it. A test program has one main() that
 * runs one group; it is linked with the archive of all modules and includes no .c file.
 */
#ifndef SOCKD_TEST_H
#define SOCKD_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* For tests of what valgrind itself takes over, such as limits of descriptors: they call skip(). */
static inline int test_is_under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

#endif
