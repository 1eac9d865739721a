/* The event loop; see loop.h. The one file that knows epoll. */
#include "base/loop.h"

#include "base/fd.h"
#include "base/hot.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* Events taken from the kernel in one turn. */
#define EVENTS_PER_TURN 128

/* What a source of many kinds touches of its object at an event, wherever in a line that begins; and the
 * lines that memory comes in. */
#define FETCH_BYTES 256
#define FETCH_LINE  64

uint64_t loop_read_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void look_at_clock(struct loop *loop)
{
    loop->now_us = loop_read_clock();
    loop->now_ms = loop->now_us / 1000;
}

int loop_init(struct loop *loop)
{
    *loop = (struct loop){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
    look_at_clock(loop);
    return loop->epoll_fd < 0 ? -errno : 0;
}

static void free_garbage(struct loop *loop)
{
    while (loop->garbage) {
        struct loop_garbage *g = loop->garbage;

        loop->garbage = g->next;
        g->free(g);
    }
}

void loop_done(struct loop *loop)
{
    free_garbage(loop);
    fd_close(&loop->epoll_fd);
    free(loop->heap);
    loop->heap = NULL;
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events, loop_event_fn *on_event)
{
    struct epoll_event event = { .events = events, .data.ptr = source };

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    *source = (struct loop_source){
        .on_event = on_event, .fd = fd, .events = events, .added = loop->turn, .number = source->number
    };
    return 0;
}

void loop_change_now(struct loop *loop, struct loop_source *source, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = source };

    if (source->fd < 0)
        return;
    /* Cannot fail for a descriptor that is open and was added. */
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) == 0)
        source->events = events;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
    if (source->fd < 0)
        return;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->fd = -1;
}

/* The heap: heap[1] is the earliest, the children of heap[i] are heap[2i] and heap[2i+1]. */

static void place(struct loop *loop, uint32_t at, struct loop_timer *timer)
{
    loop->heap[at] = timer;
    timer->place = at;
}

static bool is_before(const struct loop_timer *a, const struct loop_timer *b)
{
    return a->due_ms < b->due_ms || (a->due_ms == b->due_ms && a->rank < b->rank);
}

static void sift_up(struct loop *loop, uint32_t at, struct loop_timer *timer)
{
    for (; at > 1 && is_before(timer, loop->heap[at / 2]); at /= 2)
        place(loop, at, loop->heap[at / 2]);
    place(loop, at, timer);
}

static void sift_down(struct loop *loop, uint32_t at, struct loop_timer *timer)
{
    for (uint32_t child; (child = at * 2) <= loop->heap_len; at = child) {
        if (child < loop->heap_len && is_before(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (is_before(timer, loop->heap[child]))
            break;
        place(loop, at, loop->heap[child]);
    }
    place(loop, at, timer);
}

/* Without memory for one more timer there is no way on; a worker dies and is replaced. */
static void grow_heap(struct loop *loop)
{
    uint32_t cap = loop->heap_cap ? loop->heap_cap * 2 : 32;
    struct loop_timer **heap = realloc(loop->heap, cap * sizeof(struct loop_timer *));

    assert(heap);
    loop->heap = heap;
    loop->heap_cap = cap;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ms, loop_timer_fn *on_timer)
{
    loop_timer_stop(loop, timer);
    timer->due_ms = due_ms > loop->now_ms ? due_ms : loop->now_ms;
    timer->rank = ++loop->last_rank;
    timer->on_timer = on_timer;
    if (loop->heap_len + 1 >= loop->heap_cap)
        grow_heap(loop);
    sift_up(loop, ++loop->heap_len, timer);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    uint32_t at = timer->place;

    if (at == 0)
        return;
    timer->place = 0;

    struct loop_timer *last = loop->heap[loop->heap_len--];
    if (last == timer)
        return;
    if (at > 1 && is_before(last, loop->heap[at / 2]))
        sift_up(loop, at, last);
    else
        sift_down(loop, at, last);
}

/* Calls what is due now. What is set meanwhile is not: it stands behind all that is due, by its rank. */
static void run_timers(struct loop *loop)
{
    uint64_t last_rank = loop->last_rank;

    while (loop->heap_len > 0) {
        struct loop_timer *timer = loop->heap[1];

        if (timer->due_ms > loop->now_ms || timer->rank > last_rank)
            break;
        loop_timer_stop(loop, timer);
        timer->on_timer(timer);
    }
}

static int wait_limit(const struct loop *loop, int limit_ms)
{
    if (loop->heap_len == 0)
        return limit_ms;

    uint64_t due = loop->heap[1]->due_ms;
    uint64_t left = due > loop->now_ms ? due - loop->now_ms : 0;
    if (left > 3600 * 1000)
        left = 3600 * 1000;
    return limit_ms >= 0 && (uint64_t)limit_ms < left ? limit_ms : (int)left;
}

/* What the next event is about comes while this one is served: of a thousand connections none is in a cache.
 */
static void fetch(const struct loop_source *source)
{
    for (size_t i = 0; i < FETCH_BYTES; i += FETCH_LINE)
        __builtin_prefetch((const char *)source + i);
}

HOT int loop_turn(struct loop *loop, int limit_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];

    loop->turn++;
    int n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, wait_limit(loop, limit_ms));

    /* A process that was stopped and continued comes back with EINTR: what has arrived meanwhile goes before
     * the timers. */
    if (n < 0 && errno == EINTR)
        n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, 0);
    look_at_clock(loop);
    if (n < 0 && errno != EINTR)
        return -errno;
    for (int i = 0; i < n; i++) {
        struct loop_source *source = events[i].data.ptr;

        if (i + 1 < n)
            fetch(events[i + 1].data.ptr);
        /* One that was removed and added again in this batch has events of its former descriptor here. */
        if (source->fd >= 0 && source->added != loop->turn)
            source->on_event(source, events[i].events);
    }
    run_timers(loop);
    free_garbage(loop);
    return 0;
}

int loop_run(struct loop *loop)
{
    int r = 0;

    while (r == 0 && !loop->quit)
        r = loop_turn(loop, -1);
    return r;
}

void loop_quit(struct loop *loop)
{
    loop->quit = true;
}

void loop_free_later(struct loop *loop, struct loop_garbage *garbage, void (*free)(struct loop_garbage *))
{
    *garbage = (struct loop_garbage){ .next = loop->garbage, .free = free };
    loop->garbage = garbage;
}
