/*
 * How bytes enter and leave a connection: the worker's scratch memory, the connection's own buffers, and what
 * is done when max_memory is reached. Knows nothing of messages. Runs in a worker.
 */
#include "conn.h"

#include "base/hot.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* An unfinished rest up to this long is copied in front of the next read, which can then be a large one. */
#define SMALL_REST 4096

/* Memory is looked after this often while connections starve, and the largest is ended after so long. */
#define RELIEF_MS  100
#define PATIENT_MS 1000

/* A reply waits for the next ones for so long at most, and with so many bytes. */
#define CORK_MS    2
#define CORK_BYTES (16 * 1024)

static struct conn *find_largest(struct work *work)
{
    struct conn *largest = NULL;
    size_t most = 0;

    list_for_each (s, &work->served) {
        list_for_each (c, &container_of(s, struct served, link)->conns) {
            struct conn *conn = container_of(c, struct conn, link);
            size_t size = (size_t)conn->in.cap + conn->out.cap;

            if (size > most) {
                most = size;
                largest = conn;
            }
        }
    }
    return largest;
}

/* Ends the largest messages until an eighth of the memory is free. */
static void end_largest(struct work *work)
{
    struct conn *conn;

    while (account_exceeded(&work->memory, work->memory.limit / 8) && (conn = find_largest(work)))
        conn_close(conn, CONN_END_MEMORY);
}

static void on_relief(struct loop_timer *timer)
{
    struct work *work = container_of(timer, struct work, starved_timer);
    uint64_t now = loop_now(work->loop);

    if (account_exceeded(&work->memory, work->memory.limit / 8) && now - work->starved_since >= PATIENT_MS)
        end_largest(work);
    if (account_exceeded(&work->memory, work->memory.limit / 8)) {
        loop_timer_set(work->loop, timer, now + RELIEF_MS, on_relief);
        return;
    }
    list_for_each (it, &work->starved) {
        struct conn *conn = container_of(it, struct conn, work_link);

        list_remove(it);
        conn->starved = false;
        if (conn->state == CONN_READING)
            loop_change(work->loop, &conn->source, EPOLLIN);
    }
    list_for_each (it, &work->served)
        stats_set(&container_of(it, struct served, link)->stats->starved_since, 0);
}

/*
 * Reads no more until memory is free (max_memory). One of work->resumed goes on first: a reply may be queued
 * for it. It is readable in the next turn too, and starves then.
 */
static void starve(struct conn *conn)
{
    struct work *work = conn->served->work;

    if (conn_is_resuming(conn))
        return;
    conn->starved = true;
    if (stats_get(&conn->served->stats->starved_since) == 0)
        stats_set(&conn->served->stats->starved_since, loop_now(work->loop));
    loop_change(work->loop, &conn->source, 0);
    if (list_empty(&work->starved)) {
        work->starved_since = loop_now(work->loop);
        loop_timer_set(work->loop, &work->starved_timer, loop_now(work->loop) + RELIEF_MS, on_relief);
    }
    list_remove(&conn->work_link);
    list_append(&work->starved, &conn->work_link);
}

/* How many bytes came, 0 at the end of input; -EAGAIN, or the network's -errno. */
static HOT ssize_t receive(struct conn *conn, char *to, size_t room, int flags)
{
    ssize_t n = recv(conn->source.fd, to, room, flags | MSG_DONTWAIT);

    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if (n == 0)
        conn->ended = true;
    return n;
}

struct conn_input conn_buffered(struct conn *conn)
{
    return (struct conn_input){ .data = conn->in.base ? buf_data(&conn->in) : "",
                                .len = conn->in.len,
                                .buffered = true };
}

/* The usual way: into the scratch. Nothing is kept of a message that comes whole. */
static int read_scratch(struct conn *conn, struct conn_input *ret)
{
    struct work *work = conn->served->work;
    size_t kept = conn->in.len;
    bool peek = kept == 0 && account_exceeded(&work->memory, WORK_SCRATCH);

    if (kept > 0) {
        if (account_exceeded(&work->memory, WORK_SCRATCH - kept)) {
            starve(conn);
            return 0;
        }
        memcpy(work->in, buf_data(&conn->in), kept);
    }
    ssize_t n = receive(conn, work->in + kept, WORK_SCRATCH - kept, peek ? MSG_PEEK : 0);
    if (n < 0)
        return n == -EAGAIN ? 0 : (int)n;
    if (!peek)
        conn_count_in(conn, (size_t)n);
    *ret = (struct conn_input){ .data = work->in, .len = kept + (size_t)n, .peeked = peek };
    return 1;
}

/*
 * How much of a long message to read next, and to have room for: three times what has come, since what was
 * only announced may never come; but all that is missing where that is little more, so that the last bytes do
 * not make the buffer move.
 */
static size_t next_read(const struct conn *conn)
{
    size_t come = conn->in.len > WORK_SCRATCH ? conn->in.len : WORK_SCRATCH;

    if (conn->needed > conn->in.len && conn->needed - conn->in.len <= 4 * come)
        return conn->needed - conn->in.len;
    return 3 * come;
}

/* A long message: into its own buffer. */
static int read_buffer(struct conn *conn, struct conn_input *ret)
{
    struct work *work = conn->served->work;
    size_t want = next_read(conn);

    if (buf_room(&conn->in) == 0) {
        /* What is free after a relief is enough for some: asking for more would starve it again, for ever. */
        while (want > WORK_SCRATCH && account_exceeded(&work->memory, want))
            want /= 2;
        if (account_exceeded(&work->memory, want)) {
            starve(conn);
            return 0;
        }
        if (buf_reserve(&conn->in, &work->memory, want) < 0)
            return -ENOMEM;
    }
    if (want > buf_room(&conn->in))
        want = buf_room(&conn->in);
    ssize_t n = receive(conn, buf_data(&conn->in) + conn->in.len, want, 0);
    if (n < 0)
        return n == -EAGAIN ? 0 : (int)n;
    conn_count_in(conn, (size_t)n);
    buf_added(&conn->in, (size_t)n);
    *ret = conn_buffered(conn);
    return 1;
}

HOT int conn_read(struct conn *conn, struct conn_input *ret)
{
    if (conn->in.len > SMALL_REST || conn->needed > WORK_SCRATCH)
        return read_buffer(conn, ret);
    return read_scratch(conn, ret);
}

/* Takes N bytes out of the kernel that were peeked at before. */
static void take_peeked(struct conn *conn, size_t n)
{
    conn_count_in(conn, n);
    while (n > 0) {
        ssize_t got = recv(conn->source.fd, conn->served->work->in, n, MSG_DONTWAIT);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        n -= (size_t)got;
    }
}

static int keep_peeked(struct conn *conn, const struct conn_input *input, size_t used)
{
    size_t held = conn->state == CONN_HANDLING ? conn->held : 0;
    int r = held > 0 ? buf_append(&conn->in, &conn->served->work->memory, input->data + used, held) : 0;

    if (r < 0)
        return r;
    take_peeked(conn, used + held);
    if (held == 0 && used < input->len) {
        conn->scan = (struct frame_scan){ 0 };
        conn->needed = 0;
        starve(conn);
    }
    return 0;
}

HOT int conn_keep(struct conn *conn, const struct conn_input *input, size_t used)
{
    size_t known = conn->in.len;

    if (known == 0 && used == input->len && !input->peeked)
        return 0; /* nothing is left, as usual */

    struct account *memory = &conn->served->work->memory;
    if (input->buffered) {
        buf_consume(&conn->in, memory, used);
        return 0;
    }
    if (input->peeked)
        return keep_peeked(conn, input, used);
    if (used > 0) {
        buf_consume(&conn->in, memory, known);
        known = used;
    }
    if (known == input->len)
        return 0;
    return buf_append(&conn->in, memory, input->data + known, input->len - known);
}

/* The scratch of replies belongs to one connection at a time. */
static void claim_out(struct conn *conn)
{
    struct work *work = conn->served->work;
    struct conn *other = work->out_for;

    if (other == conn)
        return;
    int r = other ? conn_flush(other) : 0;
    if (r < 0 && r != -EAGAIN && other->serving) {
        /* Its handler is at work further down this stack; it ends when that is done. */
        other->ended = true;
        conn_begin_closing(other, CONN_END_NETWORK);
    } else if (r < 0 && r != -EAGAIN) {
        conn_close(other, CONN_END_NETWORK);
    }
    work->out_for = conn;
    work->out_len = 0;
}

void conn_forget_cork(struct conn *conn)
{
    struct work *work = conn->served->work;
    unsigned i = 0;

    if (!conn->corked)
        return;
    while (work->corked[i] != conn)
        i++;
    work->corked[i] = work->corked[--work->n_corked];
    conn->corked = false;
}

static void on_corked_too_long(struct loop_timer *timer)
{
    struct work *work = container_of(timer, struct work, cork_timer);

    while (work->n_corked > 0) {
        struct conn *conn = work->corked[0];
        if (conn_uncork(conn) < 0)
            conn_settle(conn);
    }
}

/* It has sent the next requests already: after this reply comes another one. */
static inline bool more_follows(const struct conn *conn)
{
    if (conn->state == CONN_READING)
        return conn->in.len > 0 && !list_empty(&conn->work_link) && !conn->starved && !conn->closing;
    return conn->state == CONN_HANDLING && !conn->closing;
}

/*
 * Replies that come one shortly after another leave together: to send each costs more than all the rest.
 * Whether LEN more bytes are held back.
 */
static bool cork(struct conn *conn, size_t len)
{
    struct work *work = conn->served->work;

    if (conn->out.len + len > CORK_BYTES || account_exceeded(&work->memory, CORK_BYTES))
        return false;
    if (!conn->corked && work->n_corked == WORK_CORKED)
        return false;
    if (!conn->corked)
        work->corked[work->n_corked++] = conn;
    conn->corked = true;
    if (!work->cork_timer.place)
        loop_timer_set(work->loop, &work->cork_timer, loop_now(work->loop) + CORK_MS, on_corked_too_long);
    return true;
}

#define WRITE_PARTS_MAX 3

/* What is held back, the scratch, and the parts of a message. */
#define SEND_PARTS_MAX (WRITE_PARTS_MAX + 2)

static int queue_parts(struct conn *conn, const struct iovec *parts, int n, size_t skip)
{
    for (int i = 0; i < n; i++) {
        size_t skipped = skip < parts[i].iov_len ? skip : parts[i].iov_len;
        int r = buf_append(&conn->out, &conn->served->work->memory, (char *)parts[i].iov_base + skipped,
                           parts[i].iov_len - skipped);
        if (r < 0)
            return r;
        skip -= skipped;
    }
    return 0;
}

/* What a send(2) of the connection has done: what the client took, 0 too; or the network's -errno. */
static inline ssize_t judge_sent(struct conn *conn, ssize_t sent)
{
    if (sent < 0)
        return errno == EAGAIN ? 0 : -errno;
    conn_count_out(conn, (size_t)sent);
    return sent;
}

static HOT ssize_t transmit(struct conn *conn, const char *data, size_t len)
{
    ssize_t sent;

    do
        sent = send(conn->source.fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return judge_sent(conn, sent);
}

static ssize_t transmit_parts(struct conn *conn, struct iovec *parts, int n)
{
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = (size_t)n };
    ssize_t sent;

    do
        sent = sendmsg(conn->source.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return judge_sent(conn, sent);
}

/* Sends PARTS, and queues of them what is not taken. */
static int send_new(struct conn *conn, struct iovec *parts, int n, size_t len)
{
    ssize_t sent = transmit_parts(conn, parts, n);

    if (sent < 0)
        return (int)sent;
    return (size_t)sent == len ? 0 : queue_parts(conn, parts, n, (size_t)sent);
}

/* The same behind what was held back. */
static int send_after_held(struct conn *conn, const struct iovec *parts, int n)
{
    struct iovec all[SEND_PARTS_MAX] = { { .iov_base = buf_data(&conn->out), .iov_len = conn->out.len } };

    memcpy(all + 1, parts, (size_t)n * sizeof *parts);
    ssize_t sent = transmit_parts(conn, all, n + 1);
    if (sent < 0)
        return (int)sent;
    size_t held = (size_t)sent < conn->out.len ? (size_t)sent : conn->out.len;
    buf_consume(&conn->out, &conn->served->work->memory, held);
    return queue_parts(conn, parts, n, (size_t)sent - held);
}

/* Sends PARTS, of LEN bytes in all, or queues them in conn->out. */
static int send_parts(struct conn *conn, struct iovec *parts, int n, size_t len)
{
    if (conn->out.len > 0 && !conn->corked)
        return queue_parts(conn, parts, n, 0);
    if (more_follows(conn) && cork(conn, len))
        return queue_parts(conn, parts, n, 0);
    if (!conn->corked)
        return send_new(conn, parts, n, len);
    conn_forget_cork(conn);
    return send_after_held(conn, parts, n);
}

int conn_write(struct conn *conn, const struct iovec *parts, int n)
{
    struct work *work = conn->served->work;
    size_t total = 0;

    assert(n <= WRITE_PARTS_MAX);
    claim_out(conn);
    for (int i = 0; i < n; i++)
        total += parts[i].iov_len;
    if (total <= WORK_SCRATCH - work->out_len) {
        for (int i = 0; i < n; i++) {
            memcpy(work->out + work->out_len, parts[i].iov_base, parts[i].iov_len);
            work->out_len += parts[i].iov_len;
        }
        return 0;
    }

    struct iovec all[WRITE_PARTS_MAX + 1] = { { .iov_base = work->out, .iov_len = work->out_len } };
    memcpy(all + 1, parts, (size_t)n * sizeof *parts);
    size_t held = work->out_len;
    work->out_len = 0;
    return send_parts(conn, all, n + 1, held + total);
}

/* Sends of conn->out what the client takes. */
static int flush_buffer(struct conn *conn)
{
    while (conn->out.len > 0) {
        ssize_t sent = transmit(conn, buf_data(&conn->out), conn->out.len);

        if (sent <= 0)
            return sent < 0 ? (int)sent : -EAGAIN;
        buf_consume(&conn->out, &conn->served->work->memory, (size_t)sent);
    }
    return 0;
}

/* Sends the scratch, or queues of it what is not taken. */
static int send_scratch(struct conn *conn, size_t len)
{
    struct work *work = conn->served->work;
    struct iovec part = { .iov_base = work->out, .iov_len = len };

    if (conn->out.len > 0 || more_follows(conn))
        return send_parts(conn, &part, 1, len);

    ssize_t sent = transmit(conn, work->out, len);
    if (sent < 0 || (size_t)sent == len)
        return sent < 0 ? (int)sent : 0;
    return buf_append(&conn->out, &work->memory, work->out + sent, len - (size_t)sent);
}

HOT int conn_flush(struct conn *conn)
{
    struct work *work = conn->served->work;
    size_t len = work->out_for == conn ? work->out_len : 0;

    if (len == 0)
        return conn->corked ? 0 : flush_buffer(conn);
    work->out_for = NULL;
    work->out_len = 0;
    int r = send_scratch(conn, len);
    if (r < 0)
        return r;
    return conn->out.len > 0 && !conn->corked ? -EAGAIN : 0;
}

int conn_uncork(struct conn *conn)
{
    if (!conn->corked)
        return 0;
    conn_forget_cork(conn);
    return flush_buffer(conn);
}
