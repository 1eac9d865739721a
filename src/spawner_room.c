/*
 * Whether the spawner has descriptors for what workers send; see spawned.h. A connection that comes when none
 * is free is lost: the kernel closes it. So workers are not read any more when few are left, and connections
 * wait in the pair, in the worker, and in the backlog in the end, until a process has ended.
 */
#include "spawned.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* Descriptors for all else, and for helpers that are started next. Of a low limit it is a quarter. */
#define RESERVE 32

/* How often it is looked whether there are enough again. */
#define PAUSE_MS 50

void spawned_init_room(struct spawner *spawner)
{
    struct rlimit limit;
    size_t all = SIZE_MAX;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        all = limit.rlim_cur;
    size_t taken = (all / 4 < RESERVE ? all / 4 : RESERVE) + spawner->setup->n_workers;
    spawner->room = all > taken ? all - taken : 0;
}

/* Whether one more program may be too much. What waits is one descriptor each, also while it is started. */
static bool is_crowded(const struct spawner *spawner)
{
    size_t taken = spawner->n_waiting + SPAWNED_CHILD_FDS * spawner->n_children + spawner->starting_fds;

    return taken + 1 + SPAWNED_CHILD_FDS + SPAWNED_PROGRAM_MORE > spawner->room;
}

static void on_room_timer(struct loop_timer *timer)
{
    spawned_look_for_room(container_of(timer, struct spawner, room_timer));
}

static void look_again(struct spawner *spawner)
{
    loop_timer_set(&spawner->loop, &spawner->room_timer, loop_now(&spawner->loop) + PAUSE_MS, on_room_timer);
}

void spawned_check_room(struct spawned_service *s, bool came)
{
    struct spawner *spawner = s->spawner;

    if (came && !is_crowded(spawner))
        return;
    spawner->crowded = s;
    list_for_each (it, &spawner->attached)
        spawner_line_hold(&container_of(it, struct attached, link)->line);
    look_again(spawner);
}

/* Also where the limit is another than it was, or all of the system's files are open. */
static bool has_room_again(const struct spawner *spawner, const struct spawner_line *line)
{
    int fd = is_crowded(spawner) ? -1 : fcntl(line->fd, F_DUPFD_CLOEXEC, 0);
    bool yes = fd >= 0;

    fd_close(&fd);
    return yes;
}

/* 1: it waits to be read, 0: its end is all there is to read; else -1. A glance brings no descriptor. */
static ssize_t glance(const struct spawner_line *line)
{
    char byte;

    return recv(line->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
}

/* True when it is read again. Who waits on is told of the counter, see shortage.h. */
static bool try_again(struct spawner *spawner, struct spawner_line *line)
{
    ssize_t waiting = glance(line);

    if ((waiting == 0 || has_room_again(spawner, line)) && spawner_line_go_on(line) == 0)
        return true;
    if (waiting > 0)
        stats_add(&spawner->crowded->stats->paused_descriptors, 1);
    return false;
}

void spawned_look_for_room(struct spawner *spawner)
{
    bool held = false;

    if (!spawner->crowded)
        return;
    list_for_each (it, &spawner->attached) {
        struct spawner_line *line = &container_of(it, struct attached, link)->line;

        if (spawner_line_is_held(line) && !try_again(spawner, line))
            held = true;
    }
    loop_timer_stop(&spawner->loop, &spawner->room_timer);
    if (held)
        look_again(spawner);
    else
        spawner->crowded = NULL;
}
