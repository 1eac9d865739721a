/*
 * What happened between two looks at the daemon: rates, latencies, shares of a processor. Pure.
 *
 * A service or process that was not there before, or whose counters began anew (the daemon was started
 * again), counts from zero where that is right, and never backwards.
 */
#ifndef SOCKD_CLIENT_TOP_RATES_H
#define SOCKD_CLIENT_TOP_RATES_H

#include "client/top_sample.h"

#include <stdbool.h>

/* Per second. Quantiles in milliseconds, guessed within their bucket; negative: there was no request. */
struct top_rates {
    double accepted, requests, refused, failed, bytes_in, bytes_out;
    double p50_ms, p99_ms;
};

struct top_service_rates {
    const struct top_service *now; /* borrows from the sample */
    struct top_rates rates;
};

struct top_process_share {
    const struct top_process *now; /* borrows from the sample */
    double cpu;                    /* share of one processor: 1 is all of it */
};

struct top_view {
    const struct top_sample *now; /* borrows, as long as the view lives */
    double seconds;               /* between the two; 0: there was one only, and all rates are 0 */
    struct top_rates all;
    uint64_t queue, helpers, helpers_busy, helpers_wanted, in_hand;
    struct top_service_rates *services; /* own; now->n_services of them */
    struct top_process_share *processes;
};

/* BEFORE: the look before, or NULL. 0 or -ENOMEM. */
int top_view_make(struct top_view *ret, const struct top_sample *before, const struct top_sample *now);
void top_view_done(struct top_view *view);

enum top_order {
    TOP_BY_REQUESTS,
    TOP_BY_LATENCY,
    TOP_BY_WAITING,
    TOP_BY_CONNECTIONS,
    TOP_BY_NAME,
    TOP_ORDERS,
};
/* What is sorted by, in a word. */
extern const char *const top_order_words[TOP_ORDERS];

/* Those that do not serve stand before the others; in the order of their names where they are equal. */
void top_view_sort(struct top_view *view, enum top_order order);

/* The least time in ms that FRACTION of the requests did not exceed, guessed within its bucket as Prometheus
 * does; the last bound for what is over it; negative when COUNTS are all 0. */
double top_quantile(const uint64_t *counts, const uint64_t *bounds_us, size_t n_buckets, double fraction);

#endif
