/*
 * One question to the daemon over its control socket: a line, and an answer `CODE LENGTH`, then LENGTH bytes
 * of text. CODE is an exit status.
 *
 *   idle --ask_start--> asking --ask_work--> idle, with an answer or a reason why there is none
 *
 * Nothing here speaks to the user: what went wrong, and what the daemon says before its answer, is text for
 * the caller.
 */
#ifndef SOCKD_CLIENT_ASK_H
#define SOCKD_CLIENT_ASK_H

#include "base/buf.h"
#include "client/options.h"
#include "control_path.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the daemon is, and could not be asked; beside the exit statuses of say.h. */
enum {
    EXIT_NOT_RUNNING = 3,
    EXIT_FORBIDDEN = 4,
};

struct ask {
    const struct options *options;     /* borrows; which daemon is meant */
    uint64_t timeout_ms;               /* for all of it; 0: no limit */
    void (*on_note)(const char *text); /* what comes before the answer, a line at a time; NULL: not wanted */
    uint64_t start_ns;
    int fd; /* owns; -1 while idle */
    struct account account;
    struct buf answer;                /* the text, once it is whole; not terminated */
    int code;                         /* of the answer, or an exit status that fits WHY */
    char tried[4 * CONTROL_PATH_MAX]; /* where no daemon was */
    bool is_forbidden;                /* at one place a daemon may be, but not for us */
    char why[5 * CONTROL_PATH_MAX];
};

void ask_init(struct ask *ret, const struct options *o, uint64_t timeout_ms);
void ask_done(struct ask *ask);

/* Connects and sends LINE, without an LF. 0, or -1 and then CODE and WHY say what is wrong. */
int ask_start(struct ask *ask, const char *line);
/* Receives what is there, when FD can be read or ask_left_ms() is 0. 1: the answer is whole; 0: more is to
 * come; -1 as above. */
int ask_work(struct ask *ask);
/* For poll(2). */
int ask_left_ms(const struct ask *ask);

/* All of it, within the timeout. 0 or -1 as above. */
int ask_whole(struct ask *ask, const char *line);

#endif
