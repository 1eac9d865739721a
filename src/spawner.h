/*
 * The spawner: the one process of a generation that executes anything. It starts helpers and programs for the
 * workers, reads their standard errors into the log, reaps them, ends them with their process groups, and
 * enforces the bounds on processes itself. It parses no network bytes.
 *
 *   worker --- packets, one socket pair each ---> spawner --- pipes or the connection ---> helper, program
 *
 * A worker names a service by its index in the configuration that both have, never a command line. What a
 * worker says is checked here as if it were a stranger's: index, slot, kind of handler, number of
 * descriptors.
 *
 * Helpers die with the spawner (PR_SET_PDEATHSIG, which one that changes its user undoes) and with the worker
 * that asked for them (its end of the pair closes); programs live on, see orphans.h.
 */
#ifndef SOCKD_SPAWNER_H
#define SOCKD_SPAWNER_H

#include "base/addr.h"
#include "conf.h"
#include "stats.h"

#include <stdint.h>

enum spawner_word {
    /* Worker to spawner. */

    /* One descriptor, the connection: start the service's program on it. TOKEN is given back. */
    SPAWNER_PROGRAM = 1,
    /* Start helper SLOT of the service; when its last process is still dying, after that. */
    SPAWNER_HELPER,
    /* End helper SLOT of the service with its process group: by KILL, since it must not say another word. */
    SPAWNER_KILL,

    /* Spawner to worker. */

    /* Of TOKEN: the connection has come, and is counted here. */
    SPAWNER_TAKEN,
    /* Fewer than max_programs run again. */
    SPAWNER_ROOM,
    /* Helper SLOT runs as PID. Two descriptors, both non-blocking: to write to it, to read from it. */
    SPAWNER_STARTED,
    /* Helper SLOT, PID, is gone, with STATUS of wait(2), though others of its group may not be; or it could
     * not be executed: PID 0, STATUS an errno. TEXT: the last line of its standard error, made safe; may be
     * empty. */
    SPAWNER_ENDED,
};

#define SPAWNER_TEXT_MAX 256
#define SPAWNER_FDS_MAX  2

struct spawner_packet {
    uint32_t word;
    uint32_t service; /* index in conf->services */
    uint32_t slot;    /* of a helper, from 0, over all workers; see spawner_helpers() */
    int32_t pid;
    int32_t status;
    uint32_t number; /* PROGRAM: of connections of this service taken by this worker so far (TCPCONNNUM) */
    uint64_t token;
    struct addr peer, local; /* PROGRAM */
    char text[SPAWNER_TEXT_MAX];
};

/*
 * Sends a packet with N descriptors, which stay the caller's. 0; -EAGAIN when the other side does not read;
 * else -errno. Never blocks.
 */
int spawner_send(int fd, const struct spawner_packet *packet, const int *fds, int n);
/*
 * 1 with a packet, and the descriptors that came with it in RET_FDS (the caller's, close-on-exec; the unused
 * are -1, and all of them when we could not open as many); 0 at the end of file; -EAGAIN; -EPROTO for what is
 * no packet, whose descriptors were closed; else -errno.
 */
int spawner_receive(int fd, struct spawner_packet *ret, int ret_fds[SPAWNER_FDS_MAX]);

/* How many helpers a service has in all, when W workers serve. */
static inline unsigned spawner_helpers(const struct service *service, unsigned workers)
{
    return service->helpers > 0 ? (unsigned)service->helpers : workers;
}
/*
 * Helper slots are dealt out to the workers in turn: slot J belongs to worker J % W + 1. A worker without a
 * slot does not listen for the service.
 */
static inline unsigned spawner_slot_worker(unsigned slot, unsigned workers)
{
    return slot % workers + 1;
}

/* How many of the service are worker WORKER's, from 1. */
static inline unsigned spawner_helpers_of(const struct service *service, unsigned worker, unsigned workers)
{
    unsigned n = 0;

    for (unsigned slot = 0; slot < spawner_helpers(service, workers); slot++)
        n += spawner_slot_worker(slot, workers) == worker;
    return n;
}

/* Descriptors that a helper costs its worker, while it works: the pipes. */
#define SPAWNER_HELPER_PIPES 2

/* Whether a configuration has anything to start. */
bool spawner_is_needed(const struct conf *conf);

/* All that crosses the fork. Borrowed for the spawner's life. */
struct spawner_setup {
    unsigned generation;
    const struct conf *conf;
    const int *slots;   /* of each service in the counters, as in worker_setup */
    unsigned n_workers; /* of the generation */
    struct stats *stats;
    int page;       /* of ours: programs count as connections here */
    int channel_fd; /* takes; to the master: PING, DRAIN, RETIRE, and ATTACH with a worker's end of a pair */
    size_t soft_descriptors; /* the soft limit as the daemon found it, for what is executed */
};

/*
 * The whole life of a spawner process after the fork; returns the exit status. It ends when it was told to
 * retire or drain, no worker is attached any more, and all helpers and (until the drain's timeout) programs
 * are gone.
 */
int spawner_main(const struct spawner_setup *setup);

#endif
