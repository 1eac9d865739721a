/*
 * The yardstick for datagrams: recvmmsg and sendmmsg in a loop, nothing between. Runs until it is ended.
 *
 *   bare_udp [-c CPU] PORT
 */
#include "bare.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BATCH 32

static char data[BATCH][65536];
static struct sockaddr_storage names[BATCH];
static struct iovec parts[BATCH];
static struct mmsghdr messages[BATCH];

static void answer(int fd)
{
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){ .iov_base = data[i], .iov_len = sizeof(data[i]) };
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &names[i], .msg_namelen = sizeof(names[i]), .msg_iov = &parts[i], .msg_iovlen = 1
        };
    }
    int n = recvmmsg(fd, messages, BATCH, 0, NULL);
    for (int i = 0; i < n; i++)
        parts[i].iov_len = messages[i].msg_len;
    if (n > 0 && sendmmsg(fd, messages, (unsigned)n, 0) < 0)
        warn("sendmmsg");
}

int main(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "c:")) != -1;) {
        if (option != 'c')
            return 64;
        pin(atoi(optarg));
    }
    if (optind + 1 != argc)
        errx(64, "usage: bare_udp [-c CPU] PORT");
    int fd = open_port(SOCK_DGRAM | SOCK_NONBLOCK, (uint16_t)atoi(argv[optind]));
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN };
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        err(1, "epoll");
    while (epoll_wait(epoll_fd, &event, 1, -1) >= 0)
        answer(fd);
    err(1, "epoll_wait");
}
