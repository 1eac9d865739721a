/* What the end of a helper says of it: how long to wait for the next, and whether the service works. */
#include "handler/helper_pool.h"

#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

/*
 * The pauses before a helper is asked for again that died before its first reply. One that died of a request
 * gets the shortest, and the first such none: a client that knows a deadly request must not starve the
 * others.
 */
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 30000

/* Of so many requests in a row it died: whether it works is not known before it answers one. */
#define CRASHES_BAD 3

uint32_t helper_draw(uint32_t range)
{
    uint32_t number = 0;

    if (getrandom(&number, sizeof number, GRND_NONBLOCK) < 0)
        return range / 2;
    return range ? number % range : 0;
}

static bool one_works(const struct pool *pool)
{
    for (unsigned i = 0; i < pool->n_helpers; i++)
        if (pool->helpers[i].state == HELPER_UP && pool->helpers[i].crashes < CRASHES_BAD)
            return true;
    return false;
}

void pool_judge(struct pool *pool)
{
    for (unsigned i = 0; i < pool->n_helpers; i++)
        if (!pool->helpers[i].tried)
            return;
    if (one_works(pool))
        pool->host->well(pool->host);
}

static uint64_t next_pause(const struct helper *helper)
{
    uint64_t pause = PAUSE_MIN_MS;

    if (helper->failures == 0 && helper->crashes < 2)
        return 0;
    for (unsigned i = 1; i < helper->failures && pause < PAUSE_MAX_MS; i++)
        pause *= 2;
    if (pause > PAUSE_MAX_MS)
        pause = PAUSE_MAX_MS;
    return pause - helper_draw((uint32_t)pause / 4);
}

/* A reload fails with the first; later one is why the service is degraded, if no other helper works. */
static void tell_trouble(const struct helper *helper, const char *why)
{
    char text[HELPER_END_MAX + 32];

    if (helper->tried && one_works(helper->pool))
        return;
    snprintf(text, sizeof text, "helper %" PRIu32 " %s", helper->slot + 1, why);
    helper->pool->host->trouble(helper->pool->host, text);
}

/* It was not told to end: that is told, and what happens next. */
static void tell_end(struct helper *helper, const char *why, uint64_t pause)
{
    char text[TEXT_NUMBER_MAX];

    stats_add(&pool_stats(helper->pool)->helper_deaths, 1);
    if (pause > 0)
        helper_log(helper, LOG_WARNING, LOG_ID_HELPER_ENDED, "%s; next try in %s", why,
                   text_print_duration(text, pause));
    else
        helper_log(helper, LOG_WARNING, LOG_ID_HELPER_ENDED, "%s; replaced at once", why);
    /* One that is replaced at once, or nearly, is missing for a moment only. */
    if (helper->failures > 0 || helper->crashes >= CRASHES_BAD || !helper->tried)
        tell_trouble(helper, why);
}

/* So the next one needs no pause. */
static bool has_worked(const struct helper *helper)
{
    uint64_t lived_ms = loop_now(helper->pool->host->loop) - helper->started_ms;

    return helper->pid > 0 && (helper->replies > 0 || (helper->proved && lived_ms >= PAUSE_MAX_MS));
}

void helper_note_asked(struct helper *helper)
{
    const struct job *head = container_of(helper->line.next, struct job, link);

    if (!list_empty(&helper->line) && !head->probe && head->start < helper_taken_bytes(helper))
        helper->asked = true;
}

uint64_t helper_blame(struct helper *helper, bool expected, const char *why)
{
    bool good = expected || has_worked(helper);

    helper->failures = good || helper->asked ? 0 : helper->failures + 1;
    helper->crashes = good ? 0 : helper->crashes + helper->asked;
    uint64_t pause = next_pause(helper);
    if (!expected)
        tell_end(helper, why, pause);
    return pause;
}
