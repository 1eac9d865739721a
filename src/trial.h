/*
 * Trials of plug-ins. A worker that died before its first job may have died of the `init` of a plug-in, as
 * the next would, and no service would be served. So every plug-in of the configuration is tried in a child
 * that serves nobody. The service of one whose trial dies is shelved: workers leave it out, so that they
 * serve the others, its clients wait, and the trial is repeated after growing pauses until it goes well; then
 * the workers take the service up. A generation with an older one to fall back to shelves nothing: it fails,
 * and its trials are there to say why. Runs in the master, which loads nothing and hears nothing of the child
 * but its end.
 */
#ifndef SOCKD_TRIAL_H
#define SOCKD_TRIAL_H

#include "generation.h"

/* Room for the trials of G. 0 or -ENOMEM. */
int trials_make(struct generation *g);
/* Also a half-made one. */
void trials_free(struct generation *g);

/* A worker of G died before its first job. Whether any plug-in is tried now. */
bool trials_begin(struct generation *g);
/* G leaves: nothing is tried any more. */
void trials_stop(struct generation *g);
/* Whether PID was a trial of G. */
bool trials_reaped(struct generation *g, pid_t pid, int status);

/* The workers of G leave out SERVICE, for WHY, until a trial goes well. */
void trial_shelve(struct generation *g, size_t service, const char *why);

#endif
