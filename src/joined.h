/*
 * The listeners that one worker has joined: what it accepts connections from, and its datagram sockets. Runs
 * in a worker; it knows services, but not the worker. See accept.h and dgram.h for what each of them does.
 */
#ifndef SOCKD_JOINED_H
#define SOCKD_JOINED_H

#include "channel.h"
#include "listen.h"
#include "served.h"

struct joined {
    struct work *work;                  /* borrows */
    const struct listen_set *listeners; /* borrows; of the generation */
    struct list acceptors, dgrams;      /* owns */
};

/* Nothing is joined yet. 0 or -errno. */
int joined_init(struct joined *joined, struct work *work, const struct listen_set *listeners);
/* Leaves and frees all. One that was never begun (all zero) is fine. */
void joined_done(struct joined *joined);

/* All listeners of the service. 0 or -errno; then some may be joined. */
int joined_add(struct joined *joined, struct served *served);

/* Leaves and joins each again: a wake-up that a dead worker took with it comes again. */
void joined_rearm(struct joined *joined);

/* There may be room for connections again. */
void joined_resume(struct joined *joined);

/* Nobody will listen any more at the listeners of a set, by their place among them. */
void joined_forget(struct joined *joined, const struct channel_message *set);

/*
 * Takes nothing new. What waits in their queues is still taken; but if all of sockd stops, what waits at a
 * listener that systemd holds, or keeps for us, is left for the next start.
 */
void joined_leave(struct joined *joined, bool all_stops);

/* True while requests of datagrams are with their handlers. */
bool joined_is_busy(const struct joined *joined);
/* Ends these. */
void joined_end_datagrams(struct joined *joined);

#endif
