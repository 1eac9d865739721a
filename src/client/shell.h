/* sockctl shell: a conversation at a terminal, with line editing and history. */
#ifndef SOCKD_CLIENT_SHELL_H
#define SOCKD_CLIENT_SHELL_H

#include "client/options.h"

/* The exit status. Without a terminal it is `send` with a message a line. */
int shell_run(struct options *o);

#endif
