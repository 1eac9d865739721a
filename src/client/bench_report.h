/* What came of a load, on standard output: for people, or as one JSON object whose names sockctl(1) tells. */
#ifndef SOCKD_CLIENT_BENCH_REPORT_H
#define SOCKD_CLIENT_BENCH_REPORT_H

#include "client/bench_plan.h"

/* The exit status of bench. */
int bench_report(const struct bench_plan *plan, const struct bench_tally *tally, bool json);

#endif
