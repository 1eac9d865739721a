/* What an administrator does to services and connections; see steered.h. */
#include "steered.h"

#include "conn.h"
#include "listing.h"

/* One that leaves may answer or send what others wait for, and so end any of them: the next one too. True
 * when some stay. */
static bool leave_service(struct served *served)
{
    struct list rest;

    list_init(&rest);
    list_move(&served->conns, &rest);
    while (!list_empty(&rest)) {
        struct conn *conn = container_of(rest.next, struct conn, link);

        list_remove(&conn->link);
        list_append(&served->conns, &conn->link);
        conn_leave(conn);
    }
    return !list_empty(&served->conns);
}

static bool leave_all(struct work *work)
{
    bool some_stay = false;

    list_for_each (s, &work->served) {
        struct served *served = container_of(s, struct served, link);

        if (served_leaves(served) && leave_service(served))
            some_stay = true;
    }
    return some_stay;
}

static void on_leave_again(struct loop_timer *timer);

static void leave_again_soon(struct work *work)
{
    loop_timer_set(work->loop, &work->leave_timer, loop_now(work->loop) + CONN_YOUNG_MS, on_leave_again);
}

/* Meanwhile they have grown up, were answered, or took what they were sent. */
static void on_leave_again(struct loop_timer *timer)
{
    struct work *work = container_of(timer, struct work, leave_timer);

    if (leave_all(work))
        leave_again_soon(work);
}

void steered_leave(struct work *work)
{
    leave_again_soon(work);
    leave_all(work);
}

void steered_drain(struct work *work, uint32_t index, bool drained)
{
    list_for_each (it, &work->served) {
        struct served *served = container_of(it, struct served, link);

        if (served->host.index == index)
            served->drained = drained;
    }
    if (drained)
        steered_leave(work);
}

void steered_roll(const struct work *work, uint32_t index)
{
    list_for_each (it, &work->served) {
        struct served *served = container_of(it, struct served, link);

        if (served->host.index == index && served->handler->roll)
            served->handler->roll(served->context);
    }
}

static enum listing_wait wait_for_handler(const struct conn *conn)
{
    const struct handler *handler = conn->served->handler;

    return handler->queues && handler->queues(&conn->request) ? LISTING_QUEUE : LISTING_HANDLER;
}

static enum listing_wait wait_of(const struct conn *conn)
{
    switch ((enum conn_state)conn->state) {
    case CONN_READING:
        return conn->starved                   ? LISTING_MEMORY
               : conn->timed == TIMING_REQUEST ? LISTING_MESSAGE
                                               : LISTING_IDLE;
    case CONN_HANDLING:
        return conn->timed == TIMING_SEND ? LISTING_CLIENT : wait_for_handler(conn);
    case CONN_WRITING:
        return LISTING_CLIENT;
    case CONN_LINGERING:
    case CONN_CLOSED:
        break;
    }
    return LISTING_END;
}

static void list_conn(struct listing *l, const struct conn *conn)
{
    struct listing_row row = {
        .number = conn->source.number,
        .service = conn->served->host.index,
        .wait = wait_of(conn),
        .requests = conn->requests,
        .opened_ms = conn->opened_ms,
        .since_ms = conn_since(conn),
        .bytes_in = conn->bytes_in,
        .bytes_out = conn->bytes_out,
        .peer = conn->peer,
    };

    listing_add(l, &row);
}

void steered_list(struct work *work, int channel_fd, uint32_t value)
{
    struct listing l;

    listing_begin(&l);
    list_for_each (s, &work->served) {
        const struct served *served = container_of(s, struct served, link);

        list_for_each (c, &served->conns)
            list_conn(&l, container_of(c, struct conn, link));
    }
    listing_send(&l, channel_fd, value);
}

void steered_kill(struct work *work, uint32_t number)
{
    list_for_each (s, &work->served) {
        struct served *served = container_of(s, struct served, link);

        list_for_each (c, &served->conns) {
            struct conn *conn = container_of(c, struct conn, link);

            if (conn->source.number == number) {
                conn_close(conn, CONN_END_KILLED);
                return;
            }
        }
    }
}

void steered_end(struct work *work)
{
    list_for_each (s, &work->served) {
        struct served *served = container_of(s, struct served, link);

        while (!list_empty(&served->conns))
            conn_close(container_of(served->conns.next, struct conn, link), CONN_END_DRAIN);
    }
}
