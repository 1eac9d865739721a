/* Packets with descriptors; see packet.h. */
#include "base/packet.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* Room for the descriptors, aligned as the kernel wants it. */
union control {
    char bytes[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
    struct cmsghdr align;
};

int packet_send(int fd, const struct iovec *parts, int n_parts, const int *fds, int n_fds)
{
    struct msghdr header = { .msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)n_parts };
    union control control = { 0 };
    size_t size = (size_t)n_fds * sizeof(int);
    ssize_t n;

    assert(n_fds <= PACKET_FDS_MAX);
    if (n_fds > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        assert(c);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(c), fds, size);
    }
    do
        n = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ENOBUFS || errno == ETOOMANYREFS ? -EAGAIN : -errno;
    return 0;
}

static void take_fds(struct msghdr *header, int *ret_fds, int n_fds)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(header);

    for (int i = 0; i < n_fds; i++)
        ret_fds[i] = -1;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
}

ssize_t packet_receive(int fd, struct iovec *parts, int n_parts, int *ret_fds, int n_fds)
{
    union control control;
    struct msghdr header = { .msg_iov = parts, .msg_iovlen = (size_t)n_parts };
    ssize_t n;

    assert(n_fds <= PACKET_FDS_MAX);
    if (n_fds > 0) {
        /* CMSG_LEN and not CMSG_SPACE: no room in the padding for one more. */
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_LEN((size_t)n_fds * sizeof(int));
    }
    do
        n = recvmsg(fd, &header, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    take_fds(&header, ret_fds, n_fds);
    return n;
}
