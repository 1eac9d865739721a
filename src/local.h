/*
 * Our own addresses of connections. Neighbours have the same one most of the time, and then share it: an idle
 * connection is meant to be small. Runs in a worker.
 */
#ifndef SOCKD_LOCAL_H
#define SOCKD_LOCAL_H

#include "base/addr.h"

struct local;

/* A copy of ADDR that lives until local_give; shared with the last one that was taken when that is equal.
 * *LAST, at first NULL, remembers that one. NULL without memory. */
const struct addr *local_take(struct local **last, const struct addr *addr);
/* NULL is fine. */
void local_give(struct local **last, const struct addr *taken);

#endif
