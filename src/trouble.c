/* What does not work, and since when that was told; see trouble.h. */
#include "trouble.h"

#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell_well(const struct generation *g, size_t service)
{
    struct log_about about = { .id = LOG_ID_SERVICE_WELL,
                               .service = g->conf->services[service].name,
                               .generation = g->number };
    char span[TEXT_NUMBER_MAX];

    log_write(LOG_NOTICE, &about, "well again after %s",
              text_print_duration(span, loop_now(g->all->loop) - g->trouble_since_ms[service]));
}

/* Told when the first worker says so, and when the last takes it back. */
static void end_trouble(struct generation *g, size_t service)
{
    for (size_t i = 0; i < g->n_seats; i++)
        if (g->seats[i].troubled[service])
            return;
    if (!g->trouble[service] || g->shelved[service])
        return;
    free(g->trouble[service]);
    g->trouble[service] = NULL;
    if (!generation_is_leaving(g))
        tell_well(g, service);
}

static void begin_trouble(struct generation *g, size_t service, const char *why)
{
    char safe[CHANNEL_TEXT_MAX], text[CHANNEL_TEXT_MAX + 80];
    const char *name = g->conf->services[service].name;
    struct log_about about = { .id = LOG_ID_SERVICE_DEGRADED, .service = name, .generation = g->number };
    bool first = !g->trouble[service];

    text_make_safe(safe, sizeof(safe), why, strlen(why));
    free(g->trouble[service]);
    g->trouble[service] = strdup(safe);
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
        begin_trouble(g, service, why);
    else
        end_trouble(g, service);
}

void trouble_forget(struct seat *seat)
{
    struct generation *g = seat->generation;

    for (size_t i = 0; i < g->conf->n_services; i++)
        if (seat->troubled[i]) {
            seat->troubled[i] = false;
            end_trouble(g, i);
        }
}

void trouble_shelve(struct generation *g, size_t service, const char *why)
{
    begin_trouble(g, service, why);
}

void trouble_unshelve(struct generation *g, size_t service)
{
    end_trouble(g, service);
}
