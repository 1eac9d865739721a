/* A queue in front of spawner_send(), and a loop around spawner_receive(); see spawner_line.h. */
#include "spawner_line.h"

#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* When too many descriptors are on their way, nobody tells of their arrival: it is tried so often. */
#define PAUSE_MS 20

/* Packets taken in one turn, so that others get theirs. */
#define PACKETS_PER_TURN 64

struct waiting {
    struct list link;
    struct spawner_packet packet;
    int fds[SPAWNER_FDS_MAX];
    int n;
};

static void close_fds(const int *fds, int n)
{
    for (int i = 0; i < n; i++) {
        int fd = fds[i];
        fd_close(&fd);
    }
}

static void drop(struct waiting *w)
{
    close_fds(w->fds, w->n);
    list_remove(&w->link);
    free(w);
}

void spawner_line_init(struct spawner_line *line, struct loop *loop)
{
    *line = (struct spawner_line){ .loop = loop, .source = { .fd = -1 }, .fd = -1 };
    list_init(&line->waiting);
}

void spawner_line_close(struct spawner_line *line)
{
    if (line->fd < 0)
        return;
    loop_remove(line->loop, &line->source);
    loop_timer_stop(line->loop, &line->again);
    fd_close(&line->fd);
    list_for_each (it, &line->waiting)
        drop(container_of(it, struct waiting, link));
}

static void lose(struct spawner_line *line)
{
    spawner_line_close(line);
    line->on_lost(line);
}

static void on_again(struct loop_timer *timer)
{
    struct spawner_line *line = container_of(timer, struct spawner_line, again);

    loop_change(line->loop, &line->source, EPOLLIN | EPOLLOUT);
}

/* There is room, but not for descriptors: see unix(7), ETOOMANYREFS. */
static void pause_sending(struct spawner_line *line)
{
    loop_change(line->loop, &line->source, EPOLLIN);
    loop_timer_set(line->loop, &line->again, loop_now(line->loop) + PAUSE_MS, on_again);
}

/* There is room. 0, or the reason why the other side cannot be written to any more. */
static int send_waiting(struct spawner_line *line)
{
    bool sent = false;

    list_for_each (it, &line->waiting) {
        struct waiting *w = container_of(it, struct waiting, link);
        int r = spawner_send(line->fd, &w->packet, w->fds, w->n);
        if (r == -EAGAIN) {
            if (!sent)
                pause_sending(line);
            return 0;
        }
        if (r < 0)
            return r;
        drop(w);
        sent = true;
    }
    loop_change(line->loop, &line->source, EPOLLIN);
    return 0;
}

static int receive_some(struct spawner_line *line)
{
    struct spawner_packet packet;
    int fds[SPAWNER_FDS_MAX];

    for (int i = 0; i < PACKETS_PER_TURN && line->source.fd >= 0; i++) {
        int r = spawner_receive(line->fd, &packet, fds);
        if (r == 0)
            return -EPIPE;
        if (r == -EAGAIN)
            return 0;
        if (r == -EPROTO)
            continue;
        if (r < 0)
            return r;
        line->on_packet(line, &packet, fds);
    }
    return 0;
}

static void on_event(struct loop_source *source, uint32_t events)
{
    struct spawner_line *line = container_of(source, struct spawner_line, source);
    int r = events & EPOLLOUT ? send_waiting(line) : 0;

    /* What the other side said before it went is still to be heard, also when it takes no more. */
    int heard = receive_some(line);
    if (line->fd >= 0 && (r < 0 || heard < 0))
        lose(line);
}

int spawner_line_open(struct spawner_line *line, int fd)
{
    spawner_line_close(line);
    int r = loop_add(line->loop, &line->source, fd, EPOLLIN, on_event);
    if (r < 0) {
        fd_close(&fd);
        return r;
    }
    line->fd = fd;
    return 0;
}

/* Not watched at all, since an end that is gone is told of whatever one waits for. */
void spawner_line_hold(struct spawner_line *line)
{
    loop_remove(line->loop, &line->source);
}

int spawner_line_go_on(struct spawner_line *line)
{
    uint32_t events = list_empty(&line->waiting) ? EPOLLIN : EPOLLIN | EPOLLOUT;

    return spawner_line_is_held(line) ? loop_add(line->loop, &line->source, line->fd, events, on_event) : 0;
}

static int wait_for_room(struct spawner_line *line, const struct spawner_packet *packet, const int *fds,
                         int n)
{
    struct waiting *w = malloc(sizeof(*w));

    if (!w) {
        close_fds(fds, n);
        return -ENOMEM;
    }
    w->packet = *packet;
    w->n = n;
    if (n > 0)
        memcpy(w->fds, fds, (size_t)n * sizeof(int));
    list_init(&w->link);
    list_append(&line->waiting, &w->link);
    loop_change(line->loop, &line->source, EPOLLIN | EPOLLOUT);
    return 0;
}

int spawner_line_send(struct spawner_line *line, const struct spawner_packet *packet, const int *fds, int n)
{
    int r = line->fd < 0 ? -ENOTCONN : -EAGAIN;

    if (r == -EAGAIN && list_empty(&line->waiting))
        r = spawner_send(line->fd, packet, fds, n);
    if (r == -EAGAIN)
        return wait_for_room(line, packet, fds, n);
    close_fds(fds, n);
    /* The loop will notice that it is gone, and tell; nobody frees the line inside a send. */
    return r < 0 ? -ENOTCONN : 0;
}
