/* The worker's side of handing connections over; see mover.h. */
#include "mover.h"

#include "base/fd.h"
#include "base/log.h"
#include "conn.h"
#include "handover.h"
#include "log_ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Connections taken in one turn, so that those that are here get theirs. */
#define TAKEN_PER_TURN 64
/* Without room for more it looks again after so long. */
#define PAUSE_MS 50
/* Of those that are lost, so many are told in a second. */
#define LOSSES_PER_SECOND 10

void mover_init(struct mover *mover, struct work *work, void (*on_closed)(struct mover *mover))
{
    *mover = (struct mover){ .work = work, .on_closed = on_closed };
    log_limit_init(&mover->losses, work->loop, NULL, " about hand-overs", LOSSES_PER_SECOND);
    for (int i = 0; i < HANDOVER_WAYS; i++)
        mover->ways[i] =
            (struct mover_way){ .mover = mover, .inbox_fd = -1, .inbox.fd = -1, .outbox.fd = -1 };
}

static void close_inbox(struct mover_way *way)
{
    struct mover *mover = way->mover;

    loop_remove(mover->work->loop, &way->inbox);
    fd_close(&way->inbox_fd);
    if (!mover_expects(mover)) {
        free(mover->bytes);
        mover->bytes = NULL;
    }
}

static void close_outbox(struct mover *mover, enum handover_way way)
{
    loop_remove(mover->work->loop, &mover->ways[way].outbox);
    loop_timer_stop(mover->work->loop, &mover->ways[way].again);
    fd_close(&mover->work->outbox_fds[way]);
}

void mover_close_outboxes(struct mover *mover)
{
    for (int i = 0; i < HANDOVER_WAYS; i++)
        close_outbox(mover, (enum handover_way)i);
    list_for_each (it, &mover->work->served)
        container_of(it, struct served, link)->moves = false;
}

void mover_done(struct mover *mover)
{
    if (!mover->work)
        return;
    for (int i = 0; i < HANDOVER_WAYS; i++)
        close_inbox(&mover->ways[i]);
    loop_timer_stop(mover->work->loop, &mover->pause);
    log_limit_done(&mover->losses);
    mover_close_outboxes(mover);
}

static struct served *find_served(const struct work *work, const char *name)
{
    list_for_each (it, &work->served) {
        struct served *served = container_of(it, struct served, link);

        if (strcmp(served->conf->name, name) == 0)
            return served;
    }
    return NULL;
}

/* H: of which service, and whose it was; NULL: not known. */
static void lose(struct mover *mover, const struct handover *h, const char *why)
{
    struct log_about about = { .id = LOG_ID_FAULT };
    struct served *served = h ? find_served(mover->work, h->service) : NULL;

    if (h) {
        about.service = h->service;
        about.peer = &h->peer;
    }
    if (served)
        stats_add(&served->stats->ended_error, 1);
    if (log_limit_take(&mover->losses, LOG_ERR))
        log_write(LOG_ERR, &about, "a connection that was handed over is lost: %s", why);
}

/* Takes one connection. 1, also when it is lost; 0 when nobody can send any more; -EAGAIN; else -errno. */
static int take_one(struct mover_way *way)
{
    struct mover *mover = way->mover;
    struct handover h;
    int fd;
    int r = handover_receive(way->inbox_fd, &h, mover->bytes, &fd);

    if (r == -EMFILE || r == -EPROTO) {
        lose(mover, r == -EMFILE ? &h : NULL, r == -EMFILE ? "no descriptor came" : "not to be understood");
        return 1;
    }
    if (r <= 0)
        return r;
    struct served *served = find_served(mover->work, h.service);
    if (!served) {
        lose(mover, &h, "the service is not served here");
        fd_close(&fd);
    } else if (conn_adopt(served, fd, &h, mover->bytes) < 0) {
        lose(mover, &h, "out of memory");
    }
    return 1;
}

/* What others may have room for, or we after a while. */
static bool lacks_room(const struct mover *mover)
{
    const struct account *memory = &mover->work->memory;

    if (work_lacks_descriptors(mover->work))
        return true;
    return memory->used > 0 && account_exceeded(memory, memory->limit / 8 + HANDOVER_BYTES_MAX);
}

static void on_inbox(struct loop_source *source, uint32_t events);

/* Not exclusively: one that has no room leaves what it was woken for to the others. */
static int watch_inbox(struct mover_way *way, int fd)
{
    return loop_add(way->mover->work->loop, &way->inbox, fd, EPOLLIN, on_inbox);
}

static void on_pause_over(struct loop_timer *timer)
{
    struct mover *mover = container_of(timer, struct mover, pause);

    for (int i = 0; i < HANDOVER_WAYS; i++) {
        struct mover_way *way = &mover->ways[i];

        if (way->inbox_fd >= 0 && way->inbox.fd < 0 && watch_inbox(way, way->inbox_fd) < 0)
            loop_timer_set(mover->work->loop, timer, loop_now(mover->work->loop) + PAUSE_MS, on_pause_over);
    }
}

static void pause_inbox(struct mover_way *way)
{
    struct mover *mover = way->mover;
    struct loop *loop = mover->work->loop;

    loop_remove(loop, &way->inbox);
    loop_timer_set(loop, &mover->pause, loop_now(loop) + PAUSE_MS, on_pause_over);
}

static void on_inbox(struct loop_source *source, uint32_t events)
{
    struct mover_way *way = container_of(source, struct mover_way, inbox);
    int r = 1;

    (void)events;
    for (int n = 0; n < TAKEN_PER_TURN && r > 0; n++) {
        if (lacks_room(way->mover)) {
            pause_inbox(way);
            return;
        }
        r = take_one(way);
    }
    if (r > 0 || r == -EAGAIN)
        return;
    close_inbox(way);
    way->mover->on_closed(way->mover);
}

/* Takes FD: connections come from there until its other end is closed. */
static void set_inbox(struct mover *mover, uint32_t number, int fd)
{
    struct mover_way *way = &mover->ways[number == HANDOVER_TO_FIRST ? HANDOVER_TO_FIRST : HANDOVER_TO_ANY];
    int r = 0;

    close_inbox(way);
    if (!mover->bytes && !(mover->bytes = malloc(HANDOVER_BYTES_MAX)))
        r = -ENOMEM;
    if (r == 0)
        r = watch_inbox(way, fd);
    if (r == 0) {
        way->inbox_fd = fd;
    } else {
        log_event(LOG_ERR, LOG_ID_FAULT, "cannot take connections of older generations: %s", strerror(-r));
        fd_close(&fd);
    }
}

void mover_close_inboxes(struct mover *mover)
{
    for (int i = 0; i < HANDOVER_WAYS; i++) {
        int r = 1;

        while (mover->ways[i].inbox_fd >= 0 && r > 0)
            r = take_one(&mover->ways[i]);
        close_inbox(&mover->ways[i]);
    }
}

/* The services of this set move. */
static void move_services(struct mover *mover, enum handover_way way, const struct channel_message *message)
{
    list_for_each (it, &mover->work->served) {
        struct served *served = container_of(it, struct served, link);
        uint32_t i = served->host.index - message->value;

        if (i < CHANNEL_SET_SPAN && channel_set_has(message, i)) {
            served->moves = true;
            served->way = way;
        }
    }
}

void mover_start(struct mover *mover)
{
    list_for_each (s, &mover->work->served) {
        struct served *served = container_of(s, struct served, link);

        if (!served->moves || mover->work->outbox_fds[served->way] < 0)
            continue;
        list_for_each (c, &served->conns)
            conn_move(container_of(c, struct conn, link));
    }
}

static void on_again(struct loop_timer *timer)
{
    mover_start(container_of(timer, struct mover_way, again)->mover);
}

/* There is room again. If none could go all the same, too many descriptors are on their way, and nobody tells
 * when they have arrived; see unix(7), ETOOMANYREFS. */
static void on_outbox(struct loop_source *source, uint32_t events)
{
    struct mover_way *way = container_of(source, struct mover_way, outbox);
    struct work *work = way->mover->work;
    uint64_t before = stats_get(&work->page->connections);

    (void)events;
    loop_remove(work->loop, source);
    mover_start(way->mover);
    if (source->fd < 0 || stats_get(&work->page->connections) < before)
        return;
    loop_remove(work->loop, source);
    loop_timer_set(work->loop, &way->again, loop_now(work->loop) + PAUSE_MS, on_again);
}

static void on_outbox_full(struct work *work, enum handover_way way)
{
    struct mover_way *full = &work->mover->ways[way];

    if (full->outbox.fd < 0 && !full->again.place)
        loop_add(work->loop, &full->outbox, work->outbox_fds[way], EPOLLOUT, on_outbox);
}

/* Takes FD: connections go there, those of the services that are named next. */
static void set_outbox(struct mover *mover, enum handover_way way, int fd)
{
    close_outbox(mover, way);
    mover->work->outbox_fds[way] = fd;
    mover->work->on_outbox_full = on_outbox_full;
    mover->work->mover = mover;
}

void mover_obey(struct mover *mover, const struct channel_message *message, int fd)
{
    switch (message->word) {
    case CHANNEL_INBOX:
        set_inbox(mover, message->value, fd);
        return;
    case CHANNEL_OUTBOX:
        mover_close_outboxes(mover);
        set_outbox(mover, HANDOVER_TO_ANY, fd);
        return;
    case CHANNEL_OUTBOX_FIRST:
        set_outbox(mover, HANDOVER_TO_FIRST, fd);
        return;
    case CHANNEL_MOVE:
        move_services(mover, HANDOVER_TO_ANY, message);
        break;
    case CHANNEL_MOVE_FIRST:
        move_services(mover, HANDOVER_TO_FIRST, message);
        break;
    }
    fd_close(&fd);
}
