/*
 * A worker's connection to the spawner: what handlers send goes out, what comes goes to the handler of its
 * service. The master hands the worker a new end when the spawner was replaced. Runs in a worker.
 */
#ifndef SOCKD_SPAWNER_LINK_H
#define SOCKD_SPAWNER_LINK_H

#include "base/list.h"
#include "spawner_line.h"

/* A handler of one service. All three are called from the loop or from spawner_link_connect(). */
struct spawner_user {
    struct list link;
    uint32_t service; /* its index in the configuration */
    void *context;
    /* A spawner is there; of what a former one started for this worker only programs live. */
    void (*on_connected)(void *context);
    /* It is gone: nothing that was asked of it and not answered will be. */
    void (*on_lost)(void *context);
    /* SPAWNER_TAKEN, _STARTED, _ENDED. FDS are the callee's now; the unused are -1. */
    void (*on_packet)(void *context, const struct spawner_packet *packet, int fds[SPAWNER_FDS_MAX]);
};

struct spawner_link {
    struct spawner_line line;
    struct list users;
};

void spawner_link_init(struct spawner_link *link, struct loop *loop);
void spawner_link_done(struct spawner_link *link);

/* Takes FD, our end of a pair with the spawner. on_lost comes first where there was one. */
int spawner_link_connect(struct spawner_link *link, int fd);

static inline bool spawner_link_is_connected(const struct spawner_link *link)
{
    return spawner_line_is_open(&link->line);
}

/* The spawner takes what it is sent; false while it does not, and what is sent waits here. */
static inline bool spawner_link_has_room(const struct spawner_link *link)
{
    return list_empty(&link->line.waiting);
}

/* USER is borrowed until it leaves; on_connected comes inside when there is a spawner. */
void spawner_link_join(struct spawner_link *link, struct spawner_user *user);
void spawner_link_leave(struct spawner_user *user);

/* Sends, now or when the spawner reads; takes FD (-1: none), also when it fails. 0, -ENOTCONN, -ENOMEM. */
int spawner_link_send(struct spawner_link *link, const struct spawner_packet *packet, int fd);

#endif
