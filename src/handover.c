/* A connection in one packet; see handover.h. Runs in workers. */
#include "handover.h"

#include "base/fd.h"
#include "base/packet.h"

#include <assert.h>
#include <errno.h>

int handover_send(int inbox, const struct handover *h, const char *bytes, int fd)
{
    const struct iovec parts[] = {
        { .iov_base = (void *)(uintptr_t)h, .iov_len = sizeof *h },
        { .iov_base = (void *)(uintptr_t)bytes, .iov_len = h->len },
    };

    assert(h->len <= HANDOVER_BYTES_MAX);
    return packet_send(inbox, parts, 2, &fd, 1);
}

int handover_receive(int inbox, struct handover *ret, char *bytes, int *ret_fd)
{
    struct handover h = { 0 };
    struct iovec parts[] = {
        { .iov_base = &h, .iov_len = sizeof h },
        { .iov_base = bytes, .iov_len = HANDOVER_BYTES_MAX },
    };
    int fd;
    ssize_t n = packet_receive(inbox, parts, 2, &fd, 1);

    if (n <= 0)
        return (int)n;
    if ((size_t)n < sizeof h || (size_t)n != sizeof h + h.len || h.len > HANDOVER_BYTES_MAX) {
        fd_close(&fd);
        return -EPROTO;
    }
    h.service[HANDOVER_SERVICE_MAX - 1] = '\0';
    *ret = h;
    if (fd < 0)
        return -EMFILE;
    *ret_fd = fd;
    return 1;
}
