/* What does not work, and since when that was told; see trouble.h. */
#include "trouble.h"

#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A handler that works again must have done so for this long: one that comes up and dies, again and again, is
 * one trouble. */
#define PROOF_MS 2000

static void tell_well(const struct generation *g, size_t service)
{
    struct log_about about = { .id = LOG_ID_SERVICE_WELL,
                               .service = g->conf->services[service].name,
                               .generation = g->number };
    char span[TEXT_NUMBER_MAX];

    log_write(LOG_NOTICE, &about, "well again after %s",
              text_print_duration(span, g->proof_since_ms[service] - g->trouble_since_ms[service]));
}

static void forget(struct generation *g, size_t service)
{
    free(g->trouble[service]);
    g->trouble[service] = NULL;
    g->proof_since_ms[service] = 0;
}

static void on_proof(struct loop_timer *timer)
{
    struct generation *g = container_of(timer, struct generation, proof_timer);
    uint64_t now_ms = loop_now(g->all->loop), next_ms = 0;

    for (size_t i = 0; i < g->conf->n_services; i++) {
        uint64_t due_ms = g->proof_since_ms[i] + PROOF_MS;

        if (g->proof_since_ms[i] == 0)
            continue;
        if (due_ms > now_ms) {
            next_ms = next_ms == 0 || due_ms < next_ms ? due_ms : next_ms;
            continue;
        }
        if (!generation_is_leaving(g))
            tell_well(g, i);
        forget(g, i);
    }
    if (next_ms > 0)
        loop_timer_set(g->all->loop, timer, next_ms, on_proof);
    g->all->hooks->on_change(g->all->owner);
}

void trouble_end(struct generation *g, size_t service)
{
    uint64_t now_ms = loop_now(g->all->loop);

    for (size_t i = 0; i < g->n_workers; i++)
        if (g->seats[i].troubled[service])
            return;
    if (!g->trouble[service] || g->shelved[service])
        return;
    if (generation_is_leaving(g)) {
        forget(g, service);
        return;
    }
    g->proof_since_ms[service] = now_ms;
    if (!g->proof_timer.place)
        loop_timer_set(g->all->loop, &g->proof_timer, now_ms + PROOF_MS, on_proof);
}

int trouble_make(struct generation *g)
{
    size_t n = g->conf->n_services + 1;

    g->trouble = calloc(n, sizeof(*g->trouble));
    g->trouble_since_ms = calloc(n, sizeof(*g->trouble_since_ms));
    g->proof_since_ms = calloc(n, sizeof(*g->proof_since_ms));
    return g->trouble && g->trouble_since_ms && g->proof_since_ms ? 0 : -ENOMEM;
}

void trouble_free(struct generation *g)
{
    loop_timer_stop(g->all->loop, &g->proof_timer);
    for (size_t i = 0; g->trouble && i < g->conf->n_services; i++)
        free(g->trouble[i]);
    free(g->trouble);
    free(g->trouble_since_ms);
    free(g->proof_since_ms);
}

void trouble_begin(struct generation *g, size_t service, const char *why)
{
    char safe[CHANNEL_TEXT_MAX], text[CHANNEL_TEXT_MAX + 80];
    const char *name = g->conf->services[service].name;
    struct log_about about = { .id = LOG_ID_SERVICE_DEGRADED, .service = name, .generation = g->number };
    bool first = !g->trouble[service];

    text_make_safe(safe, sizeof(safe), why, strlen(why));
    free(g->trouble[service]);
    g->trouble[service] = strdup(safe);
    g->proof_since_ms[service] = 0;
    if (first)
        g->trouble_since_ms[service] = loop_now(g->all->loop);
    if (generation_is_leaving(g))
        return;
    snprintf(text, sizeof(text), "service %s: %s", name, safe);
    if (g->state == GENERATION_STARTING && !g->patient)
        g->all->hooks->on_failed(g, text, g->all->owner);
    else if (first)
        log_write(LOG_WARNING, &about, "degraded: %s", safe);
}

void trouble_tell(struct seat *seat, uint32_t service, const char *why)
{
    struct generation *g = seat->generation;

    if (service >= g->conf->n_services || seat->troubled[service] == (why != NULL))
        return;
    seat->troubled[service] = why != NULL;
    if (why)
        trouble_begin(g, service, why);
    else
        trouble_end(g, service);
}

void trouble_forget(struct seat *seat)
{
    struct generation *g = seat->generation;

    for (size_t i = 0; i < g->conf->n_services; i++)
        if (seat->troubled[i]) {
            seat->troubled[i] = false;
            trouble_end(g, i);
        }
}
