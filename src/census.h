/*
 * All connections of all living generations, for a client of the control socket: every process is asked, and
 * waited for a second at most. Runs in the master, from the loop. What the processes say is checked in
 * listing.c and here.
 */
#ifndef SOCKD_CENSUS_H
#define SOCKD_CENSUS_H

#include "generation.h"
#include "listing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No more connections are kept of all processes together. */
#define CENSUS_ROWS_MAX 20000

/* A process that was asked. */
struct census_asked {
    unsigned generation;
    unsigned process;  /* the worker's number; 0: the spawner */
    struct conf *conf; /* owns a reference; of its generation */
    bool answered;
};

struct census_row {
    const struct census_asked *from;
    const struct service *service; /* borrows; of from->conf */
    struct listing_row is;
};

struct census {
    struct list link;
    struct loop *loop; /* borrows */
    struct loop_timer deadline;
    uint32_t number;
    struct census_asked *asked; /* owns */
    size_t n_asked, n_waiting;
    struct census_row *rows; /* owns */
    size_t n_rows;
    uint64_t total; /* connections that there are, as the processes say */
    /* All have answered, or the time is over; it must free the census. The rows are sorted by then: the
     * longest wait first. */
    void (*on_done)(struct census *census);
    void *owner;
};

/* Those that are going on. */
struct censuses {
    struct list running;
    uint32_t last_number;
};

void censuses_init(struct censuses *all);

/*
 * Asks all processes, or with ONLY that one alone: its generation and its number. 0; or -errno, and on_done
 * is not called; it never is before this returns. *RET is the caller's.
 */
int census_start(struct censuses *all, const struct generations *generations, const struct census_asked *only,
                 void (*on_done)(struct census *census), void *owner, struct census **ret);
/* Without on_done, if it was not called yet. */
void census_free(struct census *census);

/* A process answers; takes FD. */
void censuses_hear(struct censuses *all, const struct generation *g, unsigned process, uint32_t question,
                   int fd);

#endif
