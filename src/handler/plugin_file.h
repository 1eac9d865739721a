/*
 * The shared object of a plug-in: loaded, and held against the ABI. The one door to dlopen(3), but for
 * exporter_library.c. Runs where plugin.c does.
 *
 * What is loaded is a copy of the file in memory, so that whoever writes over the file, as cp(1) does, does
 * not change or take away what a worker executes. The file itself is loaded when it is larger than a copy may
 * be, or when the copy cannot be loaded: it may look for others beside itself. Services with the same file
 * share it.
 */
#ifndef SOCKD_HANDLER_PLUGIN_FILE_H
#define SOCKD_HANDLER_PLUGIN_FILE_H

#include "handler/plugin.h"
#include "sockd-plugin.h"

struct plugin_file;

/* Loads PATH, and calls nothing of it but its constructors. NULL with WHY; else *RET_FILE is to be given
 * back. */
const struct sockd_plugin *plugin_file_take(const char *path, struct plugin_file **ret_file,
                                            char why[PLUGIN_WHY_MAX]);
void plugin_file_give(struct plugin_file *file);

/* Into WHY, on one line whatever a stranger wrote. Returns -EINVAL. */
int plugin_say(char why[PLUGIN_WHY_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
