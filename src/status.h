/*
 * How the daemon is, in words: for sockctl, as text and as JSON, and for the service manager in one line.
 * Runs in the master; it looks at generations and counters and changes neither. Numbers that workers wrote
 * are only printed.
 */
#ifndef SOCKD_STATUS_H
#define SOCKD_STATUS_H

#include "generation.h"
#include "reload.h"

#include <stdbool.h>
#include <time.h>

enum verdict {
    VERDICT_STARTING,
    VERDICT_WELL,
    VERDICT_DEGRADED,
    VERDICT_STOPPING,
};

struct status {
    const struct generations *generations; /* borrows */
    const struct reload *reload;           /* borrows */
    bool stopping;
    enum verdict verdict; /* as last judged */
    time_t since;         /* when it became so */
};

void status_init(struct status *status, const struct generations *generations, const struct reload *reload);

/* Judges anew, and counts what only the master can see; before it is told. */
void status_look(struct status *status);

/* Judges anew; called whenever something changed, so that SINCE is right. */
void status_judge(struct status *status);

/* "generation 3: 2 workers, 17 connections, 1204 requests"; led by why where it is not well. Returns BUF. */
#define STATUS_LINE_MAX 256
char *status_line(const struct status *status, char buf[STATUS_LINE_MAX]);

/* For people, and for programs. The caller frees it; NULL without memory. */
char *status_text(const struct status *status);
char *status_json(const struct status *status);

/* Parts that both are made of. */

/* The one that serves, or else the newest; NULL when none lives. */
const struct generation *status_newest(const struct status *status);
/* "worker 2 dies at start, next try in 12 s"; "" when there is nothing to say. Returns BUF. */
char *status_why(const struct status *status, char buf[STATUS_LINE_MAX]);
const char *status_word(enum verdict verdict);
/* How a service of G is, in a word that stays: "serves", "degraded", "drained" or "disabled". */
const char *status_service(const struct generation *g, size_t service);
/* Why it is degraded; "" when it is not. Returns BUF. */
char *status_service_why(const struct generation *g, size_t service, char buf[STATUS_LINE_MAX]);
/* Where a service of G listens, and how many datagrams the kernel dropped there. */
void status_print_listeners(const struct generation *g, const struct service *service, FILE *out);
/* A counter of a service of G, or a gauge, by offsetof in struct stats_service; or what a row says. */
uint64_t status_counter(const struct generation *g, size_t service, size_t offset);
uint64_t status_gauge(const struct generation *g, size_t service, size_t offset);
uint64_t status_number(const struct generation *g, size_t service, const struct stats_row *row);
/* LOG_ERR and so on; -1: none is known yet. */
int status_log_level(const struct status *status);
uint64_t status_connections(const struct status *status);

#endif
