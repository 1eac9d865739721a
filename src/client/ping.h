/* sockctl ping: the time from a request to its reply, some times over, and a summary. */
#ifndef SOCKD_CLIENT_PING_H
#define SOCKD_CLIENT_PING_H

#include "client/options.h"

/* The exit status: EXIT_REFUSED when a reply was missing. */
int ping_run(struct options *o);

#endif
