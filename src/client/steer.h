/* The commands of sockctl that the daemon carries out: a line to it, its answer, an exit status. */
#ifndef SOCKD_CLIENT_STEER_H
#define SOCKD_CLIENT_STEER_H

#include "client/options.h"

/* The exit status. */
int steer_run(struct options *o);
/* The same for what is answered when it is done: that has no limit of time unless one is given. */
int steer_wait(struct options *o);

#endif
