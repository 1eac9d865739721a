/*
 * Building, replacing and ending the workers of a generation. The order of things in a reload is reload.c's,
 * the life of one process process.c's.
 */
#include "generation.h"

#include "base/log.h"
#include "base/spawn.h"
#include "log_ids.h"
#include "roll.h"
#include "seat.h"
#include "succession.h"
#include "trial.h"
#include "trouble.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* What a generation that must be gone by now is given on top. */
#define END_GRACE_MS 1000
/* And on top of that where there is a spawner, which gives a second itself to those that it ends. */
#define SPAWNER_GRACE_MS 1000

static const char *const state_words[] = {
    [GENERATION_STARTING] = "starting",
    [GENERATION_SERVING] = "serving",
    [GENERATION_RETIRING] = "retiring",
    [GENERATION_DRAINING] = "draining",
};

const char *generation_state_word(enum generation_state state)
{
    return state_words[state];
}

static struct generation *of_link(struct list *link)
{
    return container_of(link, struct generation, link);
}

size_t generation_workers_alive(const struct generation *g)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n_workers; i++)
        n += process_lives(&g->seats[i].process);
    return n;
}

static size_t count_processes(const struct generation *g)
{
    return generation_workers_alive(g) + (g->has_spawner && process_lives(&generation_spawner(g)->process));
}

bool generation_has_left(const struct generation *g)
{
    for (size_t i = 0; i < g->n_workers; i++)
        if (process_lives(&g->seats[i].process) && !g->seats[i].process.left)
            return false;
    return true;
}

uint64_t generation_connections(const struct generation *g)
{
    uint64_t n = 0;

    for (size_t i = 0; i < generation_seats(g); i++)
        n += process_connections(&g->seats[i].process);
    return n;
}

static void tell_all(struct generation *g, enum channel_word word, uint32_t value)
{
    for (size_t i = 0; i < generation_seats(g); i++)
        process_tell(&g->seats[i].process, word, value);
}

void generation_free(struct generation *g)
{
    for (size_t i = 0; g->slots && i < g->conf->n_services; i++)
        if (g->slots[i] >= 0)
            stats_give_slot(g->all->stats, g->slots[i]);
    listen_release(&g->listeners);
    listen_release(&g->copies);
    free(g->drained);
    list_remove(&g->link);
    trouble_free(g);
    succession_done(g);
    trials_free(g);
    rolls_free(g);
    conf_unref(g->conf);
    free(g->slots);
    seats_free(g);
    free(g);
}

static void free_garbage(struct loop_garbage *garbage)
{
    generation_free(container_of(garbage, struct generation, garbage));
}

static void on_empty(struct loop_timer *timer)
{
    struct generation *g = container_of(timer, struct generation, end_timer);

    list_remove(&g->link);
    succession_forget(g->all);
    g->all->hooks->on_gone(g, g->all->owner);
    loop_free_later(g->all->loop, &g->garbage, free_garbage);
}

/* Nobody is started any more. */
static void stop_retries(struct generation *g)
{
    for (size_t i = 0; i < generation_seats(g); i++)
        loop_timer_stop(g->all->loop, &g->seats[i].again);
}

/* From the loop, never inside the call that made it empty. */
void generation_check_empty(struct generation *g)
{
    if (!generation_is_leaving(g) || count_processes(g) > 0)
        return;
    stop_retries(g); /* of a spawner that died while there were workers */
    loop_timer_set(g->all->loop, &g->end_timer, loop_now(g->all->loop), on_empty);
}

/* A wake-up for a connection may have died with the process: all that listen look again. */
static void rearm(struct generations *all)
{
    list_for_each (it, &all->all)
        if (!generation_is_leaving(of_link(it)))
            tell_all(of_link(it), CHANNEL_REARM, 0);
}

static void tell_change(const struct generation *g)
{
    g->all->hooks->on_change(g->all->owner);
}

static void on_trouble(struct process *process, uint32_t service, const char *why)
{
    struct seat *seat = container_of(process, struct seat, process);

    trouble_tell(seat, service, why);
    tell_change(seat->generation);
}

static void on_listing(struct process *process, uint32_t question, int fd)
{
    struct generation *g = container_of(process, struct seat, process)->generation;

    g->all->hooks->on_listing(g, process->number, question, fd, g->all->owner);
}

static int start_all_workers(struct generation *g, struct complaints *complaints)
{
    g->workers_started = true;
    for (size_t i = 0; i < g->n_workers; i++) {
        if (g->patient) {
            seat_start_or_retry(&g->seats[i]);
            continue;
        }
        int r = seat_start(&g->seats[i]);
        if (r < 0) {
            complaints_add(complaints, true, "cannot start worker %zu: %s", i + 1, strerror(-r));
            return r;
        }
    }
    return 0;
}

static void start_workers(struct generation *g)
{
    struct complaints complaints;

    if (g->workers_started || generation_is_leaving(g))
        return;
    complaints_init(&complaints);
    int r = start_all_workers(g, &complaints);
    if (r < 0)
        g->all->hooks->on_failed(g, complaints.first ? complaints.first->text : strerror(-r), g->all->owner);
    complaints_done(&complaints);
}

/* All workers get a new end; those of a generation that begins are started now. */
static void on_spawner_ready(struct generation *g)
{
    for (size_t i = 0; i < g->n_workers; i++)
        seat_connect(generation_spawner(g), &g->seats[i]);
    if (generation_is_leaving(g))
        process_tell(&generation_spawner(g)->process, CHANNEL_RETIRE, 0);
    start_workers(g);
}

static void on_process_ready(struct process *process)
{
    struct seat *seat = container_of(process, struct seat, process);
    struct generation *g = seat->generation;

    if (seat->failures > 0 && g->state == GENERATION_SERVING)
        seat_tell_back(seat);
    if (process_is_spawner(process))
        on_spawner_ready(g);
    tell_change(g);
    for (size_t i = 0; i < generation_seats(g); i++)
        if (!g->seats[i].process.ready)
            return;
    if (g->state == GENERATION_STARTING)
        g->all->hooks->on_ready(g, g->all->owner);
}

bool generation_wants(const struct seat *seat)
{
    const struct generation *g = seat->generation;

    /* Workers that leave may have requests that only helpers can answer. */
    return !generation_is_leaving(g) ||
           (process_is_spawner(&seat->process) && generation_workers_alive(g) > 0);
}

/* One that died before its first job may have died of a plug-in. */
static void replace(struct seat *seat, const char *what, bool was_good)
{
    seat_replace(seat, what, was_good);
    if (!was_good && !process_is_spawner(&seat->process))
        trials_begin(seat->generation);
}

/* It does not come to serve. */
static void fail_start(struct seat *seat, const char *what)
{
    struct generation *g = seat->generation;
    bool is_worker = !process_is_spawner(&seat->process);

    if (is_worker && g->death[0])
        return; /* the trials tell */
    if (is_worker && trials_begin(g))
        snprintf(g->death, sizeof(g->death), "%s", what);
    else
        g->all->hooks->on_failed(g, what, g->all->owner);
}

static void on_process_gone(struct process *process, pid_t pid, int status, bool worked)
{
    struct seat *seat = container_of(process, struct seat, process);
    struct generation *g = seat->generation;
    bool lasted = loop_now(g->all->loop) - process->started_ms >= SEAT_PAUSE_MAX_MS;
    bool clean = generation_is_leaving(g) && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    struct log_about died = process_about(process, LOG_ID_PROCESS_DIED);
    char how[SPAWN_STATUS_MAX], name[PROCESS_NAME_MAX], what[GENERATION_DEATH_MAX];

    snprintf(what, sizeof(what), "%s [pid %d] %s%s", process_print(name, process), (int)pid,
             spawn_print_status(how, status), process->was_silent ? " after worker_timeout" : "");
    trouble_forget(seat);
    if (!clean)
        rearm(g->all);
    if (!clean && process_is_spawner(process))
        orphans_note(&g->all->orphans, pid);
    if (g->state == GENERATION_STARTING && !g->patient)
        fail_start(seat, what);
    else if (generation_wants(seat) && !clean)
        replace(seat, what, worked || lasted);
    else if (!clean && log_limit_take(&g->all->deaths, LOG_WARNING))
        log_write(LOG_WARNING, &died, "%s; generation %u leaves, so it is not replaced", what, g->number);
    tell_change(g);
    generation_check_empty(g);
}

static void on_process_left(struct process *process)
{
    tell_change(container_of(process, struct seat, process)->generation);
}

static const struct process_hooks process_hooks = {
    .on_ready = on_process_ready,
    .on_left = on_process_left,
    .on_gone = on_process_gone,
    .on_trouble = on_trouble,
    .on_listing = on_listing,
};

int generation_take_slots(struct generation *g)
{
    g->slots = malloc((g->conf->n_services + 1) * sizeof(int));
    if (!g->slots)
        return -ENOMEM;
    for (size_t i = 0; i < g->conf->n_services; i++)
        g->slots[i] = -1;
    for (size_t i = 0; i < g->conf->n_services; i++) {
        if (!g->conf->services[i].enabled)
            continue;
        int slot = stats_take_slot(g->all->stats, g->conf->services[i].name);
        if (slot < 0)
            return slot;
        g->slots[i] = slot;
    }
    return 0;
}

int generation_make_seats(struct generation *g, size_t n_workers, bool has_spawner)
{
    return seats_make_as(g, n_workers, has_spawner, &process_hooks);
}

/* The workers wait for the spawner, so that it is there when they are. */
static int start_all(struct generation *g, struct complaints *complaints)
{
    if (!g->has_spawner)
        return start_all_workers(g, complaints);
    if (g->patient) {
        seat_start_or_retry(generation_spawner(g));
        return 0;
    }
    int r = seat_start(generation_spawner(g));
    if (r < 0)
        complaints_add(complaints, true, "cannot start the spawner: %s", strerror(-r));
    return r;
}

int generation_open(struct generations *all, struct conf *conf, const struct names *names, bool patient,
                    struct complaints *complaints, struct generation **ret)
{
    struct generation *g = calloc(1, sizeof(*g));

    if (!g) {
        complaints_add(complaints, true, "out of memory");
        return -ENOMEM;
    }
    g->all = all;
    g->patient = patient;
    succession_init(g);
    g->conf = conf_ref(conf);
    g->started_ms = loop_now(all->loop);
    list_init(&g->link);
    int r = listen_open(all->listeners, conf, names, complaints, &g->listeners);
    if (r == 0 && all->embedded)
        r = listen_copy(&g->listeners, &g->copies);
    if (r == 0)
        r = generation_note_drained(g);
    if (r == 0)
        r = generation_take_slots(g);
    if (r == 0)
        r = seats_make(g, &process_hooks);
    if (r == 0 && !list_empty(&all->all))
        r = succession_make_inboxes(g);
    if (r < 0) {
        if (complaints->n_fatal == 0)
            complaints_add(complaints, true, "cannot build a generation: %s", strerror(-r));
        generation_free(g);
        return r;
    }
    generation_check_limits(g, complaints);
    g->number = ++all->last_number;
    list_append(&all->all, &g->link);
    r = start_all(g, complaints);
    if (r < 0) {
        generation_retire(g, 0); /* its first workers may be there already */
        return r;
    }
    *ret = g;
    return 0;
}

void generation_commit(struct generation *g)
{
    assert(g->state == GENERATION_STARTING);
    g->state = GENERATION_SERVING;
    g->since = time(NULL);
    g->all->serving = g;
    generations_forget_removed(g->all, g->conf);
    for (size_t i = 0; i < g->n_workers; i++)
        process_tell(&g->seats[i].process, CHANNEL_SERVE, 0);
    succession_begin(g);
    store_sync(g->all->store, &g->listeners);
}

static void on_end(struct loop_timer *timer)
{
    struct generation *g = container_of(timer, struct generation, end_timer);

    struct log_about about = { .id = LOG_ID_GENERATION_LATE, .generation = g->number };

    log_write(LOG_WARNING, &about, "generation %u did not end in time; its %zu processes are killed",
              g->number, count_processes(g));
    generation_kill(g);
}

void generation_end_at(struct generation *g, uint64_t due_ms)
{
    loop_timer_set(g->all->loop, &g->end_timer, due_ms, on_end);
}

/* Of listeners that no other generation has, the workers leave nobody in the queue. */
static void tell_removed(struct generation *g)
{
    bool *removed = calloc(g->listeners.len + 1, sizeof(*removed));

    for (size_t i = 0; removed && i < g->listeners.len; i++)
        removed[i] = g->listeners.item[i]->refs == 1;
    for (size_t i = 0; removed && i < g->n_workers; i++)
        process_tell_set(&g->seats[i].process, CHANNEL_REMOVED, removed, g->listeners.len);
    free(removed);
}

static void leave(struct generation *g, enum generation_state state, enum channel_word word,
                  uint64_t timeout_ms)
{
    uint32_t value = timeout_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)timeout_ms;

    if (word == CHANNEL_DRAIN && value == 0)
        value = 1; /* 0 means never */
    g->state = state;
    succession_end(g); /* one that never served gets nobody's connections, and must not wait for them */
    if (g->all->serving == g)
        g->all->serving = NULL;
    stop_retries(g);
    trials_stop(g);
    tell_removed(g);
    tell_all(g, word, value);
    generation_count_drops(g);
    /* The workers have copies, which they empty and close. */
    listen_release(&g->listeners);
    if (word == CHANNEL_DRAIN || timeout_ms > 0)
        generation_end_at(g, loop_now(g->all->loop) + timeout_ms + END_GRACE_MS +
                                 (g->has_spawner ? SPAWNER_GRACE_MS : 0));
    generation_check_empty(g);
}

void generation_retire(struct generation *g, uint64_t timeout_ms)
{
    if (!generation_is_leaving(g))
        leave(g, GENERATION_RETIRING, CHANNEL_RETIRE, timeout_ms);
}

void generation_drain(struct generation *g, uint64_t timeout_ms)
{
    if (g->state != GENERATION_DRAINING)
        leave(g, GENERATION_DRAINING, CHANNEL_DRAIN, timeout_ms);
}

void generation_kill(struct generation *g)
{
    for (size_t i = 0; i < generation_seats(g); i++)
        process_kill(&g->seats[i].process);
}
