/*
 * A reload: the new generation is built beside the old one, then committed or rolled back, whole. Runs in the
 * master, from the loop; nobody waits for it but the one who asked.
 *
 *                     one is gone
 *            .---------------------------- waiting
 *            v     GENERATIONS_MAX live       ^
 *   idle -> loading --------------------------'
 *            |   '----------> naming -----> starting -----> leaving -----> idle
 *            | bad              | no way      | no listener,
 *            | configuration    | to ask      | a worker died
 *            '------------------+-------------+-----------> failed ------> idle
 *
 * Who waits reads the file anew, since it may have changed. It is done when the old workers have left the
 * listeners, so that who connects after the answer meets the new ones.
 *
 * One runs at a time. Those who ask meanwhile get the result of one more, which begins when this one ended.
 */
#ifndef SOCKD_RELOAD_H
#define SOCKD_RELOAD_H

#include "base/list.h"
#include "exporter_seat.h"
#include "generation.h"
#include "sd.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Somebody who waits for a result; TEXT is borrowed, of one line or more. Owned by who asked; not touched
 * after on_done. */
struct reload_asker {
    struct list link;
    void (*on_wait)(struct reload_asker *asker, const char *text); /* it will take longer, for that reason */
    void (*on_done)(struct reload_asker *asker, bool ok, const char *text);
};

enum reload_state {
    RELOAD_IDLE,
    RELOAD_WAITING,  /* for a generation to end */
    RELOAD_NAMING,   /* the hosts are looked up */
    RELOAD_STARTING, /* the candidate's workers */
    RELOAD_LEAVING,  /* committed; the old workers leave their listeners */
};

struct reload {
    struct generations *generations; /* borrows */
    struct exporter_seat *exporter;  /* borrows */
    struct sd *sd;                   /* borrows */
    const char *file;                /* borrows; NULL: there is nothing to load */

    enum reload_state state;
    bool stopped;                    /* there will be no more */
    bool again;                      /* one more was asked for */
    struct conf *conf;               /* owns; RELOAD_NAMING */
    struct names_question *question; /* owns; RELOAD_NAMING */
    struct generation *candidate;    /* borrows; RELOAD_STARTING */
    struct generation *old;          /* borrows; RELOAD_LEAVING */
    char *diff;                      /* owns; what changed; RELOAD_LEAVING */
    struct loop_timer leave_timer;
    uint64_t began_ms;
    time_t waits_since; /* RELOAD_WAITING */
    struct list askers, next_askers;
    struct complaints complaints;

    /* The last result; message NULL: there was none. */
    uint64_t n_ok, n_failed; /* reloads that are over */
    bool last_ok;
    time_t last_time;
    char *last_message; /* owns; one line */
};

void reload_init(struct reload *reload, struct generations *generations, struct exporter_seat *exporter,
                 struct sd *sd, const char *file);
void reload_done(struct reload *reload);

/* What a reload that waits waits for, and since when; "" when none waits. Returns BUF. */
#define RELOAD_WAIT_MAX 160
char *reload_print_wait(char buf[RELOAD_WAIT_MAX], const struct reload *reload);

/* Those who wait for a result; more are turned away. */
#define RELOAD_ASKERS_MAX 12

/* ASKER may be NULL. on_wait and on_done may come before this returns. */
void reload_ask(struct reload *reload, struct reload_asker *asker);
/* The asker wants to hear no more. */
void reload_forget(struct reload_asker *asker);
/* The daemon stops: who asked is told so, and nothing is committed any more. */
void reload_stop(struct reload *reload);

/* What the generations say; true when it was about the candidate. */
bool reload_on_ready(struct reload *reload, struct generation *g);
void reload_on_failed(struct reload *reload, struct generation *g, const char *why);
void reload_on_gone(struct reload *reload, struct generation *g);
void reload_on_change(struct reload *reload);

#endif
