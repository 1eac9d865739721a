/* Trials of plug-ins, in children that serve nobody; see trial.h. */
#include "trial.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/text.h"
#include "handler/plugin.h"
#include "seat.h"
#include "trouble.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The status of a child that the plug-in did not end; one that calls exit(3) itself has another. */
#define SURVIVED 113

/* Of one service. */
struct trial {
    struct generation *generation;
    struct spawn_child child; /* pid 0: it does not run */
    struct loop_timer timer;  /* while it runs: it takes too long; else: the next */
    unsigned failures;        /* in a row */
    uint64_t well_ms;         /* when it last went well */
    bool late;
};

static size_t service_of(const struct trial *trial)
{
    return (size_t)(trial - trial->generation->trials);
}

static bool is_plugin(const struct service *service)
{
    return service->enabled && service->handler == HANDLER_PLUGIN;
}

int trials_make(struct generation *g)
{
    g->shelved = calloc(g->conf->n_services + 1, sizeof(*g->shelved));
    g->trials = calloc(g->conf->n_services + 1, sizeof(*g->trials));
    if (!g->shelved || !g->trials)
        return -ENOMEM;
    for (size_t i = 0; i < g->conf->n_services; i++)
        g->trials[i] = (struct trial){ .generation = g, .child.pidfd = -1 };
    return 0;
}

void trials_free(struct generation *g)
{
    if (g->trials)
        trials_stop(g);
    free(g->trials);
    free(g->shelved);
    g->trials = NULL;
    g->shelved = NULL;
}

static void forget_child(struct trial *trial)
{
    fd_close(&trial->child.pidfd);
    trial->child.pid = 0;
}

/* One that still runs is reaped as a stranger. */
void trials_stop(struct generation *g)
{
    for (size_t i = 0; i < g->conf->n_services; i++) {
        struct trial *trial = &g->trials[i];

        loop_timer_stop(g->all->loop, &trial->timer);
        if (trial->child.pid)
            spawn_signal(trial->child.pidfd, SIGKILL);
        forget_child(trial);
    }
}

/* In the child. The core file of the worker is enough. */
static void rehearse(const struct trial *trial, pid_t master)
{
    const struct generation *g = trial->generation;
    const struct rlimit no_core = { 0, 0 };
    int keep[] = { log_fd() };

    prctl(PR_SET_NAME, "sockd-trial");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != master)
        _exit(EXIT_FAILURE);
    setrlimit(RLIMIT_CORE, &no_core);
    stats_leave(g->all->stats);
    fd_close_others(keep, 1);
    plugin_rehearse(&g->conf->services[service_of(trial)]);
    _exit(SURVIVED);
}

static void on_again(struct loop_timer *timer);

static void try_later(struct trial *trial)
{
    const struct generation *g = trial->generation;
    const struct log_about about = { .service = g->conf->services[service_of(trial)].name };
    uint64_t pause_ms = seat_pause_ms(++trial->failures);
    char pause[TEXT_NUMBER_MAX];

    log_write(LOG_DEBUG, &about, "tried again in %s", text_print_duration(pause, pause_ms));
    loop_timer_set(g->all->loop, &trial->timer, loop_now(g->all->loop) + pause_ms, on_again);
}

static void on_late(struct loop_timer *timer)
{
    struct trial *trial = container_of(timer, struct trial, timer);

    trial->late = true;
    spawn_signal(trial->child.pidfd, SIGKILL);
}

static void start(struct trial *trial)
{
    const struct generation *g = trial->generation;
    struct loop *loop = g->all->loop;
    uint64_t limit_ms = g->conf->worker_timeout;
    pid_t master = getpid();

    trial->late = false;
    int r = spawn_fork(&trial->child);
    if (r == 1)
        rehearse(trial, master);
    if (r == 0 && limit_ms > 0)
        loop_timer_set(loop, &trial->timer, loop_now(loop) + limit_ms, on_late);
    else if (r < 0 && g->shelved[service_of(trial)])
        try_later(trial);
}

static void on_again(struct loop_timer *timer)
{
    start(container_of(timer, struct trial, timer));
}

void trial_shelve(struct generation *g, size_t service, const char *why)
{
    g->shelved[service] = true;
    trouble_begin(g, service, why);
    try_later(&g->trials[service]);
}

static bool is_any_running(const struct generation *g)
{
    for (size_t i = 0; i < g->conf->n_services; i++)
        if (g->trials[i].child.pid)
            return true;
    return false;
}

bool trials_begin(struct generation *g)
{
    for (size_t i = 0; i < g->conf->n_services; i++)
        if (is_plugin(&g->conf->services[i]) && !g->shelved[i] && !g->trials[i].child.pid)
            start(&g->trials[i]);
    return is_any_running(g);
}

/* G does not come to serve; OF: what is known more than the death of its worker. */
static void give_up(struct generation *g, const char *of)
{
    char why[sizeof(g->death) + 2 * CHANNEL_TEXT_MAX];

    snprintf(why, sizeof(why), "%s; %s", g->death, of);
    g->all->hooks->on_failed(g, why, g->all->owner);
}

static bool is_about_death(const struct generation *g)
{
    return g->state == GENERATION_STARTING && g->death[0];
}

static void fail(struct trial *trial, int status)
{
    struct generation *g = trial->generation;
    size_t service = service_of(trial);
    const struct service *conf = &g->conf->services[service];
    char how[SPAWN_STATUS_MAX] = "did not come to an end within worker_timeout";
    char why[CHANNEL_TEXT_MAX], of[sizeof(why) + 80];

    if (!trial->late)
        spawn_print_status(how, status);
    int n = snprintf(why, sizeof(why), "plug-in %.100s: the process that tried it %s", conf->plugin, how);
    if (is_about_death(g)) {
        snprintf(of, sizeof(of), "service %s: %s", conf->name, why);
        give_up(g, of);
        return;
    }
    snprintf(why + n, sizeof(why) - (size_t)n, "; the service is shelved meanwhile");
    if (!g->shelved[service] && loop_now(g->all->loop) - trial->well_ms > SEAT_PAUSE_MAX_MS)
        trial->failures = 0;
    trial_shelve(g, service, why);
}

/* One that was not shelved lives in the workers, or did not end them. */
static void succeed(struct trial *trial)
{
    struct generation *g = trial->generation;
    size_t service = service_of(trial);

    trial->well_ms = loop_now(g->all->loop);
    if (!g->shelved[service])
        return;
    g->shelved[service] = false;
    trouble_end(g, service);
    for (size_t i = 0; i < g->n_workers; i++)
        process_tell(&g->seats[i].process, CHANNEL_TAKE_UP, (uint32_t)service);
}

static void end(struct trial *trial, int status)
{
    struct generation *g = trial->generation;

    forget_child(trial);
    loop_timer_stop(g->all->loop, &trial->timer);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SURVIVED)
        succeed(trial);
    else
        fail(trial, status);
    /* Workers that wait for their next try need not wait any more: they do without what is shelved. */
    if (!is_any_running(g) && is_about_death(g))
        give_up(g, "each plug-in, tried alone, went well");
    else if (!is_any_running(g))
        seats_hurry(g);
    g->all->hooks->on_change(g->all->owner);
}

bool trials_reaped(struct generation *g, pid_t pid, int status)
{
    for (size_t i = 0; g->trials && i < g->conf->n_services; i++)
        if (g->trials[i].child.pid == pid) {
            end(&g->trials[i], status);
            return true;
        }
    return false;
}
