/* A worker's common means, and its services; see served.h. */
#include "served.h"

#include "base/log.h"
#include "handler/handlers.h"
#include "log_ids.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A connection lingers for so long at most. */
#define LINGER_MS 5000

/*
 * Freed memory stays with the worker up to so much: given back to the kernel at once, that of a long message
 * is faulted in anew, page by page, for the next one, which costs as much as the message itself.
 */
#define KEPT_MEMORY (32 << 20)

int work_init(struct work *work, struct loop *loop, struct stats *stats, struct stats_page *page,
              size_t max_memory)
{
    *work = (struct work){
        .loop = loop, .stats = stats, .page = page, .memory.limit = max_memory, .outbox_fds = { -1, -1 }
    };
    mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY);
    mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
    list_init(&work->resumed);
    list_init(&work->starved);
    list_init(&work->served);
    spawner_link_init(&work->spawner, loop);
    work->in = malloc(WORK_SCRATCH);
    work->out = malloc(WORK_SCRATCH);
    if (work->in && work->out)
        return 0;
    work_done(work);
    return -ENOMEM;
}

void work_done(struct work *work)
{
    spawner_link_done(&work->spawner);
    loop_timer_stop(work->loop, &work->resume_timer);
    loop_timer_stop(work->loop, &work->cork_timer);
    loop_timer_stop(work->loop, &work->starved_timer);
    roster_done(&work->roster);
    loop_timer_stop(work->loop, &work->leave_timer);
    free(work->in);
    free(work->out);
    free(work->own_ports);
    work->in = work->out = NULL;
    work->own_ports = NULL;
}

static void init_timeouts(struct served *served, const struct served_timeouts *timeouts)
{
    const struct service *conf = served->conf;
    struct loop *loop = served->work->loop;
    const uint64_t span[TIMING_COUNT] = {
        [TIMING_IDLE] = conf->idle_timeout,
        [TIMING_REQUEST] = conf->request_timeout,
        [TIMING_HANDLER] = conf->handler_timeout,
        [TIMING_SEND] = conf->send_timeout,
        [TIMING_LINGER] = LINGER_MS,
    };

    for (int i = TIMING_NONE + 1; i < TIMING_COUNT; i++)
        deadlines_init(&served->timing[i], loop, span[i], timeouts->timing[i], served);
    deadlines_init(&served->session, loop, conf->session_timeout, timeouts->session, served);
    deadlines_init(&served->datagram, loop, conf->handler_timeout, timeouts->datagram, served);
}

static void say(const struct handler_host *host, const char *why)
{
    struct served *served = host->owner;
    struct work *work = served->work;
    bool same = served->settled && served->troubled == (why != NULL);

    served->settled = true;
    served->troubled = why != NULL;
    if (work->on_handler && !same)
        work->on_handler(served, why);
}

static void well(const struct handler_host *host)
{
    say(host, NULL);
}

static void report(const struct handler_host *host, const struct addr *peer, const char *text)
{
    served_log(host->owner, SERVICE_LOG_ERRORS, LOG_ID_REQUEST_FAILED, peer, "%s", text);
}

static void room(const struct handler_host *host)
{
    const struct served *served = host->owner;

    if (served->work->on_room)
        served->work->on_room(served->work);
}

static int push(const struct handler_host *host, uint64_t connection, const char *data, size_t len)
{
    struct served *served = host->owner;

    return served->push(served, connection, data, len);
}

static void init_host(struct served *served)
{
    struct work *work = served->work;

    served->host = (struct handler_host){
        .service = served->conf,
        .loop = work->loop,
        .spawner = &work->spawner,
        .memory = &work->memory,
        .stats = work->stats,
        .page = work->page,
        .slot = served->slot,
        .index = work->conf ? (uint32_t)(served->conf - work->conf->services) : 0,
        .worker = work->number,
        .n_workers = work->n_workers,
        .owner = served,
        .well = well,
        .trouble = say,
        .room = room,
        .push = push,
        .report = report,
    };
}

int served_new(struct work *work, const struct service *conf, int slot,
               const struct served_timeouts *timeouts, struct served **ret)
{
    struct served *served = calloc(1, sizeof *served);

    if (!served)
        return -ENOMEM;
    *served = (struct served){ .work = work,
                               .conf = conf,
                               .handler = handlers_find((enum handler_kind)conf->handler),
                               .slot = slot,
                               .stats = &work->page->service[slot] };
    list_init(&served->link);
    log_limit_init(&served->lines, work->loop, conf->name, "", SERVED_LINES_PER_SECOND);
    init_host(served);
    served->settled = !served->handler->settles;
    int r = served->handler->start ? served->handler->start(&served->host, &served->context) : 0;
    if (r < 0) {
        free(served);
        return r;
    }
    served->tracks = served->handler->tracks && served->handler->tracks(served->context);
    served->push = timeouts->push;
    list_init(&served->conns);
    init_timeouts(served, timeouts);
    list_append(&work->served, &served->link);
    *ret = served;
    return 0;
}

void served_free(struct served *served)
{
    log_limit_done(&served->lines);
    if (served->handler->stop)
        served->handler->stop(served->context);
    for (int i = TIMING_NONE + 1; i < TIMING_COUNT; i++)
        deadlines_done(&served->timing[i]);
    deadlines_done(&served->session);
    deadlines_done(&served->datagram);
    list_remove(&served->link);
    free(served);
}

/* How each failure is counted, and told where who found it has not. */
static const struct failure_row {
    size_t counter;    /* in struct stats_service */
    const char *words; /* NULL: it is logged already, with more than is known here */
} failure_rows[] = {
#define COUNTER(c) offsetof(struct stats_service, c)
    [REQUEST_FAILED_HANDLER] = { COUNTER(failed_handler), NULL },
    [REQUEST_FAILED_REPLY] = { COUNTER(failed_reply), NULL },
    [REQUEST_FAILED_TIMEOUT] = { COUNTER(failed_timeout), "handler_timeout passed" },
    [REQUEST_FAILED_QUEUE] = { COUNTER(failed_queue), "helper_queue is full" },
    [REQUEST_FAILED_QUEUE_TIMEOUT] = { COUNTER(failed_queue_timeout), "queue_timeout passed" },
#undef COUNTER
};

void served_count_failure(struct served *served, enum request_failure why)
{
    stats_add((stats_number *)(void *)((char *)served->stats + failure_rows[why].counter), 1);
}

void served_tell_failure(struct served *served, const struct request *request, enum request_failure why)
{
    const char *words = failure_rows[why].words;

    if (words)
        served_log(served, SERVICE_LOG_ERRORS, LOG_ID_REQUEST_FAILED, request->peer,
                   "a request of %zu bytes failed: %s", request->len, words);
}

void served_time(struct served *served, uint64_t since_us)
{
    stats_time(served->stats, loop_now_us(served->work->loop) - since_us);
}

bool served_allows(const struct served *served, const struct addr *peer)
{
    const struct service *conf = served->conf;

    for (size_t i = 0; i < conf->deny.len; i++)
        if (net_contains(&conf->deny.item[i], peer))
            return false;
    for (size_t i = 0; i < conf->allow.len; i++)
        if (net_contains(&conf->allow.item[i], peer))
            return true;
    return conf->allow.len == 0 || peer->family == AF_UNIX;
}

void served_log(struct served *served, enum service_log what, const char *id, const struct addr *peer,
                const char *format, ...)
{
    struct log_about about = { .id = id, .service = served->conf->name, .peer = peer };
    char text[512];
    va_list args;
    int level = what == SERVICE_LOG_ERRORS ? LOG_NOTICE : LOG_INFO;

    if (!served_logs(served, what) || !log_limit_take(&served->lines, level))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_write(level, &about, "%s", text);
}
