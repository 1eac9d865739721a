/*
 * Upgrade in place: the master becomes another program, and keeps its pid, its listeners, its children and
 * its clients. Runs in the master.
 *
 *   idle --ask--> checking --yes--> execve --> (the new program) adopts --> reload --> answers
 *                    |                 '-- failed: goes on, nothing was changed
 *                    '-- no, or nothing within 10 s: goes on, nothing was changed
 *
 * The check is the new program itself, run as a child with a copy of the state (`sockd --upgrade-check FD`)
 * and the arguments of this one: it must know the arguments, the state, the configurations that live, and the
 * one on disk. What comes after the execve is a reload as any other; when that fails, the old generation goes
 * on under the new master.
 */
#ifndef SOCKD_UPGRADE_H
#define SOCKD_UPGRADE_H

#include "base/list.h"
#include "base/loop.h"
#include "control.h"
#include "exporter_seat.h"
#include "generation.h"
#include "reload.h"
#include "sd.h"
#include "store.h"
#include "upgrade_state.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Which program this is, as it was found at the start; /proc/self/exe would be the old file for ever. */
struct upgrade_program {
    const char *path;  /* borrows; absolute; NULL: not known */
    char *const *argv; /* borrows; as main() got it, without --upgrade */
};

/* What goes over. All is borrowed. */
struct upgrade_parts {
    struct generations *generations;
    struct reload *reload;
    struct control **control; /* *control NULL: there is none */
    struct exporter_seat *exporter;
    struct store *store;
    struct sd *sd;
    struct upgrade_program program;
};

struct upgrade {
    struct upgrade_parts parts;
    bool running, stopped;
    struct list waiters; /* clients of the control socket */
    uint64_t began_ms;

    /* The check. */
    pid_t pid;    /* 0: none runs */
    int pidfd;    /* owns; -1 */
    int words_fd; /* owns; what it says; -1 */
    struct loop_source words;
    struct loop_timer timer;
    uint64_t deadline_ms;
    bool late;
    char said[2048];
    size_t said_len;
    struct stat before; /* the file of the program when it was checked */

    /* In the new program, until the reload is over. */
    struct reload_asker asker;
    char *from; /* owns; the version before */
    unsigned from_number;
    struct loop_timer refresh; /* of counters that old processes keep in another way */
};

void upgrade_init(struct upgrade *u, const struct upgrade_parts *parts);
void upgrade_done(struct upgrade *u);

/* The same for the signal USR2 and for `sockctl upgrade`; CLIENT may be NULL, and is answered sooner or
 * later, perhaps by another program. */
void upgrade_ask(struct upgrade *u, struct control_client *client);
/* The daemon stops. */
void upgrade_stop(struct upgrade *u);
/* True when it was the check that ended. */
bool upgrade_reaped(struct upgrade *u, pid_t pid, int status);

/*
 * In the new program: reads the state from FD (closes it) and marks what it names close-on-exec again. 0 or
 * -errno, with WHY.
 */
int upgrade_load(int fd, struct upgrade_state *ret, char why[UPGRADE_WHY_MAX]);
/* The check of the new program: prints what is wrong, or that all is well. The exit status. FILE: of the
 * configuration. */
int upgrade_check(int fd, const char *file);
/* Takes over what STATE names, first the pages of counters alone. 0 or -errno; then the process must end. */
int upgrade_adopt_stats(const struct upgrade_state *state, struct stats **ret);
int upgrade_adopt(struct upgrade *u, const struct upgrade_state *state, control_fn *on_command, void *owner);
/* Then: reloads, and answers those who asked the old program. */
void upgrade_go_on(struct upgrade *u);

/* For upgrade.c: what there is, as a state. 0 or -ENOMEM. */
int upgrade_save(const struct upgrade *u, struct upgrade_state *ret);
/* For upgrade_adopt.c: CLIENT is answered when it is over; at once, without memory. */
void upgrade_add_waiter(struct upgrade *u, struct control_client *client);
void upgrade_note(const struct upgrade *u, const char *text);
void upgrade_answer(struct upgrade *u, bool ok, const char *text);

/* The absolute path of the program that ARGV0 started; the caller frees it. NULL when it cannot be told. */
char *upgrade_find_program(const char *argv0, bool is_upgrade);

struct upgrade_waiter {
    struct list link;
    struct control_client *client;
};

#endif
