/* A question to the daemon; see ask.h. */
#include "client/ask.h"

#include "base/fd.h"
#include "base/text.h"
#include "client/clock.h"
#include "client/say.h"
#include "client/target.h"
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The longest answer, in bytes. */
#define ANSWER_MAX ((size_t)64 << 20)

void ask_init(struct ask *ret, const struct options *o, uint64_t timeout_ms)
{
    *ret = (struct ask){ .options = o, .timeout_ms = timeout_ms, .fd = -1, .account.limit = SIZE_MAX };
}

static void stop(struct ask *ask)
{
    fd_close(&ask->fd);
}

void ask_done(struct ask *ask)
{
    stop(ask);
    buf_done(&ask->answer, &ask->account);
}

int ask_left_ms(const struct ask *ask)
{
    return clock_left_ms(ask->start_ns, ask->timeout_ms);
}

/* Always -1. */
__attribute__((format(printf, 3, 4))) static int fail(struct ask *ask, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ask->why, sizeof(ask->why), format, args);
    va_end(args);
    ask->code = code;
    stop(ask);
    return -1;
}

static int connect_path(const struct ask *ask, const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    size_t len = strlen(path);
    int fd, r;

    if (len >= sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    memcpy(sa.sun_path, path, len);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    r = target_connect_fd(fd, &sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1),
                          ask_left_ms(ask));
    if (r < 0)
        fd_close(&fd);
    return r < 0 ? r : fd;
}

/* A descriptor, or -errno after remembering the place for the message. */
static int try_path(struct ask *ask, const char *path)
{
    int fd = connect_path(ask, path);
    size_t len = strlen(ask->tried);
    bool is_forbidden = fd == -EACCES || fd == -EPERM;

    if (fd >= 0)
        return fd;
    if (is_forbidden && !ask->is_forbidden)
        len = 0; /* what is forbidden matters more than what is absent */
    if (is_forbidden || !ask->is_forbidden)
        snprintf(ask->tried + len, sizeof(ask->tried) - len, "%s%s", len ? ", " : "", path);
    ask->is_forbidden |= is_forbidden;
    return fd;
}

/* The first daemon that is where one may be. */
static int try_places(struct ask *ask)
{
    char path[CONTROL_PATH_MAX];
    int fd = -ENOENT, r;

    for (unsigned place = 0; (r = control_path_find(place, path, sizeof(path))) != -ENOENT; place++) {
        if (r < 0)
            continue;
        fd = try_path(ask, path);
        if (fd >= 0)
            return fd;
    }
    return fd;
}

static int open_control(struct ask *ask)
{
    char path[CONTROL_PATH_MAX];
    int r;

    if (ask->options->control)
        return try_path(ask, ask->options->control);
    if (!ask->options->instance)
        return try_places(ask);
    r = control_path_instance(ask->options->instance, path, sizeof(path));
    return r < 0 ? r : try_path(ask, path);
}

static int fail_unreachable(struct ask *ask, int error)
{
    if (ask->is_forbidden)
        return fail(ask, EXIT_FORBIDDEN, "no permission for %s", ask->tried);
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return fail(ask, EXIT_NOT_RUNNING, "sockd is not running (no socket at %s)", ask->tried);
    case ECONNREFUSED:
        return fail(ask, EXIT_NOT_RUNNING, "sockd is not running (nobody listens at %s)", ask->tried);
    case EINVAL:
        return fail(ask, EXIT_MISUSED, "\"%s\" is no name of an instance", ask->options->instance);
    case ENAMETOOLONG:
        return fail(ask, EXIT_MISUSED, "the path of the control socket is too long");
    }
    return fail(ask, EXIT_REFUSED, "cannot connect to %s: %s", ask->tried, strerror(error));
}

int ask_start(struct ask *ask, const char *line)
{
    char text[1024];
    int len = snprintf(text, sizeof(text), "%s\n", line);

    stop(ask);
    if (ask->answer.len > 0)
        buf_consume(&ask->answer, &ask->account, ask->answer.len);
    ask->start_ns = clock_ns();
    ask->tried[0] = '\0';
    ask->is_forbidden = false;
    if ((size_t)len >= sizeof(text))
        return fail(ask, EXIT_MISUSED, "the words are too long");
    int fd = open_control(ask);
    if (fd < 0)
        return fail_unreachable(ask, -fd);
    ask->fd = fd;
    /* A daemon that has said no already, and reads no more, is heard all the same. */
    if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len && errno != EPIPE && errno != ECONNRESET)
        return fail(ask, EXIT_REFUSED, "no answer from the daemon: %s", strerror(errno));
    return 0;
}

/* Takes the first line away. The exit status it names, or -EPROTO when the answer is not whole. */
static int take_code(struct ask *ask)
{
    const char *data = buf_data(&ask->answer);
    const char *end = data ? memchr(data, '\n', ask->answer.len) : NULL;
    char line[40], *space;
    int64_t code, len;

    if (!end || (size_t)(end - data) >= sizeof(line))
        return -EPROTO;
    memcpy(line, data, (size_t)(end - data));
    line[end - data] = '\0';
    space = strchr(line, ' ');
    if (!space)
        return -EPROTO;
    *space = '\0';
    if (text_parse_int(line, 0, 255, &code) < 0 ||
        text_parse_int(space + 1, 0, (int64_t)ANSWER_MAX, &len) < 0)
        return -EPROTO;
    if (ask->answer.len - (size_t)(end + 1 - data) != (size_t)len)
        return -EPROTO;
    buf_consume(&ask->answer, &ask->account, (size_t)(end + 1 - data));
    return (int)code;
}

/* What the daemon has to say before its answer comes. */
static void take_notes(struct ask *ask)
{
    const char *data, *end;

    while (ask->answer.len > 0 && (data = buf_data(&ask->answer))[0] == '#' &&
           (end = memchr(data, '\n', ask->answer.len))) {
        size_t len = (size_t)(end - data);
        char safe[CONTROL_NOTE_MAX];

        text_make_safe(safe, sizeof(safe), data + 1, len - 1);
        if (ask->on_note)
            ask->on_note(safe + strspn(safe, " "));
        buf_consume(&ask->answer, &ask->account, len + 1);
    }
}

static int finish(struct ask *ask)
{
    int code = take_code(ask);

    if (code < 0)
        return fail(ask, EXIT_REFUSED, "the daemon ended before it answered");
    ask->code = code;
    stop(ask);
    return 1;
}

int ask_work(struct ask *ask)
{
    char span[TEXT_NUMBER_MAX];
    ssize_t n;

    while (buf_reserve(&ask->answer, &ask->account, 4096) == 0) {
        n = recv(ask->fd, buf_data(&ask->answer) + ask->answer.len, 4096, MSG_DONTWAIT);
        if (n > 0) {
            buf_added(&ask->answer, (size_t)n);
            take_notes(ask);
        }
        /* A daemon that closes before it has read all resets the connection; what it said came before. */
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return finish(ask);
        if (n < 0 && errno == EAGAIN && ask_left_ms(ask) == 0)
            return fail(ask, EXIT_REFUSED, "the daemon did not answer within %s",
                        text_print_time(span, ask->timeout_ms));
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0 && errno != EINTR)
            return fail(ask, EXIT_REFUSED, "no answer from the daemon: %s", strerror(errno));
        if (ask->answer.len > ANSWER_MAX)
            return fail(ask, EXIT_REFUSED, "the answer of the daemon is too long");
    }
    return fail(ask, EXIT_REFUSED, "out of memory");
}

int ask_whole(struct ask *ask, const char *line)
{
    int r = ask_start(ask, line);

    while (r == 0) {
        struct pollfd wait = { .fd = ask->fd, .events = POLLIN };

        poll(&wait, 1, ask_left_ms(ask));
        r = ask_work(ask);
    }
    return r < 0 ? r : 0;
}
