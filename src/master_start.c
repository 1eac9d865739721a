/* How the master begins to serve, when no program before it left it anything; see master.h. */
#include "master.h"

#include "base/log.h"
#include "complaints.h"
#include "control_path.h"
#include "log_ids.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* So long the service manager may take until it has closed a socket that it kept for us. */
#define RELEASE_TRIES    100
#define RELEASE_PAUSE_MS 20

static void warn_no_control(const char *path, int r)
{
    if (r == -EADDRINUSE)
        log_event(LOG_WARNING, LOG_ID_NO_CONTROL,
                  "another sockd answers on the control socket %s; this one has none (see --control)", path);
    else
        log_event(LOG_WARNING, LOG_ID_NO_CONTROL, "no control socket %s: %s", path, strerror(-r));
}

/* The daemon serves without it too; so what goes wrong is one warning. */
static void open_control(struct master *master)
{
    char own[CONTROL_PATH_MAX];
    const char *path = master->setup->control;
    int r = 0;

    if (!path && !master->setup->file)
        return;
    if (!path) {
        r = control_path_own(own, sizeof(own));
        path = own;
    }
    if (r < 0) {
        log_event(LOG_WARNING, LOG_ID_NO_CONTROL, "no control socket: %s", strerror(-r));
        return;
    }
    r = control_open(&master->loop, path, master->setup->on_command, master, &master->control);
    if (r < 0)
        warn_no_control(path, r);
}

/* The sockets of systemd. 0 or an exit status. */
static int take_inherited(struct master *master, const struct conf *conf)
{
    struct sd *sd = master->setup->sd;
    struct complaints complaints;

    if (sd->inherit_error == -ESRCH)
        log_event(LOG_WARNING, LOG_ID_CONFIGURATION,
                  "LISTEN_FDS is meant for another process (LISTEN_PID); ignored");
    else if (sd->inherit_error < 0) {
        log_last_words();
        log_event(LOG_ERR, LOG_ID_CONFIGURATION, "the sockets that LISTEN_FDS promises cannot be taken: %s",
                  strerror(-sd->inherit_error));
        return EX_CONFIG;
    }
    complaints_init(&complaints);
    int r = listen_inherit(&master->listeners, conf, sd->inherited, sd->n_inherited, &complaints);
    if (r < 0)
        log_last_words();
    complaints_log(&complaints);
    complaints_done(&complaints);
    return r < 0 ? EX_CONFIG : 0;
}

static int log_level_of(const struct master *master, const struct conf *conf)
{
    return master->setup->log_level >= 0 ? master->setup->log_level : conf->log_level;
}

/* For their complaints only. */
static int try_listeners(struct master *master, const struct conf *conf, const struct names *names,
                         struct complaints *complaints)
{
    struct listen_set set;

    int r = listen_open(&master->listeners, conf, names, complaints, &set);
    if (r == 0)
        listen_release(&set);
    return r;
}

/*
 * A socket from before the restart may be in the way, as one of localhost is where the service is on every
 * address now. It is given up, and tried again until the service manager has done so too.
 */
static int open_generation(struct master *master, struct conf *conf, const struct names *names,
                           struct complaints *complaints)
{
    struct generation *g;

    int r = generation_open(&master->generations, conf, names, true, complaints, &g);
    if (r != -EADDRINUSE || !store_release(&master->store))
        return r;
    for (unsigned i = 0; r == -EADDRINUSE && i < RELEASE_TRIES; i++) {
        poll(NULL, 0, i > 0 ? RELEASE_PAUSE_MS : 0);
        complaints_done(complaints);
        r = generation_open(&master->generations, conf, names, true, complaints, &g);
    }
    return r;
}

/* The first generation, and the exporter. 0 or an exit status. */
static int open_first(struct master *master, struct conf *conf)
{
    struct names names;
    struct complaints complaints;

    if (names_look_up(conf, &names) < 0) {
        log_last_words();
        log_event(LOG_ERR, LOG_ID_FAULT, "cannot start: out of memory");
        return EX_OSERR;
    }
    complaints_init(&complaints);
    int exporter = exporter_seat_prepare(&master->exporter, conf, &names, &complaints);
    int r = exporter < 0 ? try_listeners(master, conf, &names, &complaints) : 0;
    if (exporter < 0)
        r = r < 0 ? r : exporter;
    else {
        complaints_log(&complaints);
        complaints_done(&complaints);
        r = open_generation(master, conf, &names, &complaints);
    }
    names_done(&names);
    if (r < 0)
        log_last_words();
    complaints_log(&complaints);
    complaints_done(&complaints);
    if (r == 0)
        exporter_seat_commit(&master->exporter, log_level_of(master, conf));
    if (r == -EINVAL)
        return EX_CONFIG;
    return r < 0 ? EX_OSERR : 0;
}

void master_guard_control(struct master *master)
{
    if (master->control)
        master->listeners.control = control_file(master->control);
}

/* The directory may have gone with the file; where we have made it ourselves, we do so again. */
static void renew(struct master *master)
{
    const char *path = control_path(master->control);
    char own[CONTROL_PATH_MAX];

    if (!master->setup->control)
        control_path_own(own, sizeof(own));
    int r = control_renew(master->control);
    if (r > 0)
        log_event(LOG_NOTICE, LOG_ID_NO_CONTROL, "the control socket %s was gone; made anew", path);
    else if (r < 0)
        warn_no_control(path, r);
}

void master_renew_control(struct master *master)
{
    if (master->control)
        renew(master);
    else
        open_control(master);
    master_guard_control(master);
}

int master_start(struct master *master, struct conf *conf)
{
    open_control(master);
    master_guard_control(master);
    int status = take_inherited(master, conf);
    return status ? status : open_first(master, conf);
}

/* "generation 1: echo on 127.0.0.1:50000, [::1]:50000; 2 workers" */
static void log_listeners(const struct generation *g)
{
    const struct service *last = NULL;
    char text[LISTENER_TEXT_MAX], *line = NULL;
    size_t len;
    FILE *out = open_memstream(&line, &len);

    if (!out)
        return;
    for (size_t i = 0; i < g->listeners.len; i++) {
        const struct service *service = g->listeners.service[i];
        if (service != last)
            fprintf(out, "%s%s on ", last ? "; " : "", service->name);
        const char *where = listener_print(text, g->listeners.item[i]);
        /* Most are TCP, and the address says so. */
        fprintf(out, "%s%s", service == last ? ", " : "", strncmp(where, "tcp ", 4) == 0 ? where + 4 : where);
        last = service;
    }
    if (fclose(out) == 0)
        log_event(LOG_NOTICE, LOG_ID_STARTED, "generation %u: %s%s%zu worker%s", g->number, line,
                  last ? "; " : "", g->n_workers, g->n_workers == 1 ? "" : "s");
    free(line);
}

void master_greet(const struct master *master, const struct generation *g)
{
    if (!master->setup->greeting) {
        log_listeners(g);
        return;
    }
    puts(master->setup->greeting);
    fflush(stdout);
}
