/* The commands of sockctl that change how the daemon serves. Runs in the master. */
#ifndef SOCKD_COMMAND_CHANGE_H
#define SOCKD_COMMAND_CHANGE_H

#include "control.h"
#include "master.h"

void command_drain(struct master *master, struct control_client *client, const struct control_line *line);
void command_resume(struct master *master, struct control_client *client, const struct control_line *line);
void command_kill(struct master *master, struct control_client *client, const struct control_line *line);
void command_log_level(struct master *master, struct control_client *client, const struct control_line *line);

#endif
