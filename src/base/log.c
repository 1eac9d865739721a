/*
 * The log of every process. See log.h for where a line goes.
 *
 * A line is one write(2) or one datagram, of at most PIPE_BUF bytes: a pipe takes so much whole or not at
 * all. Standard error may be shared with a shell or another daemon, so its O_NONBLOCK is never touched: pipes
 * and terminals are opened anew, sockets are asked with MSG_DONTWAIT. What cannot be written is counted and
 * told with the next line that can. errno is as it was, so that "%m" and the caller's own use of it both
 * work.
 *
 * It does not limit rates; who logs what strangers can cause often does.
 */
#include "base/log.h"

#include "base/addr.h"
#include "base/fd.h"
#include "base/text.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINE_LEN_MAX PIPE_BUF
/* What stands before the text on a line: the time, pid and worker, the level, two line ends. */
#define HEAD_MAX 96
/* The text with its NUL. */
#define TEXT_MAX (LINE_LEN_MAX - HEAD_MAX)
/* The longest value of a field of the journal that is not the message. */
#define VALUE_MAX 256
/* A field's name, its length and line ends. */
#define FIELD_MAX (VALUE_MAX + 32)

#define JOURNAL_PATH "/run/systemd/journal/socket"

/* How standard error is written without waiting. */
enum sink {
    SINK_SHARED, /* as it is, after poll(2) said yes: files, and what cannot be opened anew */
    SINK_OWN,    /* a non-blocking description of our own */
    SINK_SOCKET,
};

static struct {
    const char *program; /* borrows; NULL before log_open() */
    const char *journal_path;
    int level;
    enum sink sink;
    int own_fd;       /* owns; for SINK_OWN */
    int journal_fd;   /* owns; -1 when lines go to standard error */
    const char *role; /* borrows; NULL: none */
    unsigned worker, generation;
    bool stream;      /* standard error is the journal's stream */
    bool torn;        /* the last line on standard error was cut in its middle */
    pid_t losses_pid; /* whose losses these are: a fork begins anew */
    uint64_t dropped, untold;
} state = {
    .journal_path = JOURNAL_PATH,
    .level = LOG_INFO,
    .own_fd = -1,
    .journal_fd = -1,
};

static const int levels[] = { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERR };
const char *const log_level_words[] = { "debug", "info", "notice", "warning", "error", NULL };

int log_parse_level(const char *word)
{
    for (size_t i = 0; log_level_words[i]; i++)
        if (strcmp(word, log_level_words[i]) == 0)
            return levels[i];
    return -EINVAL;
}

const char *log_level_word(int level)
{
    for (size_t i = 0; log_level_words[i]; i++)
        if (level >= levels[i])
            return log_level_words[i];
    return "error"; /* what is more urgent is one as well */
}

void log_set_level(int level)
{
    state.level = level;
}

bool log_wants(int level)
{
    return level <= state.level;
}

void log_set_process(const char *role, unsigned worker, unsigned generation)
{
    state.role = role;
    state.worker = worker;
    state.generation = generation;
}

void log_set_journal_path(const char *path)
{
    state.journal_path = path ? path : JOURNAL_PATH;
}

static void forget_losses_of_parent(void)
{
    pid_t pid = getpid();

    if (state.losses_pid == pid)
        return;
    state.losses_pid = pid;
    state.dropped = state.untold = 0;
}

uint64_t log_dropped(void)
{
    forget_losses_of_parent();
    return state.dropped;
}

uint64_t log_untold(void)
{
    forget_losses_of_parent();
    return state.untold;
}

void log_add_losses(uint64_t n)
{
    forget_losses_of_parent();
    state.dropped += n;
    state.untold += n;
}

int log_fd(void)
{
    return state.journal_fd >= 0 ? state.journal_fd : state.own_fd;
}

void log_close(void)
{
    fd_close(&state.own_fd);
    fd_close(&state.journal_fd);
    state.program = NULL;
    state.sink = SINK_SHARED;
    state.stream = state.torn = false;
}

void log_last_words(void)
{
    if (state.stream)
        fd_close(&state.journal_fd);
}

/* True when JOURNAL_STREAM, which is "device:inode", names this file; systemd.exec(5). */
static bool is_journal_stream(const struct stat *st)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char *colon, *end;
    unsigned long long dev, ino;

    if (!stream)
        return false;
    dev = strtoull(stream, &colon, 10);
    if (colon == stream || *colon != ':')
        return false;
    ino = strtoull(colon + 1, &end, 10);
    return end != colon + 1 && *end == '\0' && dev == st->st_dev && ino == st->st_ino;
}

/* False when the path is too long to be one. */
static bool journal_address(struct sockaddr_un *ret)
{
    size_t len = strlen(state.journal_path);

    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (len >= sizeof(ret->sun_path))
        return false;
    memcpy(ret->sun_path, state.journal_path, len);
    return true;
}

/*
 * A socket for datagrams to the journal, or -1 when nobody listens there. It stays unconnected: each datagram
 * finds the journal by its path, so that a new one is found after it was restarted.
 */
static int open_journal(void)
{
    const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
    struct sockaddr_un sun;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (!journal_address(&sun) || connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
        connect(fd, &nowhere, sizeof(nowhere)) < 0)
        fd_close(&fd);
    return fd;
}

void log_open(const char *program, int level)
{
    struct stat st;

    log_close();
    tzset();
    state.program = program;
    state.level = level;
    if (fstat(STDERR_FILENO, &st) < 0)
        return; /* closed: every line will be counted as lost */
    state.stream = is_journal_stream(&st);
    if (state.stream)
        state.journal_fd = open_journal();
    if (S_ISSOCK(st.st_mode)) {
        state.sink = SINK_SOCKET;
    } else if (S_ISFIFO(st.st_mode) || isatty(STDERR_FILENO)) {
        state.own_fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_APPEND | O_NOCTTY | O_CLOEXEC);
        state.sink = state.own_fd >= 0 ? SINK_OWN : SINK_SHARED;
    }
}

/* A datagram of the journal's native protocol, systemd.io/JOURNAL_NATIVE_PROTOCOL. */
struct entry {
    size_t len;
    char bytes[TEXT_MAX + 8 * FIELD_MAX];
};

static void add_bytes(struct entry *e, const void *bytes, size_t len)
{
    assert(len <= sizeof(e->bytes) - e->len);
    memcpy(e->bytes + e->len, bytes, len);
    e->len += len;
}

/* In the form with a length, in which no value can be taken for another field. */
static void add_field(struct entry *e, const char *name, const char *value, size_t len)
{
    uint64_t len_le = htole64(len);

    add_bytes(e, name, strlen(name));
    add_bytes(e, "\n", 1);
    add_bytes(e, &len_le, sizeof(len_le));
    add_bytes(e, value, len);
    add_bytes(e, "\n", 1);
}

static void add_word(struct entry *e, const char *name, const char *value)
{
    size_t len = strlen(value);

    add_field(e, name, value, len < VALUE_MAX ? len : VALUE_MAX);
}

static void add_number(struct entry *e, const char *name, unsigned value)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", value);
    add_word(e, name, text);
}

static bool has_peer(const struct log_about *about)
{
    return about && about->peer && about->peer->family != AF_UNSPEC;
}

/* All fields but the message. */
static void begin_entry(struct entry *e, int level, const struct log_about *about)
{
    char peer[ADDR_TEXT_MAX];

    e->len = 0;
    add_number(e, "PRIORITY", (unsigned)level);
    add_word(e, "SYSLOG_IDENTIFIER", state.program);
    if (about && about->id)
        add_word(e, "MESSAGE_ID", about->id);
    if (about && about->service)
        add_word(e, "SOCKD_SERVICE", about->service);
    if (about && has_peer(about))
        add_word(e, "SOCKD_PEER", addr_print(peer, about->peer));
    if (about && about->worker > 0)
        add_number(e, "SOCKD_WORKER", about->worker);
    else if (state.worker > 0)
        add_number(e, "SOCKD_WORKER", state.worker);
    if (about && about->generation > 0)
        add_number(e, "SOCKD_GENERATION", about->generation);
    else if (state.generation > 0)
        add_number(e, "SOCKD_GENERATION", state.generation);
}

/* 0 or -errno. A message that is too long for one datagram is halved until it fits. */
static int send_to_journal(int level, const struct log_about *about, const char *text)
{
    size_t room = TEXT_MAX, text_len = strlen(text);
    struct sockaddr_un sun;
    struct entry e;

    if (!journal_address(&sun))
        return -ENAMETOOLONG;
    for (;;) {
        char message[TEXT_MAX];
        size_t len = text_make_safe(message, room, text, text_len);

        begin_entry(&e, level, about);
        add_field(&e, "MESSAGE", message, len);
        if (sendto(state.journal_fd, e.bytes, e.len, MSG_NOSIGNAL, (struct sockaddr *)&sun, sizeof(sun)) >= 0)
            return 0;
        if (errno == EMSGSIZE && room > 64)
            room = (room < len ? room : len) / 2;
        else if (errno != EINTR)
            return -errno;
    }
}

/* As write(2) to standard error, but never waits. */
static ssize_t put(const char *bytes, size_t len)
{
    struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };

    switch (state.sink) {
    case SINK_OWN: {
        ssize_t n = write(state.own_fd, bytes, len);
        if (n >= 0 || errno != EBADF)
            return n;
        break; /* somebody closed it, who may have left standard error */
    }
    case SINK_SOCKET:
        return send(STDERR_FILENO, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    case SINK_SHARED:
        break;
    }
    if (poll(&out, 1, 0) < 0)
        return -1;
    if (out.revents == POLLOUT) /* with POLLERR nobody reads, and writing raises SIGPIPE */
        return write(STDERR_FILENO, bytes, len);
    errno = EAGAIN;
    return -1;
}

/* "2026-11-21 22:45:29.123 [4242 worker 2] ", "... [4243 spawner] ", "... [4241] "; nothing before
 * log_open(). */
static size_t print_origin(char *ret, size_t size)
{
    struct timespec now;
    struct tm tm;
    size_t len;
    int n;

    if (!state.program)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    len = strftime(ret, size, "%Y-%m-%d %H:%M:%S", &tm);
    n = snprintf(ret + len, size - len, ".%03ld [%d", now.tv_nsec / 1000000, (int)getpid());
    len += (size_t)n;
    if (state.worker > 0)
        n = snprintf(ret + len, size - len, " worker %u] ", state.worker);
    else
        n = snprintf(ret + len, size - len, "%s%s] ", state.role ? " " : "", state.role ? state.role : "");
    return len + (size_t)n;
}

/* What stands before the text: for the journal's stream the level alone, sd-daemon(3); it adds the rest. */
static size_t print_head(char *ret, size_t size, int level)
{
    bool named = level <= LOG_WARNING || level >= LOG_DEBUG;

    if (state.stream)
        return (size_t)snprintf(ret, size, "<%d>", level);
    size_t len = print_origin(ret, size);
    if (named)
        len += (size_t)snprintf(ret + len, size - len, "%s: ", log_level_word(level));
    return len;
}

/* 0 or -errno. After a line that was cut, this one begins on a new line. */
static int write_line(int level, const char *text)
{
    char line[LINE_LEN_MAX + 1];
    size_t len = 0;
    ssize_t n;

    if (state.torn)
        line[len++] = '\n';
    len += print_head(line + len, HEAD_MAX, level);
    len += (size_t)snprintf(line + len, sizeof(line) - len, "%s\n", text);
    assert(len < sizeof(line));

    do
        n = put(line, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    state.torn = (size_t)n < len && (n > 0 || state.torn);
    return (size_t)n < len ? -ENOSPC : 0;
}

/* TEXT is safe. 0 or -errno: lost. */
static int emit(int level, const struct log_about *about, const char *text)
{
    if (state.journal_fd >= 0) {
        int r = send_to_journal(level, about, text);

        if (r == 0 || r == -EAGAIN || r == -ENOBUFS)
            return r; /* a journal that is slow is not gone */
    }
    return write_line(level, text);
}

/* 0, or -errno as long as nothing gets through. */
static int write_losses(void)
{
    static const struct log_about about = { .id = LOG_ID_LOST };
    char text[80];
    int r = 0;

    if (state.untold > 0) {
        snprintf(text, sizeof(text), "%llu log line%s lost: %s could not be written at once",
                 (unsigned long long)state.untold, state.untold == 1 ? " was" : "s were",
                 state.untold == 1 ? "it" : "they");
        r = emit(LOG_WARNING, &about, text);
    }
    if (r == 0)
        state.untold = 0;
    return r;
}

void log_tell_losses(void)
{
    int saved_errno = errno;

    forget_losses_of_parent();
    write_losses();
    errno = saved_errno;
}

/* "service: peer: text", safe, cut to TEXT_MAX. */
__attribute__((format(printf, 3, 0))) static void compose(char ret[TEXT_MAX], const struct log_about *about,
                                                          const char *format, va_list args)
{
    char raw[TEXT_MAX + 1], peer[ADDR_TEXT_MAX]; /* one more than fits: what it cuts is marked as cut */
    const char *service = about ? about->service : NULL;
    bool with_peer = has_peer(about);
    size_t len;

    if (with_peer)
        addr_print(peer, about->peer);
    len = (size_t)snprintf(raw, sizeof(raw), "%.*s%s%s%s", VALUE_MAX, service ? service : "",
                           service ? ": " : "", with_peer ? peer : "", with_peer ? ": " : "");
    vsnprintf(raw + len, sizeof(raw) - len, format, args);
    text_make_safe(ret, TEXT_MAX, raw, strlen(raw));
}

void log_write(int level, const struct log_about *about, const char *format, ...)
{
    int saved_errno = errno;
    char text[TEXT_MAX];
    va_list args;

    if (!log_wants(level))
        return;
    va_start(args, format);
    compose(text, about, format, args);
    va_end(args);

    forget_losses_of_parent();
    if (write_losses() < 0 || emit(level, about, text) < 0) {
        state.dropped++;
        state.untold++;
    }
    errno = saved_errno;
}
