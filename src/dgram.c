/* Datagram sockets; see dgram.h, udp(7), ip(7) IP_PKTINFO, ipv6(7). */
#include "dgram.h"

#include "base/fd.h"
#include "log_ids.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* What is taken at most when a socket is left: more than its queue holds, so that a flood cannot keep us. */
#define LEAVE_BATCHES 64

static void free_request(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct dgram_request, garbage));
}

/* The request is over, in whichever way. */
static void finish(struct dgram_request *r)
{
    struct dgram *dgram = r->dgram;
    struct work *work = dgram->served->work;

    r->finished = true;
    if (r->serving)
        return;
    list_remove(&r->link);
    if (dgram->left && !dgram_is_busy(dgram))
        fd_close(&dgram->fd);
    stats_sub(&dgram->served->stats->in_hand, 1);
    if (r->held_us)
        served_time(dgram->served, r->held_us);
    deadline_clear(&r->deadline);
    buf_done(&r->copy, &work->memory);
    work->memory.used -= sizeof *r;
    loop_free_later(work->loop, &r->garbage, free_request);
    if (work->on_room)
        work->on_room(work);
}

/* True when a reply may go: it is not what an amplifier would send. */
static bool may_reply(struct dgram_request *r, size_t len)
{
    struct served *served = r->dgram->served;
    uint64_t ratio = (uint64_t)served->conf->max_reply_ratio;

    if (r->dgram->listener->transport == TRANSPORT_UDP && ratio && len > ratio * r->request.len) {
        stats_add(&served->stats->datagrams_ratio, 1);
        return false;
    }
    if (r->name_len <= sizeof(sa_family_t)) {
        stats_add(&served->stats->datagrams_unsent, 1);
        return false;
    }
    return true;
}

/* A datagram never gets an error reply: it could be an error itself. */
static void on_fail(struct request *request, enum request_failure why)
{
    struct dgram_request *r = container_of(request, struct dgram_request, request);

    served_count_failure(r->dgram->served, why);
    served_tell_failure(r->dgram->served, request, why);
    finish(r);
}

static void on_reply(struct request *request, const char *data, size_t len)
{
    struct dgram_request *r = container_of(request, struct dgram_request, request);
    struct served *served = r->dgram->served;

    if (len > served->conf->max_reply || len > DGRAM_MAX) {
        served_log(served, SERVICE_LOG_ERRORS, LOG_ID_REQUEST_FAILED, &r->peer, "a reply of %zu bytes is %s",
                   len, len > served->conf->max_reply ? "over max_reply" : "too long for a datagram");
        on_fail(request, REQUEST_FAILED_REPLY);
        return;
    }
    if (len > 0 && may_reply(r, len)) {
        if (r->serving)
            dgram_queue(r, data, len);
        else
            dgram_send(r, data, len);
    }
    stats_add(&served->stats->replies, 1);
    if (served_logs(served, SERVICE_LOG_REQUESTS))
        served_log(served, SERVICE_LOG_REQUESTS, LOG_ID_REQUEST, &r->peer,
                   "datagram of %zu bytes, reply of %zu", request->len, len);
    finish(r);
}

static void on_silence(struct request *request)
{
    struct dgram_request *r = container_of(request, struct dgram_request, request);

    stats_add(&r->dgram->served->stats->silences, 1);
    if (served_logs(r->dgram->served, SERVICE_LOG_REQUESTS))
        served_log(r->dgram->served, SERVICE_LOG_REQUESTS, LOG_ID_REQUEST, &r->peer,
                   "datagram of %zu bytes, no reply", request->len);
    finish(r);
}

/* There is no connection that could end. */
static void on_part(struct request *request)
{
    (void)request;
}

static const struct request_ops dgram_request_ops = {
    .reply = on_reply, .silence = on_silence, .fail = on_fail, .part = on_part
};

void dgram_on_handler_late(struct deadline *deadline, void *owner)
{
    struct dgram_request *r = container_of(deadline, struct dgram_request, deadline);
    struct served *served = owner;

    served->handler->cancel(served->context, &r->request);
    on_fail(&r->request, REQUEST_FAILED_TIMEOUT);
}

static struct dgram_request *new_request(struct dgram *dgram)
{
    struct dgram_request *r = dgram_request_new(dgram->served->work->datagrams);

    if (!r)
        return NULL;
    list_append(&dgram->held, &r->link);
    r->dgram = dgram;
    r->request = (struct request){ .ops = &dgram_request_ops, .peer = &r->peer, .local = &r->local };
    r->finished = false;
    r->held_us = 0;
    return r;
}

/* The handler answers later: keeps what it needs until then. */
static void hold(struct dgram_request *r)
{
    struct served *served = r->dgram->served;
    struct account *memory = &served->work->memory;

    stats_add(&served->stats->in_hand, 1);
    deadline_init(&r->deadline);
    if (!served->handler->times_itself)
        deadline_set(&served->datagram, &r->deadline);
    bool full = account_exceeded(memory, sizeof *r + r->request.len);
    memory->used += sizeof *r;
    if (full || buf_append(&r->copy, memory, r->request.data, r->request.len) < 0) {
        served->handler->cancel(served->context, &r->request);
        stats_add(&served->stats->ended_memory, 1);
        finish(r);
        return;
    }
    r->request.data = r->copy.base ? buf_data(&r->copy) : "";
    r->held_us = loop_now_us(served->work->loop);
}

static void serve(struct dgram_request *r, const char *data, size_t len)
{
    struct served *served = r->dgram->served;

    r->request.data = data;
    r->request.len = len;
    stats_add(&served->stats->requests, 1);
    r->serving = true;
    served->handler->request(served->context, &r->request);
    r->serving = false;
    if (!r->finished) {
        hold(r);
        return;
    }
    stats_add(&served->stats->duration[0], 1);
    list_remove(&r->link);
    list_append(&served->work->datagrams->spare, &r->link);
}

static bool is_own_port(const struct work *work, uint16_t port)
{
    for (size_t i = 0; i < work->n_own_ports; i++)
        if (work->own_ports[i] == port)
            return true;
    return false;
}

/* Counts and drops what must not be answered. */
static bool admit(struct dgram *dgram, const struct addr *peer, size_t len, bool truncated)
{
    struct served *served = dgram->served;
    const struct service *conf = served->conf;
    struct work *work = served->work;
    int64_t max = conf->max_datagrams_per_source;

    if (served->drained) {
        stats_add(&served->stats->datagrams_drained, 1);
        return false;
    }
    if (truncated || len > conf->max_request) {
        stats_add(&served->stats->datagrams_too_long, 1);
        return false;
    }
    if (dgram->listener->transport != TRANSPORT_UDP)
        return true;
    if (!addr_is_sender(peer) || is_own_port(work, peer->port) || (peer->port < 1024 && !conf->low_ports)) {
        stats_add(&served->stats->datagrams_bad_sender, 1);
        return false;
    }
    if (!served_allows(served, peer)) {
        stats_add(&served->stats->refused_denied, 1);
        return false;
    }
    if (!addr_is_loopback(peer) && stats_sender_add(work->stats, work->page, served->slot, addr_source(peer),
                                                    loop_now(work->loop)) > max) {
        stats_add(&served->stats->refused_source, 1);
        return false;
    }
    return true;
}

static void receive_one(struct dgram *dgram, int i)
{
    struct served *served = dgram->served;
    struct dgram_batch *batch = served->work->datagrams;
    struct msghdr *message = &batch->in[i].msg_hdr;
    size_t len = batch->in[i].msg_len;
    struct addr peer;

    stats_add(&served->stats->datagrams_in, 1);
    stats_add(&served->stats->bytes_in, len);
    addr_from_sockaddr(&peer, &batch->in_name[i]);
    if (!admit(dgram, &peer, len, message->msg_flags & MSG_TRUNC))
        return;

    struct dgram_request *r = new_request(dgram);
    if (!r)
        return;
    r->peer = peer;
    dgram_find_local(dgram, message, &r->local);
    r->name_len = message->msg_namelen;
    memcpy(&r->name, &batch->in_name[i], r->name_len);
    serve(r, batch->data[i], len);
}

/* Takes and serves one batch. False when there is nothing (more) now. */
static bool receive_batch(struct dgram *dgram)
{
    int n = dgram_receive(dgram);

    if (n <= 0)
        return n < 0 && n != -EAGAIN && n != -EBADF;
    stats_add(&dgram->served->work->page->jobs, (uint64_t)n);
    for (int i = 0; i < n; i++)
        receive_one(dgram, i);
    dgram_send_queued(dgram);
    return n == DGRAM_BATCH;
}

static void on_datagrams(struct loop_source *source, uint32_t events)
{
    (void)events;
    receive_batch(container_of(source, struct dgram, source));
}

static int join(struct dgram *dgram)
{
    return loop_add(dgram->served->work->loop, &dgram->source, dgram->fd, EPOLLIN | EPOLLEXCLUSIVE,
                    on_datagrams);
}

int dgram_open(struct served *served, const struct listener *listener, struct dgram **ret)
{
    struct work *work = served->work;
    struct dgram *dgram = malloc(sizeof *dgram);

    if (!work->datagrams)
        work->datagrams = dgram_batch_new();
    if (!dgram || !work->datagrams) {
        free(dgram);
        return -ENOMEM;
    }
    *dgram = (struct dgram){ .source.fd = -1, .served = served, .listener = listener, .fd = listener->fd };
    list_init(&dgram->link);
    list_init(&dgram->held);
    int r = join(dgram);
    if (r < 0) {
        free(dgram);
        return r;
    }
    *ret = dgram;
    return 0;
}

void dgram_rearm(struct dgram *dgram)
{
    if (dgram->left)
        return;
    loop_remove(dgram->served->work->loop, &dgram->source);
    join(dgram);
}

void dgram_leave(struct dgram *dgram, bool take_rest)
{
    if (dgram->left)
        return;
    loop_remove(dgram->served->work->loop, &dgram->source);
    for (int n = 0; take_rest && n < LEAVE_BATCHES && receive_batch(dgram); n++)
        ;
    dgram->left = true;
    dgram->fd = dgram_is_busy(dgram) ? fcntl(dgram->fd, F_DUPFD_CLOEXEC, 3) : -1;
}

bool dgram_is_busy(const struct dgram *dgram)
{
    return !list_empty(&dgram->held);
}

void dgram_free(struct dgram *dgram)
{
    if (!dgram)
        return;
    dgram_leave(dgram, false);
    while (!list_empty(&dgram->held)) { /* one that is cancelled may end others */
        struct dgram_request *r = container_of(dgram->held.next, struct dgram_request, link);

        dgram->served->handler->cancel(dgram->served->context, &r->request);
        stats_add(&dgram->served->stats->cancelled, 1);
        r->held_us = 0;
        finish(r);
    }
    list_remove(&dgram->link);
    free(dgram);
}
