/* Writing and reading lists of connections; see listing.h. */
#include "listing.h"

#include "base/fd.h"
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Stands in front of the rows. */
struct head {
    uint32_t n;     /* rows that follow */
    uint32_t total; /* connections that there are */
};

/* clang-format off */
const struct listing_wait_row listing_waits[LISTING_WAITS] = {
    [LISTING_IDLE] = { "idle", "a request" },
    [LISTING_MESSAGE] = { "message", "the rest of a message" },
    [LISTING_MEMORY] = { "memory", "memory" },
    [LISTING_HANDLER] = { "handler", "the handler" },
    [LISTING_CLIENT] = { "client", "the client to take a reply" },
    [LISTING_END] = { "end", "the client to end" },
    [LISTING_START] = { "start", "its program to start" },
    [LISTING_PROGRAM] = { "program", "its program to end" },
    [LISTING_QUEUE] = { "queue", "a helper to be free" },
};
/* clang-format on */

static void write_all(struct listing *l, const void *data, size_t len, off_t at)
{
    if (l->fd >= 0 && pwrite(l->fd, data, len, at) != (ssize_t)len)
        fd_close(&l->fd);
}

static void write_batch(struct listing *l)
{
    off_t at = (off_t)(sizeof(struct head) + (l->n - l->n_batch) * sizeof(struct listing_row));

    write_all(l, l->batch, l->n_batch * sizeof(struct listing_row), at);
    l->n_batch = 0;
}

void listing_begin(struct listing *l)
{
    l->fd = memfd_create("sockd-listing", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    l->n = l->total = 0;
    l->n_batch = 0;
}

void listing_add(struct listing *l, const struct listing_row *row)
{
    l->total++;
    if (l->n == LISTING_ROWS_MAX)
        return;
    l->batch[l->n_batch++] = *row;
    l->n++;
    if (l->n_batch == LISTING_BATCH)
        write_batch(l);
}

void listing_send(struct listing *l, int channel_fd, uint32_t value)
{
    struct head head = { .n = l->n, .total = l->total };

    write_batch(l);
    write_all(l, &head, sizeof(head), 0);
    channel_send_fd(channel_fd, CHANNEL_LISTING, value, l->fd);
    fd_close(&l->fd);
}

static int read_all(int fd, void *data, size_t len, off_t at)
{
    ssize_t n = pread(fd, data, len, at);

    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EPROTO;
}

int listing_read(int fd, size_t limit, struct listing_row **ret_rows, size_t *ret_n, uint32_t *ret_total)
{
    struct head head;

    /* Only files in memory have seals: reading another one could block. */
    if (fcntl(fd, F_GET_SEALS) < 0)
        return -EPROTO;
    int r = read_all(fd, &head, sizeof(head), 0);
    if (r < 0)
        return r;
    if (head.n > LISTING_ROWS_MAX || head.n > head.total)
        return -EPROTO;
    size_t n = head.n < limit ? head.n : limit;
    struct listing_row *rows = calloc(n + 1, sizeof(*rows));
    if (!rows)
        return -ENOMEM;
    r = read_all(fd, rows, n * sizeof(*rows), sizeof(head));
    if (r < 0) {
        free(rows);
        return r;
    }
    *ret_rows = rows;
    *ret_n = n;
    *ret_total = head.total;
    return 0;
}
