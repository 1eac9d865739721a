/*
 * The master's part in handing connections over (handover.h): the inboxes of a generation, and which
 * connections of older ones go there. Runs in the master.
 *
 * The master keeps the reading ends, for workers that are replaced, for as long as there is an older
 * generation or something waits in them; it gives the writing ends to the older workers, and keeps none, so
 * that the new ones see when nobody can hand over any more.
 */
#ifndef SOCKD_SUCCESSION_H
#define SOCKD_SUCCESSION_H

#include "generation.h"

/* A generation has no inboxes at first. */
void succession_init(struct generation *g);
void succession_done(struct generation *g);

/* For G, which is about to start beside another one. 0 or -errno. */
int succession_make_inboxes(struct generation *g);
/* Gives a worker that has just been started what it is to read. */
void succession_give_inboxes(struct seat *worker);

/* Older generations hand their connections over to G, as soon as these have nothing in hand. */
void succession_begin(struct generation *g);
/* None will be handed over to G. */
void succession_end(struct generation *g);

/* When one generation is left, and has taken what was handed over to it, its inboxes are closed. */
void succession_forget(struct generations *all);

#endif
