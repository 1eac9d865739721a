/*
 * The exporter: a process of its own that serves the metrics over HTTP, with libmicrohttpd, to which this is
 * the one door (exporter_library.h loads it). It asks the master for each answer (CHANNEL_SCRAPE) and gets
 * the finished text in a sealed memfd (CHANNEL_METRICS): it reads no counter and knows no service. It serves
 * GET and HEAD of /metrics and a hint at /; one request a connection, EXPORTER_CLIENTS_MAX connections at
 * once, each for a bounded time. It ends with its master.
 */
#ifndef SOCKD_EXPORTER_H
#define SOCKD_EXPORTER_H

#include "listen.h"
#include "stats.h"

/* Connections at once; more wait in the backlog. */
#define EXPORTER_CLIENTS_MAX 16

struct exporter_setup {
    const struct listen_set *listeners; /* borrows; copies of them are used */
    struct stats *stats;                /* borrows; the exporter gives its view away */
    int channel_fd;                     /* takes; to the master */
};

/* Runs the process; returns its exit status. */
int exporter_main(const struct exporter_setup *setup);

#endif
