/*
 * The timeouts of a connection: which runs, since when, and what happens when it has passed; see conn.h. Runs
 * in a worker.
 */
#include "conn.h"

#include "base/hot.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

/* tcp(7), SIOCOUTQ; Unix sockets have it too. */
uint32_t conn_count_untaken(const struct conn *conn)
{
    int n;

    return ioctl(conn->source.fd, SIOCOUTQ, &n) == 0 && n > 0 ? (uint32_t)n : 0;
}

HOT void conn_set_timing(struct conn *conn, enum timing kind)
{
    if (conn->timed == kind && kind == TIMING_IDLE) {
        deadline_set_anew(&conn->served->timing[kind], &conn->timing);
        return;
    }
    if (conn->timed == kind && kind != TIMING_NONE)
        return;
    conn->timed = kind;
    if (kind == TIMING_SEND)
        conn->untaken = conn_count_untaken(conn);
    deadline_clear(&conn->timing);
    if (kind == TIMING_NONE)
        conn->timing.due_ms = loop_now(conn->served->work->loop);
    else
        deadline_set(&conn->served->timing[kind], &conn->timing);
}

static void on_idle(struct deadline *deadline, void *owner)
{
    (void)owner;
    conn_close(container_of(deadline, struct conn, timing), CONN_END_IDLE);
}

static void on_request_late(struct deadline *deadline, void *owner)
{
    (void)owner;
    conn_close(container_of(deadline, struct conn, timing), CONN_END_REQUEST);
}

/* We are only woken when much of the kernel's buffer is free again: a slow client may have taken something
 * all the same. */
static void on_send_late(struct deadline *deadline, void *owner)
{
    struct conn *conn = container_of(deadline, struct conn, timing);

    (void)owner;
    if (conn_count_untaken(conn) >= conn->untaken) {
        conn_close(conn, CONN_END_SEND);
        return;
    }
    conn->timed = TIMING_NONE;
    conn_set_timing(conn, TIMING_SEND);
}

static void on_lingered(struct deadline *deadline, void *owner)
{
    struct conn *conn = container_of(deadline, struct conn, timing);

    (void)owner;
    conn_close(conn, conn->why);
}

static void on_handler_late(struct deadline *deadline, void *owner)
{
    struct conn *conn = container_of(deadline, struct conn, timing);
    struct served *served = owner;

    served->handler->cancel(served->context, &conn->request);
    request_fail(&conn->request, REQUEST_FAILED_TIMEOUT);
}

static void on_session_over(struct deadline *deadline, void *owner)
{
    (void)owner;
    conn_close(container_of(deadline, struct conn, session[0]), CONN_END_SESSION);
}

const struct served_timeouts conn_timeouts = {
    .timing = { [TIMING_IDLE] = on_idle,
                [TIMING_REQUEST] = on_request_late,
                [TIMING_HANDLER] = on_handler_late,
                [TIMING_SEND] = on_send_late,
                [TIMING_LINGER] = on_lingered },
    .session = on_session_over,
    .push = conn_push,
};
