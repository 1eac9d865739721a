/* The master's main loop: signals, the clock, and the hooks that tie generations, reloads and status
 * together. */
#include "master.h"

#include "base/addr.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/text.h"
#include "complaints.h"
#include "log_ids.h"
#include "metrics.h"
#include "shortage.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

/* How often the service manager is told new figures. */
#define REPORT_MS 5000
/* What a drain or a long reload asks for on top, each time. */
#define EXTEND_MS 15000
/* Asked for a sign of life so often within worker_timeout. */
#define PINGS_PER_TIMEOUT 3
/* Descriptors of a worker that are not connections. */
#define DESCRIPTORS_RESERVED 64

static void on_change(void *owner);

void master_reload(struct master *master, struct reload_asker *asker)
{
    reload_ask(&master->reload, asker);
}

static void log_stop(const struct master *master, const struct conf *conf)
{
    static const struct log_about stopping = { .id = LOG_ID_STOPPING };
    char within[TEXT_NUMBER_MAX];
    uint64_t connections = status_connections(&master->status);

    if (connections == 0) {
        log_write(LOG_NOTICE, &stopping, "stopping");
        return;
    }
    /* Which of them have something in hand only the workers know; the others close at once. */
    log_write(LOG_NOTICE, &stopping, "stopping: %llu connection%s open; what is in hand has %s to finish",
              (unsigned long long)connections, connections == 1 ? " is" : "s are",
              text_print_duration(within, conf->drain_timeout));
}

static void kill_all(struct master *master)
{
    log_event(LOG_NOTICE, LOG_ID_STOPPING, "stopping at once");
    orphans_kill(&master->generations.orphans);
    list_for_each (it, &master->generations.all)
        generation_kill(container_of(it, struct generation, link));
    if (master->setup->single_process)
        loop_quit(&master->loop);
}

/* All generations are gone. What spawners have left may keep us until it is reaped. */
static void end(struct master *master)
{
    if (orphans_live(&master->generations.orphans))
        return;
    exporter_seat_stop(&master->exporter);
    if (!process_lives(&master->exporter.process))
        loop_quit(&master->loop);
}

void master_stop(struct master *master)
{
    const struct generation *g = status_newest(&master->status);

    if (master->stopping) {
        kill_all(master);
        return;
    }
    master->stopping = master->status.stopping = true;
    sd_tell_stopping(master->setup->sd);
    on_change(master);
    upgrade_stop(&master->upgrade);
    reload_stop(&master->reload);
    if (!g) {
        end(master);
        return;
    }
    log_stop(master, g->conf);
    uint64_t timeout_ms = g->conf->drain_timeout;
    list_for_each (it, &master->generations.all)
        generation_drain(container_of(it, struct generation, link), timeout_ms);
    orphans_end_later(&master->generations.orphans, timeout_ms);
}

void master_upgrade(struct master *master, struct control_client *client)
{
    upgrade_ask(&master->upgrade, client);
}

static void upgrade_by_signal(struct master *master)
{
    master_upgrade(master, NULL);
}

/* By the signal alone: sockctl came through the control socket. */
static void reload_by_signal(struct master *master)
{
    if (!master->stopping)
        master_renew_control(master);
    master_reload(master, NULL);
}

static void reap(struct master *master)
{
    char how[SPAWN_STATUS_MAX];
    pid_t pid;
    int status;

    while ((pid = spawn_reap(&status)) > 0)
        if (!upgrade_reaped(&master->upgrade, pid, status) &&
            !generations_reaped(&master->generations, pid, status) &&
            !exporter_seat_reaped(&master->exporter, pid, status))
            log_debug("the unknown child %d %s", (int)pid, spawn_print_status(how, status));
    if (master->stopping && list_empty(&master->generations.all))
        end(master);
}

/* One that would end us by default, and was sent by mistake. */
static void ignore(struct master *master)
{
    (void)master;
    log_debug("a signal that means nothing here");
}

/* A signal, and the function that it shares with a word of sockctl. */
static const struct signal_row {
    int signo;
    void (*run)(struct master *master);
    const char *change; /* for the log; NULL: none */
} signal_rows[] = {
    { SIGTERM, master_stop, "stop by SIGTERM" },
    { SIGINT, master_stop, "stop by SIGINT" },
    { SIGHUP, reload_by_signal, "reload by SIGHUP" },
    { SIGUSR2, upgrade_by_signal, "upgrade by SIGUSR2" },
    { SIGCHLD, reap, NULL },
    { SIGUSR1, ignore, NULL },
};
#define SIGNALS (sizeof(signal_rows) / sizeof(signal_rows[0]))

/* Of the lines about signals that ask for something; a stop is always told. */
#define ASKED_PER_SECOND 5

static void obey_signal(struct master *master, const struct signal_row *row,
                        const struct signalfd_siginfo *info)
{
    const struct addr sender = { .family = AF_UNIX, .uid = info->ssi_uid, .pid = (pid_t)info->ssi_pid };
    bool typed = info->ssi_code == SI_KERNEL; /* Ctrl-C, or the terminal hung up: no process sent it */
    struct log_about about = { .id = LOG_ID_CONTROL, .peer = typed ? NULL : &sender };

    if (row->change && (row->run == master_stop || log_limit_take(&master->asked, LOG_NOTICE)))
        log_write(LOG_NOTICE, &about, "%s%s", row->change, typed ? ", from the terminal" : "");
    row->run(master);
}

static void on_signal(struct loop_source *source, uint32_t events)
{
    struct master *master = container_of(source, struct master, signals);
    struct signalfd_siginfo info;

    (void)events;
    while (read(master->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        for (size_t i = 0; i < SIGNALS; i++)
            if (signal_rows[i].signo == (int)info.ssi_signo)
                obey_signal(master, &signal_rows[i], &info);
}

static int open_signals(struct master *master)
{
    int signals[SIGNALS];

    for (size_t i = 0; i < SIGNALS; i++)
        signals[i] = signal_rows[i].signo;
    master->signal_fd = spawn_take_signals(signals, SIGNALS);
    if (master->signal_fd < 0)
        return master->signal_fd;
    return loop_add(&master->loop, &master->signals, master->signal_fd, EPOLLIN, on_signal);
}

static uint64_t worker_timeout(const struct master *master)
{
    const struct generation *g = status_newest(&master->status);

    return g ? g->conf->worker_timeout : 0;
}

static void on_watch(struct loop_timer *timer);

static void plan_watch(struct master *master, uint64_t latest_ms)
{
    uint64_t timeout_ms = worker_timeout(master);
    uint64_t pause_ms = timeout_ms > 0 ? timeout_ms / PINGS_PER_TIMEOUT + 1 : 1000;
    uint64_t due_ms = loop_now(&master->loop) + pause_ms;

    master->watch_due_ms = due_ms < latest_ms ? due_ms : latest_ms;
    loop_timer_set(&master->loop, &master->watch, master->watch_due_ms, on_watch);
}

static void on_watch(struct loop_timer *timer)
{
    struct master *master = container_of(timer, struct master, watch);
    uint64_t timeout_ms = worker_timeout(master);
    /* We were stopped, or the whole machine was: nobody could answer, or be heard. */
    bool was_away = loop_now(&master->loop) - master->watch_due_ms > timeout_ms / PINGS_PER_TIMEOUT;

    if (timeout_ms > 0) {
        generations_watch(&master->generations, timeout_ms, was_away);
        exporter_seat_watch(&master->exporter, timeout_ms, was_away);
    }
    log_tell_losses();
    plan_watch(master, UINT64_MAX);
}

static void report(struct master *master)
{
    char line[STATUS_LINE_MAX];

    status_line(&master->status, line);
    if (strcmp(line, master->reported) == 0)
        return;
    strcpy(master->reported, line);
    sd_tell_status(master->setup->sd, line);
}

static void on_report(struct loop_timer *timer)
{
    struct master *master = container_of(timer, struct master, report);

    report(master);
    if (master->stopping || master->reload.state != RELOAD_IDLE)
        sd_extend_timeout(master->setup->sd, EXTEND_MS);
    loop_timer_set(&master->loop, timer, loop_now(&master->loop) + REPORT_MS, on_report);
}

static void on_change(void *owner)
{
    struct master *master = owner;
    enum verdict before = master->status.verdict;

    status_judge(&master->status);
    if (master->status.verdict != before)
        report(master);
    reload_on_change(&master->reload);
}

/* What a start found in the store of the service manager is as it was made. */
static void apply_first(const struct generation *g)
{
    struct complaints complaints;

    complaints_init(&complaints);
    listen_apply(&g->listeners, &complaints);
    complaints_log(&complaints);
    complaints_done(&complaints);
}

static void on_ready(struct generation *g, void *owner)
{
    struct master *master = owner;

    if (!reload_on_ready(&master->reload, g)) {
        generation_commit(g);
        apply_first(g);
        master_greet(master, g);
        sd_tell_ready(master->setup->sd);
    }
    on_change(master);
    /* By the timeout of this generation; and reloads in quick succession do not put it off for ever. */
    plan_watch(master, master->watch_due_ms);
}

static void on_failed(struct generation *g, const char *why, void *owner)
{
    struct master *master = owner;

    reload_on_failed(&master->reload, g, why);
}

static void on_gone(struct generation *g, void *owner)
{
    struct master *master = owner;

    log_debug("generation %u ended", g->number);
    reload_on_gone(&master->reload, g);
    if (master->stopping && list_empty(&master->generations.all))
        end(master);
}

static void on_listing(struct generation *g, unsigned process, uint32_t question, int fd, void *owner)
{
    struct master *master = owner;

    censuses_hear(&master->censuses, g, process, question, fd);
}

static const struct generation_hooks generation_hooks = {
    .on_ready = on_ready,
    .on_failed = on_failed,
    .on_gone = on_gone,
    .on_listing = on_listing,
    .on_change = on_change,
};

static char *metrics_of(void *owner)
{
    struct master *master = owner;

    status_look(&master->status);
    return metrics_text(&master->status);
}

static void init(struct master *master, const struct master_setup *setup)
{
    size_t soft, limit = fd_raise_limit(&soft);

    *master = (struct master){ .setup = setup, .signal_fd = -1, .signals.fd = -1, .loop.epoll_fd = -1 };
    listeners_init(&master->listeners);
    exporter_seat_init(&master->exporter, &master->loop, metrics_of, master);
    store_init(&master->store, setup->sd, &master->listeners, &master->loop);
    master->generations = (struct generations){
        .loop = &master->loop,
        .listeners = &master->listeners,
        .store = &master->store,
        .embedded = setup->single_process,
        .log_level = setup->log_level,
        .max_descriptors = limit > 2 * DESCRIPTORS_RESERVED ? limit - DESCRIPTORS_RESERVED : limit / 2,
        .soft_descriptors = soft,
        .told_descriptors = !setup->file, /* nobody wrote max_connections on a command line */
        .told_programs = !setup->file,
        .hooks = &generation_hooks,
        .owner = master,
    };
    generations_init(&master->generations);
    censuses_init(&master->censuses);
    reload_init(&master->reload, &master->generations, &master->exporter, setup->sd, setup->file);
    upgrade_init(&master->upgrade, &(struct upgrade_parts){
                                       .generations = &master->generations,
                                       .reload = &master->reload,
                                       .control = &master->control,
                                       .exporter = &master->exporter,
                                       .store = &master->store,
                                       .sd = setup->sd,
                                       .program = setup->program,
                                   });
    status_init(&master->status, &master->generations, &master->reload);
}

/* What the system must give for there to be a master. 0 or -errno. */
static int open_all(struct master *master)
{
    int r = loop_init(&master->loop);
    if (r == 0)
        r = spawn_adopt_orphans();
    if (r == 0)
        r = master->setup->past ? upgrade_adopt_stats(master->setup->past, &master->stats)
                                : stats_create(&master->stats);
    if (r == 0)
        r = shortages_start(&master->generations, master->setup->past != NULL, on_change, master,
                            &master->shortages);
    if (r < 0)
        return r;
    master->generations.shortages = master->shortages;
    master->generations.stats = master->stats;
    master->exporter.process.stats = master->stats;
    log_limit_init(&master->asked, &master->loop, NULL, " about signals", ASKED_PER_SECOND);
    return open_signals(master);
}

static void close_all(struct master *master)
{
    upgrade_done(&master->upgrade);
    control_close(master->control);
    sd_close(master->setup->sd);
    reload_done(&master->reload);
    generations_done(&master->generations);
    store_done(&master->store);
    shortages_stop(master->shortages);
    loop_remove(&master->loop, &master->signals);
    log_limit_done(&master->asked);
    fd_close(&master->signal_fd);
    exporter_seat_done(&master->exporter);
    listeners_done(&master->listeners);
    stats_free(master->stats);
    loop_done(&master->loop);
}

/* From the program before this one. 0 or an exit status. */
static int take_over(struct master *master)
{
    const struct master_setup *setup = master->setup;

    int r = upgrade_adopt(&master->upgrade, setup->past, setup->on_command, master);
    if (r < 0) {
        log_event(LOG_ERR, LOG_ID_FAULT, "cannot take over from sockd %s: %s", setup->past->version,
                  strerror(-r));
        return EX_OSERR;
    }
    log_set_level(status_log_level(&master->status));
    master_guard_control(master);
    reap(master);
    upgrade_go_on(&master->upgrade);
    return 0;
}

int master_run(struct master *master, const struct master_setup *setup, struct conf *conf)
{
    init(master, setup);
    int r = open_all(master);
    if (r < 0) {
        log_event(LOG_ERR, LOG_ID_FAULT, "cannot start: %s", strerror(-r));
        close_all(master);
        return EX_OSERR;
    }
    sd_start(setup->sd, &master->loop);
    int status = setup->past ? take_over(master) : master_start(master, conf);
    if (status == 0) {
        plan_watch(master, UINT64_MAX);
        on_report(&master->report);
        r = loop_run(&master->loop);
        if (r < 0)
            log_event(LOG_ERR, LOG_ID_FAULT, "the event loop failed: %s", strerror(-r));
        status = r < 0 ? EX_OSERR : 0;
        log_event(LOG_NOTICE, LOG_ID_STOPPED, "stopped");
    }
    close_all(master);
    return status;
}
