/*
 * Filling a place of a generation with a process: the first, the next one after a pause, and the pair that
 * connects a worker with the spawner. Runs in the master.
 */
#ifndef SOCKD_SEAT_H
#define SOCKD_SEAT_H

#include "generation.h"

/* The longest pause before a process that died before its first job is replaced; one that lived so long had
 * worked. */
#define SEAT_PAUSE_MAX_MS 30000

/* Makes the empty places of G: one for each worker, and one behind them for the spawner if it is needed. 0 or
 * -ENOMEM. */
int seats_make(struct generation *g, const struct process_hooks *hooks);
/* The same for so many workers. */
int seats_make_as(struct generation *g, size_t n_workers, bool has_spawner,
                  const struct process_hooks *hooks);
/* Also half-made ones. */
void seats_free(struct generation *g);

/* 0, or -errno, and there is no process. */
int seat_start(struct seat *seat);
/* Tries; when it fails, again after a pause. */
void seat_start_or_retry(struct seat *seat);
/* Starts the next process after a pause, which grows with each call; returns it, in ms. */
uint64_t seat_start_later(struct seat *seat);
/* Starts the workers that would be started after a pause. */
void seats_hurry(struct generation *g);
/* For one that ended, as WHAT says: at once when it WAS_GOOD and such did not end often in a second, else
 * after a pause. */
void seat_replace(struct seat *seat, const char *what, bool was_good);
/* The other edge of what that told: it serves again. */
void seat_tell_back(const struct seat *seat);

/* How long the next process waits after so many failures in a row, from 1. */
uint64_t seat_pause_ms(unsigned failures);

/* Gives each an end of a new pair, if both live and the spawner is ready. */
void seat_connect(struct seat *spawner, struct seat *worker);

#endif
