/*
 * The master: it opens or inherits the listeners and holds them for life, runs one generation of workers
 * after another, watches them, reloads, drains and stops. It never sees a client's byte, and follows no
 * index, pointer or pid that a worker can write.
 */
#ifndef SOCKD_MASTER_H
#define SOCKD_MASTER_H

#include "base/log_limit.h"
#include "base/loop.h"
#include "census.h"
#include "conf.h"
#include "control.h"
#include "exporter_seat.h"
#include "generation.h"
#include "listen.h"
#include "reload.h"
#include "sd.h"
#include "stats.h"
#include "status.h"
#include "upgrade.h"

#include <stdbool.h>
#include <stdint.h>

/* What main() decided. Borrowed for the master's life. */
struct master_setup {
    const char *file;     /* of the configuration; NULL: it is the command line, which does not change */
    const char *control;  /* path of the control socket; NULL: in its usual place, and none without a file */
    const char *greeting; /* what is printed once it serves; NULL: the listeners are logged */
    int log_level;        /* -1: as the configuration says */
    bool single_process;
    control_fn *on_command; /* its owner is the struct master */
    struct sd *sd;
    struct upgrade_program program;
    const struct upgrade_state
        *past; /* what the program before this one left; NULL: a start like any other */
};

struct master {
    const struct master_setup *setup;
    struct loop loop;
    struct loop_source signals;
    int signal_fd; /* owns */
    struct log_limit asked;
    struct stats *stats;
    struct listeners listeners;
    struct store store;
    struct generations generations;
    struct exporter_seat exporter;
    struct reload reload;
    struct upgrade upgrade;
    struct status status;
    struct shortages *shortages; /* owns */
    struct censuses censuses;
    struct control *control; /* NULL: there is none */
    struct loop_timer watch;
    uint64_t watch_due_ms;
    struct loop_timer report;
    char reported[STATUS_LINE_MAX]; /* to the service manager */
    bool stopping;
};

/*
 * Serves CONF (takes a reference of its own; NULL after an upgrade) until it is told to stop, and returns the
 * exit status: 0; 71 when the system said no; 78 when a socket that was handed over does not fit. Called
 * once.
 */
int master_run(struct master *master, const struct master_setup *setup, struct conf *conf);

/* The same for the signal TERM and for `sockctl stop`: drains and ends; the second time at once. */
void master_stop(struct master *master);
/* The same for the signal HUP and for `sockctl reload`; ASKER may be NULL. */
void master_reload(struct master *master, struct reload_asker *asker);

/* The same for the signal USR2 and for `sockctl upgrade`; CLIENT may be NULL. */
void master_upgrade(struct master *master, struct control_client *client);

/* What follows is between master.c and master_start.c. */

/* Opens the control socket, takes the sockets of systemd, and opens the first generation. 0 or an exit
 * status; what was wrong was logged. */
int master_start(struct master *master, struct conf *conf);
/* No service may have the file of the control socket, as it is now. */
void master_guard_control(struct master *master);
/* Makes the control socket anew where its file is gone or another's, or there was none. */
void master_renew_control(struct master *master);
/* The first generation serves: says so to who started us. */
void master_greet(const struct master *master, const struct generation *g);

#endif
