/*
 * The yardstick: an epoll loop that only receives and sends. No parsing, no limits, no timeouts; what it
 * takes for a request is what the kernel takes. One process, or several that share the listener. A client
 * that does not read makes it wait. Runs until it is ended.
 *
 *   bare_epoll [-c CPU] [-w PROCESSES] PORT
 */
#include "bare.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

static char buffer[65536];

static void watch(int epoll_fd, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.fd = fd };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        err(1, "epoll_ctl");
}

static void take_connections(int epoll_fd, int listen_fd)
{
    int fd, on = 1;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        watch(epoll_fd, fd, EPOLLIN);
    }
}

/* False when the client is gone. */
static int send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        struct pollfd wait = { .fd = fd, .events = POLLOUT };
        if (n < 0 && errno != EAGAIN)
            return 0;
        if (n < 0 && poll(&wait, 1, -1) < 0)
            err(1, "poll");
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 1;
}

static void answer(int fd)
{
    ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
    if (n <= 0 || !send_all(fd, buffer, (size_t)n))
        close(fd);
}

static void serve(int listen_fd)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll_fd, listen_fd, EPOLLIN | EPOLLEXCLUSIVE);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listen_fd)
                take_connections(epoll_fd, listen_fd);
            else
                answer(events[i].data.fd);
        }
    }
}

int main(int argc, char **argv)
{
    int processes = 1;
    for (int option; (option = getopt(argc, argv, "c:w:")) != -1;) {
        if (option == 'c')
            pin(atoi(optarg));
        else if (option == 'w')
            processes = atoi(optarg);
        else
            return 64;
    }
    if (optind + 1 != argc)
        errx(64, "usage: bare_epoll [-c CPU] [-w PROCESSES] PORT");
    int listen_fd = open_port(SOCK_STREAM | SOCK_NONBLOCK, (uint16_t)atoi(argv[optind]));
    while (--processes > 0 && fork() > 0)
        ;
    if (processes > 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(listen_fd);
}
