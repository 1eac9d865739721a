/*
 * Programs as the spawner starts them: never more than max_programs; see spawned.h. Workers look at the
 * counters before they accept, and cannot know of what is on its way here in the same instant. So this is the
 * place where the limits hold exactly.
 */
#include "spawned.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* Pauses before a program is tried again when the system has no process for it. */
#define PAUSE_FIRST_MS 50
#define PAUSE_MAX_MS   5000
/* How often that is told. */
#define TELL_SHORTAGE_MS 10000

/* How many connections its source has now, by all counters; 0: there is no place to count them. */
static unsigned count_program(struct spawned_service *s, struct waiting *w)
{
    struct spawner *spawner = s->spawner;
    unsigned of_source;

    stats_add(&s->stats->connections, 1);
    stats_add(&spawner->page->connections, 1);
    stats_add(&s->stats->programs, 1);
    if (s->conf->max_connections_per_source == 0)
        return 0;
    of_source = stats_source_add(spawner->setup->stats, spawner->page, s->stats_slot, addr_source(&w->peer));
    w->counted_source = of_source > 0;
    return of_source;
}

static void uncount_program(struct spawned_service *s, const struct addr *peer, bool counted_source)
{
    struct spawner *spawner = s->spawner;

    stats_sub(&s->stats->connections, 1);
    stats_sub(&spawner->page->connections, 1);
    stats_sub(&s->stats->programs, 1);
    if (counted_source)
        stats_source_sub(spawner->page, s->stats_slot, addr_source(peer));
}

static void drop_waiting(struct spawned_service *s, struct waiting *w)
{
    fd_close(&w->fd);
    list_remove(&w->link);
    free(w);
    s->spawner->n_waiting--;
}

static void tell_program_end(struct child *child, int status)
{
    struct spawned_service *s = child->owner;
    bool failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    struct log_about about = { .id = LOG_ID_PROGRAM_ENDED, .service = s->conf->name, .peer = &child->peer };
    char how[SPAWN_STATUS_MAX], lived[TEXT_NUMBER_MAX];

    if (failed)
        stats_add(&s->stats->programs_failed, 1);
    if (child->session_over)
        stats_add(&s->stats->ended_session, 1);
    if (!spawned_may_tell(s, failed ? SERVICE_LOG_ERRORS : SERVICE_LOG_CONNECTIONS))
        return;
    log_write(failed ? LOG_NOTICE : LOG_INFO, &about, "program [pid %d] %s after %s%s",
              (int)child->process.pid, spawn_print_status(how, status),
              text_print_duration(lived, child->lived_ms), child->session_over ? " (session_timeout)" : "");
}

static void start_programs(struct spawned_service *s);

/* They look for themselves, but not all the time. */
static void tell_room(struct spawned_service *s)
{
    struct spawner_packet room = { .word = SPAWNER_ROOM };

    if (stats_get(&s->stats->programs) != (uint64_t)s->conf->max_programs - 1)
        return;
    list_for_each (it, &s->spawner->attached)
        spawned_answer(container_of(it, struct attached, link), s, &room, NULL, 0);
}

static void on_program_end(struct child *child, int status)
{
    struct spawned_service *s = child->owner;

    tell_program_end(child, status);
    s->n_programs--;
    s->spawner->n_children--;
    uncount_program(s, &child->peer, child->counted_source);
    start_programs(s);
    tell_room(s);
    spawned_check_end(s->spawner);
}

static void on_again(struct loop_timer *timer)
{
    start_programs(container_of(timer, struct spawned_service, again));
}

/* There is no process now, which is nobody's fault: those that wait go on waiting. */
static void pause_programs(struct spawned_service *s, const char *why)
{
    struct log_about about = { .id = LOG_ID_PROGRAM_FAILED, .service = s->conf->name };
    uint64_t now_ms = loop_now(&s->spawner->loop);

    s->pause_ms = s->pause_ms == 0 ? PAUSE_FIRST_MS : s->pause_ms * 2;
    if (s->pause_ms > PAUSE_MAX_MS)
        s->pause_ms = PAUSE_MAX_MS;
    loop_timer_set(&s->spawner->loop, &s->again, now_ms + s->pause_ms, on_again);
    if (s->told_shortage_ms && now_ms - s->told_shortage_ms < TELL_SHORTAGE_MS)
        return;
    s->told_shortage_ms = now_ms;
    log_write(LOG_WARNING, &about, "%s; tried again, with pauses", why);
}

static bool is_shortage(int r)
{
    return r == -EAGAIN || r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -ENOSPC;
}

/* The client is closed on: this command does not run. */
static void fail_program(struct spawned_service *s, struct waiting *w, const char *why)
{
    struct log_about about = { .id = LOG_ID_PROGRAM_FAILED, .service = s->conf->name, .peer = &w->peer };

    stats_add(&s->stats->programs_failed, 1);
    if (spawned_may_tell(s, SERVICE_LOG_ERRORS))
        log_write(LOG_WARNING, &about, "closed: %s", why);
    uncount_program(s, &w->peer, w->counted_source);
    drop_waiting(s, w);
}

/* There is no program for W, which is the first in the line again, or closed. */
static void refuse_program(struct spawned_service *s, struct waiting *w, const struct child_failure *failure)
{
    char why[CHILD_FAILURE_MAX];

    child_print_failure(why, s->conf, failure);
    if (failure->step != SPAWN_STEP_FORK || !is_shortage(failure->error)) {
        fail_program(s, w, why);
        return;
    }
    list_append(s->waiting.next, &w->link);
    pause_programs(s, why);
}

static void on_program_started(struct child *child, const struct child_failure *failure)
{
    struct spawned_service *s = child->owner;
    struct waiting *w = child->client;
    struct log_about about = { .id = LOG_ID_PROGRAM_STARTED, .service = s->conf->name, .peer = &child->peer };

    child->client = NULL;
    s->spawner->starting_fds -= SPAWNED_PROGRAM_MORE;
    if (failure) {
        s->n_programs--;
        s->spawner->n_children--;
        refuse_program(s, w, failure);
        if (!s->again.place)
            start_programs(s);
        spawned_check_end(s->spawner);
        return;
    }
    drop_waiting(s, w); /* its own copy of the connection is the only one now */
    s->pause_ms = 0;
    stats_add(&s->stats->programs_started, 1);
    stats_add(&s->spawner->page->jobs, 1);
    if (spawned_may_tell(s, SERVICE_LOG_CONNECTIONS))
        log_write(LOG_INFO, &about, "connected; program [pid %d] started", (int)child->process.pid);
}

static const struct child_hooks program_hooks = {
    .on_started = on_program_started,
    .on_end = on_program_end,
};

static int start_program(struct spawned_service *s, struct waiting *w)
{
    struct spawner *spawner = s->spawner;
    char **environment = spawn_env_program(&s->recipe.env, &w->peer, &w->local, w->number);
    int fds[2] = { w->fd, w->fd };
    struct child *child;

    int r = child_start(&s->recipe, &spawner->loop, spawner->pool, fds, environment, &program_hooks, &child);
    if (r < 0)
        return r;
    child->owner = s;
    child->peer = w->peer;
    child->client = w;
    child->id = w->id;
    child->since_ms = w->since_ms;
    child->counted_source = w->counted_source;
    list_append(&s->children, &child->link);
    s->n_programs++;
    spawner->n_children++;
    spawner->starting_fds += SPAWNED_PROGRAM_MORE;
    return 0;
}

/* As many of those that wait as may run. */
static void start_programs(struct spawned_service *s)
{
    loop_timer_stop(&s->spawner->loop, &s->again);
    while (!list_empty(&s->waiting) && s->n_programs < (size_t)s->conf->max_programs) {
        struct waiting *w = container_of(s->waiting.next, struct waiting, link);
        list_remove(&w->link);
        int r = start_program(s, w);
        if (r == 0)
            continue;
        refuse_program(s, w, &(struct child_failure){ .error = r, .step = SPAWN_STEP_FORK });
        if (s->again.place)
            return;
    }
}

static struct waiting *new_waiting(struct spawned_service *s, const struct spawner_packet *packet, int fd)
{
    struct waiting *w = malloc(sizeof(*w));

    if (!w)
        return NULL;
    *w = (struct waiting){ .fd = fd,
                           .number = packet->number,
                           .id = ++s->spawner->last_id,
                           .since_ms = loop_now(&s->spawner->loop),
                           .peer = packet->peer,
                           .local = packet->local };
    list_init(&w->link);
    list_append(&s->waiting, &w->link);
    s->spawner->n_waiting++;
    return w;
}

/* As a worker refuses: with overload_reply, as far as it goes without waiting. */
static void turn_away(struct spawned_service *s, struct waiting *w, stats_number *counter, const char *limit)
{
    const struct bytes *text = &s->conf->overload_reply;
    struct log_about about = { .id = LOG_ID_REFUSED, .service = s->conf->name, .peer = &w->peer };
    char rest[4096];

    stats_add(counter, 1);
    if (spawned_may_tell(s, SERVICE_LOG_ERRORS))
        log_write(LOG_NOTICE, &about, "refused: %s", limit);
    uncount_program(s, &w->peer, w->counted_source);
    if (text->data && send(w->fd, text->data, text->len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
        shutdown(w->fd, SHUT_WR);
        /* Unread input would make a reset of the end, which destroys the reply. */
        while (recv(w->fd, rest, sizeof(rest), MSG_DONTWAIT) > 0)
            ;
    }
    drop_waiting(s, w);
}

/* Of those that came in the same instant, the ones over a limit. True when W is gone. */
static bool check_limits(struct spawned_service *s, struct waiting *w, unsigned of_source)
{
    int64_t max_of_source = s->conf->max_connections_per_source;
    uint64_t programs = stats_get(&s->stats->programs);

    if (max_of_source > 0 && of_source > max_of_source) {
        turn_away(s, w, &s->stats->refused_source, "max_connections_per_source");
        return true;
    }
    if (s->conf->overload == OVERLOAD_REFUSE && programs > (uint64_t)s->conf->max_programs) {
        turn_away(s, w, &s->stats->refused_limit, "max_programs");
        return true;
    }
    return false;
}

static void lose(struct spawned_service *s, const struct addr *peer, const char *why)
{
    struct log_about about = { .id = LOG_ID_FAULT, .service = s->conf->name, .peer = peer };

    stats_add(&s->stats->programs_failed, 1);
    if (log_limit_take(&s->recipe.lines, LOG_ERR))
        log_write(LOG_ERR, &about, "a connection is lost: %s", why);
}

/* Takes FD. */
void spawned_take_program(struct attached *from, struct spawned_service *s,
                          const struct spawner_packet *packet, int fd)
{
    struct spawner_packet taken = { .word = SPAWNER_TAKEN, .token = packet->token };
    bool came = fd >= 0;
    struct waiting *w = came ? new_waiting(s, packet, fd) : NULL;

    if (w) {
        unsigned of_source = count_program(s, w);
        if (!check_limits(s, w, of_source))
            fd_set_nonblock(fd, 0);
    } else {
        lose(s, &packet->peer, came ? "out of memory" : "no descriptor came");
        fd_close(&fd);
    }
    spawned_answer(from, s, &taken, NULL, 0);
    if (!s->again.place)
        start_programs(s);
    spawned_check_room(s, came);
}

void spawned_drop_one(struct spawned_service *s, struct waiting *w)
{
    uncount_program(s, &w->peer, w->counted_source);
    drop_waiting(s, w);
}

void spawned_drop_waiting(struct spawned_service *s)
{
    list_for_each (it, &s->waiting) {
        stats_add(&s->stats->ended_drain, 1);
        spawned_drop_one(s, container_of(it, struct waiting, link));
    }
}
