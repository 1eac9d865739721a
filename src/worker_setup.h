/* What a worker is to do: all that crosses the fork, borrowed for the worker's life. */
#ifndef SOCKD_WORKER_SETUP_H
#define SOCKD_WORKER_SETUP_H

#include "conf.h"
#include "listen.h"
#include "stats.h"

struct worker_setup {
    unsigned generation;
    const struct conf *conf;
    const struct listen_set *listeners;
    const int *slots; /* of each service of conf, by its index there; -1 for a disabled one */
    struct stats *stats;
    int page;           /* of ours */
    unsigned number;    /* from 1 */
    unsigned n_workers; /* of the generation */
    int channel_fd;     /* takes */
    size_t max_descriptors;
    bool *drained; /* of each service of conf, by its index there; ours since the fork, kept up to date */
    const bool *shelved; /* the same: left out until CHANNEL_TAKE_UP; NULL: none */
    /* Joins listeners at once, also where a handler did not work from the start. Else a generation serves,
     * and may go on to: this one says when it could, and joins at CHANNEL_SERVE. */
    bool patient;
};

#endif
