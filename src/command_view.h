/* The commands of sockctl that look at the daemon and change nothing. Runs in the master. */
#ifndef SOCKD_COMMAND_VIEW_H
#define SOCKD_COMMAND_VIEW_H

#include "control.h"
#include "master.h"

void command_services(struct master *master, struct control_client *client, const struct control_line *line);
void command_workers(struct master *master, struct control_client *client, const struct control_line *line);
void command_connections(struct master *master, struct control_client *client,
                         const struct control_line *line);
void command_config(struct master *master, struct control_client *client, const struct control_line *line);

#endif
