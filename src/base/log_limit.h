/*
 * So many lines in a second: of a flood the first are told, the others are counted, and their exact number is
 * told when the second is over, whether or not another line comes. A second begins with the first line that
 * comes after the one before it.
 */
#ifndef SOCKD_BASE_LOG_LIMIT_H
#define SOCKD_BASE_LOG_LIMIT_H

#include "base/loop.h"

#include <stdbool.h>
#include <stdint.h>

/* more lines came than are told in a second. */
#define LOG_ID_SUPPRESSED "e7bbfaab8b3b45669f9c851a154cf3db"

struct log_limit {
    struct loop *loop;   /* borrows */
    const char *service; /* borrows; NULL: none */
    const char *kind;    /* borrows; of lines: "", " about helpers" */
    unsigned per_second;
    unsigned told;       /* in this second */
    uint64_t suppressed; /* in this second */
    uint64_t began_ms;   /* the second */
    uint64_t since_ms;   /* the first that was suppressed */
    struct loop_timer over;
};

void log_limit_init(struct log_limit *limit, struct loop *loop, const char *service, const char *kind,
                    unsigned per_second);
/* Tells what is to be told. */
void log_limit_done(struct log_limit *limit);
/* True when a line of LEVEL may be written now. One that the level hides is not counted. */
bool log_limit_take(struct log_limit *limit, int level);

#endif
