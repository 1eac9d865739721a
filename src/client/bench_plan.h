/*
 * What a load consists of, and what came of it: what crosses the fork to the processes that make the load,
 * and back. The plan is only read; each process writes its own tally, which lies in shared memory.
 */
#ifndef SOCKD_CLIENT_BENCH_PLAN_H
#define SOCKD_CLIENT_BENCH_PLAN_H

#include "client/histogram.h"
#include "client/options.h"
#include "client/target.h"

#include <stdatomic.h>
#include <sys/socket.h>

/* Why a request failed. */
enum bench_error {
    BENCH_CONNECT,   /* there was no connection to send it on */
    BENCH_TIMEOUT,   /* nothing came for too long */
    BENCH_CLOSED,    /* the server ended the connection instead */
    BENCH_NETWORK,   /* the network did */
    BENCH_MALFORMED, /* what came breaks the framing, or nobody asked for it */
    BENCH_MISMATCH,  /* not the bytes that --verify or --expect want */
    BENCH_ERRORS,
};

struct bench_plan {
    struct target target;
    struct sockaddr_storage address; /* of the server, looked up once */
    socklen_t address_len;
    char *wire; /* owns; some requests one after another, as they are sent */
    size_t wire_len, frame_len;
    size_t message_len;
    char *expected; /* owns; NULL: replies are not compared */
    size_t expected_len;
    bool new_connections; /* a connection per request */
    size_t connections, depth, processes;
    uint64_t requests;    /* to be sent and counted; UINT64_MAX: no limit */
    uint64_t duration_ns; /* for so long; UINT64_MAX: no limit */
    uint64_t warm_up_ns;  /* before it, not counted */
    double rate;          /* requests per second, planned ahead; 0: each follows a reply */
};

/* Of the requests that began, or were planned to begin, after the warm-up. */
struct bench_tally {
    /* What is looked at while the load runs. */
    _Atomic uint64_t done, failed;
    uint64_t errors[BENCH_ERRORS];
    uint64_t bytes_in, bytes_out;
    uint64_t began_ns, ended_ns; /* CLOCK_MONOTONIC; the end of the duration, or a later reply */
    uint64_t cpu_ns;             /* of the process that made the load */
    struct histogram latency;    /* ns */
};

/* Reads options and message. 0, or an exit status after saying why; bench_plan_done() in any case. */
int bench_plan_init(struct bench_plan *ret, const struct options *o);
void bench_plan_done(struct bench_plan *plan);

#endif
