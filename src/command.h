/* The words of sockctl that the daemon understands, as rows of one table. Runs in the master. */
#ifndef SOCKD_COMMAND_H
#define SOCKD_COMMAND_H

#include "control.h"

/* OWNER is the struct master. */
void command_run(void *owner, struct control_client *client, const struct control_line *line);

#endif
