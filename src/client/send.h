/* sockctl send: requests out, replies to standard output. */
#ifndef SOCKD_CLIENT_SEND_H
#define SOCKD_CLIENT_SEND_H

#include "client/options.h"

/* The exit status. */
int send_run(struct options *o);

#endif
