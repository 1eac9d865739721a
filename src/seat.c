/* Starting processes, with pauses where they keep dying; see seat.h. */
#include "seat.h"

#include "base/cpus.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"
#include "succession.h"
#include "trial.h"
#include "trouble.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define PAUSE_FIRST_MS 100

/*
 * A place whose processes work and die so often in a second, as when a client repeats a request that is
 * deadly, waits before the next: else one client could keep a processor busy with forking. Not sooner, and
 * not longer: who asks meanwhile waits too. Measured, one deadly client beside four honest ones, in a second:
 * 500 deaths and 2,600 answers without a pause, 260 and 1,200 with this one; 87 % of the honest are answered
 * in both. After 10 deaths and with 100 ms it was a sixth of the answers.
 */
#define DEATHS_MANY     100
#define DEATHS_SPAN_MS  1000
#define DEATHS_PAUSE_MS 20

static size_t count_workers(const struct generation *g)
{
    size_t n = g->all->embedded ? 1 : g->conf->workers > 0 ? (size_t)g->conf->workers : cpus_usable();

    return n < CONF_WORKERS_MAX ? n : CONF_WORKERS_MAX;
}

int seats_make(struct generation *g, const struct process_hooks *hooks)
{
    return seats_make_as(g, count_workers(g), spawner_is_needed(g->conf), hooks);
}

int seats_make_as(struct generation *g, size_t n_workers, bool has_spawner, const struct process_hooks *hooks)
{
    g->seats = calloc(n_workers + has_spawner, sizeof(*g->seats));
    if (!g->seats || trouble_make(g) < 0 || trials_make(g) < 0)
        return -ENOMEM;
    g->n_workers = n_workers;
    g->has_spawner = has_spawner;
    for (size_t i = 0; i < n_workers + has_spawner; i++) {
        struct seat *seat = &g->seats[i];
        seat->generation = g;
        seat->troubled = calloc(g->conf->n_services + 1, sizeof(bool));
        if (!seat->troubled)
            return -ENOMEM;
        process_init(&seat->process, hooks, g->all->loop, g->all->stats,
                     i < n_workers ? (unsigned)i + 1 : PROCESS_SPAWNER);
        seat->process.generation = g->number;
    }
    return 0;
}

void seats_free(struct generation *g)
{
    for (size_t i = 0; g->seats && i < generation_seats(g); i++)
        free(g->seats[i].troubled);
    free(g->seats);
    g->seats = NULL;
}

void seat_connect(struct seat *spawner, struct seat *worker)
{
    char name[PROCESS_NAME_MAX];
    int pair[2];

    if (!spawner || !spawner->process.ready || !process_lives(&worker->process))
        return;
    int r = fd_channel(pair);
    if (r == 0) {
        r = process_give(&spawner->process, CHANNEL_ATTACH, worker->process.number, pair[0]);
        if (r == 0)
            r = process_give(&worker->process, CHANNEL_SPAWNER, 0, pair[1]);
        fd_close(&pair[0]);
        fd_close(&pair[1]);
    }
    if (r < 0) {
        struct log_about about = process_about(&worker->process, LOG_ID_FAULT);

        log_write(LOG_ERR, &about, "%s cannot be connected with the spawner: %s",
                  process_print(name, &worker->process), strerror(-r));
    }
}

static int start_spawner(struct seat *seat, int log_level)
{
    struct generation *g = seat->generation;
    struct spawner_setup setup = {
        .generation = g->number,
        .conf = g->conf,
        .slots = g->slots,
        .n_workers = (unsigned)g->n_workers,
        .stats = g->all->stats,
        .soft_descriptors = g->all->soft_descriptors,
    };

    return process_start(&seat->process, &(struct process_job){ .spawner = &setup }, log_level, false);
}

static int start_worker(struct seat *seat, int log_level)
{
    struct generation *g = seat->generation;
    struct worker_setup setup = {
        .generation = g->number,
        .conf = g->conf,
        .listeners = g->all->embedded ? &g->copies : &g->listeners,
        .slots = g->slots,
        .drained = g->drained,
        .shelved = g->shelved,
        .stats = g->all->stats,
        .n_workers = (unsigned)g->n_workers,
        .max_descriptors = g->all->max_descriptors,
        .patient = g->patient || g->state == GENERATION_SERVING,
    };

    int r =
        process_start(&seat->process, &(struct process_job){ .worker = &setup }, log_level, g->all->embedded);
    if (r == 0)
        succession_give_inboxes(seat);
    if (r == 0)
        seat_connect(generation_spawner(g), seat);
    return r;
}

int seat_start(struct seat *seat)
{
    const struct generation *g = seat->generation;

    seat->process.generation = g->number;
    int log_level = generation_log_level(g);

    return process_is_spawner(&seat->process) ? start_spawner(seat, log_level)
                                              : start_worker(seat, log_level);
}

/* Doubles with each failure; a quarter of it is left to chance, so that workers do not come back all at once.
 */
uint64_t seat_pause_ms(unsigned failures)
{
    uint64_t pause_ms = PAUSE_FIRST_MS;
    uint16_t chance = 0;

    while (--failures > 0 && pause_ms < SEAT_PAUSE_MAX_MS)
        pause_ms *= 2;
    if (pause_ms > SEAT_PAUSE_MAX_MS)
        pause_ms = SEAT_PAUSE_MAX_MS;
    if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) < 0)
        chance = 0;
    return pause_ms - pause_ms / 4 * chance / UINT16_MAX;
}

static void on_again(struct loop_timer *timer)
{
    seat_start_or_retry(container_of(timer, struct seat, again));
}

uint64_t seat_start_later(struct seat *seat)
{
    struct loop *loop = seat->generation->all->loop;
    uint64_t pause_ms = seat_pause_ms(++seat->failures);

    if (seat->failures == 1)
        seat->failing_since_ms = loop_now(loop);
    loop_timer_set(loop, &seat->again, loop_now(loop) + pause_ms, on_again);
    return pause_ms;
}

void seat_start_or_retry(struct seat *seat)
{
    char pause[TEXT_NUMBER_MAX], name[PROCESS_NAME_MAX];

    int r = seat_start(seat);
    if (r < 0) {
        uint64_t pause_ms = seat_start_later(seat);
        struct log_about about = process_about(&seat->process, LOG_ID_PROCESS_DIED);

        log_write(LOG_WARNING, &about, "cannot start %s: %s; next try in %s",
                  process_print(name, &seat->process), strerror(-r), text_print_duration(pause, pause_ms));
    }
}

void seats_hurry(struct generation *g)
{
    for (size_t i = 0; i < g->n_workers; i++) {
        if (!g->seats[i].again.place)
            continue;
        loop_timer_stop(g->all->loop, &g->seats[i].again);
        seat_start_or_retry(&g->seats[i]);
    }
}

static bool dies_often(struct seat *seat)
{
    struct log_about about = process_about(&seat->process, LOG_ID_PROCESS_DIED);
    uint64_t now_ms = loop_now(seat->generation->all->loop);
    char name[PROCESS_NAME_MAX], pause[TEXT_NUMBER_MAX];

    if (now_ms - seat->deaths_since_ms >= DEATHS_SPAN_MS) {
        seat->deaths_since_ms = now_ms;
        seat->deaths = 0;
    }
    if (++seat->deaths == DEATHS_MANY)
        log_write(LOG_WARNING, &about, "%s died %d times within a second; the next are replaced after %s",
                  process_print(name, &seat->process), DEATHS_MANY,
                  text_print_duration(pause, DEATHS_PAUSE_MS));
    return seat->deaths >= DEATHS_MANY;
}

static void replace_good(struct seat *seat, const char *what, bool tell)
{
    struct log_about died = process_about(&seat->process, LOG_ID_PROCESS_DIED);
    struct loop *loop = seat->generation->all->loop;
    bool often = dies_often(seat);

    seat->failures = 0;
    if (tell)
        log_write(LOG_WARNING, &died, "%s; replaced %s", what, often ? "soon" : "at once");
    if (often)
        loop_timer_set(loop, &seat->again, loop_now(loop) + DEATHS_PAUSE_MS, on_again);
    else
        seat_start_or_retry(seat);
}

void seat_replace(struct seat *seat, const char *what, bool was_good)
{
    struct log_about died = process_about(&seat->process, LOG_ID_PROCESS_DIED);
    bool tell = log_limit_take(&seat->generation->all->deaths, LOG_WARNING);
    char pause[TEXT_NUMBER_MAX];

    if (was_good) {
        replace_good(seat, what, tell);
        return;
    }
    uint64_t pause_ms = seat_start_later(seat);
    if (tell)
        log_write(LOG_WARNING, &died, "%s before its first job; next try in %s", what,
                  text_print_duration(pause, pause_ms));
}

void seat_tell_back(const struct seat *seat)
{
    struct log_about about = process_about(&seat->process, LOG_ID_PROCESS_BACK);
    uint64_t now_ms = loop_now(seat->generation->all->loop);
    char name[PROCESS_NAME_MAX], span[TEXT_NUMBER_MAX];

    log_write(LOG_NOTICE, &about, "%s serves again after %s; %u before it died at their start",
              process_print(name, &seat->process), text_print_duration(span, now_ms - seat->failing_since_ms),
              seat->failures);
}
