/*
 * The one door to systemd: sockets handed over, the watchdog, and what the service manager is told. Runs in
 * the master. Everything works, as nothing, without systemd.
 *
 * Nothing here blocks: messages leave on a non-blocking socket of ours; a change of state that does not fit
 * is kept and tried again, in order; a status or a sign of life is dropped. The variables of the environment
 * are removed when they were read.
 */
#ifndef SOCKD_SD_H
#define SOCKD_SD_H

#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Variables that are kept for the program after this one, see sd_environment(). */
#define SD_KEPT 5

/* Changes of state that wait for room. */
#define SD_QUEUE 8

struct sd {
    bool managed; /* the service manager of the system started us: it wants to stop us itself */

    /* Sockets handed over, descriptors from 3 up. */
    int inherit_error; /* 0; or what was wrong with LISTEN_FDS: -ESRCH: meant for another process; -EBADF: not
                          open; -EINVAL */
    size_t n_inherited;
    char **inherited; /* owns; their names */

    int fd; /* owns; to the service manager, -1: none */
    struct sockaddr_un address;
    socklen_t address_len;
    uint64_t watchdog_ms; /* 0: none; else how often it wants to hear from us, at least */
    size_t store_max;     /* descriptors that it keeps for us over a restart (FDSTORE) */

    char *environment[SD_KEPT]; /* owns; "NAME=value": what was removed, but the sockets; NULL: it was not
                                   there */

    struct loop *loop;     /* borrows */
    char *queue[SD_QUEUE]; /* owns; the oldest first */
    size_t queue_len;
    struct loop_timer retry;
    struct loop_timer watchdog;
};

/*
 * Reads the environment. Called first of all in main, before any other descriptor is opened: what LISTEN_FDS
 * promises can then be nobody else's. JOURNAL_STREAM is left to log_open(), and then to sd_forget_journal().
 */
void sd_open(struct sd *sd);
void sd_forget_journal(void);
/*
 * The environment for a program that takes our place: as it was, without the sockets. The caller frees the
 * array; what is in it is borrowed. NULL without memory.
 */
char **sd_environment(const struct sd *sd);
/* Signs of life and repeated messages come from LOOP from now on. */
void sd_start(struct sd *sd, struct loop *loop);
void sd_close(struct sd *sd);

void sd_tell_ready(struct sd *sd);
void sd_tell_reloading(struct sd *sd);
void sd_tell_stopping(struct sd *sd);
/* One line for `systemctl status`. */
void sd_tell_status(struct sd *sd, const char *text);
/*
 * It keeps a copy of FD under NAME, and hands it over at the next start; and it lets go of those of that
 * name. 0, or -EAGAIN when there is no room for the message now, which then is the caller's to send again.
 * What else goes wrong cannot be mended, and counts as done.
 */
int sd_store(struct sd *sd, int fd, const char *name);
int sd_unstore(struct sd *sd, const char *name);
/* A start, reload or stop takes longer: at least so much from now. */
void sd_extend_timeout(struct sd *sd, uint64_t ms);

#endif
