/*
 * A datagram socket as one worker serves it: a datagram is a request, and its reply goes back from the
 * address that was asked.
 *
 * It cannot be turned into a loop or an amplifier by default: impossible senders, our own ports and low ports
 * are dropped, a source has a rate, a reply is no longer than its request, and an error is never answered.
 * Nothing here waits: a reply that the network does not take at once is dropped and counted. Runs in a
 * worker.
 */
#ifndef SOCKD_DGRAM_H
#define SOCKD_DGRAM_H

#include "listen.h"
#include "served.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct dgram {
    struct loop_source source;
    struct list link; /* for the worker */
    struct served *served;
    const struct listener *listener; /* borrows */
    int fd;           /* borrows the listener's; after it left, owns a copy for the late replies, or -1 */
    struct list held; /* requests that are with the handler */
    bool left;
};

/* 0 or -errno. */
int dgram_open(struct served *served, const struct listener *listener, struct dgram **ret);
/* As acceptor_rearm and acceptor_leave. */
void dgram_rearm(struct dgram *dgram);
void dgram_leave(struct dgram *dgram, bool take_rest);
/* Cancels what is held, leaves and frees. NULL is fine. */
void dgram_free(struct dgram *dgram);

/* True while requests of its are with the handler. */
bool dgram_is_busy(const struct dgram *dgram);

/* For served_new: the timeout of a held request. */
void dgram_on_handler_late(struct deadline *deadline, void *owner);

/* What follows is between dgram.c (who is answered) and dgram_io.c (how). */

/* Datagrams taken and sent with one system call. */
#define DGRAM_BATCH 32

#define DGRAM_MAX ((size_t)65536)

/* Room for replies of a batch that do not lie in its requests: for one at least, of the longest kind. */
#define DGRAM_COPIES DGRAM_MAX

/* Room for the control messages that we ask for or send. */
union dgram_control {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint32_t))];
};

/* One request, from the datagram to its end. */
struct dgram_request {
    struct request request;
    struct dgram *dgram;
    struct list link; /* in dgram->held */
    struct deadline deadline;
    struct buf copy; /* of the datagram, while it is held */
    struct addr peer, local;
    struct sockaddr_storage name;
    socklen_t name_len;
    bool serving; /* inside handler->request */
    bool finished;
    struct loop_garbage garbage;
    uint64_t held_us; /* since when the handler has it; 0: it is not timed */
};

struct dgram_batch {
    struct mmsghdr in[DGRAM_BATCH], out[DGRAM_BATCH];
    struct iovec in_part[DGRAM_BATCH], out_part[DGRAM_BATCH];
    struct sockaddr_storage in_name[DGRAM_BATCH], out_name[DGRAM_BATCH];
    union dgram_control in_control[DGRAM_BATCH], out_control[DGRAM_BATCH];
    int n_out;
    size_t copied;
    struct list spare; /* owns: requests that no handler holds */
    char data[DGRAM_BATCH][DGRAM_MAX];
    char copies[DGRAM_COPIES];
};

/* NULL without memory. */
struct dgram_batch *dgram_batch_new(void);
void dgram_batch_free(struct dgram_batch *batch);

/* A request that nobody holds, on no list; from the spare ones or new. NULL without memory. */
struct dgram_request *dgram_request_new(struct dgram_batch *batch);

/* Fills the batch: the number of datagrams, or -errno. */
int dgram_receive(struct dgram *dgram);
/* Where a datagram was sent to, from its control messages if the socket listens everywhere. */
void dgram_find_local(const struct dgram *dgram, struct msghdr *message, struct addr *ret);
/* Puts a reply into the batch; its bytes are copied unless they lie in the requests, which stay. */
void dgram_queue(struct dgram_request *r, const char *data, size_t len);
/* Sends the replies of the batch. One that fails, because of an earlier ICMP error too, costs itself alone.
 */
void dgram_send_queued(struct dgram *dgram);
/* Sends a late reply on its own. */
void dgram_send(struct dgram_request *r, const char *data, size_t len);

#endif
