/*
 * The listening sockets of a service as one worker takes connections from them.
 *
 * Workers share a listener with EPOLLEXCLUSIVE: a new connection wakes one of them, and the kernel prefers
 * the one at the front of the queue. A worker with a little more than its share goes to the end of that queue
 * after each connection; one with far more leaves for two milliseconds and joins again by a timer, so that
 * nothing waits longer than that. At a limit a worker takes no more connections until one ends; they wait in
 * the backlog. Runs in a worker.
 */
#ifndef SOCKD_ACCEPT_H
#define SOCKD_ACCEPT_H

#include "listen.h"
#include "served.h"

struct acceptor {
    struct loop_source source;
    struct list link; /* for the worker */
    struct served *served;
    const struct listener *listener; /* borrows */
    struct loop_timer timer;         /* when it joins again: it is paused, or rests */
    bool paused, left;
    unsigned failures;        /* of accept(2), in a row */
    uint64_t told_failure_ms; /* why accept(2) failed; 0: never */
    bool removed;             /* nobody will listen here any more */
};

/* 0 or -errno. */
int acceptor_open(struct served *served, const struct listener *listener, struct acceptor **ret);

/* Leaves and joins the queue of workers: a wake-up that a dead worker took with it comes again. */
void acceptor_rearm(struct acceptor *acceptor);

/* There may be room again. */
void acceptor_resume(struct acceptor *acceptor);

/* Takes no new connections any more; those that wait already are still taken when TAKE_REST. At a limit they
 * wait on, for others that listen; where these are none, they are turned away politely. */
void acceptor_leave(struct acceptor *acceptor, bool take_rest);

/* Leaves if it has not, and frees. NULL is fine. */
void acceptor_free(struct acceptor *acceptor);

#endif
