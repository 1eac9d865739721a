/*
 * What spawners that died have left: programs, which go on, and helpers that changed their user, which undoes
 * that they die with the spawner. The kernel makes them the master's children, and the session of their
 * spawner, which no stranger can enter, tells them from all others. Nobody counts them; a stop waits for them
 * as for other programs, and ends them with their process groups. Runs in the master.
 *
 * A program that takes the master's place by an upgrade does not know of them.
 */
#ifndef SOCKD_ORPHANS_H
#define SOCKD_ORPHANS_H

#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Dead spawners that are remembered, the last ones. */
#define ORPHANS_SESSIONS_MAX 16

struct orphans {
    struct loop *loop; /* borrows */
    pid_t sessions[ORPHANS_SESSIONS_MAX];
    size_t n_sessions;
    bool over;               /* they are to end now */
    struct loop_timer timer; /* TERM, then KILL */
};

void orphans_init(struct orphans *orphans, struct loop *loop);
void orphans_done(struct orphans *orphans);

/* A spawner that was PID died, and was reaped. */
void orphans_note(struct orphans *orphans, pid_t spawner);
/* Ends them AFTER_MS from now, with a second between TERM and KILL; KILL now. */
void orphans_end_later(struct orphans *orphans, uint64_t after_ms);
void orphans_kill(struct orphans *orphans);
/* Whether there are any. When they are over, these are ended too. */
bool orphans_live(struct orphans *orphans);

#endif
