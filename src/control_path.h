/*
 * Where the control socket is: the places of sockd(8), for the daemon that makes it and the client that looks
 * for it. Knows paths only; it never opens, binds or connects a socket, and never logs.
 */
#ifndef SOCKD_CONTROL_PATH_H
#define SOCKD_CONTROL_PATH_H

#include <stddef.h>

/* What a Unix socket's path may be long, with its NUL. */
#define CONTROL_PATH_MAX 108

/*
 * The path where this process as a daemon makes its control socket when none was named: in
 * $RUNTIME_DIRECTORY, for root in /run/sockd, in $XDG_RUNTIME_DIR/sockd, else in /tmp/sockd-UID. The last
 * three directories are made when they are missing. 0; -EPERM when the directory in /tmp is another user's or
 * open to others; -ENAMETOOLONG when RET (SIZE bytes) is too small; else -errno.
 */
int control_path_own(char *ret, size_t size);

/*
 * The places where a client looks, PLACE counting from 0; the system's own daemon comes last. 0; -ENOENT
 * behind the last place; -ESRCH when there is nothing at this one that could be trusted (look at the next).
 */
int control_path_find(unsigned place, char *ret, size_t size);

/* The path of the instance NAME (sockd@NAME.service). 0, -EINVAL for no name of one, -ENAMETOOLONG. */
int control_path_instance(const char *name, char *ret, size_t size);

#endif
