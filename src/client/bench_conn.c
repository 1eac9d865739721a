/* A connection of a load: requests out, replies in, and whether they are complete; see bench_load.h. */
#include "client/bench_load.h"

#include "base/fd.h"
#include "client/clock.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* No reply is longer. */
#define REPLY_MAX ((size_t)1 << 30)

/* The room for an unfinished reply is at least so large. */
#define KEEP_LEAST ((size_t)16 << 10)

static void on_event(struct loop_source *source, uint32_t events);

void bench_conn_init(struct bench_conn *conn, struct bench_load *load, uint64_t *starts)
{
    *conn = (struct bench_conn){ .source.fd = -1, .load = load, .starts = starts };
    deadline_init(&conn->silence);
}

static void disconnect(struct bench_conn *conn)
{
    int fd = conn->source.fd;

    loop_remove(&conn->load->loop, &conn->source);
    fd_close(&fd);
    deadline_clear(&conn->silence);
    conn->scan = (struct frame_scan){ 0 };
    conn->in_len = conn->needed = conn->unsent = conn->position = 0;
    conn->up = conn->ended = false;
}

void bench_conn_done(struct bench_conn *conn)
{
    disconnect(conn);
    free(conn->in);
}

static void settle(struct bench_conn *conn)
{
    if (!conn->settled)
        bench_load_settled(conn->load);
    conn->settled = true;
}

static uint64_t take_start(struct bench_conn *conn)
{
    uint64_t start = conn->starts[conn->oldest];

    assert(conn->in_flight > 0);
    conn->oldest = conn->oldest + 1 == conn->load->plan->depth ? 0 : conn->oldest + 1;
    conn->in_flight--;
    conn->load->in_flight--;
    return start;
}

static void count_failure(struct bench_load *load, uint64_t start_ns, enum bench_error error)
{
    if (start_ns < load->began_ns)
        return;
    load->tally->errors[error]++;
    atomic_fetch_add_explicit(&load->tally->failed, 1, memory_order_relaxed);
}

void bench_conn_fail(struct bench_conn *conn, enum bench_error error)
{
    struct bench_load *load = conn->load;
    uint64_t start;

    /* Where there is no connection at all, the request that would go next has failed. */
    if (!conn->up && conn->in_flight == 0 && bench_load_begin(load, conn, clock_ns(), &start))
        count_failure(load, start, error);
    while (conn->in_flight > 0)
        count_failure(load, take_start(conn), error);
    disconnect(conn);
    settle(conn);
    deadline_set(&load->rest, &conn->silence);
    bench_load_check_end(load);
}

void bench_conn_give_up(struct bench_conn *conn)
{
    for (; conn->due > 0; conn->due--)
        count_failure(conn->load, conn->load->began_ns, BENCH_TIMEOUT);
    if (conn->in_flight > 0)
        bench_conn_fail(conn, BENCH_TIMEOUT);
}

void bench_conn_on_silence(struct deadline *deadline, void *owner)
{
    (void)owner;
    bench_conn_fail(container_of(deadline, struct bench_conn, silence), BENCH_TIMEOUT);
}

void bench_conn_on_rested(struct deadline *deadline, void *owner)
{
    struct bench_conn *conn = container_of(deadline, struct bench_conn, silence);

    (void)owner;
    if (conn->load->plan->new_connections)
        bench_conn_pump(conn, clock_ns());
    else
        bench_conn_open(conn);
}

static int open_socket(const struct bench_plan *plan)
{
    int type = plan->target.datagrams ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(plan->address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_un unbound = { .sun_family = AF_UNIX };

    if (fd < 0)
        return -1;
    if (plan->address.ss_family != AF_UNIX && type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    /* A datagram's reply needs an address to go to: the kernel gives an abstract one. */
    if (plan->address.ss_family == AF_UNIX && type == SOCK_DGRAM &&
        bind(fd, (struct sockaddr *)&unbound, sizeof(sa_family_t)) < 0)
        fd_close(&fd);
    return fd;
}

/* Sends what is unsent, as far as that is possible now. False when the connection failed. */
static bool flush(struct bench_conn *conn)
{
    const struct bench_plan *plan = conn->load->plan;

    while (conn->unsent > 0) {
        size_t len = plan->target.datagrams ? plan->frame_len : plan->wire_len - conn->position;
        ssize_t n = send(conn->source.fd, plan->wire + conn->position,
                         len < conn->unsent ? len : conn->unsent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
            break;
        if (n < 0) {
            bench_conn_fail(conn, conn->up ? BENCH_NETWORK : BENCH_CONNECT);
            return false;
        }
        conn->up = true;
        conn->unsent -= (size_t)n;
        conn->position = (conn->position + (size_t)n) % plan->frame_len;
    }
    if (conn->unsent == 0 && conn->up && conn->in_flight > 0 && plan->target.framing.kind == FRAME_CLOSE &&
        !plan->target.datagrams)
        shutdown(conn->source.fd, SHUT_WR);
    loop_change(&conn->load->loop, &conn->source,
                conn->unsent > 0 || !conn->up ? EPOLLIN | EPOLLOUT : EPOLLIN);
    return true;
}

void bench_conn_open(struct bench_conn *conn)
{
    const struct bench_plan *plan = conn->load->plan;
    int fd = open_socket(plan);
    int r = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&plan->address, plan->address_len);

    conn->up = r == 0;
    if (r < 0 && fd >= 0 && errno == EINPROGRESS)
        r = 0;
    if (r == 0)
        r = loop_add(&conn->load->loop, &conn->source, fd, conn->up ? EPOLLIN : EPOLLIN | EPOLLOUT, on_event);
    if (r < 0) {
        fd_close(&fd);
        bench_conn_fail(conn, BENCH_CONNECT);
        return;
    }
    if (!conn->up || conn->in_flight > 0)
        deadline_set(&conn->load->silence, &conn->silence);
    if (!conn->up)
        return;
    settle(conn);
    if (!plan->new_connections)
        bench_conn_pump(conn, clock_ns());
}

void bench_conn_pump(struct bench_conn *conn, uint64_t now_ns)
{
    struct bench_load *load = conn->load;
    size_t depth = load->plan->depth, n = 0;
    bool is_new = load->plan->new_connections && conn->source.fd < 0;
    uint64_t start;

    if (!is_new && !conn->up)
        return;
    while (conn->in_flight < depth && bench_load_begin(load, conn, now_ns, &start)) {
        size_t at = conn->oldest + conn->in_flight;

        conn->starts[at < depth ? at : at - depth] = start;
        conn->in_flight++;
        load->in_flight++;
        n++;
    }
    if (n == 0)
        return;
    if (is_new)
        bench_conn_open(conn);
    if (conn->source.fd < 0)
        return;
    conn->unsent += n * load->plan->frame_len;
    deadline_set(&load->silence, &conn->silence);
    flush(conn);
}

/* A whole reply has come. */
static void take_reply(struct bench_conn *conn, const char *data, size_t len, size_t frame_len, uint64_t now)
{
    struct bench_load *load = conn->load;
    const struct bench_plan *plan = load->plan;
    struct bench_tally *tally = load->tally;
    uint64_t start = take_start(conn);

    if (plan->expected && (len != plan->expected_len || memcmp(data, plan->expected, len) != 0)) {
        count_failure(load, start, BENCH_MISMATCH);
        return;
    }
    if (start < load->began_ns)
        return;
    histogram_add(&tally->latency, now - start);
    tally->bytes_in += frame_len;
    tally->bytes_out += plan->frame_len;
    tally->ended_ns = now;
    atomic_store_explicit(&tally->done, tally->latency.count, memory_order_relaxed);
}

/* Keeps what of DATA is unfinished. False without memory. */
static bool keep(struct bench_conn *conn, const char *data, size_t len)
{
    size_t cap = conn->needed > len ? conn->needed : 2 * len;

    if (cap < KEEP_LEAST)
        cap = KEEP_LEAST;
    if (len > 0 && cap > conn->in_cap) {
        /* DATA may lie in the buffer. */
        char *in = malloc(cap);

        if (!in)
            return false;
        memcpy(in, data, len);
        free(conn->in);
        conn->in = in;
        conn->in_cap = cap;
    } else if (len > 0) {
        memmove(conn->in, data, len);
    }
    conn->in_len = len;
    return true;
}

/* Takes the replies at the front of DATA. False when the connection failed. */
static bool take_replies(struct bench_conn *conn, const char *data, size_t len, uint64_t now)
{
    struct frame_input in = {
        &conn->load->plan->target.framing, &conn->scan, data, len, REPLY_MAX, conn->ended
    };
    struct frame_message m = { 0 };
    enum frame_result result = FRAME_MORE;

    conn->needed = 0;
    while (conn->in_flight > 0) {
        result = frame_next(&in, &m);
        if (result != FRAME_MESSAGE)
            break;
        const char *reply = in.data + m.start;
        frame_take(&in, &m);
        take_reply(conn, reply, m.len, m.frame_len, now);
    }
    if (result == FRAME_MORE)
        conn->needed = conn->in_flight > 0 ? m.frame_len : 0;
    if (result == FRAME_MORE && conn->ended && conn->in_flight > 0) {
        bench_conn_fail(conn, BENCH_CLOSED);
    } else if ((result != FRAME_MORE && result != FRAME_MESSAGE) || (conn->in_flight == 0 && in.len > 0)) {
        if (conn->in_flight == 0)
            count_failure(conn->load, now, BENCH_MALFORMED);
        bench_conn_fail(conn, conn->ended ? BENCH_CLOSED : BENCH_MALFORMED);
    } else if (!keep(conn, in.data, in.len)) {
        bench_conn_fail(conn, BENCH_NETWORK);
    } else {
        return true;
    }
    return false;
}

/* Replies have been taken: what comes next. */
static void go_on(struct bench_conn *conn, uint64_t now)
{
    const struct bench_plan *plan = conn->load->plan;

    if (conn->in_flight == 0 && (plan->new_connections || conn->ended)) {
        disconnect(conn);
        if (!plan->new_connections) {
            bench_conn_open(conn);
            bench_load_check_end(conn->load);
            return;
        }
    } else if (conn->in_flight == 0) {
        deadline_clear(&conn->silence);
    } else {
        deadline_set(&conn->load->silence, &conn->silence);
    }
    bench_conn_pump(conn, now);
    bench_load_check_end(conn->load);
}

/* Reads behind what is kept: a long reply lands where it will stay. Else into the scratch. */
static void receive(struct bench_conn *conn)
{
    size_t kept = conn->in_len, room = BENCH_SCRATCH;
    char *at = conn->load->scratch;

    if (kept > 0) {
        if (conn->in_cap == kept && !keep(conn, conn->in, kept)) {
            bench_conn_fail(conn, BENCH_NETWORK);
            return;
        }
        at = conn->in + kept;
        room = conn->in_cap - kept;
    }
    ssize_t n = recv(conn->source.fd, at, room, MSG_DONTWAIT);
    uint64_t now = clock_ns();

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        bench_conn_fail(conn, conn->up ? BENCH_NETWORK : BENCH_CONNECT);
        return;
    }
    conn->ended = n == 0;
    if (take_replies(conn, kept > 0 ? conn->in : conn->load->scratch, kept + (size_t)n, now))
        go_on(conn, now);
}

/* Each datagram is a reply; one that comes after its request was given up is none. */
static void receive_datagrams(struct bench_conn *conn)
{
    uint64_t now = clock_ns();

    for (;;) {
        ssize_t n = recv(conn->source.fd, conn->load->scratch, BENCH_SCRATCH, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) {
            bench_conn_fail(conn, BENCH_NETWORK);
            return;
        }
        if (conn->in_flight > 0)
            take_reply(conn, conn->load->scratch, (size_t)n, (size_t)n, now);
    }
    go_on(conn, now);
}

/* The outcome of an attempt to connect. False when it failed. */
static bool finish_connecting(struct bench_conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);

    getsockopt(conn->source.fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        bench_conn_fail(conn, BENCH_CONNECT);
        return false;
    }
    conn->up = true;
    if (conn->in_flight == 0)
        deadline_clear(&conn->silence);
    settle(conn);
    return true;
}

static void on_event(struct loop_source *source, uint32_t events)
{
    struct bench_conn *conn = container_of(source, struct bench_conn, source);
    bool was_up = conn->up;

    if (!was_up && !finish_connecting(conn))
        return;
    if (((events & EPOLLOUT) || !was_up) && !flush(conn))
        return;
    if (!was_up && !conn->load->plan->new_connections)
        bench_conn_pump(conn, clock_ns());
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || source->fd < 0)
        return;
    if (conn->load->plan->target.datagrams)
        receive_datagrams(conn);
    else
        receive(conn);
}
