/* Programs that are nobody's but the master's; see orphans.h. */
#include "orphans.h"

#include "base/log.h"
#include "base/spawn.h"
#include "log_ids.h"

#include <signal.h>

/* Between TERM and KILL, and before KILL is tried again. */
#define GRACE_MS 1000

void orphans_init(struct orphans *orphans, struct loop *loop)
{
    *orphans = (struct orphans){ .loop = loop };
}

void orphans_done(struct orphans *orphans)
{
    loop_timer_stop(orphans->loop, &orphans->timer);
}

static size_t signal_all(const struct orphans *orphans, int signo)
{
    size_t n = 0;

    for (size_t i = 0; i < orphans->n_sessions; i++)
        n += spawn_signal_session(orphans->sessions[i], signo);
    return n;
}

static void forget(struct orphans *orphans, size_t i)
{
    orphans->n_sessions--;
    for (; i < orphans->n_sessions; i++)
        orphans->sessions[i] = orphans->sessions[i + 1];
}

void orphans_note(struct orphans *orphans, pid_t spawner)
{
    /* The number of a session that nobody is in may be another's some day. */
    for (size_t i = orphans->n_sessions; i-- > 0;)
        if (spawn_signal_session(orphans->sessions[i], 0) == 0)
            forget(orphans, i);
    if (orphans->n_sessions == ORPHANS_SESSIONS_MAX)
        forget(orphans, 0);
    orphans->sessions[orphans->n_sessions++] = spawner;
}

static void on_kill(struct loop_timer *timer)
{
    struct orphans *orphans = container_of(timer, struct orphans, timer);

    if (signal_all(orphans, SIGKILL) > 0)
        loop_timer_set(orphans->loop, timer, loop_now(orphans->loop) + GRACE_MS, on_kill);
}

static void on_over(struct loop_timer *timer)
{
    struct orphans *orphans = container_of(timer, struct orphans, timer);
    size_t n = signal_all(orphans, SIGTERM);

    orphans->over = true;
    if (n == 0)
        return;
    log_event(LOG_NOTICE, LOG_ID_GENERATION_LATE,
              "%zu process%s of a spawner that died %s not ended in time; ended now", n, n == 1 ? "" : "es",
              n == 1 ? "has" : "have");
    signal_all(orphans, SIGCONT);
    loop_timer_set(orphans->loop, timer, loop_now(orphans->loop) + GRACE_MS, on_kill);
}

void orphans_end_later(struct orphans *orphans, uint64_t after_ms)
{
    loop_timer_set(orphans->loop, &orphans->timer, loop_now(orphans->loop) + after_ms, on_over);
}

void orphans_kill(struct orphans *orphans)
{
    orphans->over = true;
    on_kill(&orphans->timer);
}

bool orphans_live(struct orphans *orphans)
{
    bool live = signal_all(orphans, 0) > 0;

    /* Their spawner may have died since the others were ended. */
    if (live && orphans->over && !orphans->timer.place)
        orphans_end_later(orphans, 0);
    return live;
}
