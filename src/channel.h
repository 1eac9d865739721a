/*
 * What the master tells its workers and spawners, and they tell it, over a SOCK_SEQPACKET pair: one fixed
 * message a packet. The master trusts nothing in it but its type; the others trust their master. End of file
 * means that the other side is gone.
 */
#ifndef SOCKD_CHANNEL_H
#define SOCKD_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum channel_word {
    /* Worker, spawner or exporter to master. */

    /* It serves; once. */
    CHANNEL_READY = 1,
    CHANNEL_PONG,
    /* All listeners were left and their queues emptied, after CHANNEL_RETIRE or CHANNEL_DRAIN. */
    CHANNEL_LEFT,
    /* A handler of service VALUE (its index in the configuration) does not work: TEXT says why. */
    CHANNEL_TROUBLE,
    /* And works again. */
    CHANNEL_WELL,
    /* With a descriptor: the answer to the CHANNEL_LIST of this VALUE; none came where it could not be made.
     */
    CHANNEL_LISTING,
    /* The exporter asks for the metrics; VALUE: which question it is. */
    CHANNEL_SCRAPE,

    /* Master to worker, spawner or exporter. */

    CHANNEL_PING = 100,
    /* A sibling died: leave and join all listeners, so that no wake-up is lost. */
    CHANNEL_REARM,
    /* A newer generation serves: leave the listeners, serve what is open until it ends, then exit. VALUE: ms
     * until the rest is closed, 0: never. */
    CHANNEL_RETIRE,
    /* Stop: leave the listeners, close idle connections, finish what is in hand, then exit. VALUE: ms until
     * the rest is closed. */
    CHANNEL_DRAIN,
    /* VALUE: the level. */
    CHANNEL_LOG_LEVEL,
    /* To a worker, with a descriptor: its end of a pair with the spawner, which may be another one than
     * before. */
    CHANNEL_SPAWNER,
    /* To the spawner, with a descriptor: its end of a pair with worker VALUE. */
    CHANNEL_ATTACH,
    /* To a worker, with a descriptor: connections of older generations come from there, see handover.h.
     * VALUE: an enum handover_way. */
    CHANNEL_INBOX,
    /* To a worker that is to retire, with a descriptor: connections go there to a newer generation, and
     * nowhere else any more. */
    CHANNEL_OUTBOX,
    /* After CHANNEL_OUTBOX: those of a set of services, by their index in the worker's configuration. */
    CHANNEL_MOVE,
    /* To the exporter, with a descriptor: the text that answers question VALUE, sealed. */
    CHANNEL_METRICS,
    /* To a worker: replace its helpers of service VALUE, one after another; see roll.h. */
    CHANNEL_ROLL,
    /* To the spawner: kill all that it started and exit, now. */
    CHANNEL_KILL,
    /* What connections are there; VALUE: of the question. See listing.h. */
    CHANNEL_LIST,
    /* End the connection of number VALUE. */
    CHANNEL_KILL_CONN,
    /* To a worker: service VALUE closes politely what comes, and what is idle. */
    CHANNEL_DRAIN_SERVICE,
    /* It serves again. */
    CHANNEL_RESUME_SERVICE,
    /* To a worker: serve service VALUE too, which it was told to leave out. */
    CHANNEL_TAKE_UP,
    /* After CHANNEL_OUTBOX, with a descriptor: what CHANNEL_MOVE_FIRST names goes there, to the first
       workers. */
    CHANNEL_OUTBOX_FIRST,
    /* As CHANNEL_MOVE. */
    CHANNEL_MOVE_FIRST,
    /* To a worker of a new generation: it is the one that serves, so join the listeners. */
    CHANNEL_SERVE,
    /* To a worker, before CHANNEL_RETIRE: nobody listens any more at a set of listeners, by their place among
     * the generation's. */
    CHANNEL_REMOVED,
};

#define CHANNEL_TEXT_MAX 248

struct channel_message {
    uint32_t word;
    uint32_t value;
    char text[CHANNEL_TEXT_MAX]; /* NUL-terminated when received; bytes of a stranger made safe by who prints
                                    them */
};

/* So many numbers of a set, from VALUE on, are the bits of TEXT; its last byte is not used. */
#define CHANNEL_SET_SPAN ((uint32_t)(CHANNEL_TEXT_MAX - 1) * 8)

static inline bool channel_set_has(const struct channel_message *message, uint32_t i)
{
    return (unsigned char)message->text[i / 8] >> i % 8 & 1;
}

/* 0, or -errno; -EAGAIN when the other side does not read. Never blocks. */
int channel_send(int fd, enum channel_word word, uint32_t value);
/* The same with a text, which is cut where it is too long. */
int channel_send_text(int fd, enum channel_word word, uint32_t value, const char *text);
/* The same with those of N numbers that are in SET: few packets, of many, since a queue holds some hundred.
 */
int channel_send_set(int fd, enum channel_word word, const bool *set, size_t n);
/* The same with a DESCRIPTOR, which stays the caller's. */
int channel_send_fd(int fd, enum channel_word word, uint32_t value, int descriptor);
/*
 * 1 with a message; 0 at the end of file; -EAGAIN when there is none; -EPROTO for a packet of another size;
 * else -errno. *RET_FD is the descriptor that came with the message (the caller's, close-on-exec), or -1; it
 * is closed when RET_FD is NULL.
 */
int channel_receive(int fd, struct channel_message *ret, int *ret_fd);

#endif
