/* Numbers that find their objects; see roster.h. */
#include "roster.h"

#include <stdlib.h>

/* The low bits of a number are its place, the others tell who had the place before from who has it now. */
#define PLACE_BITS 20
#define PLACE_MASK (((uint64_t)1 << PLACE_BITS) - 1)

void roster_done(struct roster *roster)
{
    free(roster->places);
    *roster = (struct roster){ 0 };
}

/* Twice as many places; the new ones are free. */
static int grow(struct roster *roster)
{
    uint32_t n = roster->n_places ? roster->n_places * 2 : 64;
    struct roster_place *places =
        n <= PLACE_MASK ? realloc(roster->places, n * sizeof(struct roster_place)) : NULL;

    if (!places)
        return -1;
    for (uint32_t i = roster->n_places; i < n; i++)
        places[i] = (struct roster_place){ .next_free = i + 1 < n ? i + 2 : 0 };
    roster->first_free = roster->n_places + 1;
    roster->places = places;
    roster->n_places = n;
    return 0;
}

uint64_t roster_add(struct roster *roster, void *object)
{
    if (roster->first_free == 0 && grow(roster) < 0)
        return 0;
    uint32_t at = roster->first_free - 1;
    struct roster_place *place = &roster->places[at];

    roster->first_free = place->next_free;
    *place = (struct roster_place){ .object = object, .number = ++roster->serial << PLACE_BITS | at };
    return place->number;
}

static struct roster_place *find(const struct roster *roster, uint64_t number)
{
    uint64_t at = number & PLACE_MASK;

    if (at >= roster->n_places || roster->places[at].number != number || !roster->places[at].object)
        return NULL;
    return &roster->places[at];
}

void *roster_find(const struct roster *roster, uint64_t number)
{
    const struct roster_place *place = find(roster, number);

    return place ? place->object : NULL;
}

void roster_remove(struct roster *roster, uint64_t number)
{
    struct roster_place *place = find(roster, number);

    if (!place)
        return;
    *place = (struct roster_place){ .next_free = roster->first_free };
    roster->first_free = (uint32_t)(place - roster->places) + 1;
}
