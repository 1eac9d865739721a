/*
 * Many timeouts that are equally long: one first-in-first-out list, one loop timer for its head. Setting,
 * moving and clearing a deadline cost a few pointers, never a heap operation and never a system call.
 *
 * Time is cut into slices, at most a sixteenth of the span and about a second long. The list is in the order
 * of the slices, so that one that begins anew within its slice keeps its place, and nothing but its own time
 * is written. None is called early; one is late by a slice at most.
 */
#ifndef SOCKD_BASE_DEADLINE_H
#define SOCKD_BASE_DEADLINE_H

#include "base/list.h"
#include "base/loop.h"

struct deadline {
    uint64_t due_ms;
    struct list link;
};

typedef void deadline_fn(struct deadline *deadline, void *owner);

struct deadlines {
    struct loop *loop; /* borrows */
    struct list all;   /* the earliest slice first */
    struct loop_timer timer;
    uint64_t span_ms;    /* 0: never; setting one then does nothing */
    unsigned slice_bits; /* a slice is two to this power, in ms */
    deadline_fn *on_passed;
    void *owner;
};

/* At most this many deadlines of one list are called in one turn, so that a late turn does not end all at
 * once. */
#define DEADLINES_PER_TURN 64

void deadlines_init(struct deadlines *d, struct loop *loop, uint64_t span_ms, deadline_fn *on_passed,
                    void *owner);
/* The list must be empty. */
void deadlines_done(struct deadlines *d);

void deadline_init(struct deadline *deadline);
/* Due in span_ms from now; moves it when it is on this or another list already. With a span of 0 it is on no
 * list, and due_ms tells when this was called. */
void deadline_set(struct deadlines *d, struct deadline *deadline);
/* The same for one that was set last on this list, and was not cleared since. */
static inline void deadline_set_anew(struct deadlines *d, struct deadline *deadline)
{
    uint64_t due_ms = loop_now(d->loop) + d->span_ms;

    if ((due_ms ^ deadline->due_ms) >> d->slice_bits == 0)
        deadline->due_ms = due_ms;
    else
        deadline_set(d, deadline);
}

/*
 * One that began elsewhere: due at DUE_MS (0: never), or after span_ms if that is sooner. It finds its place
 * in the list by a search from the end.
 */
void deadline_set_due(struct deadlines *d, struct deadline *deadline, uint64_t due_ms);
void deadline_clear(struct deadline *deadline);

static inline bool deadline_is_set(const struct deadline *deadline)
{
    return !list_empty(&deadline->link);
}

#endif
