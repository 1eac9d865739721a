/*
 * What workers say of their handlers: that one does not work, and that it works again. It fails a generation
 * that is not to be patient, and degrades one that serves, until all have worked again for some time. Runs in
 * the master, which trusts no number and no text here.
 */
#ifndef SOCKD_TROUBLE_H
#define SOCKD_TROUBLE_H

#include "generation.h"

/* The process of SEAT says that a handler of SERVICE does not work, since WHY; or, NULL, that it works again.
 */
void trouble_tell(struct seat *seat, uint32_t service, const char *why);
/* Its process is gone, and what it said with it. */
void trouble_forget(struct seat *seat);

/* The generation ends. */
void trouble_stop(struct generation *g);

/* SERVICE is shelved, see trial.h: no worker has to say so. */
void trouble_shelve(struct generation *g, size_t service, const char *why);
void trouble_unshelve(struct generation *g, size_t service);

#endif
