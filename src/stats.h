/*
 * Counters and gauges, kept in shared pages: every worker has one page that it alone writes; everybody maps
 * all pages, the others read-only. No locks: one writer, relaxed atomics.
 *
 * The master makes the pages once, before the first fork (stats_create), in a sealed memfd; a child keeps the
 * read-only view it inherited and maps its own page for writing (stats_own), after which the descriptor is
 * closed. The master's page lists which pages are in use and holds the totals of pages that are not any more.
 * Numbers that a worker wrote are only ever added up and printed, never used as an index or a length.
 *
 * A counter is one row of a table below, with its help text.
 */
#ifndef SOCKD_STATS_H
#define SOCKD_STATS_H

#include "conf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Counters of a service: X(name, help). They only grow. */
#define STATS_COUNTERS(X)                                                                  \
    X(accepted, "connections accepted")                                                    \
    X(requests, "requests that were complete")                                             \
    X(replies, "replies that a handler gave")                                              \
    X(silences, "requests that a handler answered with silence")                           \
    X(cancelled, "requests whose connection ended first")                                  \
    X(bytes_in, "bytes received from clients")                                             \
    X(bytes_out, "bytes sent to clients")                                                  \
    X(datagrams_in, "datagrams received")                                                  \
    X(datagrams_out, "datagrams sent")                                                     \
    X(refused_denied, "refused: not in allow, or in deny")                                 \
    X(refused_source, "refused: too many connections or datagrams of one source")          \
    X(refused_limit, "refused: a limit of the service reached, overload = \"refuse\"")     \
    X(refused_drained, "refused: the service is drained")                                  \
    X(failed_malformed, "ended: a malformed message")                                      \
    X(failed_too_long, "ended: a message over max_request")                                \
    X(failed_handler, "requests that the handler failed")                                  \
    X(failed_reply, "requests whose reply was over max_reply or did not fit the framing")  \
    X(failed_timeout, "requests over handler_timeout")                                     \
    X(failed_queue, "requests refused: helper_queue was full")                             \
    X(failed_queue_timeout, "requests that waited for a helper longer than queue_timeout") \
    X(helper_starts, "helpers started")                                                    \
    X(helper_deaths, "helpers that ended without being told to")                           \
    X(ended_idle, "connections ended by idle_timeout")                                     \
    X(ended_request, "connections ended by request_timeout")                               \
    X(ended_send, "connections ended by send_timeout")                                     \
    X(ended_session, "connections ended by session_timeout")                               \
    X(ended_memory, "connections ended because of max_memory")                             \
    X(ended_error, "connections ended by an error of the network")                         \
    X(ended_drain, "connections ended because a drain took too long")                      \
    X(ended_killed, "connections ended by sockctl kill")                                   \
    X(programs_started, "programs started")                                                \
    X(programs_failed, "programs that could not be started, or ended with a failure")      \
    X(accept_errors, "connections lost between arrival and accept")                        \
    X(paused_limit, "pauses at max_connections or max_programs, somebody waiting")         \
    X(paused_rate, "pauses at max_connection_rate, somebody waiting")                      \
    X(paused_descriptors, "pauses without a descriptor, somebody waiting")                 \
    X(datagrams_bad_sender, "datagrams dropped: an impossible, forbidden or own sender")   \
    X(datagrams_too_long, "datagrams dropped: longer than max_request")                    \
    X(datagrams_ratio, "replies dropped: over max_reply_ratio")                            \
    X(datagrams_unsent, "replies dropped: the network did not take them")                  \
    X(datagrams_drained, "datagrams dropped: the service is drained")                      \
    X(datagrams_kernel, "datagrams dropped by the kernel: the queue of the socket was full")

/* Gauges of a service: X(name, help). They go up and down and end with the worker. */
#define STATS_GAUGES(X)                          \
    X(connections, "connections open")           \
    X(in_hand, "requests with the handler")      \
    X(programs, "programs that run, or wait to") \
    X(helpers, "helpers that work")              \
    X(helpers_busy, "helpers with a request")    \
    X(queue, "requests that wait for a helper")

/*
 * The upper bounds of the buckets that the durations of requests are counted in: X(us, text in seconds). One
 * more bucket is for all above. What is answered at once is not timed, and counts in the first.
 */
#define STATS_DURATIONS(X) \
    X(100, "0.0001")       \
    X(250, "0.00025")      \
    X(1000, "0.001")       \
    X(2500, "0.0025")      \
    X(10000, "0.01")       \
    X(25000, "0.025")      \
    X(100000, "0.1")       \
    X(250000, "0.25")      \
    X(1000000, "1")        \
    X(2500000, "2.5")      \
    X(5000000, "5")        \
    X(10000000, "10")      \
    X(30000000, "30")
enum {
#define X(us, text) +1
    STATS_BUCKETS_TIMED = 1 STATS_DURATIONS(X),
#undef X
};

typedef _Atomic uint64_t stats_number;

struct stats_service {
#define X(name, help) stats_number name;
    STATS_COUNTERS(X)
    STATS_GAUGES(X)
#undef X
    /* For max_connection_rate: accepts in second `rate_second` and in the one before it. */
    stats_number rate_second, rate_now, rate_before;
    /* Since when requests wait for a helper without a break, and when the first of those that wait now came;
     * since when clients are not read for want of memory; 0: none. CLOCK_MONOTONIC, in ms. */
    stats_number queue_since, queue_oldest, starved_since;
    /* Requests by how long they took, each in one bucket; and what those that were timed took in all. */
    stats_number duration[STATS_BUCKETS_TIMED], duration_us;
};

/* A table of sources: buckets of places, each a tag, a moment and a count; see stats_source_add(). */
#define STATS_BUCKETS     8192
#define STATS_BUCKET_SIZE 8

struct stats_sources {
    stats_number place[STATS_BUCKETS][STATS_BUCKET_SIZE];
};

struct stats_page {
    stats_number connections;                        /* open, of all services; streams only */
    stats_number memory;                             /* bytes of buffers */
    stats_number jobs;                               /* connections and datagrams ever taken */
    stats_number listening;                          /* 1 while it takes new connections */
    struct stats_service service[CONF_SERVICES_MAX]; /* by slot, see stats_take_slot() */
    struct stats_sources connected;                  /* open connections by source */
    struct stats_sources sending;                    /* datagrams of this second by source */
    stats_number log_untold;                         /* lines that the log lost, and that are not told yet */
};

/* Pages for workers of all living generations. */
#define STATS_PAGES 1024

struct stats; /* the view of one process on all pages */

/* In the master, before the first fork. 0 or -errno. */
int stats_create(struct stats **ret);
void stats_free(struct stats *stats);

/*
 * For a program that goes on where this one ends: the descriptor of the pages (borrowed), and a text that
 * says how they are laid out (the caller frees it; NULL without memory). stats_adopt takes both over in the
 * new one, and owns FD when it succeeds; -ENOTSUP when the text means nothing to it. Where its own layout is
 * another, it makes pages of its own, and those of the old processes are copied there, by name, until the
 * processes are gone; see stats_past.h. Old workers do not see the new ones meanwhile. A slot is as it was,
 * and has no user yet.
 */
int stats_fd(const struct stats *stats);
char *stats_layout(void);
int stats_adopt(int fd, const char *layout, struct stats **ret);
/* The copies are as of now. False when there are none. */
bool stats_refresh(struct stats *stats);
/* Pages that are copied from, and one of them: its descriptor and layout, both borrowed. */
size_t stats_pasts(const struct stats *stats);
int stats_past_of(const struct stats *stats, size_t i, const char **ret_layout);
/* The same pages in the program after: those first that are the oldest, behind stats_adopt. Owns FD when it
 * succeeds. 0 or -errno. */
int stats_adopt_past(struct stats *stats, int fd, const char *layout);
int stats_adopt_slot(struct stats *stats, int slot, const char *name);
/* The name of a slot that is in use, or NULL. */
const char *stats_slot_name(const struct stats *stats, int slot);

/* Master: takes a free page and clears it, -ENOSPC when there is none; then fold it: adds its counters to the
 * totals and frees it. */
int stats_take_page(struct stats *stats);
void stats_fold_page(struct stats *stats, int page);

/* In a forked child (or in the master, --single-process): the page for writing. Closes what could open the
 * others for writing when FORKED. NULL: errno. */
struct stats_page *stats_own(struct stats *stats, int page, bool forked);
void stats_disown(struct stats_page *own);
/* In a forked child that counts nothing: gives up what could be written to. */
void stats_leave(struct stats *stats);

/*
 * A service keeps its slot, an index into stats_page.service, as long as any living generation has a service
 * of that name. Master only. -ENOSPC when there are too many.
 */
int stats_take_slot(struct stats *stats, const char *service);
void stats_give_slot(struct stats *stats, int slot);

/* A page in use, read-only; NULL when PAGE is not in use. For all p below stats_pages_end(): the first page
 * never used yet. */
const struct stats_page *stats_page(const struct stats *stats, int page);
int stats_pages_end(const struct stats *stats);

/* One member of stats_service, by offsetof, over all living pages; with the totals of the dead for counters.
 */
uint64_t stats_sum_living(const struct stats *stats, int slot, size_t offset);
uint64_t stats_sum(const struct stats *stats, int slot, size_t offset);
/* The smallest over all living pages that is not 0; 0: all are. */
uint64_t stats_earliest(const struct stats *stats, int slot, size_t offset);
/* Master: adds to the total of a counter what no worker can count. */
void stats_add_total(struct stats *stats, int slot, size_t offset, uint64_t n);

/* Anybody reads; only the owner of a page calls the other three. */
static inline uint64_t stats_get(const stats_number *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}
static inline void stats_set(stats_number *n, uint64_t value)
{
    atomic_store_explicit(n, value, memory_order_relaxed);
}
static inline void stats_add(stats_number *n, uint64_t add)
{
    stats_set(n, stats_get(n) + add);
}
static inline void stats_sub(stats_number *n, uint64_t sub)
{
    stats_set(n, stats_get(n) - sub);
}

/*
 * Adds one to MINE and returns how many connections the source (addr_source) has at a service over all pages,
 * this one included. When its bucket is full of others, it is not counted and 0 comes back: the table is
 * bounded, and errs in favour of clients.
 */
unsigned stats_source_add(const struct stats *stats, struct stats_page *mine, int slot, uint64_t source);
void stats_source_sub(struct stats_page *mine, int slot, uint64_t source);

/* As stats_source_add, for the datagrams that a source sent within the second of NOW_MS. */
unsigned stats_sender_add(const struct stats *stats, struct stats_page *mine, int slot, uint64_t source,
                          uint64_t now_ms);

/* Counts a request that took so long. */
void stats_time(struct stats_service *mine, uint64_t us);

/* Counts a connection of a service that MINE accepts now. */
void stats_rate_add(struct stats_page *mine, int slot, uint64_t now_ms);
/* Connections of a service accepted in the last second, over all pages: a sliding estimate from two whole
 * seconds. */
uint64_t stats_rate(const struct stats *stats, int slot, uint64_t now_ms);

/* Rows for printing: name, help, offset in struct stats_service; ends with a NULL name. */
struct stats_row {
    const char *name, *help;
    size_t offset;
    bool gauge;
};
extern const struct stats_row stats_rows[];

/* The bounds of the buckets as text, in seconds; the last is "+Inf". */
extern const char *const stats_duration_bounds[STATS_BUCKETS_TIMED];

#endif
