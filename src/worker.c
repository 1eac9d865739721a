/* A worker; see worker.h. */
#include "worker.h"

#include "base/fd.h"
#include "base/log.h"
#include "channel.h"
#include "dgram.h"
#include "log_ids.h"
#include "mover.h"
#include "offer.h"
#include "spawner.h"
#include "steered.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

/* Every worker joins its listeners anew this often, should a wake-up have been lost with a process that died
 * or stopped. */
#define REARM_MS 1000

/* Descriptors that a worker needs besides those of its connections and listeners. */
#define DESCRIPTOR_RESERVE 16

struct worker {
    struct worker_setup setup;
    bool forked;
    struct loop *loop; /* borrows */
    struct stats_page *page;
    struct work work;
    struct loop_source channel;
    struct offer offer;
    struct mover mover;
    struct loop_timer rearm_timer, drain_timer, gone_timer;
    bool failed; /* cannot serve after all */
    void (*on_gone)(void *owner);
    void *owner;
    struct loop_garbage garbage;
};

static bool is_idle(const struct worker *worker)
{
    return stats_get(&worker->page->connections) == 0 && worker->work.refused_lingering == 0 &&
           !mover_expects(&worker->mover) && list_empty(&worker->work.spawner.line.waiting) &&
           !joined_is_busy(&worker->offer.joined);
}

static void tell_master(struct worker *worker, enum channel_word word)
{
    channel_send(worker->setup.channel_fd, word, 0);
}

static void free_worker(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct worker, garbage));
}

/* Undoes start() and what came of it. Harmless for a half-started one. */
static void worker_free(struct worker *worker)
{
    offer_done(&worker->offer);
    mover_done(&worker->mover);
    if (worker->work.loop) {
        list_for_each (it, &worker->work.served)
            served_free(container_of(it, struct served, link));
        dgram_batch_free(worker->work.datagrams);
        work_done(&worker->work);
    }
    loop_timer_stop(worker->loop, &worker->rearm_timer);
    loop_timer_stop(worker->loop, &worker->drain_timer);
    loop_timer_stop(worker->loop, &worker->gone_timer);
    loop_remove(worker->loop, &worker->channel);
    fd_close(&worker->setup.channel_fd);
    stats_set(&worker->page->log_untold, log_untold());
    stats_disown(worker->page);
    loop_free_later(worker->loop, &worker->garbage, free_worker);
}

static void on_idle_at_last(struct loop_timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, gone_timer);

    if (!worker->offer.left || !is_idle(worker))
        return;
    if (worker->forked) {
        loop_quit(worker->loop);
        return;
    }
    void (*on_gone)(void *) = worker->on_gone;
    void *owner = worker->owner;
    worker_free(worker);
    on_gone(owner);
}

/* Not on this stack, where connections are being closed. */
static void end_when_idle(struct worker *worker)
{
    if (worker->offer.left && !worker->gone_timer.place && is_idle(worker))
        loop_timer_set(worker->loop, &worker->gone_timer, 0, on_idle_at_last);
}

static void on_room(struct work *work)
{
    struct worker *worker = container_of(work, struct worker, work);

    if (work->paused > 0)
        joined_resume(&worker->offer.joined);
    end_when_idle(worker);
}

static bool has_siblings(const struct worker *worker)
{
    const struct stats *stats = worker->setup.stats;
    int listening = 0;

    for (int i = 0, end = stats_pages_end(stats); i < end; i++) {
        const struct stats_page *page = stats_page(stats, i);

        listening += page && stats_get(&page->listening);
    }
    return listening > 1;
}

static void on_rearm(struct loop_timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, rearm_timer);

    if (worker->offer.left)
        return;
    if (has_siblings(worker))
        joined_rearm(&worker->offer.joined);
    stats_set(&worker->page->memory, worker->work.memory.used);
    loop_timer_set(worker->loop, timer, loop_now(worker->loop) + REARM_MS, on_rearm);
}

/* The process's own copy of each listener; the master has another. */
static void close_listeners(struct worker *worker)
{
    const struct listen_set *set = worker->setup.listeners;

    for (size_t i = 0; i < set->len; i++)
        fd_close(&set->item[i]->fd);
}

/* The master sees it end, and starts another. */
static void give_up(struct worker *worker)
{
    worker->failed = true;
    if (worker->forked)
        loop_quit(worker->loop);
}

static void leave_listeners(struct worker *worker, bool all_stops)
{
    offer_leave(&worker->offer, all_stops);
    if (worker->forked)
        close_listeners(worker);
    tell_master(worker, CHANNEL_LEFT);
}

static void on_drain_over(struct loop_timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, drain_timer);

    mover_close_inboxes(&worker->mover);
    steered_end(&worker->work);
    joined_end_datagrams(&worker->offer.joined);
    end_when_idle(worker);
}

/* Takes nothing new; ends what is still open after LIMIT_MS (0: never). */
static void leave(struct worker *worker, bool all_stops, uint32_t limit_ms)
{
    worker->work.leaving = worker->work.leaving || all_stops;
    if (!worker->offer.left)
        leave_listeners(worker, all_stops);
    if (all_stops) {
        mover_close_outboxes(&worker->mover);
        steered_leave(&worker->work);
    } else {
        mover_start(&worker->mover);
    }
    if (limit_ms > 0)
        loop_timer_set(worker->loop, &worker->drain_timer, loop_now(worker->loop) + limit_ms, on_drain_over);
    end_when_idle(worker);
}

/* Without its master a worker is an orphan that nobody could stop: it finishes what it has. */
static void on_master_gone(struct worker *worker)
{
    log_event(LOG_ERR, LOG_ID_FAULT, "the master is gone; finishing what is in hand");
    loop_remove(worker->loop, &worker->channel);
    leave(worker, true, (uint32_t)worker->setup.conf->drain_timeout);
}

static void connect_spawner(struct worker *worker, int fd)
{
    int r = fd < 0 ? -EBADF : spawner_link_connect(&worker->work.spawner, fd);

    if (r < 0)
        log_event(LOG_ERR, LOG_ID_FAULT, "cannot reach the spawner: %s", strerror(-r));
}

static void on_inbox_closed(struct mover *mover)
{
    end_when_idle(container_of(mover, struct worker, mover));
}

/* Connections that waited for room are turned away now. One that is shelved is noted until it is taken up. */
static void drain_service(struct worker *worker, uint32_t index, bool drained)
{
    worker->setup.drained[index] = drained;
    steered_drain(&worker->work, index, drained);
    joined_resume(&worker->offer.joined);
}

/* Takes FD, which came with the message. */
static void obey(struct worker *worker, const struct channel_message *message, int fd)
{
    switch (message->word) {
    case CHANNEL_PING:
        log_tell_losses();
        stats_set(&worker->page->log_untold, log_untold());
        tell_master(worker, CHANNEL_PONG);
        break;
    case CHANNEL_REARM:
        joined_rearm(&worker->offer.joined);
        break;
    case CHANNEL_RETIRE:
        leave(worker, false, message->value);
        break;
    case CHANNEL_DRAIN:
        leave(worker, true, message->value);
        break;
    case CHANNEL_LOG_LEVEL:
        log_set_level((int)message->value);
        break;
    case CHANNEL_INBOX:
    case CHANNEL_OUTBOX:
    case CHANNEL_OUTBOX_FIRST:
    case CHANNEL_MOVE:
    case CHANNEL_MOVE_FIRST:
        mover_obey(&worker->mover, message, fd);
        fd = -1;
        break;
    case CHANNEL_SERVE:
        if (offer_join(&worker->offer) < 0)
            give_up(worker);
        break;
    case CHANNEL_REMOVED:
        joined_forget(&worker->offer.joined, message);
        break;
    case CHANNEL_ROLL:
        steered_roll(&worker->work, message->value);
        break;
    case CHANNEL_SPAWNER:
        connect_spawner(worker, fd);
        fd = -1;
        break;
    case CHANNEL_LIST:
        steered_list(&worker->work, worker->setup.channel_fd, message->value);
        break;
    case CHANNEL_KILL_CONN:
        steered_kill(&worker->work, message->value);
        break;
    case CHANNEL_DRAIN_SERVICE:
    case CHANNEL_RESUME_SERVICE:
        drain_service(worker, message->value, message->word == CHANNEL_DRAIN_SERVICE);
        break;
    case CHANNEL_TAKE_UP:
        if (offer_take_up(&worker->offer, message->value) < 0)
            give_up(worker);
        break;
    }
    fd_close(&fd);
}

static void on_channel(struct loop_source *source, uint32_t events)
{
    struct worker *worker = container_of(source, struct worker, channel);
    struct channel_message message;
    int r = 1, fd;

    (void)events;
    while (source->fd >= 0 && (r = channel_receive(source->fd, &message, &fd)) > 0)
        obey(worker, &message, fd);
    if (source->fd >= 0 && r != -EAGAIN)
        on_master_gone(worker);
}

static void on_ready(struct offer *offer)
{
    tell_master(container_of(offer, struct worker, offer), CHANNEL_READY);
}

static void on_handler(struct served *served, const char *why)
{
    struct worker *worker = container_of(served->work, struct worker, work);

    channel_send_text(worker->setup.channel_fd, why ? CHANNEL_TROUBLE : CHANNEL_WELL, served->host.index,
                      why ? why : "");
    if (list_empty(&served->link))
        return; /* it is just being made */
    if (offer_settle(&worker->offer) < 0)
        give_up(worker);
}

/* Connections that older workers hand over may be here before the helpers. */
static size_t connections_that_fit(const struct worker_setup *setup)
{
    const struct conf *conf = setup->conf;
    size_t taken = setup->listeners->len + DESCRIPTOR_RESERVE;

    for (size_t i = 0; i < conf->n_services; i++)
        if (conf->services[i].enabled && conf->services[i].handler == HANDLER_HELPER)
            taken += (size_t)SPAWNER_HELPER_PIPES *
                     spawner_helpers_of(&conf->services[i], setup->number, setup->n_workers);
    return setup->max_descriptors > taken ? setup->max_descriptors - taken : 1;
}

/* Everything but a loop of its own. On failure what exists is left for worker_free(). */
static int start(struct worker *worker)
{
    const struct worker_setup *setup = &worker->setup;
    int r = work_init(&worker->work, worker->loop, setup->stats, worker->page, setup->conf->max_memory);
    if (r < 0)
        return r;
    worker->work.max_connections = connections_that_fit(setup);
    worker->work.conf = setup->conf;
    worker->work.number = setup->number;
    worker->work.n_workers = setup->n_workers;
    worker->work.on_room = on_room;
    worker->work.on_handler = on_handler;
    mover_init(&worker->mover, &worker->work, on_inbox_closed);
    r = offer_init(&worker->offer, setup, &worker->work, on_ready);
    if (r == 0)
        r = loop_add(worker->loop, &worker->channel, setup->channel_fd, EPOLLIN, on_channel);
    if (r == 0) {
        loop_timer_set(worker->loop, &worker->rearm_timer, loop_now(worker->loop) + REARM_MS, on_rearm);
        r = offer_start(&worker->offer);
    }
    return r;
}

/* NULL and errno on failure; then the channel is closed. */
static struct worker *new_worker(const struct worker_setup *setup, struct loop *loop, bool forked)
{
    struct worker *worker = calloc(1, sizeof *worker);
    struct stats_page *page = stats_own(setup->stats, setup->page, forked);
    int fd = setup->channel_fd;

    if (!worker || !page) {
        free(worker);
        stats_disown(page);
        fd_close(&fd);
        return NULL;
    }
    *worker =
        (struct worker){ .setup = *setup, .loop = loop, .page = page, .forked = forked, .channel.fd = -1 };
    return worker;
}

/* Its descriptors are no longer what they were, so what is in hand cannot be ended in order: it ends with the
 * process. */
static _Noreturn void end_in_disorder(struct worker *worker, int r)
{
    log_event(LOG_ERR, LOG_ID_FAULT, "cannot go on: %s", strerror(-r));
    stats_set(&worker->page->log_untold, log_untold());
    _exit(EX_OSERR);
}

int worker_main(const struct worker_setup *setup)
{
    const int ours[] = { setup->channel_fd, log_fd() };
    struct loop loop = { .epoll_fd = -1 };
    char name[32];

    log_set_process(NULL, setup->number, setup->generation);
    snprintf(name, sizeof name, "sockd-worker-%u", setup->number);
    prctl(PR_SET_NAME, name);

    struct worker *worker = new_worker(setup, &loop, true);
    if (!worker)
        return EX_OSERR;
    int r = listen_close_others(setup->listeners, ours, sizeof ours / sizeof *ours);
    if (r == 0)
        r = loop_init(&loop);
    if (r == 0)
        r = start(worker);
    if (r == 0) {
        r = loop_run(&loop);
        if (r < 0)
            end_in_disorder(worker, r);
    } else {
        log_event(LOG_ERR, LOG_ID_FAULT, "cannot start: %s", strerror(-r));
    }
    bool failed = worker->failed;
    worker_free(worker);
    loop_done(&loop);
    return r < 0 || failed ? EX_OSERR : 0;
}

int worker_embed(const struct worker_setup *setup, struct loop *loop, void (*on_gone)(void *owner),
                 void *owner, struct worker **ret)
{
    struct worker *worker = new_worker(setup, loop, false);

    if (!worker)
        return -ENOMEM;
    worker->on_gone = on_gone;
    worker->owner = owner;
    int r = start(worker);
    if (r < 0) {
        worker_free(worker);
        return r;
    }
    *ret = worker;
    return 0;
}
