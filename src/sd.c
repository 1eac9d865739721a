/*
 * libsystemd is asked for the sockets and the watchdog; the notifications are the documented datagrams, since
 * sd_notify(3) opens a blocking socket for each.
 */
#include "sd.h"

#include "base/fd.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 100

/* LISTEN_FDS is there, but for a process that is not us. */
static bool meant_for_another(void)
{
    const char *pid = getenv("LISTEN_PID");

    return getenv("LISTEN_FDS") && pid && strtol(pid, NULL, 10) != (long)getpid();
}

static void read_sockets(struct sd *sd)
{
    bool another = meant_for_another();

    int n = sd_listen_fds_with_names(1, &sd->inherited);
    if (n > 0)
        sd->n_inherited = (size_t)n;
    sd->inherit_error = n < 0 ? n : another ? -ESRCH : 0;
}

/* NOTIFY_SOCKET: a path, or "@name" in the abstract name space. Other kinds of address are not for this
 * machine. */
static void read_notify(struct sd *sd)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path ? strlen(path) : 0;

    if (len < 2 || len >= sizeof(sd->address.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    sd->address.sun_family = AF_UNIX;
    memcpy(sd->address.sun_path, path, len);
    if (path[0] == '@')
        sd->address.sun_path[0] = '\0';
    sd->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    sd->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void read_watchdog(struct sd *sd)
{
    uint64_t usec = 0;

    if (sd_watchdog_enabled(1, &usec) > 0 && usec > 0)
        sd->watchdog_ms = usec / 2000 > 0 ? usec / 2000 : 1;
}

/* systemd says so itself since version 254; for the one before, the unit does. */
static void read_store(struct sd *sd)
{
    const char *max = getenv("FDSTORE");
    long n = max ? strtol(max, NULL, 10) : 0;

    if (n > 0 && sd->fd >= 0)
        sd->store_max = (size_t)n;
}

/* What is about this process, and yet for the program after it. */
static const char *const kept[SD_KEPT] = { "FDSTORE", "JOURNAL_STREAM", "NOTIFY_SOCKET", "WATCHDOG_PID",
                                           "WATCHDOG_USEC" };

static void keep_environment(struct sd *sd)
{
    for (size_t i = 0; i < SD_KEPT; i++) {
        const char *value = getenv(kept[i]);
        if (value && asprintf(&sd->environment[i], "%s=%s", kept[i], value) < 0)
            sd->environment[i] = NULL;
    }
}

char **sd_environment(const struct sd *sd)
{
    size_t n = 0, at = 0;

    while (environ[n])
        n++;
    char **all = calloc(n + SD_KEPT + 1, sizeof(*all));
    if (!all)
        return NULL;
    for (; at < n; at++)
        all[at] = environ[at];
    for (size_t i = 0; i < SD_KEPT; i++)
        if (sd->environment[i])
            all[at++] = sd->environment[i];
    return all;
}

void sd_open(struct sd *sd)
{
    *sd = (struct sd){ .fd = -1 };
    keep_environment(sd);
    sd->managed = getenv("NOTIFY_SOCKET") && getenv("INVOCATION_ID");
    read_sockets(sd);
    read_notify(sd);
    read_watchdog(sd);
    read_store(sd);
    unsetenv("FDSTORE");
    unsetenv("NOTIFY_SOCKET");
    unsetenv("LISTEN_PIDFDID");
    unsetenv("WATCHDOG_PID");
    unsetenv("WATCHDOG_USEC");
}

void sd_forget_journal(void)
{
    unsetenv("JOURNAL_STREAM");
}

/* 0, or -errno. Without a service manager everything was told. */
static int send_now(struct sd *sd, const char *text)
{
    ssize_t n;

    if (sd->fd < 0)
        return 0;
    do
        n = sendto(sd->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&sd->address,
                   sd->address_len);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static void drop_first(struct sd *sd)
{
    free(sd->queue[0]);
    sd->queue_len--;
    memmove(&sd->queue[0], &sd->queue[1], sd->queue_len * sizeof(sd->queue[0]));
}

static void send_queued(struct sd *sd)
{
    while (sd->queue_len > 0 && send_now(sd, sd->queue[0]) == 0)
        drop_first(sd);
}

static void on_retry(struct loop_timer *timer)
{
    struct sd *sd = container_of(timer, struct sd, retry);

    send_queued(sd);
    if (sd->queue_len > 0)
        loop_timer_set(sd->loop, timer, loop_now(sd->loop) + RETRY_MS, on_retry);
}

/* A change of state must arrive, and after those before it. */
static void tell_surely(struct sd *sd, const char *text)
{
    send_queued(sd);
    if (sd->queue_len == 0 && send_now(sd, text) == 0)
        return;
    if (sd->queue_len == SD_QUEUE)
        drop_first(sd);
    char *copy = strdup(text);
    if (copy)
        sd->queue[sd->queue_len++] = copy;
    if (sd->loop)
        loop_timer_set(sd->loop, &sd->retry, loop_now(sd->loop) + RETRY_MS, on_retry);
}

static void on_watchdog(struct loop_timer *timer)
{
    struct sd *sd = container_of(timer, struct sd, watchdog);

    send_now(sd, "WATCHDOG=1");
    loop_timer_set(sd->loop, timer, loop_now(sd->loop) + sd->watchdog_ms, on_watchdog);
}

void sd_start(struct sd *sd, struct loop *loop)
{
    sd->loop = loop;
    if (sd->watchdog_ms > 0 && sd->fd >= 0)
        loop_timer_set(loop, &sd->watchdog, loop_now(loop), on_watchdog);
}

void sd_close(struct sd *sd)
{
    send_queued(sd);
    while (sd->queue_len > 0)
        drop_first(sd);
    if (sd->loop) {
        loop_timer_stop(sd->loop, &sd->retry);
        loop_timer_stop(sd->loop, &sd->watchdog);
    }
    for (size_t i = 0; i < sd->n_inherited; i++)
        free(sd->inherited[i]);
    for (size_t i = 0; i < SD_KEPT; i++) {
        free(sd->environment[i]);
        sd->environment[i] = NULL;
    }
    free(sd->inherited);
    sd->inherited = NULL;
    sd->n_inherited = 0;
    fd_close(&sd->fd);
}

void sd_tell_ready(struct sd *sd)
{
    tell_surely(sd, "READY=1");
}

void sd_tell_reloading(struct sd *sd)
{
    struct timespec now;
    char text[80];

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    tell_surely(sd, text);
}

void sd_tell_stopping(struct sd *sd)
{
    tell_surely(sd, "STOPPING=1");
}

void sd_tell_status(struct sd *sd, const char *text)
{
    char message[512];

    if (sd->fd < 0)
        return;
    snprintf(message, sizeof(message), "STATUS=%s", text);
    send_now(sd, message);
}

static int send_with_fd(struct sd *sd, const char *text, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec iov = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
    struct msghdr message = {
        .msg_name = &sd->address,
        .msg_namelen = sd->address_len,
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof(control.space),
    };
    ssize_t n;

    control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS,
                                       .cmsg_len = CMSG_LEN(sizeof(int)) };
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    do
        n = sendmsg(sd->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static int unless_full(int r)
{
    return r == -EAGAIN || r == -ENOBUFS || r == -ETOOMANYREFS ? -EAGAIN : 0;
}

/* FDPOLL=0: otherwise systemd watches the socket, and throws it away at its first error; the answer of a host
 * that is not there is one, on a UDP socket. */
int sd_store(struct sd *sd, int fd, const char *name)
{
    char text[320];

    if (sd->fd < 0)
        return 0;
    snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
    return unless_full(send_with_fd(sd, text, fd));
}

int sd_unstore(struct sd *sd, const char *name)
{
    char text[320];

    snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
    return unless_full(send_now(sd, text));
}

void sd_extend_timeout(struct sd *sd, uint64_t ms)
{
    char message[80];

    snprintf(message, sizeof(message), "EXTEND_TIMEOUT_USEC=%llu", (unsigned long long)ms * 1000);
    send_now(sd, message);
}
