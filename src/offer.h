/*
 * The services that one worker offers, of those in its configuration: each is made with its handler, and
 * joins its listeners when the handler works and the generation may serve. Runs in a worker; it knows
 * services and listeners, but not the worker.
 */
#ifndef SOCKD_OFFER_H
#define SOCKD_OFFER_H

#include "joined.h"
#include "served.h"
#include "worker_setup.h"

struct offer {
    const struct worker_setup *setup; /* borrows */
    struct work *work;                /* borrows */
    struct joined joined;
    bool joins;                            /* listeners, as soon as their services can be served */
    bool left;                             /* takes nothing new */
    bool ready;                            /* all can be served, and were once */
    void (*on_ready)(struct offer *offer); /* once */
};

/* Nothing is offered yet. 0 or -errno. */
int offer_init(struct offer *offer, const struct worker_setup *setup, struct work *work,
               void (*on_ready)(struct offer *offer));
/* Leaves the listeners. One that was never begun (all zero) is fine. */
void offer_done(struct offer *offer);

/* What follows returns 0, or -errno when a service cannot be served, which was logged: the worker is to end.
 */

/* Makes the services that this worker serves, and joins what can be joined. */
int offer_start(struct offer *offer);
/* A handler works, or does not any more: joins what can be joined now. */
int offer_settle(struct offer *offer);
/* Its generation is the one that serves. */
int offer_join(struct offer *offer);
/* Serves a service that was left out (its index in the configuration), or that is served already. */
int offer_take_up(struct offer *offer, uint32_t index);

/* As joined_leave(). */
void offer_leave(struct offer *offer, bool all_stops);

#endif
