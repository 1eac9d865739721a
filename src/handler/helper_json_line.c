/*
 * What the json protocol does otherwise than the plain one: a request and its answer know each other by a
 * number, so that answers come in any order, and a helper may speak unasked. Runs in a worker.
 */
#include "handler/helper_json.h"
#include "handler/helper_pool.h"

#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What a helper may leave unread beyond the requests that it has. */
#define BACKLOG_MAX ((size_t)1024 * 1024)

static const char *transport_of(const struct request *request)
{
    bool local = request->peer->family == AF_UNIX;

    if (request->connection)
        return local ? "unix" : "tcp";
    return local ? "unixgram" : "udp";
}

char *helper_json_line(struct job *job, const char *data, size_t len, size_t *ret_len)
{
    static const struct addr nobody = { .family = AF_UNSPEC };
    struct pool *pool = job->pool;
    const struct request *request = job->request;

    job->id = ++pool->last_id;
    return json_print_request(&(struct json_request){ .id = job->id,
                                                      .connection = request ? request->connection : 0,
                                                      .service = pool->conf->name,
                                                      .transport = request ? transport_of(request) : "probe",
                                                      .peer = request ? request->peer : &nobody,
                                                      .local = request ? request->local : &nobody,
                                                      .data = data,
                                                      .len = len },
                              ret_len);
}

static struct job *find_job(const struct helper *helper, uint64_t id)
{
    list_for_each (it, &helper->line) {
        struct job *job = container_of(it, struct job, link);

        if (job->id == id)
            return job;
    }
    return NULL;
}

static void refuse_line(struct helper *helper, const char *line, size_t len, const char *why)
{
    char what[HELPER_WHY_MAX];

    snprintf(what, sizeof what, "a line that %s", why);
    helper_refuse(helper, REQUEST_FAILED_REPLY, what, line, len);
}

static void push(struct helper *helper, const struct json_answer *answer)
{
    const struct handler_host *host = helper->pool->host;
    int r = host->push(host, answer->connection, answer->data, answer->len);

    if (r == -EMSGSIZE || r == -EBADMSG)
        helper_log(helper, LOG_WARNING, LOG_ID_HELPER_SAID, "pushed %zu bytes that %s", answer->len,
                   r == -EMSGSIZE ? "are over max_reply" : "do not fit the framing");
}

static void report_error(const struct helper *helper, const struct request *request, const char *why,
                         size_t len)
{
    const struct handler_host *host = helper->pool->host;
    char text[512];

    text_escape(text, sizeof text, why, len);
    host->report(host, request->peer, text);
}

/* Ends the request as the answer says. */
static void answer_request(struct helper *helper, struct request *request, const struct json_answer *answer)
{
    if (answer->close)
        request_part(request);
    switch (answer->kind) {
    case JSON_REPLY:
        request_reply(request, answer->data, answer->len);
        break;
    case JSON_SILENCE:
    case JSON_PUSH:
        request_silence(request);
        break;
    case JSON_ERROR:
        report_error(helper, request, answer->data, answer->len);
        request_fail(request, REQUEST_FAILED_HANDLER);
        break;
    }
}

/* An answer to a request that is over is nobody's: its client left, or did not wait so long. */
static bool take_numbered(struct helper *helper, uint64_t taken, const struct json_answer *answer)
{
    struct job *job = find_job(helper, answer->id);

    if (answer->id > helper->pool->last_id || (job && job->start >= taken)) {
        helper_kill(helper, REQUEST_FAILED_HANDLER, "answered a request that it was not given");
        return false;
    }
    helper->answers++;
    if (!job)
        return true;
    struct request *request = helper_take_job(helper, job);
    helper_proved(helper);
    if (request)
        answer_request(helper, request, answer);
    return helper->state != HELPER_DYING;
}

bool helper_take_answer(struct helper *helper, uint64_t taken, const char *line, size_t len)
{
    struct json_answer answer;
    const char *why = "";
    bool goes_on = true;

    int r = json_parse_answer(line, len, &answer, &why);
    if (r < 0) {
        refuse_line(helper, line, len, r == -ENOMEM ? "there is no memory for" : why);
        return false;
    }
    if (answer.kind == JSON_PUSH)
        push(helper, &answer);
    else
        goes_on = take_numbered(helper, taken, &answer);
    json_answer_done(&answer);
    return goes_on;
}

void helper_job_late(struct job *job)
{
    struct helper *helper = job->helper;

    if (!helper->pool->times_each || helper->answers == job->answers_before) {
        helper_too_slow(helper, job);
        return;
    }
    struct request *request = helper_take_job(helper, job);
    helper_retire_if_idle(helper);
    pool_deal_soon(helper->pool);
    if (request)
        request_fail(request, REQUEST_FAILED_TIMEOUT);
}

void pool_tell_closed(struct pool *pool, uint64_t connection)
{
    size_t len = 0;
    char *line = json_print_closed(connection, &len);

    for (unsigned i = 0; line && i < pool->n_helpers; i++)
        if (helper_takes_requests(&pool->helpers[i]) && pool->helpers[i].in_fd >= 0)
            helper_tell(&pool->helpers[i], line, len);
    free(line);
    pool_deal_soon(pool);
}

/* Of the bytes that it has not taken, those of requests in its line. */
static uint64_t unwritten_requests(const struct helper *helper)
{
    uint64_t n = 0;

    list_for_each (it, &helper->line) {
        const struct job *job = container_of(it, struct job, link);

        if (job->end > helper->written_bytes)
            n += job->end - (job->start > helper->written_bytes ? job->start : helper->written_bytes);
    }
    return n;
}

/* The others are of clients that left, and of requests that were too late. */
void helper_judge_backlog(struct helper *helper)
{
    if (helper->to.len > BACKLOG_MAX && helper->to.len - unwritten_requests(helper) > BACKLOG_MAX)
        helper_kill(helper, REQUEST_FAILED_HANDLER, "does not read what it is told");
}
