/*
 * What serves: a worker's common means (struct work), and one service as this worker serves it (struct
 * served).
 *
 * Runs in a worker. Connections, datagram sockets and acceptors hang on these two; they know nothing of the
 * worker above.
 */
#ifndef SOCKD_SERVED_H
#define SOCKD_SERVED_H

#include "base/buf.h"
#include "base/deadline.h"
#include "base/list.h"
#include "base/log_limit.h"
#include "base/loop.h"
#include "conf.h"
#include "handler/handler.h"
#include "handover.h"
#include "local.h"
#include "roster.h"
#include "stats.h"

/* One read takes at most this much; replies are gathered up to as much before they are sent. */
#define WORK_SCRATCH ((size_t)64 * 1024)

/* So many connections may have replies that are held back for a moment (conn_io.c, cork); those of others
 * leave at once. */
#define WORK_CORKED 64

struct conn;
struct dgram_batch;
struct mover;
struct served;

/* What all connections of one worker share. */
struct work {
    struct loop *loop;
    const struct conf *conf;       /* borrows; of this generation */
    int outbox_fds[HANDOVER_WAYS]; /* borrows; to the inboxes of a newer generation, or -1 */
    struct spawner_link spawner;   /* not connected until the master says so */
    unsigned number, n_workers;    /* of this worker, from 1, of how many */
    struct stats *stats;
    struct stats_page *page;
    struct account memory;
    char *in;  /* owns; WORK_SCRATCH bytes to read into */
    char *out; /* owns; WORK_SCRATCH bytes of replies to `out_for`, not sent yet */
    size_t out_len;
    struct conn *out_for;
    struct local *local; /* the own address of the connection that came last */
    struct list resumed; /* connections whose buffered input is to be looked at, soon */
    struct loop_timer resume_timer;
    struct conn *corked[WORK_CORKED]; /* connections whose last replies are held back, for a moment */
    unsigned n_corked;
    struct loop_timer cork_timer;
    struct loop_timer leave_timer; /* when connections that stay in a drain are told to leave again */
    struct list starved;           /* connections that read no more until memory is free */
    struct loop_timer starved_timer;
    uint64_t starved_since;        /* ms */
    struct list served;            /* all struct served */
    struct roster roster;          /* of connections whose handler tracks them */
    bool leaving;                  /* all of sockd stops: close what has no request in hand */
    uint32_t last_number;          /* of a connection */
    struct dgram_batch *datagrams; /* owns; NULL until the first datagram socket */
    uint16_t *own_ports;           /* owns; the UDP ports of this generation */
    size_t n_own_ports;
    size_t max_connections;             /* that the descriptors allow */
    unsigned refused_lingering;         /* connections that are kept only to be told that they are refused */
    unsigned paused;                    /* acceptors that wait for room */
    void (*on_room)(struct work *work); /* a connection or a held datagram is gone; must not free the work */
    struct mover *mover;                /* borrows; for on_outbox_full */
    /* A connection that should have moved this way stays for now. */
    void (*on_outbox_full)(struct work *work, enum handover_way way);
    /* The handler of a service works (WHY is NULL), or says why it does not. It may still be in its `start`.
     */
    void (*on_handler)(struct served *served, const char *why);
};

/* No more connections can be open at once. */
static inline bool work_lacks_descriptors(const struct work *work)
{
    return stats_get(&work->page->connections) + work->refused_lingering >= work->max_connections;
}

/* Timeouts of a connection; one list each. */
enum timing {
    TIMING_NONE,
    TIMING_IDLE,
    TIMING_REQUEST,
    TIMING_HANDLER,
    TIMING_SEND,
    TIMING_LINGER,
    TIMING_COUNT,
};

struct served {
    struct list link; /* in work->served */
    struct work *work;
    const struct service *conf; /* borrows */
    const struct handler *handler;
    void *context; /* of the handler */
    struct handler_host host;
    bool tracks; /* its connections have numbers */
    int (*push)(struct served *served, uint64_t connection, const char *data, size_t len);
    bool moves;            /* its connections go to a newer generation when they have nothing in hand */
    enum handover_way way; /* where they go then */
    bool settled;          /* the handler works, or has said that it does not */
    bool listens;          /* its listeners were joined */
    bool troubled;         /* the handler's last word */
    bool drained;          /* closes politely what comes, and what has no request in hand */
    int slot;
    struct stats_service *stats;
    struct deadlines timing[TIMING_COUNT]; /* by enum timing; the first is not used */
    struct deadlines session;
    struct deadlines datagram; /* requests of datagrams that are with the handler */
    struct list conns;
    struct log_limit lines; /* for served_log */
};

int work_init(struct work *work, struct loop *loop, struct stats *stats, struct stats_page *page,
              size_t max_memory);
void work_done(struct work *work);

/* Callbacks of the timeouts come from conn.c and dgram.c. */
struct served_timeouts {
    deadline_fn *timing[TIMING_COUNT];
    deadline_fn *session;
    deadline_fn *datagram;
    /* As host->push. */
    int (*push)(struct served *served, uint64_t connection, const char *data, size_t len);
};

/* A new service on WORK, started in its handler. CONF is one of work->conf. 0 or -errno. */
int served_new(struct work *work, const struct service *conf, int slot,
               const struct served_timeouts *timeouts, struct served **ret);
/* No connection and no request is left. */
void served_free(struct served *served);

/* Counts a request that cannot be answered by its reason. */
void served_count_failure(struct served *served, enum request_failure why);
/* Logs that it failed, and why, unless WHY is one that was logged where it was found. */
void served_tell_failure(struct served *served, const struct request *request, enum request_failure why);

/* A request that the handler held is over; it was held since then (loop_now_us). */
void served_time(struct served *served, uint64_t since_us);

/* By `allow` and `deny`. Both speak of networks: a Unix peer is let in by the socket's mode. */
bool served_allows(const struct served *served, const struct addr *peer);

/*
 * Logs an event of a service, of the kind ID, if its `log` is at least WHAT. At most SERVED_LINES_PER_SECOND
 * of a service are told in a second.
 */
#define SERVED_LINES_PER_SECOND 50
void served_log(struct served *served, enum service_log what, const char *id, const struct addr *peer,
                const char *format, ...) __attribute__((cold, format(printf, 5, 6)));

/* No request is waited for any more. */
static inline bool served_leaves(const struct served *served)
{
    return served->drained || served->work->leaving;
}

static inline bool served_logs(const struct served *served, enum service_log what)
{
    return served->conf->log >= (int)what;
}

#endif
