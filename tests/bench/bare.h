/* What the yardsticks share, and the load on them: a processor to run on, and a port. */
#ifndef SOCKD_BENCH_BARE_H
#define SOCKD_BENCH_BARE_H

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <sys/socket.h>

static inline void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        err(1, "processor %d", cpu);
}

/* A socket of this TYPE at PORT of the loopback address; a stream socket listens. */
static inline int open_port(int type, uint16_t port)
{
    struct sockaddr_in sa = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;
    int is_stream = (type & ~SOCK_NONBLOCK) == SOCK_STREAM;

    if (is_stream)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || (is_stream && listen(fd, 4096) < 0))
        err(1, "port %u", port);
    return fd;
}

#endif
