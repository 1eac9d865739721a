/*
 * A conversation with a server: requests go out and replies come in at the same time, so that neither side
 * can block the other for ever. Over a stream a message is framed, over datagrams each is one.
 *
 * The descriptor is non-blocking; the caller waits for talk_events() and then calls talk_work(). Nothing here
 * speaks to the user.
 */
#ifndef SOCKD_CLIENT_TALK_H
#define SOCKD_CLIENT_TALK_H

#include "base/buf.h"
#include "client/target.h"
#include "frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Above it in bytes, more should not be queued before some of it has left. */
#define TALK_HIGH_WATER ((size_t)256 << 10)

struct talk {
    int fd; /* owns; -1 while closed */
    bool datagrams;
    const struct framing *framing; /* borrows from the target */
    struct account account;
    struct buf in, out;
    struct frame_scan scan;
    bool has_datagram;    /* IN holds one whole datagram, which may be empty */
    bool end_wanted;      /* the sending side is shut down once OUT is empty */
    bool out_ended;       /* it is shut down, or the server takes nothing any more */
    bool in_ended;        /* nothing more will come */
    int error;            /* the errno with which it ended, 0: in peace */
    uint64_t n_in, n_out; /* bytes that were received and sent */
};

/* Connects. 0, or -1 after target_connect() said why. */
int talk_open(struct talk *ret, const struct target *t);
void talk_close(struct talk *talk);

/* Queues a message, framed; as frame_dress, or -ENOMEM. A datagram is sent at once: -errno. */
int talk_ask(struct talk *talk, const char *data, size_t len, enum frame_end end);
/* Queues bytes as they are. 0 or -ENOMEM. */
int talk_put(struct talk *talk, const char *data, size_t len);
/* No request will follow. */
void talk_end(struct talk *talk);

/* What to poll(2) for. */
short talk_events(const struct talk *talk);
/* Sends and receives what is possible after poll(2) said REVENTS. Failures of the connection end it, see
 * error. 0 or -ENOMEM. */
int talk_work(struct talk *talk, short revents);
/* Waits until something can be done, at most LIMIT_MS (-1: no limit), and does it. 1, 0 when the time is
 * over, or -errno. */
int talk_wait(struct talk *talk, int limit_ms);

/*
 * The next reply, valid until it is dropped; a reply of framing `close` is what came since. FRAME_MORE: none
 * yet, or none any more when in_ended. Other results say that the server broke the framing.
 */
enum frame_result talk_next(struct talk *talk, struct frame_message *ret);
static inline const char *talk_data(const struct talk *talk, const struct frame_message *m)
{
    return buf_data(&talk->in) + m->start;
}
void talk_drop(struct talk *talk, const struct frame_message *m);

#endif
