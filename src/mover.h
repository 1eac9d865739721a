/*
 * How a worker takes connections from older generations and gives its own to a newer one; see handover.h.
 * Runs in a worker; it knows connections and services, but not the worker.
 */
#ifndef SOCKD_MOVER_H
#define SOCKD_MOVER_H

#include "base/log_limit.h"
#include "base/loop.h"
#include "channel.h"
#include "served.h"

/* One of the ways that connections come and go. */
struct mover_way {
    struct mover *mover;
    int inbox_fd; /* owns; -1 */
    struct loop_source inbox, outbox;
    struct loop_timer again; /* when the outbox is tried again */
};

struct mover {
    struct work *work; /* borrows; its outbox_fds are ours */
    struct mover_way ways[HANDOVER_WAYS];
    struct loop_timer pause; /* of taking, for want of memory */
    struct log_limit losses; /* lines about connections that were lost on their way */
    char *bytes;             /* owns; room for what came with a connection, while there is an inbox */
    void (*on_closed)(struct mover *mover); /* nothing will come any more */
};

void mover_init(struct mover *mover, struct work *work, void (*on_closed)(struct mover *mover));
void mover_done(struct mover *mover);

/* What the master says of inboxes, outboxes and what moves: CHANNEL_INBOX to CHANNEL_MOVE_FIRST. Takes FD,
 * which came with the message. */
void mover_obey(struct mover *mover, const struct channel_message *message, int fd);

/* Connections go nowhere any more. */
void mover_close_outboxes(struct mover *mover);

/* Moves all that can be moved now; the rest goes when it has nothing in hand. */
void mover_start(struct mover *mover);

/* Takes what waits in the inboxes, and nothing after it. */
void mover_close_inboxes(struct mover *mover);

static inline bool mover_expects(const struct mover *mover)
{
    for (int way = 0; way < HANDOVER_WAYS; way++)
        if (mover->ways[way].inbox_fd >= 0)
            return true;
    return false;
}

#endif
