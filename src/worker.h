/*
 * A worker: one process, one event loop, many connections. It serves all listeners of its generation's
 * configuration. It parses network bytes; it never forks and never executes anything.
 */
#ifndef SOCKD_WORKER_H
#define SOCKD_WORKER_H

#include "base/loop.h"
#include "worker_setup.h"

/*
 * The whole life of a worker process after the fork: closes what is not its own, serves, and returns the exit
 * status (0 drained, 71 cannot start). It does not return before it has drained or the master is gone and it
 * has drained.
 */
int worker_main(const struct worker_setup *setup);

/*
 * A worker inside the master's own process and loop (--single-process); `on_gone` is called once when it has
 * drained, from the loop. SETUP is copied, what it points to is borrowed until then. 0 or -errno.
 */
struct worker;
int worker_embed(const struct worker_setup *setup, struct loop *loop, void (*on_gone)(void *owner),
                 void *owner, struct worker **ret);

#endif
