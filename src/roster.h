/*
 * Numbers for objects that somebody may name later, when they may be gone: a number is never given twice, and
 * a stale one finds nothing. Pure memory, no locks.
 */
#ifndef SOCKD_ROSTER_H
#define SOCKD_ROSTER_H

#include <stdint.h>

struct roster {
    struct roster_place {
        void *object; /* NULL: free */
        uint64_t number;
        uint32_t next_free; /* of a free place: the next one, from 1; 0: the last */
    } * places;             /* owns */
    uint32_t n_places, first_free;
    uint64_t serial;
};

/* All zero is an empty one. */
void roster_done(struct roster *roster);

/* Gives OBJECT (borrowed until roster_remove) a number from 1; 0 without memory. */
uint64_t roster_add(struct roster *roster, void *object);
/* The object with this number, or NULL. */
void *roster_find(const struct roster *roster, uint64_t number);
void roster_remove(struct roster *roster, uint64_t number);

#endif
