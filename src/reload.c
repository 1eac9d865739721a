/* The order of things in a reload, and who is told how it ended. */
#include "reload.h"

#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So long the answer waits for old workers to leave their listeners. */
#define LEAVE_WITHIN_MS 1000

void reload_init(struct reload *reload, struct generations *generations, struct exporter_seat *exporter,
                 struct sd *sd, const char *file)
{
    *reload = (struct reload){ .generations = generations, .exporter = exporter, .sd = sd, .file = file };
    list_init(&reload->askers);
    list_init(&reload->next_askers);
    complaints_init(&reload->complaints);
}

/* Nobody waits for the names of hosts any more; harmless when they were not asked for. */
static void forget_names(struct reload *reload)
{
    names_forget(reload->question);
    reload->question = NULL;
    conf_unref(reload->conf);
    reload->conf = NULL;
}

void reload_done(struct reload *reload)
{
    forget_names(reload);
    complaints_done(&reload->complaints);
    free(reload->last_message);
    reload->last_message = NULL;
}

void reload_forget(struct reload_asker *asker)
{
    list_remove(&asker->link);
}

static void answer_all(struct list *askers, bool ok, const char *text)
{
    while (!list_empty(askers)) {
        struct reload_asker *asker = container_of(askers->next, struct reload_asker, link);
        list_remove(&asker->link);
        asker->on_done(asker, ok, text);
    }
}

/* MESSAGE, and every complaint on a line of its own. The caller frees it; NULL without memory. */
static char *full_text(const char *message, const struct complaints *c)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    fprintf(out, "%s\n", message);
    complaints_print(c, "", out);
    return text_close(out, &text);
}

static void begin(struct reload *reload);

/* For those who look later, and see no complaints any more, with the first of them. */
static void remember(struct reload *reload, bool ok, const char *message)
{
    const struct complaint *first = reload->complaints.first;

    while (first && !complaint_is_fatal(first))
        first = first->next;
    free(reload->last_message);
    if (ok || !first)
        reload->last_message = strdup(message);
    else if (asprintf(&reload->last_message, "%s: %s", message, first->text) < 0)
        reload->last_message = NULL;
    reload->last_ok = ok;
    reload->n_ok += ok;
    reload->n_failed += !ok;
    reload->last_time = time(NULL);
}

/* The service manager hears of it before those who asked. MESSAGE is copied. */
static void finish(struct reload *reload, bool ok, const char *message)
{
    char *text = full_text(message, &reload->complaints);

    exporter_seat_roll_back(reload->exporter); /* of one that failed; else nothing is prepared any more */
    complaints_log(&reload->complaints);
    log_event(ok ? LOG_NOTICE : LOG_ERR, ok ? LOG_ID_RELOADED : LOG_ID_RELOAD_FAILED, "%s", message);
    remember(reload, ok, message);
    reload->state = RELOAD_IDLE;
    reload->candidate = NULL;
    complaints_done(&reload->complaints);
    if (!reload->stopped)
        sd_tell_ready(reload->sd);
    answer_all(&reload->askers, ok, text ? text : message);
    free(text);
    if (reload->again && !reload->stopped && reload->state == RELOAD_IDLE)
        begin(reload);
}

static void fail(struct reload *reload, const char *why)
{
    char message[512];

    if (reload->generations->serving)
        snprintf(message, sizeof(message), "reload failed, generation %u goes on serving: %s",
                 reload->generations->serving->number, why);
    else
        snprintf(message, sizeof(message), "reload failed: %s", why);
    finish(reload, false, message);
}

static void fail_by_complaints(struct reload *reload)
{
    char why[64];

    snprintf(why, sizeof(why), "%zu error%s", reload->complaints.n_fatal,
             reload->complaints.n_fatal == 1 ? "" : "s");
    fail(reload, why);
}

/* The oldest of the generations that leave is the one that a fifth waits for. */
static const struct generation *find_oldest(const struct reload *reload)
{
    return container_of(reload->generations->all.next, struct generation, link);
}

char *reload_print_wait(char buf[RELOAD_WAIT_MAX], const struct reload *reload)
{
    buf[0] = '\0';
    if (reload->state != RELOAD_WAITING)
        return buf;
    const struct generation *oldest = find_oldest(reload);
    unsigned long long n = generation_connections(oldest);
    snprintf(buf, RELOAD_WAIT_MAX,
             "reload waits: %d generations live; generation %u has %llu connection%s open", GENERATIONS_MAX,
             oldest->number, n, n == 1 ? "" : "s");
    return buf;
}

static void tell_wait(const struct reload *reload, struct reload_asker *asker)
{
    char text[RELOAD_WAIT_MAX];

    asker->on_wait(asker, reload_print_wait(text, reload));
}

static void wait_for_room(struct reload *reload)
{
    char text[RELOAD_WAIT_MAX];

    if (reload->state == RELOAD_WAITING)
        return;
    reload->state = RELOAD_WAITING;
    reload->waits_since = time(NULL);
    log_write(LOG_NOTICE,
              &(struct log_about){ .id = LOG_ID_RELOAD_WAITS, .generation = find_oldest(reload)->number },
              "%s", reload_print_wait(text, reload));
    list_for_each (it, &reload->askers)
        tell_wait(reload, container_of(it, struct reload_asker, link));
}

/* Starts what CONF says. */
static void start(struct reload *reload, struct conf *conf, const struct names *names)
{
    int r = exporter_seat_prepare(reload->exporter, conf, names, &reload->complaints);

    if (r == 0)
        r = generation_open(reload->generations, conf, names, false, &reload->complaints, &reload->candidate);
    if (r < 0)
        fail_by_complaints(reload);
    else
        reload->state = RELOAD_STARTING;
}

static void on_names(void *owner, struct names names)
{
    struct reload *reload = owner;
    struct conf *conf = reload->conf;

    reload->conf = NULL;
    reload->question = NULL;
    start(reload, conf, &names);
    names_done(&names);
    conf_unref(conf);
}

/* Loads the file, and goes on with what it says if there is room. */
static void try(struct reload *reload)
{
    struct generations *all = reload->generations;
    struct conf *conf = NULL;

    complaints_done(&reload->complaints);
    if (conf_load(reload->file, &reload->complaints, &conf) < 0) {
        fail_by_complaints(reload);
        return;
    }
    if (generations_living(all) >= GENERATIONS_MAX) {
        conf_unref(conf); /* read again when there is room: it may have changed by then */
        wait_for_room(reload);
        return;
    }
    reload->conf = conf;
    reload->state = RELOAD_NAMING;
    int r = names_ask(all->loop, conf, all->stats, on_names, reload, &reload->question);
    if (r < 0) {
        complaints_add(&reload->complaints, true, "cannot look up hosts: %s", strerror(-r));
        forget_names(reload);
        fail_by_complaints(reload);
    }
}

/* Those who asked until now have their request answered by this one. */
static void begin(struct reload *reload)
{
    while (!list_empty(&reload->next_askers)) {
        struct list *link = reload->next_askers.next;
        list_remove(link);
        list_append(&reload->askers, link);
    }
    reload->again = false;
    reload->began_ms = loop_now(reload->generations->loop);
    sd_tell_reloading(reload->sd);
    try(reload);
}

static size_t count_askers(const struct reload *reload)
{
    size_t n = 0;

    list_for_each (it, &reload->askers)
        n++;
    list_for_each (it, &reload->next_askers)
        n++;
    return n;
}

/* Why there is no reload; NULL: there is one. */
static const char *find_obstacle(const struct reload *reload)
{
    return reload->stopped                 ? "sockd is stopping"
           : !reload->file                 ? "the configuration is the command line"
           : !reload->generations->serving ? "sockd is still starting"
                                           : NULL;
}

void reload_ask(struct reload *reload, struct reload_asker *asker)
{
    const char *why = find_obstacle(reload);

    if (!why && asker && count_askers(reload) >= RELOAD_ASKERS_MAX)
        why = "many clients wait for a reload already; try again";
    if (why && asker)
        asker->on_done(asker, false, why);
    else if (why)
        log_event(LOG_WARNING, LOG_ID_RELOAD_FAILED, "no reload: %s", why);
    if (why)
        return;
    if (asker)
        list_append(&reload->next_askers, &asker->link);
    if (asker && reload->state == RELOAD_WAITING)
        tell_wait(reload, asker);
    reload->again = true;
    if (reload->state == RELOAD_IDLE)
        begin(reload);
}

/* All of it is done. */
static void succeed(struct reload *reload)
{
    struct loop *loop = reload->generations->loop;
    char message[1024], took[TEXT_NUMBER_MAX];

    snprintf(message, sizeof(message), "generation %u: %s (%s)", reload->generations->serving->number,
             reload->diff ? reload->diff : "loaded",
             text_print_duration(took, loop_now(loop) - reload->began_ms));
    loop_timer_stop(loop, &reload->leave_timer);
    free(reload->diff);
    reload->diff = NULL;
    reload->old = NULL;
    finish(reload, true, message);
}

/* An old worker that is slow, or stopped, holds up nobody for long. */
static void on_leave_late(struct loop_timer *timer)
{
    succeed(container_of(timer, struct reload, leave_timer));
}

void reload_on_change(struct reload *reload)
{
    if (reload->state == RELOAD_LEAVING && generation_has_left(reload->old))
        succeed(reload);
}

static void commit(struct reload *reload, struct generation *old)
{
    struct generation *g = reload->candidate;

    reload->diff = conf_diff(old->conf, g->conf);
    generation_commit(g);
    generation_retire(old, g->conf->reload_drain_timeout);
    listen_apply(&g->listeners, &reload->complaints);
    int log_level = generation_log_level(g);
    log_set_level(log_level);
    exporter_seat_commit(reload->exporter, log_level);
    reload->candidate = NULL;
    reload->old = old;
    reload->state = RELOAD_LEAVING;
    loop_timer_set(g->all->loop, &reload->leave_timer, loop_now(g->all->loop) + LEAVE_WITHIN_MS,
                   on_leave_late);
    reload_on_change(reload);
}

bool reload_on_ready(struct reload *reload, struct generation *g)
{
    if (reload->state != RELOAD_STARTING || reload->candidate != g)
        return false;
    assert(reload->generations->serving);
    commit(reload, reload->generations->serving);
    return true;
}

void reload_on_failed(struct reload *reload, struct generation *g, const char *why)
{
    generation_retire(g, g->conf->reload_drain_timeout);
    if (reload->state == RELOAD_STARTING && reload->candidate == g)
        fail(reload, why);
}

void reload_on_gone(struct reload *reload, struct generation *g)
{
    assert(reload->candidate != g);
    if (reload->state == RELOAD_LEAVING && reload->old == g)
        succeed(reload);
    if (reload->state == RELOAD_WAITING && !reload->stopped)
        try(reload);
}

void reload_stop(struct reload *reload)
{
    reload->stopped = true;
    forget_names(reload);
    if (reload->state == RELOAD_LEAVING)
        succeed(reload);
    else if (reload->state != RELOAD_IDLE)
        finish(reload, false, "reload given up: sockd is stopping");
    answer_all(&reload->next_askers, false, "sockd is stopping");
}
