/*
 * One packet between a worker and the spawner: a fixed struct, and up to two descriptors. Runs in both. It
 * neither waits nor keeps anything; spawner_line.c does.
 */
#include "spawner.h"

#include "base/fd.h"
#include "base/packet.h"

#include <errno.h>
#include <string.h>

int spawner_send(int fd, const struct spawner_packet *packet, const int *fds, int n)
{
    const struct iovec part = { .iov_base = (void *)(uintptr_t)packet, .iov_len = sizeof(*packet) };

    return packet_send(fd, &part, 1, fds, n);
}

int spawner_receive(int fd, struct spawner_packet *ret, int ret_fds[SPAWNER_FDS_MAX])
{
    struct spawner_packet packet;
    struct iovec part = { .iov_base = &packet, .iov_len = sizeof(packet) };
    int fds[SPAWNER_FDS_MAX];
    ssize_t n = packet_receive(fd, &part, 1, fds, SPAWNER_FDS_MAX);

    if (n < 0)
        return (int)n;
    if (n != (ssize_t)sizeof(packet)) {
        for (int i = 0; i < SPAWNER_FDS_MAX; i++)
            fd_close(&fds[i]);
        return n == 0 ? 0 : -EPROTO;
    }
    packet.text[sizeof(packet.text) - 1] = '\0';
    *ret = packet;
    memcpy(ret_fds, fds, sizeof(fds));
    return 1;
}
