/* sockctl bench: load for a server, and what it took. */
#ifndef SOCKD_CLIENT_BENCH_H
#define SOCKD_CLIENT_BENCH_H

#include "client/options.h"

/* The exit status: 1 also when a request failed. */
int bench_run(struct options *o);

#endif
