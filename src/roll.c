/* Replacing the helpers of a service by hand; see roll.h. */
#include "roll.h"

#include "base/log.h"
#include "log_ids.h"
#include "spawner.h"

#include <errno.h>
#include <stdlib.h>

/* How often the counters of the worker are looked at. */
#define LOOK_MS 50

struct roll {
    struct generation *g;
    size_t service;
    size_t n_left;       /* seats, the last of which is the worker's whose helpers are being replaced */
    pid_t pid;           /* of that worker */
    uint64_t starts;     /* of helpers in it, when it was told */
    uint64_t last_start; /* the same, when that changed last */
    uint64_t moved_ms;   /* when that was */
    bool troubled;       /* it did not work before either */
    struct loop_timer timer;
};

static const struct service *service_of(const struct roll *r)
{
    return &r->g->conf->services[r->service];
}

/* NULL: there is no process. */
static const struct stats_service *figures(const struct roll *r, size_t seat)
{
    const struct process *p = &r->g->seats[seat].process;
    const struct stats_page *page = process_lives(p) ? stats_page(r->g->all->stats, p->page) : NULL;

    return page ? &page->service[r->g->slots[r->service]] : NULL;
}

static unsigned wanted(const struct roll *r, size_t seat)
{
    return spawner_helpers_of(service_of(r), r->g->seats[seat].process.number, (unsigned)r->g->n_workers);
}

static bool serves(const struct roll *r, size_t seat)
{
    const struct stats_service *f = figures(r, seat);

    return wanted(r, seat) > 0 && f && stats_get(&f->helpers) > 0;
}

static void tell(const struct roll *r, size_t seat)
{
    process_tell(&r->g->seats[seat].process, CHANNEL_ROLL, (uint32_t)r->service);
}

static const struct seat *now_at(const struct roll *r)
{
    return &r->g->seats[r->n_left - 1];
}

static void on_look(struct loop_timer *timer);

static void look_later(struct roll *r)
{
    struct loop *loop = r->g->all->loop;

    loop_timer_set(loop, &r->timer, loop_now(loop) + LOOK_MS, on_look);
}

/* The next worker whose helpers work. The first ones, which have the most clients at low load, come last. */
static void go_on(struct roll *r)
{
    while (r->n_left > 0 && !serves(r, r->n_left - 1))
        r->n_left--;
    if (r->n_left == 0)
        return;
    const struct seat *seat = now_at(r);
    r->pid = seat->process.pid;
    r->starts = r->last_start = stats_get(&figures(r, r->n_left - 1)->helper_starts);
    r->moved_ms = loop_now(r->g->all->loop);
    r->troubled = seat->troubled[r->service];
    tell(r, r->n_left - 1);
    look_later(r);
}

/* All of its helpers work, and were started since it was told; or all of it was. */
static bool is_done(const struct roll *r, const struct stats_service *f)
{
    unsigned n = wanted(r, r->n_left - 1);

    return stats_get(&f->helpers) >= n &&
           (now_at(r)->process.pid != r->pid || stats_get(&f->helper_starts) - r->starts >= n);
}

/* One helper may answer what it has in hand, and the next may start, for as long as the configuration says.
 */
static bool is_stuck(struct roll *r, const struct stats_service *f)
{
    const struct service *s = service_of(r);
    uint64_t starts = f ? stats_get(&f->helper_starts) : 0, now = loop_now(r->g->all->loop);

    if (starts != r->last_start) {
        r->last_start = starts;
        r->moved_ms = now;
    }
    return s->handler_timeout && now - r->moved_ms > s->helper_start_timeout + s->handler_timeout;
}

static void tell_stop(const struct roll *r)
{
    const char *why = r->g->trouble[r->service];
    struct log_about about = { .id = LOG_ID_HELPER_ENDED, .service = service_of(r)->name };

    log_write(LOG_WARNING, &about,
              "helpers of worker %u do not work again, so no more are replaced by sockctl restart%s%s",
              now_at(r)->process.number, why ? ": " : "", why ? why : "");
}

static void on_look(struct loop_timer *timer)
{
    struct roll *r = container_of(timer, struct roll, timer);
    const struct stats_service *f = figures(r, r->n_left - 1);

    if (generation_is_leaving(r->g))
        return;
    if (f && is_done(r, f)) {
        r->n_left--;
        go_on(r);
    } else if ((now_at(r)->troubled[r->service] && !r->troubled) || is_stuck(r, f)) {
        tell_stop(r);
    } else {
        look_later(r);
    }
}

static int make(struct generation *g)
{
    g->rolls = calloc(g->conf->n_services, sizeof(*g->rolls));
    if (!g->rolls)
        return -ENOMEM;
    for (size_t i = 0; i < g->conf->n_services; i++)
        g->rolls[i] = (struct roll){ .g = g, .service = i };
    return 0;
}

int roll_begin(struct generation *g, size_t service)
{
    if (!g->rolls && make(g) < 0)
        return -ENOMEM;
    struct roll *r = &g->rolls[service];

    loop_timer_stop(g->all->loop, &r->timer);
    /* There is nothing to lose. */
    for (size_t i = 0; i < g->n_workers; i++)
        if (wanted(r, i) > 0 && !serves(r, i))
            tell(r, i);
    r->n_left = g->n_workers;
    go_on(r);
    return 0;
}

void rolls_free(struct generation *g)
{
    for (size_t i = 0; g->rolls && i < g->conf->n_services; i++)
        loop_timer_stop(g->all->loop, &g->rolls[i].timer);
    free(g->rolls);
}
