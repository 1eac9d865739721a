/* The life of a helper as a worker sees it: asked for, proved, recycled, killed, gone, asked for again. */
#include "handler/helper_pool.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/text.h"
#include "log_ids.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Without a probe a helper counts as working when it has lived for so long. */
#define PROOF_MS 200

/* When the spawner cannot be asked now. */
#define ASK_AGAIN_MS 100

/* What a helper that has several requests in hand writes too much comes within this, see adapt_depth(). */
#define REST_MS 2

/* A helper that was told to end by the end of its input gets so long before it is killed. */
#define DYING_MS 1000

/* What of bytes that are refused goes into the log. */
#define QUOTED_MAX 160

void helper_log(struct helper *helper, int level, const char *id, const char *format, ...)
{
    struct log_about about = { .id = id, .service = helper->pool->conf->name };
    char text[2 * HELPER_END_MAX], pid[32] = "";
    va_list args;

    if (!log_limit_take(&helper->pool->lines, level))
        return;
    if (helper->pid > 0)
        snprintf(pid, sizeof pid, " [pid %" PRId32 "]", helper->pid);
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_write(level, &about, "helper %" PRIu32 "%s %s", helper->slot + 1, pid, text);
}

static void on_timer(struct loop_timer *timer);

static void set_timer(struct helper *helper, uint64_t after_ms)
{
    struct loop *loop = helper->pool->host->loop;

    loop_timer_set(loop, &helper->timer, loop_now(loop) + after_ms, on_timer);
}

static void stop_timer(struct helper *helper)
{
    loop_timer_stop(helper->pool->host->loop, &helper->timer);
}

/* Keeps the gauge and the verdict on the service up to date. */
static void set_state(struct helper *helper, enum helper_state state)
{
    struct pool *pool = helper->pool;

    if (helper->state == HELPER_UP && pool->n_up == 1)
        pool->down_ms = loop_now(pool->host->loop);
    pool->n_up -= helper->state == HELPER_UP;
    helper->state = state;
    pool->n_up += state == HELPER_UP;
    stats_set(&pool_stats(pool)->helpers, pool->n_up);
}

void helper_init(struct helper *helper, struct pool *pool, uint32_t slot)
{
    *helper =
        (struct helper){ .pool = pool, .slot = slot, .in_fd = -1, .out_fd = -1, .in.fd = -1, .out.fd = -1 };
    list_init(&helper->line);
}

static void close_pipes(struct helper *helper)
{
    helper_close_input(helper);
    helper_close_output(helper);
}

void helper_done(struct helper *helper)
{
    close_pipes(helper);
    helper_clear_line(helper, REQUEST_FAILED_HANDLER);
    stop_timer(helper);
}

/* One whose predecessor died unasked, before its first reply, must live for a while before it is trusted. */
bool helper_takes_requests(const struct helper *helper)
{
    if (helper->state == HELPER_PROVING)
        return helper->tried && helper->failures == 0 && !helper->pool->conf->helper_probe.data;
    return helper->state == HELPER_UP;
}

static int send_word(struct helper *helper, enum spawner_word word)
{
    struct spawner_packet packet = { .word = word,
                                     .service = helper->pool->host->index,
                                     .slot = helper->slot };

    return spawner_link_send(helper->pool->host->spawner, &packet, -1);
}

void helper_ask(struct helper *helper)
{
    assert(helper->state == HELPER_ABSENT);
    stop_timer(helper);
    if (!spawner_link_is_connected(helper->pool->host->spawner))
        return;
    if (send_word(helper, SPAWNER_HELPER) < 0)
        set_timer(helper, ASK_AGAIN_MS);
    else
        set_state(helper, HELPER_STARTING);
}

void helper_proved(struct helper *helper)
{
    if (helper->recycle_after && helper->replies >= helper->recycle_after)
        helper->rolling = true;
    if (helper->crashes > 0 && helper->replies > 0) {
        helper->crashes = 0;
        pool_judge(helper->pool);
    }
    if (helper->state == HELPER_PROVING) {
        stop_timer(helper);
        helper->tried = helper->proved = true;
        set_state(helper, HELPER_UP);
        pool_judge(helper->pool);
        helper_roll_next(helper->pool);
        pool_deal_soon(helper->pool);
    }
    helper_retire_if_idle(helper);
}

/* The end of its input tells it to go; what it has still to say is not believed. */
static void let_go(struct helper *helper)
{
    set_state(helper, HELPER_DYING);
    helper_close_input(helper);
    set_timer(helper, DYING_MS);
}

void helper_retire_if_idle(struct helper *helper)
{
    bool lives = helper->state == HELPER_UP || helper->state == HELPER_PROVING;

    if (!lives || !(helper->rolling || helper->in_fd < 0) || !list_empty(&helper->line))
        return;
    if (helper->to.len == 0)
        let_go(helper);
    else if (helper->state == HELPER_UP && !helper->timer.place)
        set_timer(helper, DYING_MS); /* for what it was told besides requests */
}

/* There is no process any more: asks for the next, now or after a pause. WHY is for the log and the verdict.
 */
static void gone(struct helper *helper, const char *why)
{
    struct pool *pool = helper->pool;
    bool expected = helper->state == HELPER_DYING && helper->rolling && !helper->reason;

    stop_timer(helper);
    helper_note_asked(helper);
    close_pipes(helper);
    set_state(helper, HELPER_ABSENT);
    helper_clear_line(helper, REQUEST_FAILED_HANDLER);
    uint64_t pause = helper_blame(helper, expected, why);
    helper->tried = true;
    helper->rolling = helper->to_roll = false;
    helper->pid = 0;
    if (pause > 0)
        set_timer(helper, pause);
    else
        helper_ask(helper);
    pool_judge(pool);
    pool_deal_soon(pool);
}

/* From here on what it writes is not even read. What it has not read itself is known when it is gone. */
static void kill_now(struct helper *helper, const char *reason)
{
    helper_note_asked(helper);
    helper->reason = reason;
    helper->killed = true;
    set_state(helper, HELPER_DYING);
    helper_close_output(helper);
    set_timer(helper, DYING_MS);
    send_word(helper, SPAWNER_KILL);
}

void helper_kill(struct helper *helper, enum request_failure why, const char *reason)
{
    if (helper->state == HELPER_DYING || helper->state == HELPER_ABSENT)
        return;
    kill_now(helper, reason);
    helper_fail_read(helper, why);
}

void helper_refuse(struct helper *helper, enum request_failure why, const char *what, const char *data,
                   size_t len)
{
    char quoted[QUOTED_MAX];

    if (helper->state == HELPER_DYING)
        return; /* `why` may be said already */
    text_escape(quoted, sizeof quoted, data, len);
    snprintf(helper->why, sizeof helper->why, "wrote %s (%s)", what, quoted);
    helper_kill(helper, why, helper->why);
}

/* It never said a word. Does one lie in its buffer? At the end of its input that comes out. */
static void end_mute(struct helper *helper, enum request_failure why, const char *reason)
{
    helper_note_asked(helper);
    helper->mute = true;
    helper->reason = reason;
    let_go(helper);
    helper_clear_line(helper, why);
}

/* Until it reads, its first request waits for it: a start may take longer than the answer to a request. */
static bool still_starts(const struct helper *helper)
{
    uint64_t lived_ms = loop_now(helper->pool->host->loop) - helper->started_ms;

    return helper->replies == 0 && lived_ms < helper->pool->conf->helper_start_timeout &&
           !helper_reads(helper);
}

void helper_too_slow(struct helper *helper, struct job *job)
{
    if (helper->state == HELPER_DYING)
        helper_fail_read(helper, REQUEST_FAILED_TIMEOUT);
    else if (still_starts(helper))
        deadline_set(&helper->pool->working, &job->working);
    else if (helper->pool->conf->one_way)
        helper_kill(helper, REQUEST_FAILED_TIMEOUT, "took nothing within handler_timeout");
    else if (helper->replies > 0 || helper_taken_bytes(helper) < helper->written_bytes)
        helper_kill(helper, REQUEST_FAILED_TIMEOUT, "did not reply within handler_timeout");
    else
        end_mute(helper, REQUEST_FAILED_TIMEOUT, "did not reply within handler_timeout");
}

/*
 * It is ending, most likely. Which of its requests it has read is known when its process is gone: of the two
 * pipes of a dying process the kernel may close either first.
 */
void helper_on_silence(struct helper *helper)
{
    helper_close_output(helper);
    if (helper->state == HELPER_DYING)
        return;
    set_state(helper, HELPER_DYING);
    set_timer(helper, DYING_MS);
}

/* What it was not given yet goes to others; what it has may still be answered. */
void helper_on_deaf(struct helper *helper)
{
    helper_close_input(helper);
    helper_give_back(helper);
    helper_retire_if_idle(helper);
}

void helper_lost(struct helper *helper)
{
    stop_timer(helper);
    close_pipes(helper);
    set_state(helper, HELPER_ABSENT);
    helper_clear_line(helper, REQUEST_FAILED_HANDLER);
    helper->rolling = helper->to_roll = false;
    helper->pid = 0;
}

/* It takes too long. */
static void end_dying(struct helper *helper)
{
    if (helper->killed) {
        close_pipes(helper);
        helper_clear_line(helper, REQUEST_FAILED_HANDLER);
        return;
    }
    kill_now(helper, helper->reason || helper->rolling
                         ? helper->reason
                         : "closed its standard input or output and did not end");
    helper_fail_read(helper, REQUEST_FAILED_HANDLER);
}

void helper_rest(struct helper *helper)
{
    if (helper->state == HELPER_UP)
        set_timer(helper, REST_MS);
    else
        helper->resting = false;
}

static void end_rest(struct helper *helper)
{
    helper->resting = false;
    pool_deal_soon(helper->pool);
}

static void on_timer(struct loop_timer *timer)
{
    struct helper *helper = container_of(timer, struct helper, timer);

    switch (helper->state) {
    case HELPER_ABSENT:
        helper_ask(helper);
        break;
    case HELPER_PROVING:
        if (helper->pool->conf->helper_probe.data)
            end_mute(helper, REQUEST_FAILED_HANDLER,
                     "did not answer helper_probe within helper_start_timeout");
        else
            helper_proved(helper);
        break;
    case HELPER_DYING:
        end_dying(helper);
        break;
    case HELPER_UP:
        if (helper->resting)
            end_rest(helper);
        else
            let_go(helper);
        break;
    case HELPER_STARTING:
        break;
    }
}

static void send_probe(struct helper *helper)
{
    const struct bytes *probe = &helper->pool->conf->helper_probe;
    struct job *job = pool_take_job(helper->pool);

    if (!job)
        return;
    job->probe = true;
    if (helper_put(helper, job, probe->data, probe->len) < 0) {
        pool_give_job(helper->pool, job);
        helper_kill(helper, REQUEST_FAILED_HANDLER,
                    "cannot be asked helper_probe, which does not fit its framing");
    }
}

/*
 * Where no reply is awaited, none shows whether it is quick; a full pipe shows that it is not. In json a
 * helper works on all that it is given.
 */
static unsigned first_depth(const struct service *conf)
{
    if (conf->helper_pipeline > 0)
        return (unsigned)conf->helper_pipeline;
    return conf->one_way || conf->helper_protocol == HELPER_JSON ? HELPER_DEPTH_MAX : 1;
}

static void started(struct helper *helper, int32_t pid, int *fds)
{
    const struct service *conf = helper->pool->conf;
    uint32_t spread = (uint32_t)(conf->helper_max_requests / 5);

    helper->pid = pid;
    helper->in_fd = fds[0];
    helper->out_fd = fds[1];
    fds[0] = fds[1] = -1;
    helper->started_ms = loop_now(helper->pool->host->loop);
    helper->replies = helper->answers = helper->queued_bytes = helper->written_bytes = 0;
    helper->proved = helper->resting = helper->killed = helper->asked = helper->mute = helper->babbles =
        false;
    helper->reason = NULL;
    helper->depth = first_depth(conf);
    helper->recycle_after = conf->helper_max_requests
                                ? (uint64_t)conf->helper_max_requests - spread / 2 + helper_draw(spread + 1)
                                : 0;
    set_state(helper, HELPER_PROVING);
    stats_add(&pool_stats(helper->pool)->helper_starts, 1);
    int r = helper_watch(helper);
    if (r < 0) {
        helper_kill(helper, REQUEST_FAILED_HANDLER, "cannot be waited for");
        return;
    }
    if (conf->helper_probe.data) {
        set_timer(helper, conf->helper_start_timeout);
        send_probe(helper);
    } else {
        set_timer(helper, PROOF_MS);
    }
    pool_deal_soon(helper->pool);
}

static void ended(struct helper *helper, const struct spawner_packet *packet)
{
    char why[HELPER_END_MAX], status[SPAWN_STATUS_MAX];
    const char *text = packet->text;

    helper_read_rest(helper);
    if (packet->pid == 0)
        snprintf(why, sizeof why, "%s", text[0] ? text : strerror(packet->status));
    else
        snprintf(why, sizeof why, "%s%s%s%s%s",
                 helper->reason ? helper->reason : spawn_print_status(status, packet->status),
                 helper->reason ? " and was ended" : "",
                 !text[0]         ? ""
                 : helper->reason ? "; its last line: "
                                  : ": ",
                 text,
                 helper->mute && helper->babbles ? " (is its output buffered? it must flush after each reply)"
                                                 : "");
    gone(helper, why);
}

void helper_on_packet(void *context, const struct spawner_packet *packet, int fds[SPAWNER_FDS_MAX])
{
    struct pool *pool = context;

    for (unsigned i = 0; i < pool->n_helpers; i++) {
        struct helper *helper = &pool->helpers[i];

        if (helper->slot != packet->slot)
            continue;
        if (packet->word == SPAWNER_STARTED && helper->state == HELPER_STARTING && fds[0] >= 0 && fds[1] >= 0)
            started(helper, packet->pid, fds);
        else if (packet->word == SPAWNER_STARTED && helper->state == HELPER_STARTING)
            kill_now(helper, "started when the worker had no descriptor free");
        else if (packet->word == SPAWNER_ENDED && helper->state != HELPER_ABSENT)
            ended(helper, packet);
    }
    for (int i = 0; i < SPAWNER_FDS_MAX; i++)
        fd_close(&fds[i]);
}
