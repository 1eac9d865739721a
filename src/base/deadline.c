/* Lists of equally long timeouts; see deadline.h. */
#include "base/deadline.h"

#include <assert.h>

#define SLICE_BITS_MAX 10

static void on_head_due(struct loop_timer *timer);

/* The timer is left alone while it runs: when the head has moved on meanwhile, it fires early and is set
 * anew. */
static void watch_head(struct deadlines *d)
{
    if (!d->timer.place && !list_empty(&d->all))
        loop_timer_set(d->loop, &d->timer, container_of(d->all.next, struct deadline, link)->due_ms,
                       on_head_due);
}

static void on_head_due(struct loop_timer *timer)
{
    struct deadlines *d = container_of(timer, struct deadlines, timer);

    for (int n = 0; n < DEADLINES_PER_TURN && !list_empty(&d->all); n++) {
        struct deadline *head = container_of(d->all.next, struct deadline, link);

        if (head->due_ms > loop_now(d->loop))
            break;
        deadline_clear(head);
        d->on_passed(head, d->owner);
    }
    watch_head(d);
}

void deadlines_init(struct deadlines *d, struct loop *loop, uint64_t span_ms, deadline_fn *on_passed,
                    void *owner)
{
    *d = (struct deadlines){ .loop = loop, .span_ms = span_ms, .on_passed = on_passed, .owner = owner };
    list_init(&d->all);
    while (d->slice_bits < SLICE_BITS_MAX && (span_ms >> d->slice_bits) >= 32)
        d->slice_bits++;
}

void deadlines_done(struct deadlines *d)
{
    assert(list_empty(&d->all));
    loop_timer_stop(d->loop, &d->timer);
}

void deadline_init(struct deadline *deadline)
{
    list_init(&deadline->link);
}

void deadline_set(struct deadlines *d, struct deadline *deadline)
{
    list_remove(&deadline->link);
    deadline->due_ms = loop_now(d->loop) + d->span_ms;
    if (d->span_ms == 0)
        return;
    list_append(&d->all, &deadline->link);
    watch_head(d);
}

void deadline_set_due(struct deadlines *d, struct deadline *deadline, uint64_t due_ms)
{
    list_remove(&deadline->link);
    if (d->span_ms == 0)
        return;
    deadline->due_ms = loop_now(d->loop) + d->span_ms;
    if (due_ms != 0 && due_ms < deadline->due_ms)
        deadline->due_ms = due_ms;
    struct list *after = d->all.prev;
    while (after != &d->all && container_of(after, struct deadline, link)->due_ms > deadline->due_ms)
        after = after->prev;
    list_append(after->next, &deadline->link);
    if (d->all.next == &deadline->link)
        loop_timer_stop(d->loop, &d->timer);
    watch_head(d);
}

void deadline_clear(struct deadline *deadline)
{
    list_remove(&deadline->link);
}
