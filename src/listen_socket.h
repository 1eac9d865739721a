/*
 * One socket of a listener: its options, its address, its name. For listen.c; runs in the master. Nothing
 * here logs or complains; functions return a descriptor, 0, or -errno.
 */
#ifndef SOCKD_LISTEN_SOCKET_H
#define SOCKD_LISTEN_SOCKET_H

#include "base/addr.h"
#include "base/sockfile.h"
#include "conf.h"

/* What a service wants to listen on, or what an inherited socket turned out to be. */
struct listen_name {
    enum transport transport;
    struct addr addr; /* tcp and udp */
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) +
              1]; /* unix and unixgram, as configured ("@..." abstract); else "" */
};

bool listen_name_equal(const struct listen_name *a, const struct listen_name *b);

/* Opens NAME for SERVICE, listening where it is a stream. *RET_ID is that of a socket file. */
int listen_socket_open(const struct listen_name *name, const struct service *service,
                       struct sockfile_id *ret_id);

/* Looks at a socket that another process opened. -EINVAL: of a type that no transport has; -ENOTCONN: a
 * stream that does not listen; -ENOTSOCK, -EBADF. */
int listen_socket_identify(int fd, struct listen_name *ret);
/* Makes it as ours are. */
int listen_socket_adopt(int fd, const struct listen_name *name);

/* Sets what may change while a socket lives: backlog; and mode and group of the file, unless ID is NULL. */
int listen_socket_apply(int fd, const struct listen_name *name, const struct service *service,
                        const struct sockfile_id *id);

/* Whether that would be allowed, as far as it can be known: 0, -EPERM, or what it would say. */
int listen_socket_check(const struct listen_name *name, const struct service *service,
                        const struct sockfile_id *id);

/* Datagrams that the kernel dropped since the socket was made, because its queue was full; it wraps.
 * socket(7), SO_MEMINFO. */
uint32_t listen_socket_drops(int fd);

#endif
