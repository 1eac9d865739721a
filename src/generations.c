/* All generations together: watching and reaping their processes, and what an administrator tells all of
 * them, which survives a reload. */
#include "generation.h"

#include "base/log.h"
#include "succession.h"
#include "trial.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* So many lines of the log; a client may bring them about. */
#define DEATHS_PER_SECOND 20

static struct generation *of_link(struct list *link)
{
    return container_of(link, struct generation, link);
}

void generation_count_drops(const struct generation *g)
{
    for (size_t i = 0; i < g->listeners.len; i++) {
        int slot = g->slots[g->listeners.service[i] - g->conf->services];
        uint32_t n = listener_look_drops(g->listeners.item[i]);

        if (n > 0 && slot >= 0)
            stats_add_total(g->all->stats, slot, offsetof(struct stats_service, datagrams_kernel), n);
    }
}

static size_t place_of(const struct generations *all, const char *service)
{
    size_t i = 0;

    while (i < all->n_drained && strcmp(all->drained[i], service) != 0)
        i++;
    return i;
}

bool generations_is_drained(const struct generations *all, const char *service)
{
    return place_of(all, service) < all->n_drained;
}

static void forget_drained(struct generations *all, size_t i)
{
    free(all->drained[i]);
    all->drained[i] = all->drained[--all->n_drained];
}

void generations_init(struct generations *all)
{
    list_init(&all->all);
    orphans_init(&all->orphans, all->loop);
    log_limit_init(&all->deaths, all->loop, NULL, " about processes that died", DEATHS_PER_SECOND);
    all->serving = NULL;
    all->last_number = 0;
}

void generations_done(struct generations *all)
{
    while (all->n_drained > 0)
        forget_drained(all, all->n_drained - 1);
    free(all->drained);
    orphans_done(&all->orphans);
    log_limit_done(&all->deaths);
}

size_t generations_living(const struct generations *all)
{
    size_t n = 0;

    list_for_each (it, &all->all)
        n++;
    return n;
}

static int remember_drained(struct generations *all, const char *service)
{
    char *name = strdup(service);
    char **more = realloc(all->drained, (all->n_drained + 1) * sizeof(*more));

    if (more)
        all->drained = more;
    if (!name || !more) {
        free(name);
        return -ENOMEM;
    }
    all->drained[all->n_drained++] = name;
    return 0;
}

int generation_note_drained(struct generation *g)
{
    g->drained = calloc(g->conf->n_services + 1, sizeof(*g->drained));
    if (!g->drained)
        return -ENOMEM;
    for (size_t i = 0; i < g->conf->n_services; i++)
        g->drained[i] = generations_is_drained(g->all, g->conf->services[i].name);
    return 0;
}

static void tell_drained(struct generation *g, const char *service, bool drained)
{
    const struct service *s = conf_find(g->conf, service);

    if (!s)
        return;
    size_t index = (size_t)(s - g->conf->services);
    g->drained[index] = drained;
    for (size_t i = 0; i < g->n_workers; i++)
        process_tell(&g->seats[i].process, drained ? CHANNEL_DRAIN_SERVICE : CHANNEL_RESUME_SERVICE,
                     (uint32_t)index);
}

int generations_set_drained(struct generations *all, const char *service, bool drained)
{
    size_t place = place_of(all, service);
    int r = 0;

    if (drained && place == all->n_drained)
        r = remember_drained(all, service);
    else if (!drained && place < all->n_drained)
        forget_drained(all, place);
    if (r < 0)
        return r;
    list_for_each (it, &all->all)
        tell_drained(of_link(it), service, drained);
    return 0;
}

void generations_forget_removed(struct generations *all, const struct conf *conf)
{
    for (size_t i = all->n_drained; i-- > 0;)
        if (!conf_find(conf, all->drained[i]))
            forget_drained(all, i);
}

void generations_set_log_level(struct generations *all, int level)
{
    all->log_level = level;
    if (all->serving || level >= 0)
        log_set_level(level >= 0 ? level : generation_log_level(all->serving));
    list_for_each (it, &all->all) {
        struct generation *g = of_link(it);
        for (size_t i = 0; i < generation_seats(g); i++)
            process_tell(&g->seats[i].process, CHANNEL_LOG_LEVEL, (uint32_t)generation_log_level(g));
    }
}

struct generation *generations_find(const struct generations *all, unsigned number)
{
    list_for_each (it, &all->all)
        if (of_link(it)->number == number)
            return of_link(it);
    return NULL;
}

bool generations_reaped(struct generations *all, pid_t pid, int status)
{
    list_for_each (it, &all->all) {
        struct generation *g = of_link(it);
        if (trials_reaped(g, pid, status))
            return true;
        for (size_t i = 0; i < generation_seats(g); i++) {
            if (g->seats[i].process.pid == pid && g->seats[i].process.pidfd >= 0) {
                process_reaped(&g->seats[i].process, status);
                return true;
            }
        }
    }
    return false;
}

void generations_watch(struct generations *all, uint64_t timeout_ms, bool forgive)
{
    succession_forget(all);
    list_for_each (it, &all->all) {
        struct generation *g = of_link(it);
        for (size_t i = 0; i < generation_seats(g); i++) {
            if (forgive)
                process_forgive(&g->seats[i].process);
            process_watch(&g->seats[i].process, timeout_ms);
        }
    }
}
