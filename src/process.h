/*
 * One worker, spawner or exporter process as the master sees it: started, listened to, watched, ended. Runs
 * in the master.
 *
 *   none --process_start--> starting --READY--> ready --on_gone--> none
 *
 * Whatever happens to it ends in one call of on_gone: inside process_reaped(), or from the loop where it is
 * embedded.
 */
#ifndef SOCKD_PROCESS_H
#define SOCKD_PROCESS_H

#include "base/log.h"
#include "base/loop.h"
#include "channel.h"
#include "exporter.h"
#include "spawner.h"
#include "worker.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process;

struct process_hooks {
    void (*on_ready)(struct process *process);
    /* It takes nothing new any more. */
    void (*on_left)(struct process *process);
    /* PID is what it was; STATUS as wait(2) has it; WORKED: it had taken at least one job. */
    void (*on_gone)(struct process *process, pid_t pid, int status, bool worked);
    /* It says that a handler of SERVICE, which may be any number, does not work, and why; or (NULL) works
     * again. */
    void (*on_trouble)(struct process *process, uint32_t service, const char *why);
    /* It answers question QUESTION, which may be any number, with its connections; takes FD, -1: it could
     * not.
     */
    void (*on_listing)(struct process *process, uint32_t question, int fd);
    /* The exporter asks for the metrics, NUMBER being its question; NULL: no exporter. */
    void (*on_scrape)(struct process *process, uint32_t number);
};

/* What it is to do; one of them. */
struct process_job {
    const struct worker_setup *worker;
    const struct spawner_setup *spawner;
    const struct exporter_setup *exporter;
};

#define PROCESS_SPAWNER  0
#define PROCESS_EXPORTER UINT_MAX

struct process {
    const struct process_hooks *hooks;
    struct loop *loop;   /* borrows */
    struct stats *stats; /* borrows */
    unsigned number;     /* of the worker, from 1; or one of the above */
    unsigned generation; /* its number; 0: of none */
    pid_t pid;           /* 0: there is none; our own in --single-process */
    int pidfd;           /* owns; -1 in --single-process */
    int channel_fd;      /* owns */
    struct loop_source channel;
    struct loop_timer kill_timer;
    int page; /* of its counters */
    bool ready;
    bool left; /* it said that it takes nothing new */
    bool aborted;
    bool was_silent; /* the one that is gone was ended for that */
    uint64_t started_ms;
    uint64_t asked_ms; /* the first ping since it was heard; 0: none */
};

void process_init(struct process *p, const struct process_hooks *hooks, struct loop *loop,
                  struct stats *stats, unsigned number);

/*
 * Starts it with JOB, whose number, page and channel are filled in here. A worker is inside the master's own
 * process when EMBEDDED. In the forked child this does not return. 0; or -errno, and then nothing was started
 * and on_gone is not called.
 */
int process_start(struct process *p, const struct process_job *job, int log_level, bool embedded);

/* A process that was started before this program took over: what KEPT has of it, from its pid on. Owns the
 * descriptors; -errno, and they are the caller's. */
int process_adopt(struct process *p, const struct process *kept);

static inline bool process_lives(const struct process *p)
{
    return p->pid != 0;
}

static inline bool process_is_spawner(const struct process *p)
{
    return p->number == PROCESS_SPAWNER;
}

/* "worker 2 [pid 77]", "spawner [pid 78]", without the pid where there is none. Returns BUF. */
#define PROCESS_NAME_MAX 48
char *process_print(char buf[PROCESS_NAME_MAX], const struct process *p);

/* A line of kind ID about it. */
struct log_about process_about(const struct process *p, const char *id);

/* It was reaped with STATUS. */
void process_reaped(struct process *p, int status);

/* Sends a word. A process that cannot even be told to leave is killed. */
void process_tell(struct process *p, enum channel_word word, uint32_t value);
/* Sends a word for those of N numbers that are in SET. */
void process_tell_set(const struct process *p, enum channel_word word, const bool *set, size_t n);
/* Sends a word with a DESCRIPTOR, which stays the caller's. 0 or -errno. */
int process_give(struct process *p, enum channel_word word, uint32_t value, int descriptor);

/* Asks for a sign of life; one that gave none for TIMEOUT_MS after it was asked is aborted, and killed a
 * second later. */
void process_watch(struct process *p, uint64_t timeout_ms);
/* The master itself was away: what it did not hear meanwhile is not the process's fault. */
void process_forgive(struct process *p);
/* Ends it now. The spawner ends what it has started first, and is killed when that takes too long. */
void process_kill(struct process *p);

/* Connections open in it now, as it says itself. */
uint64_t process_connections(const struct process *p);

#endif
