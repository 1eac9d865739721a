/* Time that passes, for a client that waits: nanoseconds of CLOCK_MONOTONIC, and what is left of a limit. */
#ifndef SOCKD_CLIENT_CLOCK_H
#define SOCKD_CLIENT_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* What poll(2) may wait from now so that SPAN_MS have passed since START_NS; -1 when SPAN_MS is 0: no limit.
 */
static inline int clock_left_ms(uint64_t start_ns, uint64_t span_ms)
{
    uint64_t passed_ms = (clock_ns() - start_ns) / 1000000;

    if (span_ms == 0)
        return -1;
    if (passed_ms >= span_ms)
        return 0;
    return span_ms - passed_ms > 86400000 ? 86400000 : (int)(span_ms - passed_ms);
}

#endif
