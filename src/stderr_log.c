/* Standard errors into the log; see stderr_log.h. */
#include "stderr_log.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Read at once. */
#define CHUNK ((size_t)16 * 1024)

/* One whole line, or what was kept of it. */
static void end_line(struct stderr_log *log)
{
    struct log_about about = { .id = LOG_ID_STDERR, .service = log->lines->service };
    char text[2 * STDERR_LINE_MAX];

    if (log->len > 0 && log->line[log->len - 1] == '\r')
        log->len--;
    text_escape(log->last, sizeof(log->last), log->line, log->len);
    if (log_limit_take(log->lines, LOG_NOTICE)) {
        text_escape(text, sizeof(text), log->line, log->len);
        log_write(LOG_NOTICE, &about, "[pid %d] %s%s", (int)log->pid, text, log->cut ? "..." : "");
    }
    log->len = 0;
    log->cut = false;
}

static void take_bytes(struct stderr_log *log, const char *data, size_t n)
{
    while (n > 0) {
        const char *end = memchr(data, '\n', n);
        size_t part = end ? (size_t)(end - data) : n;
        size_t room = sizeof(log->line) - log->len;
        size_t kept = part < room ? part : room;

        memcpy(log->line + log->len, data, kept);
        log->len += kept;
        log->cut = log->cut || kept < part;
        if (end)
            end_line(log);
        part += end != NULL;
        data += part;
        n -= part;
    }
}

/* Bytes read; 0 at the end; -EAGAIN. */
static ssize_t read_some(struct stderr_log *log)
{
    char data[CHUNK];
    ssize_t n;

    do
        n = read(log->fd, data, sizeof(data));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? -EAGAIN : 0;
    take_bytes(log, data, (size_t)n);
    return n;
}

static void on_readable(struct loop_source *source, uint32_t events);

static void on_pause_over(struct loop_timer *timer)
{
    struct stderr_log *log = container_of(timer, struct stderr_log, pause);

    if (loop_add(log->lines->loop, &log->source, log->fd, EPOLLIN, on_readable) < 0)
        stderr_log_close(log);
}

/* A flood would take all of our time: the writer waits. */
static void check_flood(struct stderr_log *log, size_t n)
{
    struct loop *loop = log->lines->loop;
    uint64_t second = loop_now(loop) / 1000;

    if (second != log->second)
        log->bytes = 0;
    log->second = second;
    log->bytes += n;
    if (log->bytes < STDERR_BYTES_PER_SECOND)
        return;
    loop_remove(loop, &log->source); /* not only asked for no input: the end would be told again and again */
    loop_timer_set(loop, &log->pause, (second + 1) * 1000, on_pause_over);
}

static void on_readable(struct loop_source *source, uint32_t events)
{
    struct stderr_log *log = container_of(source, struct stderr_log, source);

    (void)events;
    ssize_t n = read_some(log);
    if (n == 0) {
        stderr_log_close(log);
        log->on_end(log);
    } else if (n > 0) {
        check_flood(log, (size_t)n);
    }
}

int stderr_log_open(struct stderr_log *log, struct log_limit *lines, int fd, pid_t pid,
                    void (*on_end)(struct stderr_log *log))
{
    log->lines = lines;
    log->on_end = on_end;
    log->source.fd = -1;
    log->pause = (struct loop_timer){ .place = 0 };
    log->fd = fd;
    log->pid = pid;
    log->len = log->bytes = 0;
    log->cut = false;
    log->last[0] = '\0';
    int r = loop_add(lines->loop, &log->source, fd, EPOLLIN, on_readable);
    if (r < 0)
        fd_close(&log->fd);
    return r;
}

bool stderr_log_drain(struct stderr_log *log)
{
    /* A pipe holds at most 1 MiB (pipe(7)); one that a grandchild goes on filling is not read for ever. */
    for (size_t total = 0; log->fd >= 0 && total <= STDERR_BYTES_PER_SECOND;) {
        ssize_t n = read_some(log);
        if (n < 0)
            return false;
        if (n == 0)
            stderr_log_close(log);
        total += (size_t)n;
    }
    return log->fd < 0;
}

void stderr_log_close(struct stderr_log *log)
{
    if (log->fd < 0)
        return;
    if (log->len > 0)
        end_line(log);
    loop_timer_stop(log->lines->loop, &log->pause);
    loop_remove(log->lines->loop, &log->source);
    fd_close(&log->fd);
}
