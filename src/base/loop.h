/*
 * The event loop of every process: epoll, timers, and freeing that waits for the end of a batch.
 *
 * Single-threaded. Time is CLOCK_MONOTONIC in milliseconds, read once per batch. In one turn of the loop the
 * descriptors come first and the timers after them, so that after a pause of the whole machine what has
 * arrived is looked at before anything is called late.
 *
 * An object that a batch of events may still name is never freed inside it: loop_remove() makes its events of
 * this batch vanish, also when it is added again at once, and loop_free_later() keeps its memory until the
 * batch is over.
 */
#ifndef SOCKD_BASE_LOOP_H
#define SOCKD_BASE_LOOP_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop_source; /* a descriptor that is waited for */
struct loop_timer;  /* a moment that is waited for */

typedef void loop_event_fn(struct loop_source *source, uint32_t events);
typedef void loop_timer_fn(struct loop_timer *timer);

struct loop_source {
    loop_event_fn *on_event;
    int fd; /* borrows: the owner closes it after loop_remove(); -1 while it is in no loop */
    uint32_t events;
    uint32_t added;  /* the turn in which it was */
    uint32_t number; /* the owner's, for its own use */
};

struct loop_timer {
    loop_timer_fn *on_timer;
    uint64_t due_ms;
    uint64_t rank;  /* orders timers that are due at the same time: the first set is the first called */
    uint32_t place; /* in the heap, from 1; 0 while not set */
};

/* Something that waits to be freed. */
struct loop_garbage {
    struct loop_garbage *next;
    void (*free)(struct loop_garbage *garbage);
};

struct loop {
    int epoll_fd;
    bool quit;
    uint32_t turn;
    uint64_t now_ms, now_us;
    uint64_t last_rank;
    struct loop_timer **heap; /* owns; a binary heap, the earliest first, at [1] */
    uint32_t heap_len, heap_cap;
    struct loop_garbage *garbage;
};

/* 0 or -errno. */
int loop_init(struct loop *loop);
/* Frees what waits to be freed; descriptors and timers stay their owners'. */
void loop_done(struct loop *loop);

/* Runs until loop_quit(). 0, or -errno when waiting itself failed. */
int loop_run(struct loop *loop);
/* One turn: waits at most LIMIT_MS (-1: no limit) for events. For tests. */
int loop_turn(struct loop *loop, int limit_ms);
void loop_quit(struct loop *loop);

/* The time of this batch, in ms and in us. */
static inline uint64_t loop_now(const struct loop *loop)
{
    return loop->now_ms;
}
static inline uint64_t loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}
/* This very moment of CLOCK_MONOTONIC, in us. */
uint64_t loop_read_clock(void);

/* EVENTS as for epoll_ctl(2), level-triggered unless they say otherwise. 0 or -errno. */
int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events, loop_event_fn *on_event);
/* Waits for EVENTS from now on; costs nothing when they are the same. */
void loop_change_now(struct loop *loop, struct loop_source *source, uint32_t events);
static inline void loop_change(struct loop *loop, struct loop_source *source, uint32_t events)
{
    if (source->events != events)
        loop_change_now(loop, source, events);
}
/* Harmless when it is in no loop. Does not close the descriptor. */
void loop_remove(struct loop *loop, struct loop_source *source);

/* Sets or moves a timer. A due time in the past is now: it fires in this turn's timers, or, when these are
 * being called, in the next turn's. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ms, loop_timer_fn *on_timer);
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);

void loop_free_later(struct loop *loop, struct loop_garbage *garbage, void (*free)(struct loop_garbage *));

#endif
