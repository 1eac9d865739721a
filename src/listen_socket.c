/* Opening, adopting and adjusting one listening or datagram socket. */
#include "listen_socket.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

/* Seconds of silence before the kernel asks whether a peer still lives. */
#define KEEPALIVE_IDLE 120

bool listen_name_equal(const struct listen_name *a, const struct listen_name *b)
{
    if (a->transport != b->transport)
        return false;
    return a->path[0] ? strcmp(a->path, b->path) == 0 : !b->path[0] && addr_equal(&a->addr, &b->addr);
}

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Accepted connections inherit these from their listener, which spares calls for each. */
static int set_tcp_options(int fd)
{
    int r = set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (r == 0)
        r = set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (r == 0)
        r = set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE);
    return r;
}

/* A reply leaves from the address that was asked. */
static int set_udp_options(int fd, uint16_t family)
{
    return family == AF_INET ? set(fd, IPPROTO_IP, IP_PKTINFO, 1)
                             : set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
}

static int set_options(int fd, const struct listen_name *name)
{
    switch (name->transport) {
    case TRANSPORT_TCP:
        return set_tcp_options(fd);
    case TRANSPORT_UDP:
        return set_udp_options(fd, name->addr.family);
    case TRANSPORT_UNIXGRAM:
    case TRANSPORT_UNIX:
    case TRANSPORT_COUNT:
        break;
    }
    return 0;
}

static int bind_inet(int fd, const struct listen_name *name)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&name->addr, &sa);
    int r = 0;

    /* Each family has its own socket, so "::" must not take the IPv4 port as well. */
    if (name->addr.family == AF_INET6)
        r = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    /* On a datagram socket it would let a second process take the port. */
    if (r == 0 && name->transport == TRANSPORT_TCP)
        r = set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && bind(fd, (struct sockaddr *)&sa, len) < 0)
        r = -errno;
    return r;
}

static struct sockfile sockfile_of(const struct listen_name *name, const struct service *service)
{
    return (struct sockfile){
        .path = name->path,
        .type = name->transport == TRANSPORT_UNIX ? SOCK_STREAM : SOCK_DGRAM,
        .mode = (mode_t)service->mode,
        .gid = service->group ? service->gid : (gid_t)-1,
    };
}

static int open_bound(const struct listen_name *name, const struct service *service,
                      struct sockfile_id *ret_id)
{
    if (name->path[0]) {
        struct sockfile file = sockfile_of(name, service);
        return sockfile_bind(&file, ret_id);
    }
    int type = name->transport == TRANSPORT_TCP ? SOCK_STREAM : SOCK_DGRAM;
    int fd = socket(name->addr.family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = bind_inet(fd, name);
    if (r < 0)
        fd_close(&fd);
    return r < 0 ? r : fd;
}

int listen_socket_open(const struct listen_name *name, const struct service *service,
                       struct sockfile_id *ret_id)
{
    struct sockfile_id id = { 0 };

    int fd = open_bound(name, service, &id);
    if (fd < 0)
        return fd;
    int r = set_options(fd, name);
    if (r == 0 && transport_is_stream(name->transport) && listen(fd, (int)service->backlog) < 0)
        r = -errno;
    if (r < 0) {
        if (name->path[0])
            sockfile_remove(name->path, &id);
        fd_close(&fd);
        return r;
    }
    *ret_id = id;
    return fd;
}

static int get(int fd, int option)
{
    int value;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -errno : value;
}

/* The configured form of a socket's own address: "@name" where it begins with NUL. */
static int path_of(const struct sockaddr_un *sa, socklen_t len, char *ret)
{
    size_t n =
        len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path) : 0;

    if (n == 0)
        return -EINVAL; /* bound to nothing */
    memcpy(ret, sa->sun_path, n);
    ret[n] = '\0';
    if (ret[0] == '\0')
        ret[0] = '@';
    return 0;
}

static int transport_of(int domain, int type)
{
    if (domain == AF_UNIX && type == SOCK_STREAM)
        return TRANSPORT_UNIX;
    if (domain == AF_UNIX && type == SOCK_DGRAM)
        return TRANSPORT_UNIXGRAM;
    if ((domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM)
        return TRANSPORT_TCP;
    if ((domain == AF_INET || domain == AF_INET6) && type == SOCK_DGRAM)
        return TRANSPORT_UDP;
    return -EINVAL;
}

int listen_socket_identify(int fd, struct listen_name *ret)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    struct listen_name name = { 0 };

    int domain = get(fd, SO_DOMAIN), type = get(fd, SO_TYPE), listening = get(fd, SO_ACCEPTCONN);
    if (domain < 0 || type < 0)
        return domain < 0 ? domain : type;
    int transport = transport_of(domain, type);
    if (transport < 0)
        return transport;
    name.transport = (enum transport)transport;
    if (transport_is_stream(name.transport) && listening != 1)
        return -ENOTCONN;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    int r = 0;
    if (domain == AF_UNIX)
        r = path_of((struct sockaddr_un *)&sa, len, name.path);
    else
        addr_from_sockaddr(&name.addr, &sa);
    if (r == 0)
        *ret = name;
    return r;
}

int listen_socket_adopt(int fd, const struct listen_name *name)
{
    int r = fd_set_nonblock(fd, 1);
    if (r == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        r = -errno;
    if (r == 0)
        r = set_options(fd, name);
    return r;
}

/* A file that lost its group in the configuration goes back to the one that it would have without. */
static struct sockfile kept_sockfile_of(const struct listen_name *name, const struct service *service)
{
    struct sockfile file = sockfile_of(name, service);

    if (!service->group)
        file.gid = sockfile_group_of_new(name->path);
    return file;
}

int listen_socket_apply(int fd, const struct listen_name *name, const struct service *service,
                        const struct sockfile_id *id)
{
    if (transport_is_stream(name->transport) && listen(fd, (int)service->backlog) < 0)
        return -errno;
    if (!id || id->ino == 0)
        return 0;
    struct sockfile file = kept_sockfile_of(name, service);
    return sockfile_apply(&file, id);
}

int listen_socket_check(const struct listen_name *name, const struct service *service,
                        const struct sockfile_id *id)
{
    if (!id || id->ino == 0)
        return 0;
    struct sockfile file = kept_sockfile_of(name, service);
    return sockfile_check(&file, id);
}

uint32_t listen_socket_drops(int fd)
{
    uint32_t meminfo[SK_MEMINFO_VARS];
    socklen_t len = sizeof(meminfo);

    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, meminfo, &len) < 0 || len < sizeof(meminfo))
        return 0;
    return meminfo[SK_MEMINFO_DROPS];
}
