/*
 * `sockctl restart`: the helpers of a service are replaced worker after worker, so that while one has none
 * the others serve. A worker replaces its own one after another; the next is told when they all work again.
 * Where they do not, it ends there: a program that no longer starts takes one worker's helpers, and the
 * others stay. Runs in the master, which sees how far a worker is by its counters.
 */
#ifndef SOCKD_ROLL_H
#define SOCKD_ROLL_H

#include "generation.h"

/* Begins anew where it was under way. 0 or -ENOMEM. */
int roll_begin(struct generation *g, size_t service);
void rolls_free(struct generation *g);

#endif
