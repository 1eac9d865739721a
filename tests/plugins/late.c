/*
 * A plug-in that answers "MS TEXT" with TEXT after MS milliseconds, from a timer that the worker watches for
 * it, "go TEXT" when the file is there that its options name, and "now TEXT" inside `handle`. It says in its
 * log what it is told to forget, and in its `fini` what it still had.
 */
#include "sockd-plugin.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <syslog.h>
#include <unistd.h>

struct late {
    const struct sockd_host *host;
    struct sockd_service *service;
    struct held *first;
    char *go;
};

#define LOOK_MS 5

/* One that waits for its moment. */
struct held {
    struct held *next;
    struct late *late;
    struct sockd_request *request;
    struct sockd_watch *watch;
    int timer;
    bool until_go;
};

static void drop(struct held *held)
{
    struct held **at = &held->late->first;

    while (*at != held)
        at = &(*at)->next;
    *at = held->next;
    if (held->watch)
        held->late->host->unwatch(held->watch);
    close(held->timer);
    free(held);
}

static void answer(const struct sockd_host *host, struct sockd_request *request)
{
    size_t len;
    const char *data = host->data(request, &len);
    const char *text = memchr(data, ' ', len);

    if (text)
        host->reply(request, text + 1, len - (size_t)(text + 1 - data));
    else
        host->fail(request, "no text");
}

static int set_timer(const struct held *held, unsigned ms)
{
    struct itimerspec when = { .it_value = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L + 1 } };

    return timerfd_settime(held->timer, 0, &when, NULL);
}

/* The bytes are asked for anew: they have moved since `handle`. */
static void on_time(void *arg, uint32_t events)
{
    struct held *held = arg;
    struct late *late = held->late;
    struct sockd_request *request = held->request;

    (void)events;
    if (held->until_go && access(late->go, F_OK) < 0) {
        set_timer(held, LOOK_MS);
        return;
    }
    drop(held);
    answer(late->host, request);
}

static int hold(struct late *late, struct sockd_request *request, unsigned ms, bool until_go)
{
    struct held *held = calloc(1, sizeof *held);

    if (!held)
        return -1;
    *held = (struct held){ .next = late->first, .late = late, .request = request, .until_go = until_go };
    late->first = held;
    held->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (set_timer(held, ms) == 0)
        held->watch = late->host->watch(late->service, held->timer, EPOLLIN, on_time, held);
    if (held->watch)
        return 0;
    drop(held);
    return -1;
}

static void handle(void *context, struct sockd_request *request)
{
    struct late *late = context;
    char word[16] = "";
    size_t len;
    const char *data = late->host->data(request, &len);

    memcpy(word, data, len < sizeof word ? len : sizeof word - 1);
    if (strncmp(word, "now ", 4) == 0)
        answer(late->host, request);
    else if (hold(late, request, (unsigned)strtoul(word, NULL, 10), strncmp(word, "go ", 3) == 0) < 0)
        late->host->fail(request, "no timer");
}

static void cancel(void *context, struct sockd_request *request)
{
    struct late *late = context;

    for (struct held *held = late->first; held; held = held->next) {
        if (held->request == request) {
            drop(held);
            late->host->log(late->service, LOG_NOTICE, "forgets one");
            return;
        }
    }
    abort();
}

static int init(const struct sockd_host *host, struct sockd_service *service, const char *options,
                void **context)
{
    struct late *late = calloc(1, sizeof *late);

    if (!late)
        return ENOMEM;
    *late = (struct late){ .host = host, .service = service, .go = strdup(options) };
    *context = late;
    return 0;
}

static void fini(void *context)
{
    struct late *late = context;

    late->host->log(late->service, LOG_NOTICE, late->first ? "ends too early" : "ends");
    free(late->go);
    free(late);
}

const struct sockd_plugin sockd_plugin = {
    .size = sizeof(struct sockd_plugin),
    .abi = SOCKD_PLUGIN_ABI,
    .name = "late",
    .init = init,
    .handle = handle,
    .cancel = cancel,
    .fini = fini,
};
