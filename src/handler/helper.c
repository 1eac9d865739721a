/* The pool: requests wait in a queue and are dealt to helpers; see helper.h. */
#include "handler/helper.h"

#include "base/log.h"
#include "handler/helper_pool.h"
#include "log_ids.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A helper whose pipe is full, and that has so many bytes before it, gets nothing on top. */
#define AHEAD_BYTES ((size_t)64 * 1024)

/* A helper whose replies take longer than this gets one request at a time. */
#define SLOW_US 1000

#define LINES_PER_SECOND 20

/* Connections come in while no helper works for so long; after that, others may take them. */
#define DOWN_MS 250

/* A byte of a reply may take so many in JSON, \\u0000, and all around it so many more. */
#define JSON_GROWTH 6
#define JSON_FRAME  1024

struct stats_service *pool_stats(const struct pool *pool)
{
    return &pool->host->page->service[pool->host->slot];
}

struct job *pool_take_job(struct pool *pool)
{
    struct job *job;

    if (!list_empty(&pool->spare)) {
        job = container_of(pool->spare.next, struct job, link);
        list_remove(&job->link);
    } else {
        job = malloc(sizeof *job);
        if (!job)
            return NULL;
    }
    *job = (struct job){ .pool = pool, .since_ms = loop_now(pool->host->loop) };
    list_init(&job->link);
    deadline_init(&job->waiting);
    deadline_init(&job->working);
    return job;
}

void pool_give_job(struct pool *pool, struct job *job)
{
    deadline_clear(&job->waiting);
    deadline_clear(&job->working);
    list_remove(&job->link);
    list_append(&pool->spare, &job->link);
}

static void count_queued(struct pool *pool, int change)
{
    pool->n_queued += (unsigned)change;
    stats_set(&pool_stats(pool)->queue, pool->n_queued);
    const struct job *first = container_of(pool->queue.next, struct job, link);
    stats_set(&pool_stats(pool)->queue_oldest, list_empty(&pool->queue) ? 0 : first->since_ms);
}

static void unqueue(struct pool *pool, struct job *job)
{
    list_remove(&job->link);
    count_queued(pool, -1);
}

static void enqueue(struct pool *pool, struct list *before, struct job *job)
{
    list_append(before, &job->link);
    count_queued(pool, 1);
    pool_deal_soon(pool);
}

void pool_requeue(struct pool *pool, struct job *job)
{
    list_remove(&job->link);
    deadline_clear(&job->working);
    job->helper = NULL;
    enqueue(pool, pool->queue.next, job);
}

/* How much it has in hand; UINT_MAX when there is no room for one more request. */
static unsigned load_of(const struct helper *helper)
{
    if (helper->in_fd < 0 || helper->rolling || helper->resting || !helper_takes_requests(helper))
        return UINT_MAX;
    if (helper->in_line >= helper->depth || helper->to.len >= AHEAD_BYTES)
        return UINT_MAX;
    return helper->in_line;
}

static struct helper *find_least_busy(struct pool *pool)
{
    struct helper *best = NULL;
    unsigned least = UINT_MAX;

    for (unsigned i = 0; i < pool->n_helpers && least > 0; i++) {
        unsigned load = load_of(&pool->helpers[i]);

        if (load < least) {
            least = load;
            best = &pool->helpers[i];
        }
    }
    return best;
}

/* After what may have emptied the queue, or left something in it: the master tells it, see shortage.h. */
static void judge_busy(struct pool *pool)
{
    stats_number *since = &pool_stats(pool)->queue_since;

    if (list_empty(&pool->queue))
        stats_set(since, 0);
    else if (stats_get(since) == 0)
        stats_set(since, loop_now(pool->host->loop));
}

/* The first of the queue to HELPER. */
static void deal_one(struct pool *pool, struct helper *helper)
{
    struct job *job = container_of(pool->queue.next, struct job, link);
    struct request *request = job->request;

    unqueue(pool, job);
    int r = helper_put(helper, job, request->data, request->len);
    if (r == 0)
        return;
    if (log_limit_take(&pool->lines, LOG_NOTICE)) {
        struct log_about about = { .id = LOG_ID_REQUEST_FAILED,
                                   .service = pool->conf->name,
                                   .peer = request->peer };

        log_write(LOG_NOTICE, &about, "a request of %zu bytes cannot be given to a helper: %s", request->len,
                  r == -EBADMSG ? "it does not fit helper_framing" : strerror(-r));
    }
    pool_give_job(pool, job);
    request_fail(request, REQUEST_FAILED_HANDLER);
}

static void deal(struct pool *pool)
{
    struct helper *helper;

    while (!list_empty(&pool->queue) && (helper = find_least_busy(pool)))
        deal_one(pool, helper);
    judge_busy(pool);
}

static void on_turn(struct loop_timer *timer)
{
    struct pool *pool = container_of(timer, struct pool, turn_timer);

    deal(pool);
    for (unsigned i = 0; i < pool->n_helpers; i++) {
        struct helper *helper = &pool->helpers[i];

        if (!helper->dirty)
            continue;
        helper_flush(helper);
        if (pool->json)
            helper_judge_backlog(helper);
    }
}

void pool_deal_soon(struct pool *pool)
{
    if (!pool->turn_timer.place)
        loop_timer_set(pool->host->loop, &pool->turn_timer, 0, on_turn);
}

/* For helpers of the service, in all workers. */
static uint64_t waiting(const struct pool *pool)
{
    const struct handler_host *host = pool->host;

    return stats_sum_living(host->stats, host->slot, offsetof(struct stats_service, queue));
}

/* What waits only for the end of this turn is not counted. */
static bool is_full(struct pool *pool)
{
    if (waiting(pool) < (uint64_t)pool->conf->helper_queue)
        return false;
    deal(pool);
    pool_deal_soon(pool); /* what was dealt is to be written */
    return waiting(pool) >= (uint64_t)pool->conf->helper_queue && !find_least_busy(pool);
}

/* Dealt at the end of the turn: a request must not be answered while it is put into a queue. */
static void on_request(void *context, struct request *request)
{
    struct pool *pool = context;
    struct job *job = is_full(pool) ? NULL : pool_take_job(pool);

    if (!job) {
        request_fail(request, REQUEST_FAILED_QUEUE);
        return;
    }
    job->request = request;
    request->held = job;
    deadline_set(&pool->waiting, &job->waiting);
    enqueue(pool, &pool->queue, job);
}

static void on_cancel(void *context, struct request *request)
{
    struct pool *pool = context;
    struct job *job = request->held;

    assert(job->request == request);
    job->request = NULL;
    if (job->helper) {
        deadline_clear(&job->waiting);
        return; /* it keeps its place in the line, and its reply is swallowed */
    }
    unqueue(pool, job);
    pool_give_job(pool, job);
    judge_busy(pool);
}

static bool queues(const struct request *request)
{
    const struct job *job = request->held;

    return !job->helper;
}

static void on_waited_too_long(struct deadline *deadline, void *owner)
{
    struct pool *pool = owner;
    struct job *job = container_of(deadline, struct job, waiting);
    struct request *request = job->request;

    if (job->helper) {
        helper_job_waited(job);
        return;
    }
    unqueue(pool, job);
    pool_give_job(pool, job);
    request_fail(request, REQUEST_FAILED_QUEUE_TIMEOUT);
    judge_busy(pool);
}

static void on_worked_too_long(struct deadline *deadline, void *owner)
{
    struct job *job = container_of(deadline, struct job, working);

    (void)owner;
    helper_job_late(job);
}

static void on_connected(void *context)
{
    struct pool *pool = context;

    for (unsigned i = 0; i < pool->n_helpers; i++)
        if (pool->helpers[i].state == HELPER_ABSENT)
            helper_ask(&pool->helpers[i]);
}

static void on_lost(void *context)
{
    struct pool *pool = context;

    for (unsigned i = 0; i < pool->n_helpers; i++)
        helper_lost(&pool->helpers[i]);
}

static struct pool *new_pool(const struct handler_host *host)
{
    struct pool *pool = calloc(1, sizeof *pool);
    unsigned n = spawner_helpers_of(host->service, host->worker, host->n_workers);

    assert(n > 0); /* a worker without one does not serve it */
    if (!pool)
        return NULL;
    *pool = (struct pool){
        .host = host,
        .conf = host->service,
        .json = host->service->helper_protocol == HELPER_JSON,
        .times_each = host->service->helper_protocol == HELPER_JSON && !host->service->one_way,
        .framing = host->service->helper_framing.is,
        .max_message = host->service->max_reply,
        .slow_us = SLOW_US,
    };
    if (pool->json) {
        pool->framing = (struct framing){ .kind = FRAME_LINE };
        pool->max_message = host->service->max_reply * JSON_GROWTH + JSON_FRAME;
    }
    log_limit_init(&pool->lines, host->loop, host->service->name, " about helpers", LINES_PER_SECOND);
    list_init(&pool->queue);
    list_init(&pool->spare);
    pool->helpers = calloc(n, sizeof *pool->helpers);
    pool->scratch = malloc(HELPER_SCRATCH);
    if (!pool->helpers || !pool->scratch) {
        free(pool->helpers);
        free(pool->scratch);
        free(pool);
        return NULL;
    }
    pool->n_helpers = n;
    for (unsigned i = 0; i < n; i++)
        helper_init(&pool->helpers[i], pool, host->worker - 1 + i * host->n_workers);
    return pool;
}

static int start(const struct handler_host *host, void **ret_context)
{
    struct pool *pool = new_pool(host);

    if (!pool)
        return -ENOMEM;
    deadlines_init(&pool->waiting, host->loop, host->service->queue_timeout, on_waited_too_long, pool);
    deadlines_init(&pool->working, host->loop, host->service->handler_timeout, on_worked_too_long, pool);
    pool->user = (struct spawner_user){ .service = host->index,
                                        .context = pool,
                                        .on_connected = on_connected,
                                        .on_lost = on_lost,
                                        .on_packet = helper_on_packet };
    *ret_context = pool;
    spawner_link_join(host->spawner, &pool->user);
    return 0;
}

static void stop(void *context)
{
    struct pool *pool = context;
    struct loop *loop = pool->host->loop;

    assert(list_empty(&pool->queue));
    spawner_link_leave(&pool->user);
    for (unsigned i = 0; i < pool->n_helpers; i++)
        helper_done(&pool->helpers[i]);
    deadlines_done(&pool->waiting);
    deadlines_done(&pool->working);
    loop_timer_stop(loop, &pool->turn_timer);
    log_limit_done(&pool->lines);
    list_for_each (it, &pool->spare)
        free(container_of(it, struct job, link));
    free(pool->helpers);
    free(pool->scratch);
    free(pool);
}

static bool tracks(void *context)
{
    const struct pool *pool = context;

    return pool->json;
}

/* Helpers of the service work in another worker that listens. */
static bool others_serve(const struct pool *pool)
{
    const struct handler_host *host = pool->host;

    for (int i = 0, end = stats_pages_end(host->stats); i < end; i++) {
        const struct stats_page *page = stats_page(host->stats, i);

        if (page && page != host->page && stats_get(&page->listening) &&
            stats_get(&page->service[host->slot].helpers) > 0)
            return true;
    }
    return false;
}

/* A worker without a working helper leaves connections to those that have some. */
static bool waits(void *context)
{
    const struct pool *pool = context;
    const struct handler_host *host = pool->host;

    if (pool->n_up > 0 || loop_now(host->loop) - pool->down_ms < DOWN_MS ||
        !stats_get(&host->page->listening))
        return false;
    for (unsigned i = 0; i < pool->n_helpers; i++)
        if (helper_takes_requests(&pool->helpers[i]))
            return false;
    return others_serve(pool);
}

static void on_closed(void *context, uint64_t connection)
{
    pool_tell_closed(context, connection);
}

static void roll(void *context)
{
    helper_roll(context);
}

const struct handler helper_handler = {
    .settles = true,
    .times_itself = true,
    .start = start,
    .stop = stop,
    .waits = waits,
    .tracks = tracks,
    .on_closed = on_closed,
    .request = on_request,
    .cancel = on_cancel,
    .queues = queues,
    .roll = roll,
};
