/* What a configuration wishes and the limits of this process do not grant: told once each. Runs in the
 * master. */
#include "generation.h"

#include "spawner.h"

#include <stdio.h>

/* Of all workers. */
static uint64_t count_helpers(const struct generation *g)
{
    uint64_t n = 0;

    for (size_t i = 0; i < g->conf->n_services; i++)
        if (g->conf->services[i].enabled && g->conf->services[i].handler == HANDLER_HELPER)
            n += spawner_helpers(&g->conf->services[i], (unsigned)g->n_workers);
    return n;
}

/* The spawner has two descriptors of each process that runs. */
static void check_programs(struct generation *g, struct complaints *complaints)
{
    uint64_t programs = 0, helpers = 2 * count_helpers(g);

    for (size_t i = 0; i < g->conf->n_services; i++)
        if (g->conf->services[i].enabled && g->conf->services[i].handler == HANDLER_PROGRAM)
            programs += (uint64_t)g->conf->services[i].max_programs;
    if (programs == 0 || 2 * programs + helpers <= g->all->max_descriptors || g->all->told_programs)
        return;
    g->all->told_programs = true;
    complaints_add(
        complaints, false,
        "max_programs of all services, %llu, cannot be reached: the limit is %zu descriptors for the "
        "spawner (LimitNOFILE=), and each program takes two",
        (unsigned long long)programs, g->all->max_descriptors);
}

static void check_descriptors(struct generation *g, struct complaints *complaints)
{
    uint64_t wanted = SPAWNER_HELPER_PIPES * count_helpers(g), pipes = wanted;
    uint64_t possible = (uint64_t)g->all->max_descriptors * g->n_workers;
    char helpers[64] = "";

    for (size_t i = 0; i < g->conf->n_services; i++)
        if (g->conf->services[i].enabled && (g->conf->services[i].transports & TRANSPORTS_STREAM) &&
            g->conf->services[i].handler != HANDLER_PROGRAM)
            wanted += (uint64_t)g->conf->services[i].max_connections;
    if (wanted <= possible || g->all->told_descriptors)
        return;
    g->all->told_descriptors = true;
    if (pipes > 0)
        snprintf(helpers, sizeof(helpers), "; helpers take %llu", (unsigned long long)pipes);
    complaints_add(complaints, false,
                   "max_connections of all services, %llu, cannot be reached: the limit is %zu descriptors "
                   "for each worker (LimitNOFILE=), and workers = %zu%s",
                   (unsigned long long)(wanted - pipes), g->all->max_descriptors, g->n_workers, helpers);
}

void generation_check_limits(struct generation *g, struct complaints *complaints)
{
    check_descriptors(g, complaints);
    check_programs(g, complaints);
}
