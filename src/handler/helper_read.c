/* Bytes from one helper: replies cut and given to the head of its line, or what a one_way helper has to say.
 */
#include "handler/helper_pool.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Reads from a helper that has ended: as much as its pipe can hold, in the smallest pieces. */
#define LAST_READS 32

/* The line of a helper that has several requests in hand is let run empty as often. */
#define EMPTY_US 1000000

/* A line that a one_way helper wrote, in the log. */
#define OUTPUT_LINE_MAX 1024

/* How a helper wrote what is_unasked(). */
#define UNASKED "without being asked"

/* The head of the line was not even read. */
static bool is_unasked(const struct helper *helper, uint64_t taken)
{
    return list_empty(&helper->line) || container_of(helper->line.next, struct job, link)->start >= taken;
}

/* One reply came. False when the helper is not to be read any further. */
static bool take_reply(struct helper *helper, uint64_t taken, const char *data, size_t len)
{
    if (helper->pool->json)
        return helper_take_answer(helper, taken, data, len);
    if (is_unasked(helper, taken)) {
        helper_refuse(helper, REQUEST_FAILED_HANDLER, UNASKED, data, len);
        return false;
    }
    struct request *request = helper_take_head(helper);
    helper_proved(helper);
    if (request)
        request_reply(request, data, len);
    return helper->state != HELPER_DYING;
}

/*
 * All complete replies at the front of DATA. Returns the bytes they took; the helper may be dying afterwards.
 */
static size_t take_replies(struct helper *helper, const char *data, size_t len, unsigned *ret_n)
{
    struct pool *pool = helper->pool;
    struct frame_input in = { &pool->framing, &helper->scan, data, len, pool->max_message, false };
    uint64_t taken = helper_taken_bytes(helper);

    for (*ret_n = 0;; ++*ret_n) {
        struct frame_message message;
        enum frame_result result = frame_next(&in, &message);
        if (result == FRAME_MORE)
            break;
        if (result != FRAME_MESSAGE) {
            if (result == FRAME_TOO_LONG)
                helper_kill(helper, REQUEST_FAILED_REPLY, "wrote a reply over max_reply");
            else
                helper_refuse(helper, REQUEST_FAILED_REPLY, "what is no reply in its framing", in.data,
                              in.len);
            break;
        }
        const char *reply = in.data + message.start;
        frame_take(&in, &message);
        if (!take_reply(helper, taken, reply, message.len))
            break;
    }
    if (in.len > 0 && !pool->json && is_unasked(helper, taken))
        helper_refuse(helper, REQUEST_FAILED_HANDLER, UNASKED, in.data, in.len);
    return len - in.len;
}

static bool others_have_work(const struct helper *helper)
{
    const struct pool *pool = helper->pool;

    for (unsigned i = 0; i < pool->n_helpers; i++)
        if (&pool->helpers[i] != helper && pool->helpers[i].state == HELPER_UP &&
            pool->helpers[i].in_line == 0)
            return false;
    return true;
}

/*
 * A reply too many is taken for that to the next request, and so on, as long as the line is never empty: so
 * it is now and then, until what nobody asked for would have come.
 */
static void rest_now_and_then(struct helper *helper, uint64_t now)
{
    if (helper->resting && helper->in_line == 0)
        helper_rest(helper);
    else if (helper->in_line > 0 && helper->depth > 1 && now - helper->filled_us > EMPTY_US)
        helper->resting = true;
}

/*
 * N replies came. Quick helpers are fed in batches, slow ones get one request at a time: where another helper
 * could start at once, no request should wait behind a slow one.
 */
static void adapt_depth(struct helper *helper, unsigned n)
{
    struct pool *pool = helper->pool;
    uint64_t now = loop_read_clock(), each = (now - helper->working_since_us) / n;

    helper->working_since_us = now;
    if (!pool->json)
        rest_now_and_then(helper, now);
    if (pool->conf->helper_pipeline > 0 || pool->json)
        return;
    if (each > pool->slow_us)
        helper->depth = 1;
    else if (helper->depth < HELPER_DEPTH_MAX && pool->n_queued > 0 && others_have_work(helper))
        helper->depth *= 2;
}

/* A helper that is dying may still speak; nobody listens, but that it does is a hint. */
static void swallow(struct helper *helper)
{
    ssize_t n = read(helper->out_fd, helper->pool->scratch, HELPER_SCRATCH);

    if (n > 0)
        helper->babbles = true;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        helper_on_silence(helper);
}

/* Keeps what is unfinished behind USED; DATA begins with a copy of what was kept before. */
static void keep_rest(struct helper *helper, const char *data, size_t len, size_t used)
{
    struct account *memory = helper->pool->host->memory;
    size_t known = helper->from.len;

    if (used > 0) {
        buf_consume(&helper->from, memory, known);
        known = used;
    }
    if (buf_append(&helper->from, memory, data + known, len - known) < 0)
        helper_kill(helper, REQUEST_FAILED_REPLY, "wrote more than there is memory for");
}

static void log_output(struct helper *helper, const char *data, size_t len)
{
    char text[OUTPUT_LINE_MAX];

    text_escape(text, sizeof text, data, len);
    helper_log(helper, LOG_INFO, LOG_ID_HELPER_SAID, "says: %s", text);
}

/* What a helper of a one_way service writes is for the log. Returns the bytes of the lines that were told. */
static size_t take_output(struct helper *helper, const char *data, size_t len)
{
    size_t used = 0;
    const char *lf;

    while ((lf = memchr(data + used, '\n', len - used))) {
        log_output(helper, data + used, (size_t)(lf - data) - used);
        used = (size_t)(lf - data) + 1;
    }
    if (len - used < OUTPUT_LINE_MAX)
        return used;
    log_output(helper, data + used, len - used);
    return len;
}

/*
 * Takes what is complete of the LEN bytes at DATA, of which `from` holds a copy of the first ones, or all
 * when IN_PLACE.
 */
static void take_input(struct helper *helper, const char *data, size_t len, bool in_place)
{
    struct pool *pool = helper->pool;
    unsigned n = 0;
    size_t used = pool->conf->one_way ? take_output(helper, data, len) : take_replies(helper, data, len, &n);

    if (n > 0)
        adapt_depth(helper, n);
    if (helper->state == HELPER_DYING)
        return;
    if (in_place)
        buf_consume(&helper->from, pool->host->memory, used);
    else
        keep_rest(helper, data, len, used);
}

/*
 * A long reply is read where it is kept; a short rest is copied in front of the next read. False at the end
 * of its output, or when there is nothing now.
 */
static bool read_once(struct helper *helper)
{
    struct pool *pool = helper->pool;
    size_t kept = helper->from.len, room = HELPER_SCRATCH;
    bool in_place = kept > HELPER_SCRATCH / 2;
    char *data = pool->scratch;

    if (in_place) {
        if (buf_reserve(&helper->from, pool->host->memory, HELPER_SCRATCH) < 0) {
            helper_kill(helper, REQUEST_FAILED_REPLY, "wrote more than there is memory for");
            return false;
        }
        data = buf_data(&helper->from);
        room = kept + buf_room(&helper->from);
    } else if (kept > 0) {
        memcpy(data, buf_data(&helper->from), kept);
    }
    ssize_t got = read(helper->out_fd, data + kept, room - kept);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        helper_on_silence(helper);
        return false;
    }
    if (in_place)
        buf_added(&helper->from, (size_t)got);
    take_input(helper, data, kept + (size_t)got, in_place);
    return helper->state != HELPER_DYING;
}

static void on_readable(struct loop_source *source, uint32_t events)
{
    struct helper *helper = container_of(source, struct helper, out);
    struct pool *pool = helper->pool;

    (void)events;
    if (helper->state == HELPER_DYING)
        swallow(helper);
    else
        read_once(helper);
    /* Behind the connections that go on with their next request now: one turn for both. */
    loop_timer_stop(pool->host->loop, &pool->turn_timer);
    pool_deal_soon(pool);
}

void helper_read_rest(struct helper *helper)
{
    for (int i = 0; i < LAST_READS && helper->out_fd >= 0 && helper->state != HELPER_DYING; i++)
        if (!read_once(helper))
            break;
    if (helper->out_fd >= 0 && helper->state == HELPER_DYING)
        swallow(helper);
}

int helper_watch(struct helper *helper)
{
    int r = loop_add(helper->pool->host->loop, &helper->out, helper->out_fd, EPOLLIN, on_readable);

    return r < 0 ? r : helper_watch_input(helper);
}

void helper_close_output(struct helper *helper)
{
    loop_remove(helper->pool->host->loop, &helper->out);
    fd_close(&helper->out_fd);
    buf_done(&helper->from, helper->pool->host->memory);
    helper->scan = (struct frame_scan){ 0 };
}
