/*
 * The exporter as the master has it: its listening sockets, which the master opens, so that a port that
 * cannot be bound fails the start or the reload; and the process, which is replaced when it dies. Runs in the
 * master.
 *
 * A new configuration is prepared (its sockets are open beside the old ones), then committed or rolled back.
 * Where it listens elsewhere, the old process leaves before the new one starts; who connects meanwhile waits
 * in the backlog.
 */
#ifndef SOCKD_EXPORTER_SEAT_H
#define SOCKD_EXPORTER_SEAT_H

#include "listen.h"
#include "process.h"

struct exporter_seat {
    struct process process;
    struct listeners listeners;
    struct listen_set serving, next; /* in use; prepared */
    struct loop_timer again;         /* when the next is started */
    unsigned failures;               /* processes in a row that died before their first question */
    bool asked;                      /* the process had one */
    bool leaving;                    /* it was told to */
    bool old;                        /* the process is of the program before this one */
    bool stopped;
    int log_level;
    /* What is served: new memory, or NULL. */
    char *(*text)(void *owner);
    void *owner;
};

/* The counters are not there yet: process.stats is set before the first commit. */
void exporter_seat_init(struct exporter_seat *seat, struct loop *loop, char *(*text)(void *owner),
                        void *owner);

/*
 * What the program before left: first each socket that it listened on (owns FD when it succeeds), then the
 * process; KEPT: see process_adopt(). The next commit replaces it. 0 or -errno.
 */
int exporter_seat_adopt_door(struct exporter_seat *seat, int fd);
int exporter_seat_adopt(struct exporter_seat *seat, const struct process *kept);

/* Opens what CONF wants; NAMES as for listen_open(). 0; or -errno with COMPLAINTS, and then nothing is
 * prepared. */
int exporter_seat_prepare(struct exporter_seat *seat, const struct conf *conf, const struct names *names,
                          struct complaints *complaints);
/* What was prepared is in use, or given up; harmless when nothing was. */
void exporter_seat_commit(struct exporter_seat *seat, int log_level);
void exporter_seat_roll_back(struct exporter_seat *seat);

/* Of the process, and of those to come. */
void exporter_seat_set_log_level(struct exporter_seat *seat, int level);

/* Hands the end of a process to whose it is; false for a stranger. */
bool exporter_seat_reaped(struct exporter_seat *seat, pid_t pid, int status);
/* As generations_watch(). */
void exporter_seat_watch(struct exporter_seat *seat, uint64_t timeout_ms, bool forgive);

/* Ends the process, for good. */
void exporter_seat_stop(struct exporter_seat *seat);
void exporter_seat_done(struct exporter_seat *seat);

#endif
