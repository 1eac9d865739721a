/*
 * A stream connection: bytes in, messages to the handler, replies out.
 *
 *                 message            reply             all sent
 *   READING ----------------> HANDLING ----> (flush) ----------> READING
 *     |  ^                       |             | the client takes no more
 *     |  |                       |             v
 *     |  '-----------------------|---------- WRITING
 *     |        cancel            v             |
 *     +--------------------->  closed <--------+
 *     |   owed replies sent, closing           |
 *     '-------------> LINGERING <--------------'   (our side is shut; what still comes is thrown away)
 *
 * One request of a connection is with the handler at a time; what the client sent after it waits, in the
 * kernel where it can. A connection that waits for a request owns no buffer. Runs in a worker.
 */
#ifndef SOCKD_CONN_H
#define SOCKD_CONN_H

#include "base/addr.h"
#include "base/buf.h"
#include "frame.h"
#include "handover.h"
#include "served.h"

#include <sys/uio.h>

enum conn_state {
    CONN_READING,
    CONN_HANDLING,
    CONN_WRITING,
    CONN_LINGERING,
    CONN_CLOSED, /* waits to be freed */
};

/* Why a connection ended; a row each in conn.c. */
enum conn_end {
    CONN_END_CLIENT, /* it was the client's turn, and it left */
    CONN_END_DONE,   /* all it was allowed was done */
    CONN_END_NETWORK,
    CONN_END_MALFORMED,
    CONN_END_TOO_LONG,
    CONN_END_HANDLER, /* this and the next four by enum request_failure, in its order */
    CONN_END_REPLY,
    CONN_END_TIMEOUT,
    CONN_END_QUEUE,
    CONN_END_QUEUE_TIMEOUT,
    CONN_END_IDLE,
    CONN_END_REQUEST,
    CONN_END_SEND,
    CONN_END_SESSION,
    CONN_END_MEMORY,
    CONN_END_DRAIN,   /* drain_timeout passed */
    CONN_END_LEAVING, /* idle when the drain began */
    CONN_END_REFUSED,
    CONN_END_MOVED, /* to a worker of a newer generation */
    CONN_END_KILLED,
};

/*
 * What a request touches that is answered at once stands first, up to request.len, in few cache lines: with a
 * thousand connections each line is a miss.
 */
struct conn {
    struct loop_source source; /* its number is that in this worker, for sockctl */
    struct served *served;
    uint8_t state;           /* enum conn_state */
    uint8_t timed;           /* enum timing: which list `timing` is on */
    uint8_t request_end : 2; /* enum frame_end of the request */
    bool named : 1;          /* the handler knows its number */
    uint8_t why : 5;         /* enum conn_end, once it is closing */
    bool corked : 1;  /* one of work->corked: `out` is what we hold back, not what the client has not taken */
    bool serving : 1; /* inside conn_serve() or conn_speak_first(): a reply does not need to wake anything */
    bool ended : 1;   /* the client ended its side */
    bool closing : 1; /* no more requests; ends when all is sent */
    bool counted_source : 1;
    bool uncounted : 1; /* refused: not one of `connections` */
    bool starved : 1;   /* on work->starved */
    bool unserved : 1;  /* there may be complete messages in `in`: the client took nothing when they came */
    uint32_t requests;
    union {
        uint32_t held;   /* HANDLING: length of the request's frame at the front of `in` */
        uint32_t needed; /* else: bytes of the unfinished message in all, 0: not known */
    };
    uint32_t untaken; /* of what was sent, when send_timeout began to run */
    uint64_t bytes_in, bytes_out;
    struct buf in;  /* unfinished input; in HANDLING it begins with the frame of the request */
    struct buf out; /* what is not sent yet */
    union {
        struct frame_scan scan; /* of the unfinished message */
        uint64_t held_us;       /* HANDLING, and not `serving`: since when */
    };
    struct deadline timing;
    struct request request; /* the one that is with the handler; its `local` is there from the beginning */
    struct list work_link;  /* in work->resumed or work->starved */
    union {
        struct list link;            /* in served->conns */
        struct loop_garbage garbage; /* once it is CLOSED */
    };
    uint64_t opened_ms;
    struct addr peer;
    struct deadline session[]; /* one, where a service has a session_timeout */
};

static inline bool conn_has_session(const struct conn *conn)
{
    return conn->served->session.span_ms > 0;
}

/* on_resume() in conn_request.c has yet to send what is queued for it, or to serve what it has sent. */
static inline bool conn_is_resuming(const struct conn *conn)
{
    return !conn->starved && !list_empty(&conn->work_link);
}

extern const struct served_timeouts conn_timeouts;

/*
 * A new connection on FD (takes it, also when it fails), counted in its service; or FD goes to the handler,
 * if it takes whole connections. COUNTED_SOURCE: stats_source_add() counted it; undone on failure. 0 or
 * -errno.
 */
int conn_open(struct served *served, int fd, const struct addr *peer, const struct addr *local,
              bool counted_source);

/*
 * Takes over a connection that an older generation's worker sent, with the unfinished BYTES; takes FD, also
 * when it fails. 0 or -errno.
 */
int conn_adopt(struct served *served, int fd, const struct handover *h, const char *bytes);

/*
 * Hands the connection over to a newer generation if the service moves and nothing is in hand. True when it
 * is gone from here. When the way is full, work->on_outbox_full is called, and it stays for now.
 */
bool conn_move(struct conn *conn);

/* Tells a stranger TEXT and ends with him; takes FD. For connections over a limit; they are not counted as
 * open. */
void conn_refuse(struct served *served, int fd, const struct addr *peer, const struct bytes *text);

/*
 * A drain began: ends the connection if it has nothing in hand, else after what it has. The first request of
 * one that is younger than CONN_YOUNG_MS is on its way: it is spared, and to be asked again after that time.
 * So is one that lingers, until its client has taken all that it was sent.
 */
#define CONN_YOUNG_MS 500
void conn_leave(struct conn *conn);

/* Ends it now. A request with the handler is cancelled. */
void conn_close(struct conn *conn, enum conn_end why);

/* What follows is between conn.c (life), conn_timing.c (timeouts), conn_request.c (requests) and conn_io.c
 * (bytes). */

/* Since when it waits for what it waits for, in ms: its timeout tells. */
static inline uint64_t conn_since(const struct conn *conn)
{
    return conn->timing.due_ms - (conn->timed ? conn->served->timing[conn->timed].span_ms : 0);
}

/* Starts the timeout KIND; one that runs already runs on, but that of idleness begins anew. */
void conn_set_timing(struct conn *conn, enum timing kind);
/* What was sent and the other side has not taken yet, in bytes. */
uint32_t conn_count_untaken(const struct conn *conn);
/* No further request is taken; the connection ends when all is sent. The first reason stays. */
void conn_begin_closing(struct conn *conn, enum conn_end why);
/* All is sent: ends the connection, so that the last reply is not destroyed by a reset. */
void conn_part(struct conn *conn);

struct conn_input;
/* Serves the complete messages at the front of INPUT and keeps the rest; conn_settle must follow. */
void conn_serve(struct conn *conn, const struct conn_input *input);
/* The same with what is buffered, and settles. */
void conn_serve_buffered(struct conn *conn);
/* The opening of a handler that speaks first; settles. */
void conn_speak_first(struct conn *conn);
/* One place decides what a connection waits for next: what it has to send, then its closing, then its input.
 */
void conn_settle(struct conn *conn);
extern const struct request_ops conn_request_ops;
/* As host->push; a client that takes nothing of so much is ended. */
int conn_push(struct served *served, uint64_t connection, const char *data, size_t len);

static inline void conn_count_in(struct conn *conn, size_t n)
{
    conn->bytes_in += n;
    stats_add(&conn->served->stats->bytes_in, n);
}

static inline void conn_count_out(struct conn *conn, size_t n)
{
    conn->bytes_out += n;
    stats_add(&conn->served->stats->bytes_out, n);
}

/* The input that conn_buffered() and conn_read() show, in the order of its bytes. */
struct conn_input {
    const char *data;
    size_t len;
    bool buffered; /* DATA lies in conn->in; else in the worker's scratch, behind a copy of what conn->in
                      holds */
    bool peeked;   /* DATA is still in the kernel too, since memory is short */
};

/*
 * The two doors for bytes, and what lies between them; in conn_io.c. conn_read takes what has come, once: 1;
 * 0 when there is nothing to do now; or the network's -errno. At the end of input conn->ended is set.
 */
int conn_read(struct conn *conn, struct conn_input *ret);
/* What is in conn->in alone, for looking at it again. */
struct conn_input conn_buffered(struct conn *conn);
/*
 * Keeps what of INPUT is still needed: all after USED bytes; of peeked input only the frame that is with the
 * handler, the rest stays in the kernel. 0 or -ENOMEM.
 */
int conn_keep(struct conn *conn, const struct conn_input *input, size_t used);

/* Room for N bytes behind what is queued, where that is a matter of a pointer; else NULL: conn_write does it.
 */
static inline char *conn_room(struct conn *conn, size_t n)
{
    struct work *work = conn->served->work;

    if (!work->out_for) {
        work->out_for = conn;
        work->out_len = 0;
    }
    if (work->out_for != conn || n > WORK_SCRATCH - work->out_len)
        return NULL;
    return work->out + work->out_len;
}
/* N bytes were put there. */
static inline void conn_put(struct conn *conn, size_t n)
{
    conn->served->work->out_len += n;
}
/* Queues bytes to be sent, in order; sends when they are many. 0, or -errno: the connection is to be closed.
 */
int conn_write(struct conn *conn, const struct iovec *parts, int n);
/*
 * Sends what is queued, or holds it back for a moment, since more will come. 0; -EAGAIN: the client does not
 * take it all, the rest waits in conn->out; else the network's -errno.
 */
int conn_flush(struct conn *conn);
/* Sends what is held back. As conn_flush. */
int conn_uncork(struct conn *conn);
/* It is closed: nothing is held back for it any more. */
void conn_forget_cork(struct conn *conn);

#endif
