/* `sockctl top`: the daemon as it works, live at a terminal, otherwise one sample over one interval. */
#ifndef SOCKD_CLIENT_TOP_H
#define SOCKD_CLIENT_TOP_H

#include "client/options.h"

/* The exit status, as that of status. */
int top_run(struct options *o);

#endif
