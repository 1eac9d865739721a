/*
 * The counters and gauges in the Prometheus text format (version 0.0.4), for `sockctl metrics` and the
 * exporter. Runs in the master; it looks and changes nothing. Names follow the Prometheus conventions: a
 * total for what only grows, base units, and a label where a sum over it makes sense.
 */
#ifndef SOCKD_METRICS_H
#define SOCKD_METRICS_H

#include "status.h"

/* The whole text. The caller frees it; NULL without memory. */
char *metrics_text(const struct status *status);

/* A row for each counter and gauge of struct stats_service; ends with a NULL family. */
struct metric_row {
    const char *family; /* "sockd_requests_total" */
    const char *label;  /* `outcome="replied"`; "" for none */
    const char *help;   /* of the family; said once */
    const char *stat;   /* the name in stats_rows */
};
extern const struct metric_row metric_rows[];

#endif
