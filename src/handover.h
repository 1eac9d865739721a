/*
 * Handing connections over: what an old worker sends of a connection, and a new one takes on, after a reload.
 *
 * The workers of a generation share the inbox of that generation, one end of a SOCK_SEQPACKET pair; whoever
 * is awake takes the next. The workers of older generations share its other end. A service with fewer helpers
 * than workers is on the first workers alone: its connections go to an inbox that these share. The master
 * makes the pairs and passes the ends; no client's byte goes through it. A connection travels when it has no
 * request in hand, with what it has sent of an unfinished message, its peer, its timeouts and its counts.
 */
#ifndef SOCKD_HANDOVER_H
#define SOCKD_HANDOVER_H

#include "base/addr.h"

#include <stdint.h>

/* What may be unfinished of a message in a connection that travels; with more it stays until the message is
 * done. */
#define HANDOVER_BYTES_MAX ((size_t)64 * 1024)

#define HANDOVER_SERVICE_MAX 64

enum handover_way {
    HANDOVER_TO_ANY,   /* worker of the newer generation */
    HANDOVER_TO_FIRST, /* those that serve all services */
    HANDOVER_WAYS,
};

struct handover {
    char service[HANDOVER_SERVICE_MAX]; /* its name, the same in both generations */
    struct addr peer, local;
    uint64_t opened_ms, since_ms, timing_due_ms, session_due_ms; /* CLOCK_MONOTONIC; due 0: none */
    uint64_t bytes_in, bytes_out;
    uint32_t requests;
    uint32_t in_request; /* 1: timing_due_ms is that of an unfinished message, else of idleness */
    uint32_t len;        /* bytes of the unfinished message, which follow */
};

/* Sends the connection on FD, which stays the caller's. 0; -EAGAIN: the inbox is full; else -errno. */
int handover_send(int inbox, const struct handover *h, const char *bytes, int fd);

/*
 * Takes one: 1 with *RET, its bytes in BYTES (HANDOVER_BYTES_MAX of room), and the connection in *RET_FD, the
 * caller's; 0 when nobody can send any more; -EAGAIN; -EMFILE with *RET: it is lost, since no descriptor
 * came; -EPROTO for what is none; else -errno.
 */
int handover_receive(int inbox, struct handover *ret, char *bytes, int *ret_fd);

#endif
