/* The listening socket of control.c: bound for those who may use it. Runs in the master; never logs. */
#ifndef SOCKD_CONTROL_SOCKET_H
#define SOCKD_CONTROL_SOCKET_H

#include "base/sockfile.h"

/*
 * Listens on PATH, for the group of those who may look; where there is none, or we may not give it away, for
 * our own alone. A descriptor, and its file; -EADDRINUSE when another daemon answers there, or -errno.
 */
int control_socket_open(const char *path, struct sockfile_id *ret_id);

/* Whether the file of ID is not at PATH any more. */
bool control_socket_is_gone(const char *path, const struct sockfile_id *id);

#endif
