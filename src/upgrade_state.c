/* The state of a master as values: what upgrade_read.c and upgrade_save.c make. */
#include "upgrade_state.h"

#include <stdlib.h>
#include <string.h>

#define ARRAY_MAX ((size_t)1 << 20)

void *upgrade_state_grow(void *items, size_t *n, size_t size)
{
    char *grown = *n < ARRAY_MAX ? reallocarray(items, *n + 1, size) : NULL;

    if (!grown)
        return NULL;
    memset(grown + *n * size, 0, size);
    ++*n;
    return grown;
}

void upgrade_state_init(struct upgrade_state *s)
{
    *s = (struct upgrade_state){ .control_fd = -1, .exporter = { .pidfd = -1, .channel_fd = -1 } };
}

static void free_generation(struct upgrade_generation *g)
{
    for (size_t i = 0; i < g->n_troubles; i++)
        free(g->troubles[i].why);
    for (size_t i = 0; i < g->n_shelved; i++)
        free(g->shelved[i].why);
    free(g->troubles);
    free(g->shelved);
    free(g->processes);
    free(g->uses);
    free(g->conf);
}

static void free_listener(struct upgrade_listener *l)
{
    free(l->path);
    free(l->inherited);
    free(l->store_name);
}

static void free_names(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

void upgrade_state_done(struct upgrade_state *s)
{
    for (size_t i = 0; i < s->n_generations; i++)
        free_generation(&s->generations[i]);
    for (size_t i = 0; i < s->n_listeners; i++)
        free_listener(&s->listeners[i]);
    for (size_t i = 0; i < s->n_slots; i++)
        free(s->slots[i].name);
    for (size_t i = 0; i < s->n_stats; i++)
        free(s->stats[i].layout);
    free_names(s->drained, s->n_drained);
    free_names(s->unstored, s->n_unstored);
    free(s->generations);
    free(s->listeners);
    free(s->slots);
    free(s->stats);
    free(s->clients);
    free(s->doors);
    free(s->version);
    free(s->control_path);
    free(s->reload_message);
    upgrade_state_init(s);
}

typedef void fd_fn(int fd, void *owner);

static void each(const int64_t *fds, size_t n, fd_fn *fn, void *owner)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            fn((int)fds[i], owner);
}

static void each_of_process(const struct upgrade_process *p, fd_fn *fn, void *owner)
{
    const int64_t fds[] = { p->pidfd, p->channel_fd };

    each(fds, 2, fn, owner);
}

void upgrade_state_each_fd(const struct upgrade_state *s, void (*fn)(int fd, void *owner), void *owner)
{
    each(&s->control_fd, 1, fn, owner);
    each(s->clients, s->n_clients, fn, owner);
    each(s->doors, s->n_doors, fn, owner);
    each_of_process(&s->exporter, fn, owner);
    for (size_t i = 0; i < s->n_stats; i++)
        each(&s->stats[i].fd, 1, fn, owner);
    for (size_t i = 0; i < s->n_listeners; i++)
        each(&s->listeners[i].fd, 1, fn, owner);
    for (size_t i = 0; i < s->n_generations; i++) {
        each(&s->generations[i].inbox_fd, 1, fn, owner);
        for (size_t n = 0; n < s->generations[i].n_processes; n++)
            each_of_process(&s->generations[i].processes[n], fn, owner);
    }
}
