/*
 * A generation: a configuration with the spawner, if it needs one, and the workers that run it. Runs in the
 * master. What it is made of never changes; a reload builds a new one beside the old.
 *
 *              all workers ready             a newer one serves
 *   STARTING -----------------------> SERVING ----------------> RETIRING ---.
 *      |   on_ready, generation_commit   |   generation_retire              |  the last process is gone:
 *      |                                 |                                  +--> on_gone, freed
 *      |   a process died: on_failed     |   generation_drain               |
 *      '------> RETIRING                 '--------------------> DRAINING ---'
 *
 * The first generation of a daemon is patient: there is none to fall back to, so its workers are tried again,
 * with pauses, instead of on_failed. Of another one whose worker died, plug-ins are tried before on_failed,
 * so that it names the one at fault.
 */
#ifndef SOCKD_GENERATION_H
#define SOCKD_GENERATION_H

#include "base/list.h"
#include "base/log_limit.h"
#include "base/loop.h"
#include "complaints.h"
#include "conf.h"
#include "handover.h"
#include "listen.h"
#include "orphans.h"
#include "process.h"
#include "stats.h"
#include "store.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Living at once, the one that starts included. */
#define GENERATIONS_MAX 4
/* The words for the end of a process. */
#define GENERATION_DEATH_MAX 160

struct generation;
struct shortages;

struct generation_hooks {
    void (*on_ready)(struct generation *g, void *owner);
    void (*on_failed)(struct generation *g, const char *why, void *owner);
    /* It is freed after this. */
    void (*on_gone)(struct generation *g, void *owner);
    /* A process (0: the spawner) lists its connections; takes FD, -1: it could not. */
    void (*on_listing)(struct generation *g, unsigned process, uint32_t question, int fd, void *owner);
    /* A process came or went, or has left its listeners. */
    void (*on_change)(void *owner);
};

/* All generations, and what they are made with. */
struct generations {
    struct loop *loop;           /* borrows */
    struct stats *stats;         /* borrows */
    struct listeners *listeners; /* borrows */
    struct store *store;         /* borrows */
    struct shortages *shortages; /* borrows; NULL: nobody looks for them */
    bool embedded;               /* --single-process */
    int log_level;               /* of the command line or of sockctl; -1: as the configuration says */
    size_t max_descriptors;      /* of a worker */
    size_t soft_descriptors;     /* of helpers and programs: as the daemon found it */
    const struct generation_hooks *hooks;
    void *owner;
    bool told_descriptors; /* that max_connections cannot be reached */
    bool told_programs;    /* that max_programs cannot be reached */

    struct list all;            /* the oldest first */
    struct generation *serving; /* borrows; NULL before the first is ready */
    unsigned last_number;

    struct orphans orphans;
    struct log_limit deaths; /* lines about processes that died */

    char **drained; /* own; names of services that an administrator drained */
    size_t n_drained;
};

enum generation_state {
    GENERATION_STARTING,
    GENERATION_SERVING,
    GENERATION_RETIRING,
    GENERATION_DRAINING,
};

/* A worker's or the spawner's place, which one process after another fills. */
struct seat {
    struct process process;
    struct generation *generation;
    bool *troubled;    /* owns; by service: what the process says of its handlers. NULL: of none */
    unsigned failures; /* processes in a row that died before their first job */
    uint64_t failing_since_ms;
    unsigned deaths; /* within a second, of those that had worked */
    uint64_t deaths_since_ms;
    struct loop_timer again; /* when the next is started */
};

/* From where its workers take connections of older generations; each is -1 or owned. */
struct inbox {
    int read_fd, write_fd;
};

struct generation {
    struct list link;
    struct generations *all;
    unsigned number;
    enum generation_state state;
    bool patient;
    struct conf *conf;           /* owns a reference */
    struct listen_set listeners; /* empty once it leaves */
    struct listen_set copies;    /* of an embedded worker */
    int *slots;                  /* owns; of each service of conf, -1: disabled */
    struct inbox inboxes[HANDOVER_WAYS];
    struct seat *seats; /* owns; the workers, and behind them the spawner, if there is one */
    size_t n_workers;   /* living or not */
    bool has_spawner;
    bool workers_started;
    bool *drained;              /* owns; by service */
    char **trouble;             /* owns; by service: why its handler does not work, NULL: it does */
    uint64_t *trouble_since_ms; /* owns; by service */
    uint64_t *proof_since_ms;   /* owns; by service: since when it works again, and has to prove it; 0: not */
    struct loop_timer proof_timer;
    bool *shelved;        /* owns; by service: its workers leave it out, see trial.h */
    struct trial *trials; /* owns; by service */
    /* Of a worker that died at the start, while trials look for the plug-in at fault; else "". */
    char death[GENERATION_DEATH_MAX];
    struct roll *rolls; /* owns; by service, see roll.h; NULL: none was ever begun */
    uint64_t started_ms;
    time_t since; /* when it began to serve */
    struct loop_timer end_timer;
    struct loop_garbage garbage;
};

const char *generation_state_word(enum generation_state state);

/*
 * Opens the listeners of CONF (takes a reference of its own), whose hosts are in NAMES, and starts the
 * workers. -errno with COMPLAINTS when that cannot be, and then nothing of it is left.
 */
int generation_open(struct generations *all, struct conf *conf, const struct names *names, bool patient,
                    struct complaints *complaints, struct generation **ret);

/* It is the one that serves, from now on. */
void generation_commit(struct generation *g);

/*
 * Takes nothing new, closes the listeners that no other one uses, serves what is open until it ends or
 * TIMEOUT_MS have passed (0: no matter how long), then goes.
 */
void generation_retire(struct generation *g, uint64_t timeout_ms);
/* The same, but idle connections are closed, and TIMEOUT_MS 0 is no time at all. */
void generation_drain(struct generation *g, uint64_t timeout_ms);
/* Ends its processes now; they are reaped later. */
void generation_kill(struct generation *g);

static inline bool generation_is_leaving(const struct generation *g)
{
    return g->state == GENERATION_RETIRING || g->state == GENERATION_DRAINING;
}

/* None of its workers takes anything new. */
bool generation_has_left(const struct generation *g);
/* Of workers, and behind them the spawner, if there is one. */
static inline size_t generation_seats(const struct generation *g)
{
    return g->n_workers + g->has_spawner;
}

/* NULL: there is none. */
static inline struct seat *generation_spawner(const struct generation *g)
{
    return g->has_spawner ? &g->seats[g->n_workers] : NULL;
}

/* Counts what the kernel dropped of its datagrams. */
void generation_count_drops(const struct generation *g);

uint64_t generation_connections(const struct generation *g);
/* Whether the seat is to have a process. */
bool generation_wants(const struct seat *seat);
size_t generation_workers_alive(const struct generation *g);

void generations_init(struct generations *all);
void generations_done(struct generations *all);
size_t generations_living(const struct generations *all);

/* Hands the end of a process to whose it is; false for a stranger. */
bool generations_reaped(struct generations *all, pid_t pid, int status);

/* Watches all processes; FORGIVE: the caller was away, so nobody is blamed this time. */
void generations_watch(struct generations *all, uint64_t timeout_ms, bool forgive);

/*
 * A service that is drained closes politely what comes and what is idle, in all generations, those to come
 * included, until it is resumed or a configuration without it serves. 0 or -ENOMEM.
 */
int generations_set_drained(struct generations *all, const char *service, bool drained);
bool generations_is_drained(const struct generations *all, const char *service);
/* For a new generation. 0 or -ENOMEM. */
int generation_note_drained(struct generation *g);
/* CONF serves now. */
void generations_forget_removed(struct generations *all, const struct conf *conf);

/* Of its processes. */
static inline int generation_log_level(const struct generation *g)
{
    return g->all->log_level >= 0 ? g->all->log_level : g->conf->log_level;
}
/* For all processes, those to come and the master included; -1: as each configuration says. */
void generations_set_log_level(struct generations *all, int level);

/* NULL when none of this number lives. */
struct generation *generations_find(const struct generations *all, unsigned number);

/* A warning for each limit on descriptors that its configuration cannot reach, once. */
void generation_check_limits(struct generation *g, struct complaints *complaints);

/* For upgrade_adopt.c, which builds generations whose processes are there already. */

int generation_take_slots(struct generation *g);
int generation_make_seats(struct generation *g, size_t n_workers, bool has_spawner);
/* Kills what is left of it then. */
void generation_end_at(struct generation *g, uint64_t due_ms);
/* It ends, from the loop, when it leaves and has no process any more. */
void generation_check_empty(struct generation *g);
/* Also a half-built one. */
void generation_free(struct generation *g);

#endif
