/*
 * The connections of a process, as it tells them to the master: rows of one size in a memfd, behind a head.
 *
 * A worker or the spawner writes it when CHANNEL_LIST asks, and sends it with CHANNEL_LISTING. The master
 * reads it with pread(2), never maps it, and trusts nothing in it: a row is copied, its numbers are checked
 * where they are used as an index, and only printed otherwise. It holds no text.
 */
#ifndef SOCKD_LISTING_H
#define SOCKD_LISTING_H

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a connection waits for; a row each in listing.c. */
enum listing_wait {
    LISTING_IDLE,
    LISTING_MESSAGE,
    LISTING_MEMORY,
    LISTING_HANDLER,
    LISTING_CLIENT,
    LISTING_END,
    LISTING_START,
    LISTING_PROGRAM,
    LISTING_QUEUE, /* last, since an older program's workers speak to the master after an upgrade */
    LISTING_WAITS,
};

struct listing_wait_row {
    const char *word;  /* in JSON; stable */
    const char *words; /* for people */
};
extern const struct listing_wait_row listing_waits[LISTING_WAITS];

struct listing_row {
    uint32_t number;  /* of the connection, in its process; not 0 */
    uint32_t service; /* its index in the configuration of the process */
    uint32_t wait;    /* enum listing_wait */
    uint32_t requests;
    uint64_t opened_ms, since_ms; /* CLOCK_MONOTONIC; since when it waits */
    uint64_t bytes_in, bytes_out;
    struct addr peer;
};

/* No more are told of one process. */
#define LISTING_ROWS_MAX 10000

#define LISTING_BATCH 64

struct listing {
    int fd; /* owns; -1 after a failure */
    uint32_t n, total;
    unsigned n_batch;
    struct listing_row batch[LISTING_BATCH];
};

/* For the process. A failure is kept, and seen at the end. */
void listing_begin(struct listing *l);
void listing_add(struct listing *l, const struct listing_row *row);
/* Sends it as the answer to question VALUE; without a descriptor where it could not be made. */
void listing_send(struct listing *l, int channel_fd, uint32_t value);

/*
 * For the master: reads at most LIMIT rows from FD, which stays the caller's. 0 with *RET_ROWS, which the
 * caller frees, and in *RET_TOTAL how many there are in all, as it is said; or -EPROTO for what is no
 * listing, else -errno.
 */
int listing_read(int fd, size_t limit, struct listing_row **ret_rows, size_t *ret_n, uint32_t *ret_total);

#endif
