/* The life of a stream connection: its states, requests, timeouts and its end; see conn.h. */
#include "conn.h"

#include "base/fd.h"
#include "base/hot.h"
#include "base/text.h"
#include "log_ids.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* What is thrown away of a client that lingers, in bytes. */
#define LINGER_BYTES (64 * 1024)

/* How each end is counted and told. */
static const struct end_row {
    const char *words;
    size_t counter; /* in struct stats_service; NO_COUNTER: none */
    enum service_log log;
} end_rows[] = {
#define NO_COUNTER SIZE_MAX
#define COUNTER(c) offsetof(struct stats_service, c)
    [CONN_END_CLIENT] = { "the client ended it", NO_COUNTER, SERVICE_LOG_CONNECTIONS },
    [CONN_END_DONE] = { "done", NO_COUNTER, SERVICE_LOG_CONNECTIONS },
    [CONN_END_NETWORK] = { "the network ended it", COUNTER(ended_error), SERVICE_LOG_CONNECTIONS },
    [CONN_END_MALFORMED] = { "malformed message", COUNTER(failed_malformed), SERVICE_LOG_ERRORS },
    [CONN_END_TOO_LONG] = { "message over max_request", COUNTER(failed_too_long), SERVICE_LOG_ERRORS },
    [CONN_END_HANDLER] = { "the handler failed", NO_COUNTER, SERVICE_LOG_ERRORS },
    [CONN_END_REPLY] = { "the reply cannot be sent", NO_COUNTER, SERVICE_LOG_ERRORS },
    [CONN_END_TIMEOUT] = { "handler_timeout: no reply", NO_COUNTER, SERVICE_LOG_ERRORS },
    [CONN_END_QUEUE] = { "helper_queue is full", NO_COUNTER, SERVICE_LOG_ERRORS },
    [CONN_END_QUEUE_TIMEOUT] = { "queue_timeout: no helper was free", NO_COUNTER, SERVICE_LOG_ERRORS },
    [CONN_END_IDLE] = { "idle_timeout", COUNTER(ended_idle), SERVICE_LOG_CONNECTIONS },
    [CONN_END_REQUEST] = { "request_timeout: an unfinished message", COUNTER(ended_request),
                           SERVICE_LOG_ERRORS },
    [CONN_END_SEND] = { "send_timeout: the client took nothing", COUNTER(ended_send), SERVICE_LOG_ERRORS },
    [CONN_END_SESSION] = { "session_timeout", COUNTER(ended_session), SERVICE_LOG_CONNECTIONS },
    [CONN_END_MEMORY] = { "max_memory reached, the largest message ends", COUNTER(ended_memory),
                          SERVICE_LOG_ERRORS },
    [CONN_END_DRAIN] = { "the drain took too long", COUNTER(ended_drain), SERVICE_LOG_ERRORS },
    [CONN_END_LEAVING] = { "idle at a drain", NO_COUNTER, SERVICE_LOG_CONNECTIONS },
    [CONN_END_REFUSED] = { "refused", NO_COUNTER, SERVICE_LOG_CONNECTIONS },
    [CONN_END_KILLED] = { "sockctl kill", COUNTER(ended_killed), SERVICE_LOG_CONNECTIONS },
    [CONN_END_MOVED] = { "here; a newer generation goes on with it", NO_COUNTER, SERVICE_LOG_REQUESTS },
#undef COUNTER
};

static void free_conn(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct conn, garbage));
}

static void tell_end(struct conn *conn, enum conn_end why)
{
    const struct end_row *row = &end_rows[why];
    char age[TEXT_NUMBER_MAX];

    if (!served_logs(conn->served, row->log))
        return;
    served_log(conn->served, row->log, LOG_ID_CLOSED, &conn->peer,
               "closed: %s; %" PRIu32 " request%s, %" PRIu64 " bytes in, %" PRIu64 " out, %s", row->words,
               conn->requests, conn->requests == 1 ? "" : "s", conn->bytes_in, conn->bytes_out,
               text_print_duration(age, loop_now(conn->served->work->loop) - conn->opened_ms));
}

static void count_open(struct served *served)
{
    stats_add(&served->stats->connections, 1);
    stats_add(&served->work->page->connections, 1);
}

/* 0: it was not counted. */
static void uncount_source(struct served *served, uint64_t source)
{
    if (source)
        stats_source_sub(served->work->page, served->slot, source);
}

static void count_closed(struct served *served, uint64_t source)
{
    stats_sub(&served->stats->connections, 1);
    stats_sub(&served->work->page->connections, 1);
    uncount_source(served, source);
}

/* Takes the connection out of all counts and gauges. */
static void uncount(struct conn *conn, enum conn_end why)
{
    struct served *served = conn->served;
    struct work *work = served->work;

    if (conn->uncounted) {
        work->refused_lingering--;
        return;
    }
    if (end_rows[why].counter != NO_COUNTER)
        stats_add((stats_number *)(void *)((char *)served->stats + end_rows[why].counter), 1);
    count_closed(served, conn->counted_source ? addr_source(&conn->peer) : 0);
}

void conn_close(struct conn *conn, enum conn_end why)
{
    struct served *served = conn->served;
    struct work *work = served->work;
    bool was_told = conn->state == CONN_LINGERING;

    if (conn->state == CONN_CLOSED)
        return;
    if (conn->state == CONN_HANDLING && !conn->serving) {
        served->handler->cancel(served->context, &conn->request);
        stats_sub(&served->stats->in_hand, 1);
        stats_add(&served->stats->cancelled, 1);
    }
    conn->state = CONN_CLOSED;
    if (conn->request.connection) {
        roster_remove(&work->roster, conn->request.connection);
        if (conn->named)
            served->handler->on_closed(served->context, conn->request.connection);
    }
    deadline_clear(&conn->timing);
    if (conn_has_session(conn))
        deadline_clear(conn->session);
    list_remove(&conn->link);
    list_remove(&conn->work_link);
    conn_forget_cork(conn);
    if (work->out_for == conn)
        work->out_for = NULL;
    buf_done(&conn->in, &work->memory);
    buf_done(&conn->out, &work->memory);
    local_give(&work->local, conn->request.local);

    /* Counted before the client can see it. */
    if (!was_told)
        tell_end(conn, why);
    uncount(conn, why);
    int fd = conn->source.fd;
    loop_remove(work->loop, &conn->source);
    fd_close(&fd);
    loop_free_later(work->loop, &conn->garbage, free_conn);
    if (work->on_room)
        work->on_room(work);
}

/* All is said: ends it, so that the last reply is not destroyed by a reset. RFC 1122, 4.2.2.13. */
void conn_part(struct conn *conn)
{
    if (conn->ended) {
        conn_close(conn, conn->why);
        return;
    }
    tell_end(conn, conn->why); /* when it was, not when the client obeys */
    conn->state = CONN_LINGERING;
    if (shutdown(conn->source.fd, SHUT_WR) < 0) {
        conn_close(conn, conn->why);
        return;
    }
    buf_done(&conn->in, &conn->served->work->memory);
    conn->needed = LINGER_BYTES;
    loop_change(conn->served->work->loop, &conn->source, EPOLLIN);
    conn_set_timing(conn, TIMING_LINGER);
}

static void on_readable(struct conn *conn)
{
    struct conn_input input;
    int r = conn_read(conn, &input);

    if (r < 0) {
        conn_close(conn, CONN_END_NETWORK);
    } else if (r > 0) {
        conn_serve(conn, &input);
        conn_settle(conn);
    }
}

/* The client takes more. */
static void on_writable(struct conn *conn)
{
    uint64_t before = conn->bytes_out;
    int r = conn_flush(conn);

    if (r == 0 && conn->state == CONN_WRITING) {
        conn_serve_buffered(conn);
    } else if (r == 0 || (r == -EAGAIN && conn->bytes_out > before)) {
        conn->timed = TIMING_NONE; /* send_timeout begins anew */
        conn_settle(conn);
    } else if (r < 0 && r != -EAGAIN) {
        conn_close(conn, CONN_END_NETWORK);
    }
}

static void on_lingering(struct conn *conn)
{
    struct work *work = conn->served->work;
    ssize_t n = recv(conn->source.fd, work->in, WORK_SCRATCH, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || (size_t)n >= conn->needed)
        conn_close(conn, conn->why);
    else
        conn->needed -= (uint32_t)n;
}

static void on_handling(struct conn *conn, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP))
        conn_close(conn, CONN_END_NETWORK);
    else if (events & EPOLLOUT)
        on_writable(conn);
    else
        loop_change(conn->served->work->loop, &conn->source, 0);
}

static HOT void on_event(struct loop_source *source, uint32_t events)
{
    struct conn *conn = container_of(source, struct conn, source);

    switch ((enum conn_state)conn->state) {
    case CONN_READING:
        if (conn->starved && (events & (EPOLLERR | EPOLLHUP)))
            conn_close(conn, CONN_END_NETWORK);
        else
            on_readable(conn);
        break;
    case CONN_HANDLING:
        on_handling(conn, events);
        break;
    case CONN_WRITING:
        on_writable(conn);
        break;
    case CONN_LINGERING:
        on_lingering(conn);
        break;
    case CONN_CLOSED:
        break;
    }
}

static struct conn *new_conn(struct served *served, int fd, const struct addr *peer, const struct addr *local)
{
    struct work *work = served->work;
    bool has_session = served->session.span_ms > 0;
    struct conn *conn = calloc(1, sizeof *conn + (has_session ? sizeof *conn->session : 0));

    if (!conn)
        return NULL;
    *conn = (struct conn){ .served = served, .peer = *peer, .opened_ms = loop_now(work->loop) };
    conn->source.number = ++work->last_number;
    conn->request = (struct request){ .ops = &conn_request_ops, .peer = &conn->peer };
    if (local)
        conn->request.local = local_take(&work->local, local);
    list_init(&conn->link);
    list_init(&conn->work_link);
    conn->timing.due_ms = conn->opened_ms;
    deadline_init(&conn->timing);
    if ((local && !conn->request.local) || loop_add(work->loop, &conn->source, fd, EPOLLIN, on_event) < 0) {
        local_give(&work->local, conn->request.local);
        free(conn);
        return NULL;
    }
    list_append(&served->conns, &conn->link);
    if (has_session) {
        deadline_init(conn->session);
        deadline_set(&served->session, conn->session);
    }
    if (served->tracks)
        conn->request.connection = roster_add(&work->roster, conn);
    return conn;
}

/* A connection that its handler took; it counts until the handler says that it is over. */
struct taken {
    struct served *served;
    uint64_t source; /* 0: not counted */
};

static void on_taken_over(void *token)
{
    struct taken *taken = token;
    struct work *work = taken->served->work;

    count_closed(taken->served, taken->source);
    free(taken);
    if (work->on_room)
        work->on_room(work);
}

static int give(struct served *served, int fd, const struct addr *peer, const struct addr *local,
                uint64_t source)
{
    struct taken *taken = malloc(sizeof *taken);
    int r = -ENOMEM;

    if (taken) {
        *taken = (struct taken){ .served = served, .source = source };
        count_open(served);
        r = served->handler->take(served->context, fd, peer, local, on_taken_over, taken);
        fd = -1;
    }
    if (r < 0 && taken)
        on_taken_over(taken);
    else if (r < 0)
        uncount_source(served, source);
    fd_close(&fd);
    return r;
}

int conn_open(struct served *served, int fd, const struct addr *peer, const struct addr *local,
              bool counted_source)
{
    uint64_t source = counted_source ? addr_source(peer) : 0;

    if (served->handler->take)
        return give(served, fd, peer, local, source);

    struct conn *conn = new_conn(served, fd, peer, local);
    if (!conn) {
        uncount_source(served, source);
        fd_close(&fd);
        return -ENOMEM;
    }
    conn->counted_source = counted_source;
    count_open(served);
    if (served_logs(served, SERVICE_LOG_CONNECTIONS))
        served_log(served, SERVICE_LOG_CONNECTIONS, LOG_ID_CONNECTED, peer, "connected");
    if (served->handler->speaks_first) {
        conn_speak_first(conn);
    } else {
        conn_set_timing(conn, TIMING_IDLE);
    }
    return 0;
}

static bool is_owed(const struct conn *conn)
{
    const struct work *work = conn->served->work;

    return conn->out.len > 0 || (work->out_for == conn && work->out_len > 0);
}

static bool can_move(const struct conn *conn)
{
    return conn->served->moves && conn->served->work->outbox_fds[conn->served->way] >= 0 &&
           conn->state == CONN_READING && !conn->serving && !conn_is_resuming(conn) && !conn->closing &&
           !conn->ended && !is_owed(conn) && conn->in.len <= HANDOVER_BYTES_MAX;
}

bool conn_move(struct conn *conn)
{
    struct work *work = conn->served->work;

    if (!can_move(conn))
        return false;
    struct handover h = {
        .peer = conn->peer,
        .local = *conn->request.local,
        .opened_ms = conn->opened_ms,
        .since_ms = conn_since(conn),
        .timing_due_ms = deadline_is_set(&conn->timing) ? conn->timing.due_ms : 0,
        .session_due_ms = conn_has_session(conn) ? conn->session->due_ms : 0,
        .bytes_in = conn->bytes_in,
        .bytes_out = conn->bytes_out,
        .requests = conn->requests,
        .in_request = conn->timed == TIMING_REQUEST,
        .len = conn->in.len,
    };
    snprintf(h.service, sizeof h.service, "%s", conn->served->conf->name);
    int r = handover_send(work->outbox_fds[conn->served->way], &h, conn_buffered(conn).data, conn->source.fd);
    if (r == 0)
        conn_close(conn, CONN_END_MOVED);
    else if (r == -EAGAIN)
        work->on_outbox_full(work, conn->served->way);
    return r == 0;
}

int conn_adopt(struct served *served, int fd, const struct handover *h, const char *bytes)
{
    struct work *work = served->work;
    struct conn *conn = new_conn(served, fd, &h->peer, &h->local);

    if (!conn) {
        fd_close(&fd);
        return -ENOMEM;
    }
    count_open(served);
    if (served->conf->max_connections_per_source)
        conn->counted_source =
            stats_source_add(work->stats, work->page, served->slot, addr_source(&h->peer)) > 0;
    conn->opened_ms = h->opened_ms;
    conn->timing.due_ms = h->since_ms;
    conn->requests = h->requests;
    conn->bytes_in = h->bytes_in;
    conn->bytes_out = h->bytes_out;
    conn->timed = h->in_request ? TIMING_REQUEST : TIMING_IDLE;
    deadline_set_due(&served->timing[conn->timed], &conn->timing, h->timing_due_ms);
    if (conn_has_session(conn))
        deadline_set_due(&served->session, conn->session, h->session_due_ms);
    if (h->len > 0 && buf_append(&conn->in, &work->memory, bytes, h->len) < 0)
        conn_close(conn, CONN_END_MEMORY);
    if (!conn_move(conn) && served_leaves(served))
        conn_leave(conn);
    return 0;
}

/* More than so many are not told; they are just closed. */
#define REFUSED_LINGERING_MAX 256

void conn_refuse(struct served *served, int fd, const struct addr *peer, const struct bytes *text)
{
    struct work *work = served->work;
    struct conn *conn = NULL;

    if (text->data && work->refused_lingering < REFUSED_LINGERING_MAX)
        conn = new_conn(served, fd, peer, NULL);
    if (!conn) {
        fd_close(&fd);
        return;
    }
    conn->uncounted = true;
    work->refused_lingering++;
    struct iovec words = { .iov_base = text->data, .iov_len = text->len };
    conn_begin_closing(conn, CONN_END_REFUSED);
    if (conn_write(conn, &words, 1) < 0)
        conn_close(conn, CONN_END_REFUSED);
    else
        conn_settle(conn);
}

void conn_leave(struct conn *conn)
{
    if (conn_is_resuming(conn))
        return; /* conn_settle() ends it, when that is done */
    if (conn->state == CONN_LINGERING)
        on_lingering(conn);
    if (conn->state == CONN_LINGERING && conn_count_untaken(conn) == 0)
        conn_close(conn, conn->why);
    if (conn->state == CONN_READING && !conn->starved)
        on_readable(conn);
    bool young = conn->requests == 0 && loop_now(conn->served->work->loop) - conn->opened_ms < CONN_YOUNG_MS;
    if (conn->state == CONN_READING && conn->in.len == 0 && !young)
        conn_close(conn, CONN_END_LEAVING);
}
