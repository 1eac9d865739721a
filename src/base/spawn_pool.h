/*
 * Threads that execute programs for an event loop. spawn_exec() makes the thread that calls it wait until the
 * program is loaded; the loop goes on meanwhile, and several programs are loaded at once. Measured on two
 * processors: 1,200 to 1,500 programs a second from one thread, 3,200 to 4,600 from four.
 *
 * The threads do nothing else: no log, no memory, no state but the job they were given.
 */
#ifndef SOCKD_BASE_SPAWN_POOL_H
#define SOCKD_BASE_SPAWN_POOL_H

#include "base/loop.h"
#include "base/spawn.h"

struct spawn_pool;

struct spawn_job {
    struct spawn_job *next;
    struct spawn_exec what;     /* and all that it borrows, until on_done */
    struct spawn_child process; /* when ERROR is 0 */
    int error;                  /* 0 or -errno */
    enum spawn_step step;
    /* In the loop. */
    void (*on_done)(struct spawn_job *job);
};

/* 0 or -errno. */
int spawn_pool_open(struct loop *loop, struct spawn_pool **ret);
/* Waits for the jobs that are at work; the others are dropped, as are results that nobody has heard. NULL is
 * fine. */
void spawn_pool_close(struct spawn_pool *pool);
/* JOB is the pool's until on_done. */
void spawn_pool_submit(struct spawn_pool *pool, struct spawn_job *job);

#endif
