/*
 * What services are short of: helpers, a limit, descriptors, memory, time to read datagrams. Looks at the
 * counters every second. A shortage is told once it has lasted for SHORTAGE_TELL_MS, and once more when it
 * has been over for SHORTAGE_OVER_MS, with its length and how many clients it cost; between the two the
 * daemon is degraded, where clients wait or are refused. Runs in the master, which only adds up and prints
 * what workers wrote.
 */
#ifndef SOCKD_SHORTAGE_H
#define SOCKD_SHORTAGE_H

#include "generation.h"

#define SHORTAGE_TELL_MS 5000
#define SHORTAGE_OVER_MS 2000

/* One state of one service. */
struct shortage {
    uint64_t since_ms;  /* 0: there is none */
    uint64_t last_ms;   /* when it was seen last */
    uint64_t before;    /* clients that it has ever cost, as counted before it began */
    uint64_t now;       /* as counted last */
    uint64_t grown;     /* what grows while it lasts, as counted last */
    uint64_t most;      /* that waited at once */
    uint64_t length_ms; /* of the one that has ended */
    bool looked;        /* the counts are of an earlier look */
    bool told;
};

enum shortage_edge {
    SHORTAGE_NONE,
    SHORTAGE_BEGAN, /* to be told */
    SHORTAGE_ENDED, /* to be told; forgotten after that */
};

/*
 * One look: there is a shortage since SINCE_MS, 0: there is none; CLIENTS: how many it has ever cost. The
 * first look only counts. Pure.
 */
enum shortage_edge shortage_step(struct shortage *s, uint64_t now_ms, uint64_t since_ms, uint64_t clients);

struct shortages;

/* ADOPTED: what is counted began before this program. ON_CHANGE is called when one was told. 0 or -ENOMEM. */
int shortages_start(const struct generations *generations, bool adopted, void (*on_change)(void *owner),
                    void *owner, struct shortages **ret);
/* NULL is fine. */
void shortages_stop(struct shortages *all);
/* Why SERVICE of G is degraded, as "all 20 helpers busy for 5 s"; false: by none of these. NULL is fine. */
#define SHORTAGE_TEXT_MAX 200
bool shortages_print(const struct shortages *all, const struct generation *g, size_t service,
                     char text[SHORTAGE_TEXT_MAX]);

#endif
