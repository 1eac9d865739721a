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

/* SERVICE does not work, whoever says so; told when it is the first to do so. */
void trouble_begin(struct generation *g, size_t service, const char *why);
/* One of those who said so takes it back: it ends when no worker is in trouble and it is not shelved
 * (trial.h). */
void trouble_end(struct generation *g, size_t service);

/* What it takes of a generation that is being made: 0 or -ENOMEM; trouble_free is due in both cases. */
int trouble_make(struct generation *g);
void trouble_free(struct generation *g);

#endif
