/* Sockets and process of the exporter, and the answers to it; see exporter_seat.h. */
#include "exporter_seat.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/memfd.h"
#include "base/spawn.h"
#include "base/text.h"
#include "exporter.h"
#include "log_ids.h"
#include "seat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* So long an exporter that listens elsewhere from now on may finish its answers. */
#define LEAVE_MS 1000
/* Connections that may wait for it. */
#define BACKLOG 128

/* What the listeners see: the exporter as if it were the one service of a configuration. */
static int open_listeners(struct exporter_seat *seat, const struct conf_metrics *metrics,
                          const struct names *names, struct complaints *complaints)
{
    char name[] = "metrics";
    struct service service = {
        .name = name,
        .enabled = true,
        .transports = 1u << TRANSPORT_TCP,
        .host = metrics->host,
        .port = metrics->port,
        .backlog = BACKLOG,
    };
    const struct conf conf = { .services = &service, .n_services = 1 };

    int r = listen_open(&seat->listeners, &conf, names, complaints, &seat->next);
    for (size_t i = 0; r == 0 && i < seat->next.len; i++)
        seat->next.service[i] = NULL; /* it ends here */
    return r;
}

int exporter_seat_prepare(struct exporter_seat *seat, const struct conf *conf, const struct names *names,
                          struct complaints *complaints)
{
    return conf->metrics.port > 0 ? open_listeners(seat, &conf->metrics, names, complaints) : 0;
}

void exporter_seat_roll_back(struct exporter_seat *seat)
{
    listen_release(&seat->next);
}

static bool is_same(const struct listen_set *a, const struct listen_set *b)
{
    for (size_t i = 0; a->len == b->len && i < a->len; i++)
        if (a->item[i] != b->item[i])
            return false;
    return a->len == b->len;
}

static void start_or_retry(struct exporter_seat *seat);

static void on_again(struct loop_timer *timer)
{
    start_or_retry(container_of(timer, struct exporter_seat, again));
}

static uint64_t start_later(struct exporter_seat *seat)
{
    struct loop *loop = seat->process.loop;
    uint64_t pause_ms = seat_pause_ms(++seat->failures);

    loop_timer_set(loop, &seat->again, loop_now(loop) + pause_ms, on_again);
    return pause_ms;
}

static void start_or_retry(struct exporter_seat *seat)
{
    const struct exporter_setup setup = { .listeners = &seat->serving, .stats = seat->process.stats };
    char pause[TEXT_NUMBER_MAX];

    seat->asked = seat->leaving = false;
    int r =
        process_start(&seat->process, &(struct process_job){ .exporter = &setup }, seat->log_level, false);
    if (r < 0) {
        uint64_t pause_ms = start_later(seat);
        log_event(LOG_WARNING, LOG_ID_PROCESS_DIED, "cannot start the exporter: %s; next try in %s",
                  strerror(-r), text_print_duration(pause, pause_ms));
    }
}

/* One that lives starts the next when it has left. */
static void restart(struct exporter_seat *seat)
{
    loop_timer_stop(seat->process.loop, &seat->again);
    seat->failures = 0;
    if (process_lives(&seat->process)) {
        seat->leaving = true;
        process_tell(&seat->process, CHANNEL_DRAIN, LEAVE_MS);
    } else if (seat->serving.len > 0) {
        start_or_retry(seat);
    }
}

static void log_listeners(const struct listen_set *set)
{
    for (size_t i = 0; i < set->len; i++) {
        char text[LISTENER_TEXT_MAX];
        log_event(LOG_NOTICE, LOG_ID_METRICS, "metrics on %s",
                  strchr(listener_print(text, set->item[i]), ' ') + 1);
    }
}

void exporter_seat_commit(struct exporter_seat *seat, int log_level)
{
    struct listen_set old = seat->serving;

    seat->log_level = log_level;
    seat->serving = seat->next;
    seat->next = (struct listen_set){ .len = 0 };
    bool same = is_same(&old, &seat->serving) && !seat->old;
    seat->old = false;
    listen_release(&old);
    if (same) {
        exporter_seat_set_log_level(seat, log_level);
        return;
    }
    log_listeners(&seat->serving);
    restart(seat);
}

void exporter_seat_set_log_level(struct exporter_seat *seat, int level)
{
    seat->log_level = level;
    process_tell(&seat->process, CHANNEL_LOG_LEVEL, (uint32_t)level);
}

static bool add_to(struct listen_set *set, struct listener *l)
{
    struct listener **items = reallocarray(set->item, set->len + 1, sizeof(struct listener *));

    if (!items)
        return false;
    set->item = items;
    const struct service **services =
        reallocarray(set->service, set->len + 1, sizeof(const struct service *));
    if (!services)
        return false;
    set->service = services;
    items[set->len] = l;
    services[set->len++] = NULL;
    l->refs++;
    return true;
}

int exporter_seat_adopt_door(struct exporter_seat *seat, int fd)
{
    struct listener *l = listen_adopt(&seat->listeners, fd, NULL, NULL, NULL);

    return l && add_to(&seat->serving, l) ? 0 : -EBADF;
}

int exporter_seat_adopt(struct exporter_seat *seat, const struct process *kept)
{
    seat->old = seat->serving.len > 0 || kept->pid > 0;
    seat->asked = true;
    if (kept->pid > 0)
        return process_adopt(&seat->process, kept);
    if (seat->serving.len > 0)
        start_later(seat); /* unless the commit is sooner */
    return 0;
}

/* The process. */

static void on_nothing(struct process *process)
{
    (void)process;
}

static void on_trouble(struct process *process, uint32_t service, const char *why)
{
    (void)process;
    (void)service;
    (void)why;
}

static void on_listing(struct process *process, uint32_t question, int fd)
{
    (void)process;
    (void)question;
    fd_close(&fd);
}

/* One that gets no answer says so to its client in time. */
static void on_scrape(struct process *process, uint32_t number)
{
    struct exporter_seat *seat = container_of(process, struct exporter_seat, process);
    char *text = seat->text(seat->owner);
    int fd = text ? memfd_sealed("sockd-metrics", text, strlen(text)) : -ENOMEM;

    seat->asked = true;
    free(text);
    if (fd < 0) {
        log_event(LOG_WARNING, LOG_ID_FAULT, "no metrics for the exporter: %s", strerror(-fd));
        return;
    }
    process_give(process, CHANNEL_METRICS, number, fd);
    fd_close(&fd);
}

static void on_gone(struct process *process, pid_t pid, int status, bool worked)
{
    struct exporter_seat *seat = container_of(process, struct exporter_seat, process);
    char how[SPAWN_STATUS_MAX], pause[TEXT_NUMBER_MAX];

    (void)worked;
    if (seat->stopped)
        return;
    if (seat->leaving) {
        if (seat->serving.len > 0)
            start_or_retry(seat);
        return;
    }
    spawn_print_status(how, status);
    if (seat->asked) {
        seat->failures = 0;
        log_event(LOG_WARNING, LOG_ID_PROCESS_DIED, "exporter [pid %d] %s; replaced at once", (int)pid, how);
        start_or_retry(seat);
        return;
    }
    uint64_t pause_ms = start_later(seat);
    log_event(LOG_WARNING, LOG_ID_PROCESS_DIED, "exporter [pid %d] %s before its first job; next try in %s",
              (int)pid, how, text_print_duration(pause, pause_ms));
}

static const struct process_hooks hooks = {
    .on_ready = on_nothing,
    .on_left = on_nothing,
    .on_gone = on_gone,
    .on_trouble = on_trouble,
    .on_listing = on_listing,
    .on_scrape = on_scrape,
};

void exporter_seat_init(struct exporter_seat *seat, struct loop *loop, char *(*text)(void *owner),
                        void *owner)
{
    *seat = (struct exporter_seat){ .text = text, .owner = owner };
    listeners_init(&seat->listeners);
    process_init(&seat->process, &hooks, loop, NULL, PROCESS_EXPORTER);
}

bool exporter_seat_reaped(struct exporter_seat *seat, pid_t pid, int status)
{
    if (!process_lives(&seat->process) || seat->process.pid != pid)
        return false;
    process_reaped(&seat->process, status);
    return true;
}

void exporter_seat_watch(struct exporter_seat *seat, uint64_t timeout_ms, bool forgive)
{
    if (forgive)
        process_forgive(&seat->process);
    process_watch(&seat->process, timeout_ms);
}

void exporter_seat_stop(struct exporter_seat *seat)
{
    seat->stopped = true;
    loop_timer_stop(seat->process.loop, &seat->again);
    process_kill(&seat->process);
}

void exporter_seat_done(struct exporter_seat *seat)
{
    listen_release(&seat->next);
    listen_release(&seat->serving);
    listeners_done(&seat->listeners);
}
