/* Programs as sockctl sees them: the connections that they have, or will have. Runs in the spawner. */
#include "listing.h"
#include "spawned.h"

static void list_waiting(struct listing *l, const struct spawned_service *s, const struct waiting *w)
{
    struct listing_row row = { .number = w->id,
                               .service = s->index,
                               .wait = LISTING_START,
                               .opened_ms = w->since_ms,
                               .since_ms = w->since_ms,
                               .peer = w->peer };

    listing_add(l, &row);
}

static void list_program(struct listing *l, const struct spawned_service *s, const struct child *child)
{
    struct listing_row row = { .number = child->id,
                               .service = s->index,
                               .wait = child->state == CHILD_STARTING ? LISTING_START : LISTING_PROGRAM,
                               .opened_ms = child->since_ms,
                               .since_ms = child->started_ms ? child->started_ms : child->since_ms,
                               .peer = child->peer };

    listing_add(l, &row);
}

static void list_service(struct listing *l, const struct spawned_service *s)
{
    if (!s->conf || s->conf->handler != HANDLER_PROGRAM)
        return;
    list_for_each (it, &s->waiting)
        list_waiting(l, s, container_of(it, struct waiting, link));
    list_for_each (it, &s->children)
        list_program(l, s, container_of(it, struct child, link));
}

void spawned_list_programs(struct spawner *spawner, uint32_t question)
{
    struct listing l;

    listing_begin(&l);
    for (size_t i = 0; i < spawner->n_services; i++)
        list_service(&l, &spawner->services[i]);
    listing_send(&l, spawner->channel_fd, question);
}

static void kill_of_service(struct spawned_service *s, uint32_t id)
{
    if (!s->conf || s->conf->handler != HANDLER_PROGRAM)
        return;
    list_for_each (it, &s->waiting) {
        struct waiting *w = container_of(it, struct waiting, link);
        if (w->id != id)
            continue;
        stats_add(&s->stats->ended_killed, 1);
        spawned_drop_one(s, w);
        return;
    }
    list_for_each (it, &s->children) {
        struct child *child = container_of(it, struct child, link);
        if (child->id != id)
            continue;
        stats_add(&s->stats->ended_killed, 1);
        child_end(child, SPAWNED_GRACE_MS);
        return;
    }
}

void spawned_kill_program(struct spawner *spawner, uint32_t id)
{
    for (size_t i = 0; i < spawner->n_services; i++)
        kill_of_service(&spawner->services[i], id);
    spawned_check_end(spawner);
}
