/*
 * One end of the pair between a worker and the spawner: packets out, in order and never lost for want of
 * room, and packets in. Runs in both; what a packet means is theirs.
 */
#ifndef SOCKD_SPAWNER_LINE_H
#define SOCKD_SPAWNER_LINE_H

#include "base/list.h"
#include "base/loop.h"
#include "spawner.h"

struct spawner_line {
    struct loop *loop;
    struct loop_source source;
    int fd;                  /* owns; -1: not connected */
    struct list waiting;     /* packets that the other side has not taken */
    struct loop_timer again; /* when that is tried again, for want of more than room */
    /* FDS are the callee's now; the unused are -1. It may close the line. */
    void (*on_packet)(struct spawner_line *line, const struct spawner_packet *packet,
                      int fds[SPAWNER_FDS_MAX]);
    /* The other side is gone; the line is closed already, and what waited is thrown away. */
    void (*on_lost)(struct spawner_line *line);
};

/* The two callbacks are set by the owner. */
void spawner_line_init(struct spawner_line *line, struct loop *loop);
/* Connects it; takes FD, also when it fails. */
int spawner_line_open(struct spawner_line *line, int fd);
/* Without on_lost. Harmless for one that is not connected. */
void spawner_line_close(struct spawner_line *line);

/* Reads no packets until it goes on, as when no descriptor is free for what they bring: the other side waits.
 * Harmless for one that is not connected. */
void spawner_line_hold(struct spawner_line *line);
/* 0; or -errno, and it is held on. */
int spawner_line_go_on(struct spawner_line *line);

/* Takes the N descriptors, also when it fails: 0, now or when there is room; -ENOTCONN; -ENOMEM. */
int spawner_line_send(struct spawner_line *line, const struct spawner_packet *packet, const int *fds, int n);

static inline bool spawner_line_is_open(const struct spawner_line *line)
{
    return line->fd >= 0;
}

static inline bool spawner_line_is_held(const struct spawner_line *line)
{
    return line->fd >= 0 && line->source.fd < 0;
}

#endif
