/*
 * sockctl pipe: both ways at once, each with one buffer of its own, so that a side that does not read holds
 * up only what is meant for it. Standard input and output stay blocking, since they may be shared with
 * others; they are touched only after poll(2), and with no more than goes through.
 */
#include "client/pipe.h"

#include "base/fd.h"
#include "client/say.h"
#include "client/target.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* One direction. */
struct flow {
    int from, to;
    size_t to_limit; /* so much can be written after poll(2) without blocking */
    size_t head, len;
    bool from_ended, to_ended;
    int from_error, to_error; /* errno, 0: in peace */
    char data[64 << 10];
};

/* A pipe takes PIPE_BUF bytes when it says that it is writable; a file takes all. */
static size_t limit_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? SIZE_MAX : PIPE_BUF;
}

static void read_some(struct flow *f)
{
    ssize_t n = read(f->from, f->data, sizeof(f->data));

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    f->from_error = n < 0 ? errno : 0;
    f->from_ended = n <= 0;
    f->head = 0;
    f->len = n > 0 ? (size_t)n : 0;
}

static void write_some(struct flow *f)
{
    size_t len = f->len < f->to_limit ? f->len : f->to_limit;
    ssize_t n = send(f->to, f->data + f->head, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && errno == ENOTSOCK)
        n = write(f->to, f->data + f->head, len);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n < 0) {
        f->to_error = errno;
        f->to_ended = true;
        return;
    }
    f->head += (size_t)n;
    f->len -= (size_t)n;
}

/* What the direction waits for; a descriptor that it does not wait for is left out, since errors would be
 * reported without end. */
static void fill_poll(const struct flow *f, struct pollfd wait[2])
{
    bool reads = f->len == 0 && !f->from_ended && !f->to_ended;
    bool writes = f->len > 0 && !f->to_ended;

    wait[0] = (struct pollfd){ .fd = reads ? f->from : -1, .events = POLLIN };
    wait[1] = (struct pollfd){ .fd = writes ? f->to : -1, .events = POLLOUT };
}

static void move(struct flow *f, const struct pollfd wait[2])
{
    if (wait[0].fd >= 0 && wait[0].revents)
        read_some(f);
    if (wait[1].fd >= 0 && wait[1].revents)
        write_some(f);
}

/* True when all that came has gone. */
static bool is_through(const struct flow *f)
{
    return f->from_ended && f->len == 0;
}

static int judge(const struct flow *out, const struct flow *in, const struct target *t)
{
    char text[TARGET_TEXT_MAX];

    target_print(text, t);
    if (in->to_error)
        say("cannot write to standard output: %s", strerror(in->to_error));
    else if (out->from_error)
        say("cannot read standard input: %s", strerror(out->from_error));
    else if (in->from_error)
        say("the connection to %s failed: %s", text, strerror(in->from_error));
    else if (out->to_error || out->len > 0)
        say("%s ended the connection before it had taken all of the input", text);
    else
        return EXIT_WELL;
    return EXIT_REFUSED;
}

static int flow_both(int fd, const struct target *t)
{
    static struct flow out, in; /* too large for comfort on the stack */
    struct pollfd wait[4];
    bool is_shut = false;

    out = (struct flow){ .from = STDIN_FILENO, .to = fd, .to_limit = SIZE_MAX };
    in = (struct flow){ .from = fd, .to = STDOUT_FILENO, .to_limit = limit_of(STDOUT_FILENO) };
    while (!is_through(&in) && !in.to_ended) {
        if (is_through(&out) && !is_shut) {
            shutdown(fd, SHUT_WR);
            is_shut = true;
        }
        fill_poll(&out, wait);
        fill_poll(&in, wait + 2);
        if (poll(wait, 4, -1) < 0) {
            if (errno == EINTR)
                continue;
            say("cannot go on: %s", strerror(errno));
            return EXIT_REFUSED;
        }
        move(&out, wait);
        move(&in, wait + 2);
    }
    return judge(&out, &in, t);
}

int pipe_run(struct options *o)
{
    struct target target;
    int fd, status = target_init(&target, o);

    if (status)
        return status;
    if (target.datagrams)
        return say_misuse("service %s has datagrams only; pipe needs a stream", o->service);
    fd = target_connect(&target);
    if (fd < 0)
        return EXIT_REFUSED;
    status = flow_both(fd, &target);
    fd_close(&fd);
    return status;
}
