/*
 * A conversation with a server. A server that has closed its side may have sent replies before, so a failure
 * to send only ends the sending.
 */
#include "client/talk.h"

#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* As much as is asked for at once, in bytes; no datagram is longer. */
#define READ_SIZE ((size_t)64 << 10)

int talk_open(struct talk *ret, const struct target *t)
{
    int fd = target_connect(t);

    if (fd < 0)
        return -1;
    *ret = (struct talk){ .fd = fd, .datagrams = t->datagrams, .framing = &t->framing };
    ret->account.limit = SIZE_MAX;
    return 0;
}

void talk_close(struct talk *talk)
{
    buf_done(&talk->in, &talk->account);
    buf_done(&talk->out, &talk->account);
    fd_close(&talk->fd);
}

static int send_datagram(struct talk *talk, const char *data, size_t len)
{
    struct pollfd wait = { .fd = talk->fd, .events = POLLOUT };

    while (send(talk->fd, data, len, MSG_NOSIGNAL) < 0) {
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
        if (errno == EAGAIN && poll(&wait, 1, -1) < 0 && errno != EINTR)
            return -errno;
    }
    talk->n_out += len;
    return 0;
}

int talk_put(struct talk *talk, const char *data, size_t len)
{
    return buf_append(&talk->out, &talk->account, data, len);
}

int talk_ask(struct talk *talk, const char *data, size_t len, enum frame_end end)
{
    struct frame_dress dress;
    int r;

    if (talk->datagrams)
        return send_datagram(talk, data, len);
    r = frame_dress(talk->framing, end, data, len, &dress);
    if (r < 0)
        return r;
    r = talk_put(talk, dress.head, dress.head_len);
    if (r == 0)
        r = talk_put(talk, data, len);
    if (r == 0)
        r = talk_put(talk, dress.tail, dress.tail_len);
    return r;
}

void talk_end(struct talk *talk)
{
    talk->end_wanted = !talk->datagrams;
}

short talk_events(const struct talk *talk)
{
    short events = 0;

    if (!talk->in_ended)
        events |= POLLIN;
    if (!talk->out_ended && (talk->out.len > 0 || talk->end_wanted))
        events |= POLLOUT;
    return events;
}

static void send_more(struct talk *talk)
{
    ssize_t n;

    while (talk->out.len > 0) {
        n = send(talk->fd, buf_data(&talk->out), talk->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            talk->error = errno;
            talk->out_ended = true;
            buf_done(&talk->out, &talk->account);
            return;
        }
        talk->n_out += (uint64_t)n;
        buf_consume(&talk->out, &talk->account, (size_t)n);
    }
    if (talk->end_wanted) {
        shutdown(talk->fd, SHUT_WR);
        talk->out_ended = true;
    }
}

static int receive_more(struct talk *talk)
{
    ssize_t n;
    int r;

    if (talk->datagrams && talk->has_datagram)
        return 0;
    r = buf_reserve(&talk->in, &talk->account, READ_SIZE);
    if (r < 0)
        return r;
    do
        n = recv(talk->fd, buf_data(&talk->in) + talk->in.len, READ_SIZE, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        buf_added(&talk->in, (size_t)n);
        talk->n_in += (uint64_t)n;
    }
    if (n >= 0 && talk->datagrams)
        talk->has_datagram = true;
    else if (n == 0)
        talk->in_ended = true;
    if (n < 0 && errno != EAGAIN) {
        talk->error = errno;
        talk->in_ended = talk->out_ended = true;
    }
    if (talk->in.len == 0)
        buf_done(&talk->in, &talk->account);
    return 0;
}

int talk_work(struct talk *talk, short revents)
{
    int r = 0;

    if ((revents & (POLLIN | POLLHUP | POLLERR)) && !talk->in_ended)
        r = receive_more(talk);
    if ((revents & (POLLOUT | POLLHUP | POLLERR)) && !talk->out_ended)
        send_more(talk);
    return r;
}

int talk_wait(struct talk *talk, int limit_ms)
{
    struct pollfd wait = { .fd = talk->fd, .events = talk_events(talk) };
    int n = poll(&wait, 1, limit_ms);
    int r;

    if (n <= 0)
        return n < 0 ? -errno : 0;
    r = talk_work(talk, wait.revents);
    return r < 0 ? r : 1;
}

static enum frame_result next_bytes(const struct talk *talk, size_t len, struct frame_message *ret)
{
    *ret = (struct frame_message){ .frame_len = len, .len = len };
    return len > 0 || talk->has_datagram ? FRAME_MESSAGE : FRAME_MORE;
}

enum frame_result talk_next(struct talk *talk, struct frame_message *ret)
{
    if (talk->datagrams || talk->framing->kind == FRAME_CLOSE)
        return next_bytes(talk, talk->in.len, ret);
    if (talk->in.len == 0)
        return FRAME_MORE;

    const struct frame_input in = { .framing = talk->framing,
                                    .scan = &talk->scan,
                                    .data = buf_data(&talk->in),
                                    .len = talk->in.len,
                                    .max = BUF_MAX / 2,
                                    .end = talk->in_ended };
    return frame_next(&in, ret);
}

void talk_drop(struct talk *talk, const struct frame_message *m)
{
    assert(m->frame_len <= talk->in.len);
    talk->scan = (struct frame_scan){ 0 };
    talk->has_datagram = false;
    if (m->frame_len > 0)
        buf_consume(&talk->in, &talk->account, m->frame_len);
}
