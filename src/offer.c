/* The services of one worker; see offer.h. */
#include "offer.h"

#include "base/log.h"
#include "conn.h"
#include "dgram.h"
#include "log_ids.h"
#include "spawner.h"

#include <errno.h>
#include <string.h>

int offer_init(struct offer *offer, const struct worker_setup *setup, struct work *work,
               void (*on_ready)(struct offer *offer))
{
    *offer = (struct offer){ .setup = setup, .work = work, .joins = setup->patient, .on_ready = on_ready };
    return joined_init(&offer->joined, work, setup->listeners);
}

void offer_done(struct offer *offer)
{
    joined_done(&offer->joined);
}

static int find_served(struct offer *offer, const struct service *service, struct served **ret)
{
    const struct worker_setup *setup = offer->setup;
    struct served_timeouts timeouts = conn_timeouts;

    list_for_each (it, &offer->work->served) {
        *ret = container_of(it, struct served, link);
        if ((*ret)->conf == service)
            return 0;
    }
    timeouts.datagram = dgram_on_handler_late;
    ptrdiff_t index = service - setup->conf->services;
    int r = served_new(offer->work, service, setup->slots[index], &timeouts, ret);
    if (r == 0)
        (*ret)->drained = setup->drained && setup->drained[index];
    return r;
}

static bool may_join(const struct offer *offer, const struct served *served)
{
    return served->settled && (!served->troubled || offer->setup->patient || offer->ready);
}

int offer_settle(struct offer *offer)
{
    bool all = true;

    if (offer->left)
        return 0;
    list_for_each (it, &offer->work->served) {
        struct served *served = container_of(it, struct served, link);
        bool joins = offer->joins && may_join(offer, served) && !served->listens;
        int r = joins ? joined_add(&offer->joined, served) : 0;
        if (r < 0) {
            log_event(LOG_ERR, LOG_ID_FAULT, "cannot listen for %s: %s", served->conf->name, strerror(-r));
            return r;
        }
        all = all && may_join(offer, served);
    }
    if (all && !offer->ready) {
        offer->ready = true;
        offer->on_ready(offer);
    }
    return 0;
}

/* With fewer helpers than workers only some of these serve. */
static bool has_helper(const struct worker_setup *setup, const struct service *service)
{
    return service->handler != HANDLER_HELPER || setup->number <= spawner_helpers(service, setup->n_workers);
}

static bool is_shelved(const struct worker_setup *setup, const struct service *service)
{
    return setup->shelved && setup->shelved[service - setup->conf->services];
}

int offer_start(struct offer *offer)
{
    const struct listen_set *set = offer->setup->listeners;
    struct served *served;
    int r = 0;

    stats_set(&offer->work->page->listening, offer->joins);
    for (size_t i = 0; r == 0 && i < set->len; i++)
        if (has_helper(offer->setup, set->service[i]) && !is_shelved(offer->setup, set->service[i]))
            r = find_served(offer, set->service[i], &served);
    return r < 0 ? r : offer_settle(offer);
}

int offer_join(struct offer *offer)
{
    if (offer->joins || offer->left)
        return 0;
    offer->joins = true;
    stats_set(&offer->work->page->listening, 1);
    return offer_settle(offer);
}

int offer_take_up(struct offer *offer, uint32_t index)
{
    const struct service *service = &offer->setup->conf->services[index];
    struct served *served;

    if (offer->left)
        return 0;
    int r = find_served(offer, service, &served);
    if (r < 0)
        log_event(LOG_ERR, LOG_ID_FAULT, "cannot serve %s: %s", service->name, strerror(-r));
    return r < 0 ? r : offer_settle(offer);
}

void offer_leave(struct offer *offer, bool all_stops)
{
    stats_set(&offer->work->page->listening, 0);
    joined_leave(&offer->joined, all_stops);
    offer->left = true;
}
