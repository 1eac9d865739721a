/*
 * Unix sockets that have a name: bound so that a stale file of a dead process is replaced, a live one is
 * never taken over, and nobody can connect before mode and group are right. "@name" is in the abstract name
 * space and has no file. Functions return 0, a descriptor, or -errno, and never log.
 */
#ifndef SOCKD_BASE_SOCKFILE_H
#define SOCKD_BASE_SOCKFILE_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

struct sockfile {
    const char *path; /* borrows */
    int type;         /* SOCK_STREAM or SOCK_DGRAM */
    mode_t mode;
    gid_t gid; /* (gid_t)-1: as it comes */
};

/* Which file a socket has; ino 0 for an abstract one. */
struct sockfile_id {
    dev_t dev;
    ino_t ino;
};

bool sockfile_same(const struct sockfile_id *a, const struct sockfile_id *b);

/*
 * A bound, non-blocking socket; a SOCK_STREAM one does not listen yet. -EADDRINUSE: a live socket has this
 * name; -EEXIST: a file that is no socket lies there; -ENAMETOOLONG; or what the system said.
 */
int sockfile_bind(const struct sockfile *file, struct sockfile_id *ret_id);

/* The file of a socket that was bound before. -ENOENT, -EEXIST when it is no socket. */
int sockfile_find(const char *path, struct sockfile_id *ret_id);

/* Sets mode and group of a socket's file. -ESTALE when the file is not the one of ID any more. */
int sockfile_apply(const struct sockfile *file, const struct sockfile_id *id);

/* Whether sockfile_apply would be allowed: 0, -EPERM, or what it would say. Nothing is changed. */
int sockfile_check(const struct sockfile *file, const struct sockfile_id *id);

/* Whether this process may give a file of its own to a group: it is in it, or as root may do so anyway. */
bool sockfile_may_give(gid_t gid);

/* The group that a file of ours gets at PATH when none is asked for. */
gid_t sockfile_group_of_new(const char *path);

/* Removes the file if it is still the one of ID. */
void sockfile_remove(const char *path, const struct sockfile_id *id);

/* The address of a path or an abstract name; its length, or -ENAMETOOLONG. */
int sockfile_address(const char *path, struct sockaddr_un *ret);

#endif
