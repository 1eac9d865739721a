/*
 * The handler "plugin": a C function in a shared object answers, see sockd-plugin.h. Runs in a worker, never
 * in the master.
 */
#ifndef SOCKD_HANDLER_PLUGIN_H
#define SOCKD_HANDLER_PLUGIN_H

#include "handler/handler.h"

extern const struct handler plugin_handler;

#define PLUGIN_WHY_MAX 256

/* Loads PATH and looks at what it exports, without calling it. 0; or -EINVAL with the reason in RET_WHY. To
 * be called in a process that may die of it. */
int plugin_try(const char *path, char ret_why[PLUGIN_WHY_MAX]);

/* Loads the plug-in of the service CONF, calls its `init`, and `fini` if that went well. To be called in a
 * process that may die of it, and that serves nobody. */
void plugin_rehearse(const struct service *conf);

#endif
