/*
 * The load that one process makes: connections that send requests and wait for replies, in one event loop.
 * Its connections are in bench_conn.c, its timing is in bench_load.c. Says nothing to the user.
 */
#ifndef SOCKD_CLIENT_BENCH_LOAD_H
#define SOCKD_CLIENT_BENCH_LOAD_H

#include "base/deadline.h"
#include "base/loop.h"
#include "client/bench_plan.h"

#include <stdbool.h>

/* One read takes at most this much, except of a long reply. */
#define BENCH_SCRATCH ((size_t)256 << 10)

struct bench_load;

struct bench_conn {
    struct loop_source source; /* fd is -1 while there is no connection */
    struct bench_load *load;
    struct deadline silence; /* nothing has come for too long; or, unconnected, a rest before trying again */
    bool up;                 /* connected, as far as is known */
    bool settled;            /* it is known whether its first attempt to connect succeeded */
    bool ended;              /* the server ended its side */
    uint64_t number;         /* open loop: of its next request, among all */
    size_t due;              /* open loop: planned requests that have not begun */
    size_t in_flight, oldest;
    uint64_t *starts; /* borrows; a ring: when those in flight began, from `oldest` on */
    size_t unsent;    /* bytes of requests in flight */
    size_t position;  /* in the wire's first request, of the next byte to be sent */
    char *in;         /* owns; the beginning of an unfinished reply */
    size_t in_len, in_cap, needed;
    struct frame_scan scan;
};

struct bench_load {
    struct loop loop;
    const struct bench_plan *plan;
    struct bench_tally *tally;
    struct bench_conn *conns; /* owns */
    size_t n_conns, n_settled;
    uint64_t *starts; /* owns */
    char *scratch;    /* owns */
    struct deadlines silence, rest;
    int ready_fd;
    struct loop_source go;
    bool running, over;        /* requests may begin; no further one may */
    size_t in_flight, due;     /* of all connections */
    uint64_t began_ns, end_ns; /* those that begin between count, and none begins later */
    uint64_t left;             /* requests that may still begin */
    uint64_t cpu_began_ns;
    struct loop_timer measure_timer, end_timer, drain_timer;
    struct loop_source clock; /* open loop: a timerfd, for the next planned request */
    uint64_t origin_ns;       /* open loop: when request 0 was planned */
    uint64_t first, planned;  /* open loop: our first number, and how many were planned */
};

/* Which part of the plan a process has. */
struct bench_share {
    size_t process; /* from 0 */
    int ready_fd;   /* borrows; one byte is written to it when all connections were tried */
    int go_fd;      /* borrows; the time to begin comes from it; the end of it ends all */
};

/* 0 or -errno. */
int bench_load_run(const struct bench_plan *plan, const struct bench_share *share, struct bench_tally *tally);

/* What follows is between bench_load.c and bench_conn.c. */

void bench_conn_init(struct bench_conn *conn, struct bench_load *load, uint64_t *starts);
void bench_conn_done(struct bench_conn *conn);
/* Connects. A failure is counted for each request in flight, and tried again after a rest. */
void bench_conn_open(struct bench_conn *conn);
/* Begins as many requests as may begin now, connecting first if needed. */
void bench_conn_pump(struct bench_conn *conn, uint64_t now_ns);
void bench_conn_fail(struct bench_conn *conn, enum bench_error error);
/* What is planned or in flight will not be answered in time. */
void bench_conn_give_up(struct bench_conn *conn);
void bench_conn_on_silence(struct deadline *deadline, void *owner);
void bench_conn_on_rested(struct deadline *deadline, void *owner);

/* True when CONN may begin one more; *RET_START is its time, now or planned. */
bool bench_load_begin(struct bench_load *load, struct bench_conn *conn, uint64_t now_ns, uint64_t *ret_start);
void bench_load_settled(struct bench_load *load);
/* After requests have ended. */
void bench_load_check_end(struct bench_load *load);

#endif
