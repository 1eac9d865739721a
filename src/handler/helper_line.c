/* The line of one helper: requests framed and written in batches, and what becomes of them when it ends. */
#include "handler/helper_pool.h"

#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The head of the line is the one that the helper works on: its time runs. In json it works on all. */
static void time_head(struct helper *helper)
{
    if (list_empty(&helper->line) || helper->pool->times_each)
        return;
    struct job *head = container_of(helper->line.next, struct job, link);
    if (!deadline_is_set(&head->working) && !head->probe)
        deadline_set(&helper->pool->working, &head->working);
}

/* Changes the number of jobs in the line, by JOB, and the gauge of helpers that have a request. The probe is
 * none, and alone in its line. */
static void count_line(struct helper *helper, const struct job *job, int change)
{
    stats_number *busy = &pool_stats(helper->pool)->helpers_busy;

    if (helper->in_line == 0 && !job->probe)
        stats_add(busy, 1);
    helper->in_line += (unsigned)change;
    if (helper->in_line == 0 && !job->probe)
        stats_sub(busy, 1);
}

/* Frames a message for the helper. 0, -EBADMSG, -ENOMEM. */
static int put_message(struct helper *helper, const char *data, size_t len)
{
    struct account *memory = helper->pool->host->memory;
    struct frame_dress dress;
    int r = frame_dress(&helper->pool->framing, FRAME_END_LF, data, len, &dress);

    if (r == 0)
        r = buf_reserve(&helper->to, memory, dress.head_len + len + dress.tail_len);
    if (r < 0)
        return r;
    buf_append(&helper->to, memory, dress.head, dress.head_len);
    buf_append(&helper->to, memory, data, len);
    buf_append(&helper->to, memory, dress.tail, dress.tail_len);
    helper->queued_bytes += dress.head_len + len + dress.tail_len;
    helper->dirty = true;
    return 0;
}

void helper_tell(struct helper *helper, const char *line, size_t len)
{
    put_message(helper, line, len - 1); /* its framing adds the LF */
}

static int put_job(struct helper *helper, struct job *job, const char *data, size_t len)
{
    size_t line_len = 0;

    if (!helper->pool->json)
        return put_message(helper, data, len);
    char *line = helper_json_line(job, data, len, &line_len);
    int r = line ? put_message(helper, line, line_len - 1) : -ENOMEM;
    free(line);
    return r;
}

int helper_put(struct helper *helper, struct job *job, const char *data, size_t len)
{
    uint64_t start = helper->queued_bytes;
    int r = put_job(helper, job, data, len);

    if (r < 0)
        return r;
    job->start = start;
    job->end = helper->queued_bytes;
    job->helper = helper;
    job->answers_before = helper->answers;
    list_append(&helper->line, &job->link);
    if (helper->in_line == 0)
        helper->working_since_us = helper->filled_us = loop_read_clock();
    count_line(helper, job, 1);
    time_head(helper);
    if (helper->pool->times_each && !job->probe)
        deadline_set(&helper->pool->working, &job->working);
    return 0;
}

struct request *helper_take_job(struct helper *helper, struct job *job)
{
    struct request *request = job->request;

    helper->replies += !job->probe;
    count_line(helper, job, -1);
    pool_give_job(helper->pool, job);
    time_head(helper);
    return request;
}

struct request *helper_take_head(struct helper *helper)
{
    return helper_take_job(helper, container_of(helper->line.next, struct job, link));
}

/* Where no reply is awaited, a request is done when its helper's pipe has taken it. */
static void finish_written(struct helper *helper)
{
    while (!list_empty(&helper->line) && helper->state != HELPER_DYING) {
        struct job *head = container_of(helper->line.next, struct job, link);

        if (head->end > helper->written_bytes)
            break;
        struct request *request = helper_take_head(helper);
        if (request)
            request_silence(request);
        if (helper->pool->n_queued > 0)
            pool_deal_soon(helper->pool);
    }
    if (helper->recycle_after && helper->replies >= helper->recycle_after)
        helper->rolling = true;
    helper_retire_if_idle(helper);
}

/* Writes what it takes. 0, -EAGAIN when its pipe is full, or -errno when it reads no more. */
static int write_some(struct helper *helper)
{
    while (helper->to.len > 0) {
        ssize_t n = write(helper->in_fd, buf_data(&helper->to), helper->to.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        helper->written_bytes += (uint64_t)n;
        buf_consume(&helper->to, helper->pool->host->memory, (size_t)n);
    }
    return 0;
}

void helper_flush(struct helper *helper)
{
    struct pool *pool = helper->pool;

    helper->dirty = false;
    if (helper->in_fd < 0)
        return;
    if (helper->state == HELPER_DYING) {
        loop_change(pool->host->loop, &helper->in, 0);
        return;
    }
    int r = write_some(helper);
    if (r < 0 && r != -EAGAIN) {
        helper_on_deaf(helper);
        return;
    }
    loop_change(pool->host->loop, &helper->in, r == -EAGAIN ? EPOLLOUT : 0);
    if (pool->conf->one_way)
        finish_written(helper);
    else
        helper_retire_if_idle(helper); /* it may have waited for what it was told besides requests */
}

/* Also when it has closed its end. */
static void on_writable(struct loop_source *source, uint32_t events)
{
    struct helper *helper = container_of(source, struct helper, in);

    if (events & EPOLLERR)
        helper_on_deaf(helper);
    else
        helper_flush(helper);
    pool_deal_soon(helper->pool);
}

uint64_t helper_taken_bytes(const struct helper *helper)
{
    int unread = 0;

    if (helper->in_fd < 0 || ioctl(helper->in_fd, FIONREAD, &unread) < 0)
        return helper->written_bytes;
    return helper->written_bytes - (uint64_t)unread;
}

bool helper_reads(const struct helper *helper)
{
    return helper_taken_bytes(helper) > 0;
}

void helper_job_waited(struct job *job)
{
    struct helper *helper = job->helper;
    struct request *request = job->request;
    bool has_turn = helper->pool->times_each || helper->line.next == &job->link;

    if (has_turn && job->start < helper_taken_bytes(helper))
        return;
    job->request = NULL;
    request_fail(request, REQUEST_FAILED_QUEUE_TIMEOUT);
}

int helper_watch_input(struct helper *helper)
{
    return loop_add(helper->pool->host->loop, &helper->in, helper->in_fd, 0, on_writable);
}

/* What it has not read when nobody can read it any more was never given to it. */
static void take_back_unread(struct helper *helper)
{
    struct pollfd end = { .fd = helper->in_fd };

    if (helper->in_fd >= 0 && poll(&end, 1, 0) > 0 && (end.revents & POLLERR))
        helper->written_bytes = helper_taken_bytes(helper);
}

void helper_close_input(struct helper *helper)
{
    take_back_unread(helper);
    loop_remove(helper->pool->host->loop, &helper->in);
    fd_close(&helper->in_fd);
    buf_done(&helper->to, helper->pool->host->memory);
    helper->dirty = false;
}

/* Takes a job out of the line; without a request nobody waits for it any more. */
static struct request *take_out(struct helper *helper, struct job *job)
{
    struct request *request = job->request;

    count_line(helper, job, -1);
    list_remove(&job->link);
    if (!request)
        pool_give_job(helper->pool, job);
    return request;
}

/* From the back, so that what goes to the queue's front keeps its order. */
void helper_give_back(struct helper *helper)
{
    while (!list_empty(&helper->line)) {
        struct job *last = container_of(helper->line.prev, struct job, link);

        if (last->start < helper->written_bytes)
            break;
        if (take_out(helper, last))
            pool_requeue(helper->pool, last);
    }
}

static void fail_head(struct helper *helper, enum request_failure why)
{
    struct job *head = container_of(helper->line.next, struct job, link);
    struct request *request = take_out(helper, head);

    if (!request)
        return;
    pool_give_job(helper->pool, head);
    request_fail(request, why);
}

void helper_fail_read(struct helper *helper, enum request_failure why)
{
    uint64_t taken = helper_taken_bytes(helper);

    while (!list_empty(&helper->line)) {
        const struct job *head = container_of(helper->line.next, struct job, link);

        if (why != REQUEST_FAILED_TIMEOUT && head->start >= taken)
            break;
        fail_head(helper, why);
        why = REQUEST_FAILED_HANDLER;
    }
    helper_give_back(helper);
}

void helper_clear_line(struct helper *helper, enum request_failure why)
{
    bool is_late = why == REQUEST_FAILED_TIMEOUT; /* written or not, the head is */

    if (!is_late)
        helper_give_back(helper);
    while (!list_empty(&helper->line)) {
        fail_head(helper, why);
        why = REQUEST_FAILED_HANDLER;
        if (is_late)
            helper_give_back(helper);
    }
}
