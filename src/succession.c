/* The inboxes of a generation, and what is told to those that give; see succession.h. */
#include "succession.h"

#include "base/fd.h"
#include "spawner.h"

#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

void succession_init(struct generation *g)
{
    for (int way = 0; way < HANDOVER_WAYS; way++)
        g->inboxes[way] = (struct inbox){ .read_fd = -1, .write_fd = -1 };
}

/* By its helpers, on how many workers of G a service is. */
static size_t workers_of(const struct service *service, const struct generation *g)
{
    size_t helpers =
        service->handler == HANDLER_HELPER ? spawner_helpers(service, (unsigned)g->n_workers) : g->n_workers;

    return helpers < g->n_workers ? helpers : g->n_workers;
}

/* So many workers, the first ones, serve all services. */
static size_t workers_of_all(const struct generation *g)
{
    size_t n = g->n_workers;

    for (size_t i = 0; i < g->conf->n_services; i++) {
        const struct service *service = &g->conf->services[i];

        if (service->enabled && workers_of(service, g) < n)
            n = workers_of(service, g);
    }
    return n;
}

static int make_inbox(struct inbox *inbox)
{
    int pair[2];
    int r = fd_channel(pair);

    if (r == 0)
        *inbox = (struct inbox){ .read_fd = pair[0], .write_fd = pair[1] };
    return r;
}

int succession_make_inboxes(struct generation *g)
{
    int r = make_inbox(&g->inboxes[HANDOVER_TO_ANY]);

    if (r == 0 && workers_of_all(g) < g->n_workers)
        r = make_inbox(&g->inboxes[HANDOVER_TO_FIRST]);
    return r;
}

void succession_give_inboxes(struct seat *worker)
{
    const struct generation *g = worker->generation;

    for (int way = 0; way < HANDOVER_WAYS; way++)
        if (g->inboxes[way].read_fd >= 0 &&
            (way == HANDOVER_TO_ANY || worker->process.number <= workers_of_all(g)))
            process_give(&worker->process, CHANNEL_INBOX, (uint32_t)way, g->inboxes[way].read_fd);
}

/* Whether connections of service FROM can go on in generation TO, which then answers messages cut in the same
 * way; and where they go. */
static bool goes_on(const struct service *from, const struct generation *to, enum handover_way *ret)
{
    const struct service *next = conf_find(to->conf, from->name);

    if (!from->enabled || !next || !next->enabled || !frame_equal(&from->framing, &next->framing))
        return false;
    if (from->handler == HANDLER_PROGRAM || next->handler == HANDLER_PROGRAM ||
        next->handler == HANDLER_DAYTIME)
        return false;
    *ret = workers_of(next, to) < to->n_workers ? HANDOVER_TO_FIRST : HANDOVER_TO_ANY;
    return true;
}

/* To the workers of an OLD generation. Without memory for it they keep what they have. */
static void tell_givers(struct generation *old, const struct generation *g)
{
    static const enum channel_word outboxes[] = { CHANNEL_OUTBOX, CHANNEL_OUTBOX_FIRST };
    static const enum channel_word moves[] = { CHANNEL_MOVE, CHANNEL_MOVE_FIRST };
    size_t n = old->conf->n_services;
    bool *sets = calloc(HANDOVER_WAYS * n + 1, sizeof(*sets));
    enum handover_way way;

    for (size_t i = 0; sets && i < n; i++)
        if (goes_on(&old->conf->services[i], g, &way))
            sets[way * n + i] = true;
    for (size_t i = 0; sets && i < old->n_workers; i++) {
        struct process *worker = &old->seats[i].process;

        for (int to = 0; to < HANDOVER_WAYS; to++)
            if (g->inboxes[to].write_fd >= 0)
                process_give(worker, outboxes[to], 0, g->inboxes[to].write_fd);
        for (int to = 0; to < HANDOVER_WAYS; to++)
            process_tell_set(worker, moves[to], sets + (size_t)to * n, n);
    }
    free(sets);
}

void succession_end(struct generation *g)
{
    for (int way = 0; way < HANDOVER_WAYS; way++)
        fd_close(&g->inboxes[way].write_fd);
}

void succession_begin(struct generation *g)
{
    list_for_each (it, &g->all->all) {
        struct generation *old = container_of(it, struct generation, link);

        if (old == g || g->inboxes[HANDOVER_TO_ANY].write_fd < 0)
            continue;
        tell_givers(old, g);
        for (size_t i = 0; i < generation_seats(old) && old->state == GENERATION_RETIRING; i++)
            process_tell(&old->seats[i].process, CHANNEL_RETIRE, 0);
    }
    succession_end(g);
}

static bool is_empty(int fd)
{
    int bytes = 0;

    return ioctl(fd, SIOCINQ, &bytes) < 0 || bytes == 0;
}

void succession_forget(struct generations *all)
{
    struct list *first = all->all.next;

    if (list_empty(&all->all) || first->next != &all->all)
        return;
    struct generation *g = container_of(first, struct generation, link);
    for (int way = 0; way < HANDOVER_WAYS; way++)
        if (g->inboxes[way].read_fd >= 0 && is_empty(g->inboxes[way].read_fd))
            fd_close(&g->inboxes[way].read_fd);
}

void succession_done(struct generation *g)
{
    succession_end(g);
    for (int way = 0; way < HANDOVER_WAYS; way++)
        fd_close(&g->inboxes[way].read_fd);
}
