/*
 * Trying a plug-in for `sockd --check`: it is loaded in a child, which may crash, hang or exit for it. Not
 * for the master, since it waits.
 */
#ifndef SOCKD_PLUGIN_TRIAL_H
#define SOCKD_PLUGIN_TRIAL_H

#include <stddef.h>

/* How long a plug-in may take to be loaded. */
#define PLUGIN_TRIAL_MS 5000

/* 0; or -EINVAL and in WHY, of SIZE bytes, what is wrong with the plug-in at PATH. Its functions are not
 * called. */
int plugin_trial(const char *path, char *why, size_t size);

#endif
