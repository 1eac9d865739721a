/*
 * A histogram of times, log-linear: each power of two is cut into 128 equal steps, so that a quantile is off
 * by less than one percent, whatever its size. A flat struct without pointers: it may lie in shared memory,
 * and an all-zero one is empty. Pure.
 */
#ifndef SOCKD_CLIENT_HISTOGRAM_H
#define SOCKD_CLIENT_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_STEPS 128
/* Values from 2 to this power on, 18 minutes as nanoseconds, share the last place. */
#define HISTOGRAM_BITS   40
#define HISTOGRAM_PLACES ((HISTOGRAM_BITS - 6) * HISTOGRAM_STEPS)

struct histogram {
    uint64_t count, sum;
    uint64_t min, max; /* exact; mean nothing while COUNT is 0 */
    uint64_t place[HISTOGRAM_PLACES];
};

void histogram_add(struct histogram *h, uint64_t value);
/* Adds all values of OTHER. */
void histogram_merge(struct histogram *h, const struct histogram *other);

/* The least value that at least FRACTION (0 to 1) of all do not exceed, as the upper bound of its step and
 * never outside min and max; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *h, double fraction);
double histogram_mean(const struct histogram *h);
/* How many values lie in FROM to below TO, to the precision of a step. */
uint64_t histogram_count_between(const struct histogram *h, uint64_t from, uint64_t to);

#endif
