/* sockctl pipe: standard input to the server and the server to standard output, byte for byte. */
#ifndef SOCKD_CLIENT_PIPE_H
#define SOCKD_CLIENT_PIPE_H

#include "client/options.h"

/* The exit status. */
int pipe_run(struct options *o);

#endif
