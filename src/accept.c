/* Accepting connections; see accept.h. */
#include "accept.h"

#include "base/fd.h"
#include "conn.h"
#include "log_ids.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Connections taken in one turn, so that those that are open get theirs. */
#define ACCEPTS_PER_TURN 64

/* How often a worker that is at a limit looks whether there is room again. */
#define PAUSE_MS 50

/* A worker with far too many connections leaves for so long: who arrives meanwhile wakes another one. What is
 * in the backlog waits no longer than that. */
#define REST_MS 2
/* Connections over the fair share that are no reason to. */
#define REST_SLACK 4

/* So many failures in a row are not of so many connections: it will not succeed for now. */
#define FAILURES_MAX 64

/* How often it is told why accept(2) fails. */
#define TELL_FAILURE_MS 10000

static void on_acceptable(struct loop_source *source, uint32_t events);
static void on_pause_over(struct loop_timer *timer);

static int join(struct acceptor *acceptor)
{
    struct loop *loop = acceptor->served->work->loop;

    return loop_add(loop, &acceptor->source, acceptor->listener->fd, EPOLLIN | EPOLLEXCLUSIVE, on_acceptable);
}

static void pause_accepting(struct acceptor *acceptor)
{
    struct loop *loop = acceptor->served->work->loop;

    if (!acceptor->paused)
        acceptor->served->work->paused++;
    acceptor->paused = true;
    loop_remove(loop, &acceptor->source);
    loop_timer_set(loop, &acceptor->timer, loop_now(loop) + PAUSE_MS, on_pause_over);
}

static void end_pause(struct acceptor *acceptor)
{
    if (acceptor->paused)
        acceptor->served->work->paused--;
    acceptor->paused = false;
    loop_timer_stop(acceptor->served->work->loop, &acceptor->timer);
}

static bool over_connections(const struct served *served)
{
    return stats_sum_living(served->work->stats, served->slot, offsetof(struct stats_service, connections)) >=
           (uint64_t)served->conf->max_connections;
}

/* What runs for connections that a worker has no part in any more counts too. */
static bool over_programs(const struct served *served)
{
    return served->conf->handler == HANDLER_PROGRAM &&
           stats_sum_living(served->work->stats, served->slot, offsetof(struct stats_service, programs)) >=
               (uint64_t)served->conf->max_programs;
}

/* The limit of the service that is reached, by its key; NULL: none. */
static const char *reached_limit(const struct served *served)
{
    return over_connections(served) ? "max_connections" : over_programs(served) ? "max_programs" : NULL;
}

static bool over_rate(const struct served *served)
{
    const struct work *work = served->work;

    return served->conf->max_connection_rate && stats_rate(work->stats, served->slot, loop_now(work->loop)) >=
                                                    (uint64_t)served->conf->max_connection_rate;
}

/* True at a limit at which connections wait in the backlog. A service that is drained refuses instead. */
static bool must_wait(const struct served *served)
{
    const struct work *work = served->work;

    if (served->drained)
        return work_lacks_descriptors(work);
    if (served->handler->waits && served->handler->waits(served->context))
        return true;
    return work_lacks_descriptors(work) || over_rate(served) ||
           (served->conf->overload == OVERLOAD_WAIT && reached_limit(served));
}

/* Somebody is in the backlog. */
static bool is_awaited(const struct acceptor *acceptor)
{
    struct pollfd queue = { .fd = acceptor->listener->fd, .events = POLLIN };

    return poll(&queue, 1, 0) > 0 && (queue.revents & POLLIN);
}

/* A pause that keeps nobody waiting is none. Who waits is told of these counters, see shortage.h. */
static void count_pause(const struct acceptor *acceptor)
{
    const struct served *served = acceptor->served;

    if (!is_awaited(acceptor))
        return;
    if (work_lacks_descriptors(served->work))
        stats_add(&served->stats->paused_descriptors, 1);
    else if (over_rate(served))
        stats_add(&served->stats->paused_rate, 1);
    else if (reached_limit(served))
        stats_add(&served->stats->paused_limit, 1);
}

static void refuse(struct served *served, int fd, const struct addr *peer, stats_number *counter,
                   const char *why)
{
    stats_add(counter, 1);
    served_log(served, SERVICE_LOG_ERRORS, LOG_ID_REFUSED, peer, "refused: %s", why);
    conn_refuse(served, fd, peer, &served->conf->overload_reply);
}

/* Ends it politely, so that a balancer sees that the service is alive, and takes nothing. */
static void refuse_drained(struct served *served, int fd, const struct addr *peer)
{
    static char none[1];
    const struct bytes silence = { .data = none, .len = 0 };

    stats_add(&served->stats->refused_drained, 1);
    served_log(served, SERVICE_LOG_CONNECTIONS, LOG_ID_REFUSED, peer, "refused: the service is drained");
    conn_refuse(served, fd, peer, &silence);
}

/* It waited at a limit for what will not come. */
static void turn_away(struct served *served, int fd, const struct addr *peer)
{
    static char none[1];
    const struct bytes silence = { .data = none, .len = 0 };
    const struct bytes *reply = &served->conf->overload_reply;

    stats_add(&served->stats->accepted, 1);
    stats_add(&served->stats->refused_limit, 1);
    served_log(served, SERVICE_LOG_ERRORS, LOG_ID_REFUSED, peer,
               "refused: the listener is removed, and a limit reached");
    conn_refuse(served, fd, peer, reply->data ? reply : &silence);
}

/* Counts the connection for its source; false when that has too many. */
static bool admit_source(struct served *served, const struct addr *peer, bool *ret_counted)
{
    struct work *work = served->work;
    int64_t max = served->conf->max_connections_per_source;

    *ret_counted = false;
    if (max == 0)
        return true;
    unsigned n = stats_source_add(work->stats, work->page, served->slot, addr_source(peer));
    if (n > max) {
        stats_source_sub(work->page, served->slot, addr_source(peer));
        return false;
    }
    *ret_counted = n > 0;
    return true;
}

/* Decides about a connection that was accepted. */
static void admit(struct served *served, int fd, const struct addr *peer, const struct addr *local)
{
    struct work *work = served->work;
    const char *limit;
    bool counted_source;

    stats_add(&served->stats->accepted, 1);
    stats_add(&work->page->jobs, 1);
    if (served->conf->max_connection_rate)
        stats_rate_add(work->page, served->slot, loop_now(work->loop));
    if (!served_allows(served, peer)) {
        stats_add(&served->stats->refused_denied, 1);
        served_log(served, SERVICE_LOG_ERRORS, LOG_ID_REFUSED, peer, "refused: not in allow, or in deny");
        fd_close(&fd);
    } else if (served->drained) {
        refuse_drained(served, fd, peer);
    } else if (served->conf->overload == OVERLOAD_REFUSE && (limit = reached_limit(served))) {
        refuse(served, fd, peer, &served->stats->refused_limit, limit);
    } else if (!admit_source(served, peer, &counted_source)) {
        refuse(served, fd, peer, &served->stats->refused_source, "max_connections_per_source");
    } else {
        conn_open(served, fd, peer, local, counted_source);
    }
}

/* A Unix peer is known by its credentials, as they were at connect(2). unix(7), SO_PEERCRED. */
static void find_peer(int fd, const struct sockaddr_storage *name, struct addr *ret)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    addr_from_sockaddr(ret, name);
    if (ret->family != AF_UNIX || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return;
    ret->pid = cred.pid;
    ret->uid = cred.uid;
    ret->gid = cred.gid;
}

/* Our own address: that of the listener, unless it listens everywhere. */
static void find_local(int fd, const struct listener *listener, struct addr *ret)
{
    struct sockaddr_storage name = { 0 };
    socklen_t len = sizeof name;

    *ret = listener->addr;
    if (listener->transport == TRANSPORT_TCP && addr_is_any(ret) &&
        getsockname(fd, (struct sockaddr *)&name, &len) == 0)
        addr_from_sockaddr(ret, &name);
}

/* Of accept(2)'s errors those that concern us and not the one connection: there is no room. */
static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Somebody shut the listener: the kernel wakes us for it, and has nothing to give, for ever. */
static bool is_shut(int error)
{
    return error == EINVAL;
}

static void tell_failure(struct acceptor *acceptor, int error)
{
    uint64_t now_ms = loop_now(acceptor->served->work->loop);

    if (acceptor->told_failure_ms && now_ms - acceptor->told_failure_ms < TELL_FAILURE_MS)
        return;
    acceptor->told_failure_ms = now_ms;
    served_log(acceptor->served, SERVICE_LOG_ERRORS, LOG_ID_ACCEPT_FAILED, NULL,
               "cannot accept: %s; tried again every %d ms", strerror(error), PAUSE_MS);
}

/* accept(2) takes a descriptor before it looks whether somebody waits: without one it fails in any case. */
static void fail_accepting(struct acceptor *acceptor, int error)
{
    struct served *served = acceptor->served;

    if (is_shut(error) || is_awaited(acceptor)) {
        stats_add(&served->stats->accept_errors, 1);
        tell_failure(acceptor, error);
        if (is_shortage(error))
            stats_add(&served->stats->paused_descriptors, 1);
    }
    pause_accepting(acceptor);
}

/* It has not taken one. False when there is none now. */
static bool fail_one(struct acceptor *acceptor, int error)
{
    if (error == EAGAIN) {
        acceptor->failures = 0;
        return false;
    }
    if (is_shortage(error) || is_shut(error) || ++acceptor->failures >= FAILURES_MAX) {
        fail_accepting(acceptor, error);
        return false;
    }
    if (error != EINTR)
        stats_add(&acceptor->served->stats->accept_errors, 1);
    return true;
}

/* Takes one connection. False when there is none now. */
static bool accept_one(struct acceptor *acceptor)
{
    struct served *served = acceptor->served;
    struct sockaddr_storage name = { .ss_family = AF_UNIX };
    socklen_t len = sizeof name;
    struct addr peer, local;
    int fd = accept4(acceptor->listener->fd, (struct sockaddr *)&name, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return fail_one(acceptor, errno);
    acceptor->failures = 0;
    find_peer(fd, &name, &peer);
    find_local(fd, acceptor->listener, &local);
    if (acceptor->left && must_wait(served))
        turn_away(served, fd, &peer);
    else
        admit(served, fd, &peer, &local);
    return true;
}

/* How many connections this worker has, and what is clearly more than its share of all who listen; false when
 * it is alone. */
static bool weigh(const struct work *work, uint64_t *ret_mine, uint64_t *ret_limit)
{
    uint64_t all = 0, workers = 0;

    for (int i = 0, end = stats_pages_end(work->stats); i < end; i++) {
        const struct stats_page *page = stats_page(work->stats, i);

        if (page && stats_get(&page->listening)) {
            all += stats_get(&page->connections);
            workers++;
        }
    }
    *ret_mine = stats_get(&work->page->connections);
    *ret_limit = workers > 0 ? (all + all / 8) / workers : 0;
    return workers > 1;
}

static void on_rest_over(struct loop_timer *timer)
{
    struct acceptor *acceptor = container_of(timer, struct acceptor, timer);

    if (join(acceptor) < 0)
        pause_accepting(acceptor);
}

static void rest(struct acceptor *acceptor)
{
    struct loop *loop = acceptor->served->work->loop;

    loop_remove(loop, &acceptor->source);
    loop_timer_set(loop, &acceptor->timer, loop_now(loop) + REST_MS, on_rest_over);
}

/* Leaves the next connections to others, if this worker has too many. True when it did. */
static bool give_way(struct acceptor *acceptor)
{
    uint64_t mine, limit;

    if (!weigh(acceptor->served->work, &mine, &limit) || mine <= limit + 1)
        return false;
    if (mine > limit + REST_SLACK)
        rest(acceptor);
    else
        acceptor_rearm(acceptor);
    return true;
}

static void on_acceptable(struct loop_source *source, uint32_t events)
{
    struct acceptor *acceptor = container_of(source, struct acceptor, source);

    (void)events;
    for (int n = 0; n < ACCEPTS_PER_TURN; n++) {
        if (must_wait(acceptor->served)) {
            count_pause(acceptor);
            pause_accepting(acceptor);
            return;
        }
        if (!accept_one(acceptor))
            return;
        if (give_way(acceptor))
            return;
    }
}

int acceptor_open(struct served *served, const struct listener *listener, struct acceptor **ret)
{
    struct acceptor *acceptor = malloc(sizeof *acceptor);

    if (!acceptor)
        return -ENOMEM;
    *acceptor = (struct acceptor){ .source.fd = -1, .served = served, .listener = listener };
    list_init(&acceptor->link);
    int r = join(acceptor);
    if (r < 0) {
        free(acceptor);
        return r;
    }
    *ret = acceptor;
    return 0;
}

void acceptor_rearm(struct acceptor *acceptor)
{
    if (acceptor->source.fd < 0)
        return;
    loop_remove(acceptor->served->work->loop, &acceptor->source);
    if (join(acceptor) < 0)
        pause_accepting(acceptor);
}

void acceptor_resume(struct acceptor *acceptor)
{
    struct loop *loop = acceptor->served->work->loop;

    /* While it leaves, what it takes may make room. */
    if (!acceptor->paused || acceptor->left)
        return;
    if (must_wait(acceptor->served)) {
        if (!acceptor->timer.place)
            loop_timer_set(loop, &acceptor->timer, loop_now(loop) + PAUSE_MS, on_pause_over);
        return;
    }
    end_pause(acceptor);
    if (join(acceptor) < 0)
        pause_accepting(acceptor);
}

static void on_pause_over(struct loop_timer *timer)
{
    struct acceptor *acceptor = container_of(timer, struct acceptor, timer);

    if (must_wait(acceptor->served))
        count_pause(acceptor);
    acceptor_resume(acceptor);
}

void acceptor_leave(struct acceptor *acceptor, bool take_rest)
{
    if (acceptor->left)
        return;
    acceptor->left = true;
    loop_remove(acceptor->served->work->loop, &acceptor->source);
    while (take_rest && (acceptor->removed || !must_wait(acceptor->served)) && accept_one(acceptor))
        ;
    end_pause(acceptor);
}

void acceptor_free(struct acceptor *acceptor)
{
    if (!acceptor)
        return;
    acceptor_leave(acceptor, false);
    list_remove(&acceptor->link);
    free(acceptor);
}
