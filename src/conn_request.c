/*
 * The requests of a connection: messages are cut from its input and handed over, replies are dressed and
 * queued, and one function decides what the connection waits for next. Runs in a worker.
 */
#include "conn.h"

#include "base/hot.h"
#include "log_ids.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void conn_begin_closing(struct conn *conn, enum conn_end why)
{
    if (!conn->closing)
        conn->why = (uint8_t)why;
    conn->closing = true;
}

/* A message that is too long for the scratch; as send_message, which has no arrays to guard without it. */
static __attribute__((noinline)) int send_long(struct conn *conn, enum frame_end end, const char *data,
                                               size_t len)
{
    struct frame_dress dress;
    int r = frame_dress(&conn->served->conf->framing, end, data, len, &dress);

    if (r < 0)
        return r;
    struct iovec parts[] = {
        { .iov_base = dress.head, .iov_len = dress.head_len },
        { .iov_base = (void *)(uintptr_t)data, .iov_len = len },
        { .iov_base = dress.tail, .iov_len = dress.tail_len },
    };
    r = conn_write(conn, parts, 3);
    if (r < 0)
        conn_close(conn, r == -ENOMEM || r == -EMSGSIZE ? CONN_END_MEMORY : CONN_END_NETWORK);
    return 0;
}

/* Sends the message in its framing. 0; -EBADMSG: it does not fit the framing. */
static HOT int send_message(struct conn *conn, enum frame_end end, const char *data, size_t len)
{
    char *room = conn_room(conn, len + FRAME_DRESS_MAX);

    if (!room)
        return send_long(conn, end, data, len);
    ssize_t n = frame_put(&conn->served->conf->framing, end, data, len, room);
    if (n < 0)
        return (int)n;
    conn_put(conn, (size_t)n);
    return 0;
}

/* Sends what a handler gave. 0; -EMSGSIZE: it is over max_reply; -EBADMSG: the framing cannot carry it. */
static inline int send_given(struct conn *conn, enum frame_end end, const char *data, size_t len)
{
    return len > conn->served->conf->max_reply ? -EMSGSIZE : send_message(conn, end, data, len);
}

static void on_resume(struct loop_timer *timer)
{
    struct work *work = container_of(timer, struct work, resume_timer);

    while (!list_empty(&work->resumed)) {
        struct conn *conn = container_of(work->resumed.next, struct conn, work_link);

        list_remove(&conn->work_link);
        if (conn->state == CONN_READING)
            conn_serve_buffered(conn);
        else
            conn_settle(conn);
    }
}

/* Looks at the buffered input again, in this turn or the next, but not on this stack. */
static void resume_soon(struct conn *conn)
{
    struct work *work = conn->served->work;

    if (list_empty(&conn->work_link))
        list_append(&work->resumed, &conn->work_link);
    if (!work->resume_timer.place)
        loop_timer_set(work->loop, &work->resume_timer, 0, on_resume);
}

/* The handler is done with its request: it is neither held nor cancelled any more. */
static inline struct conn *take_back(struct request *request)
{
    struct conn *conn = container_of(request, struct conn, request);

    assert(conn->state == CONN_HANDLING);
    conn->state = CONN_READING;
    if (!conn->serving) {
        stats_sub(&conn->served->stats->in_hand, 1);
        served_time(conn->served, conn->held_us);
    }
    return conn;
}

/* The request was held, and is finished: its bytes are not needed any more. */
static void release(struct conn *conn)
{
    buf_consume(&conn->in, &conn->served->work->memory, conn->held);
    conn->needed = 0;
    conn->scan = (struct frame_scan){ 0 };
    resume_soon(conn);
}

/* All that the request called for is queued. */
static inline void finish_request(struct conn *conn)
{
    const struct service *conf = conn->served->conf;

    if (conn->state == CONN_CLOSED)
        return;
    if (conn->timed != TIMING_IDLE) {
        /* What is timed next begins anew, and what was timed may have passed in this very turn. */
        deadline_clear(&conn->timing);
        conn->timed = TIMING_NONE;
    }
    conn->requests++;
    if (conf->max_requests_per_connection && conn->requests >= conf->max_requests_per_connection)
        conn_begin_closing(conn, CONN_END_DONE);
    if (!conn->serving)
        release(conn);
}

/* Says that something cannot be answered, if there are words for it. 0, or -ENOENT. */
static int apologise(struct conn *conn, enum frame_end end)
{
    const struct bytes *text = &conn->served->conf->error_reply;

    return text->data ? send_message(conn, end, text->data, text->len) : -ENOENT;
}

/* A connection that ends of it says so in its last line. */
static void fail_request(struct conn *conn, enum request_failure why)
{
    served_count_failure(conn->served, why);
    if (apologise(conn, conn->request_end) < 0 && !conn->closing)
        conn_begin_closing(conn, CONN_END_HANDLER + (enum conn_end)why);
    else
        served_tell_failure(conn->served, &conn->request, why);
    finish_request(conn);
}

static void on_fail(struct request *request, enum request_failure why)
{
    fail_request(take_back(request), why);
}

static HOT void on_reply(struct request *request, const char *data, size_t len)
{
    struct conn *conn = take_back(request);
    struct served *served = conn->served;
    int r = send_given(conn, conn->request_end, data, len);

    if (r < 0) {
        served_log(served, SERVICE_LOG_ERRORS, LOG_ID_REQUEST_FAILED, &conn->peer, "a reply of %zu bytes %s",
                   len, r == -EMSGSIZE ? "is over max_reply" : "does not fit the framing");
        fail_request(conn, REQUEST_FAILED_REPLY);
        return;
    }
    stats_add(&served->stats->replies, 1);
    if (served_logs(served, SERVICE_LOG_REQUESTS))
        served_log(served, SERVICE_LOG_REQUESTS, LOG_ID_REQUEST, &conn->peer,
                   "request of %zu bytes, reply of %zu", request->len, len);
    finish_request(conn);
}

static void on_silence(struct request *request)
{
    struct conn *conn = take_back(request);

    stats_add(&conn->served->stats->silences, 1);
    if (served_logs(conn->served, SERVICE_LOG_REQUESTS))
        served_log(conn->served, SERVICE_LOG_REQUESTS, LOG_ID_REQUEST, &conn->peer,
                   "request of %zu bytes, no reply", request->len);
    finish_request(conn);
}

static void on_part(struct request *request)
{
    conn_begin_closing(container_of(request, struct conn, request), CONN_END_DONE);
}

int conn_push(struct served *served, uint64_t connection, const char *data, size_t len)
{
    struct conn *conn = roster_find(&served->work->roster, connection);

    if (!conn || conn->served != served || conn->closing || conn->state == CONN_LINGERING)
        return -ENOENT;
    int r = send_given(conn, FRAME_END_LF, data, len);
    if (r < 0)
        return r;
    if (conn->state == CONN_CLOSED)
        return -ENOENT;
    if (conn->out.len > served->conf->max_reply && !conn->corked)
        conn_close(conn, CONN_END_SEND);
    else if (conn->starved)
        conn_settle(conn);
    else if (!conn->serving)
        resume_soon(conn);
    return 0;
}

const struct request_ops conn_request_ops = {
    .reply = on_reply, .silence = on_silence, .fail = on_fail, .part = on_part
};

/* Hands a message over. Afterwards the state is HANDLING only if the handler answers later. */
static void begin_request(struct conn *conn, const char *data, const struct frame_message *message)
{
    struct served *served = conn->served;

    conn->state = CONN_HANDLING;
    conn->request_end = (uint8_t)message->end;
    conn->request.data = data + message->start;
    conn->request.len = message->len;
    conn->named = true;
    stats_add(&served->stats->requests, 1);
    served->handler->request(served->context, &conn->request);
}

/* The handler answers later. */
static void hold(struct conn *conn)
{
    stats_add(&conn->served->stats->in_hand, 1);
    conn->held_us = loop_now_us(conn->served->work->loop);
}

static void refuse_input(struct conn *conn, enum frame_result result)
{
    conn_begin_closing(conn, result == FRAME_TOO_LONG ? CONN_END_TOO_LONG : CONN_END_MALFORMED);
    apologise(conn, FRAME_END_LF);
}

/* Serves the complete messages at the front of INPUT and keeps the rest. */
HOT void conn_serve(struct conn *conn, const struct conn_input *input)
{
    const struct service *conf = conn->served->conf;
    struct frame_input in = { &conf->framing, &conn->scan,       input->data,
                              input->len,     conf->max_request, conn->ended };
    struct frame_message message = { 0 };
    unsigned n = 0; /* answered at once */

    conn->serving = conn->unserved = true;
    conn->needed = 0;
    while (conn->state == CONN_READING && !conn->closing && (conn->out.len == 0 || conn->corked)) {
        enum frame_result result = frame_next(&in, &message);
        if (result == FRAME_MORE) {
            conn->unserved = false;
            conn->needed = message.frame_len > UINT32_MAX ? UINT32_MAX : (uint32_t)message.frame_len;
            break;
        }
        if (result != FRAME_MESSAGE) {
            refuse_input(conn, result);
            break;
        }
        begin_request(conn, in.data, &message);
        if (conn->state == CONN_HANDLING)
            break;
        frame_take(&in, &message);
        n++;
        if (in.len == 0) {
            conn->unserved = false;
            break;
        }
    }
    conn->serving = false;
    stats_add(&conn->served->stats->duration[0], n);
    if (conn->state == CONN_CLOSED)
        return;

    if (conn->state == CONN_HANDLING) {
        conn->held = (uint32_t)message.frame_len;
        hold(conn);
    }
    if (conn_keep(conn, input, input->len - in.len) < 0)
        conn_close(conn, CONN_END_MEMORY);
    else if (conn->state == CONN_HANDLING)
        conn->request.data = buf_data(&conn->in) + message.start;
}

HOT void conn_settle(struct conn *conn)
{
    struct loop *loop = conn->served->work->loop;

    if (conn->state == CONN_CLOSED || conn->state == CONN_LINGERING)
        return;
    int r = conn_flush(conn);
    if (r == 0 && conn->corked && conn->state != CONN_HANDLING)
        r = conn_uncork(conn);
    if (r < 0 && r != -EAGAIN) {
        conn_close(conn, CONN_END_NETWORK);
        return;
    }
    if (conn->state == CONN_HANDLING) {
        /* What waits to be read, waits on: see on_handling(). */
        if (r == -EAGAIN || conn->source.events != 0)
            loop_change(loop, &conn->source, r == -EAGAIN ? EPOLLOUT : EPOLLIN);
        conn_set_timing(conn, r == -EAGAIN                          ? TIMING_SEND
                              : conn->served->handler->times_itself ? TIMING_NONE
                                                                    : TIMING_HANDLER);
    } else if (r == -EAGAIN) {
        conn->state = CONN_WRITING;
        loop_change(loop, &conn->source, EPOLLOUT);
        conn_set_timing(conn, TIMING_SEND);
    } else if (conn->closing) {
        conn_part(conn);
    } else if (conn->unserved && !conn->starved) {
        conn->state = CONN_READING;
        resume_soon(conn);
    } else if (conn->ended) {
        conn_close(conn, CONN_END_CLIENT);
    } else if (served_leaves(conn->served) && conn->in.len == 0) {
        conn_begin_closing(conn, CONN_END_LEAVING);
        conn_part(conn);
    } else {
        conn->state = CONN_READING;
        if (conn->served->moves && conn_move(conn))
            return;
        loop_change(loop, &conn->source, conn->starved ? 0 : EPOLLIN);
        conn_set_timing(conn, conn->in.len > 0 || conn->starved ? TIMING_REQUEST : TIMING_IDLE);
    }
}

void conn_serve_buffered(struct conn *conn)
{
    struct conn_input input = conn_buffered(conn);

    conn->state = CONN_READING;
    conn_serve(conn, &input);
    conn_settle(conn);
}

void conn_speak_first(struct conn *conn)
{
    static const struct frame_message opening = { .end = FRAME_END_CRLF };

    conn->serving = true;
    begin_request(conn, "", &opening);
    conn->serving = false;
    conn_begin_closing(conn, CONN_END_DONE);
    if (conn->state == CONN_HANDLING)
        hold(conn);
    else
        stats_add(&conn->served->stats->duration[0], 1);
    conn_settle(conn);
}
