/*
 * A helper or program as the spawner has it, from its start to the end of its process group; and what one
 * service needs to start them. Runs in the spawner. Who asked for it, and who is told, is spawner.c's.
 *
 *   child_start --> STARTING --on_started--> RUNNING --child_end--> ENDING
 *                      |                        |                     |
 *                      | on_started             '------ it exits -----+--> [LINGERING] --> on_end, freed
 *                      | with a failure
 *                      '--> freed
 *
 * ENDING: TERM and CONT were sent; KILL is when its time is over. LINGERING: it was reaped, but others of its
 * group live, or hold its standard error; they are ended in the same way.
 */
#ifndef SOCKD_SPAWNER_CHILD_H
#define SOCKD_SPAWNER_CHILD_H

#include "base/addr.h"
#include "base/deadline.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/spawn_pool.h"
#include "conf.h"
#include "spawn_env.h"
#include "stderr_log.h"

#include <stdint.h>

/* What the children of one service are started with. */
struct child_recipe {
    const struct service *service; /* borrows */
    struct spawn_env env;
    char **paths;           /* owns */
    char **argv;            /* owns the list, not the words */
    struct log_limit lines; /* of its lines in the log */
    struct deadlines session;
    size_t soft_descriptors;
    bool plain_oom_score;
};

/* 0 or -ENOMEM. */
int child_recipe_init(struct child_recipe *recipe, const struct service *service, struct loop *loop);
/* No child of it is left. */
void child_recipe_done(struct child_recipe *recipe);

/* Why there is no child. */
struct child_failure {
    int error; /* -errno */
    enum spawn_step step;
};

struct child;

struct child_hooks {
    /* FAILURE is NULL when it runs; else it is freed after this. */
    void (*on_started)(struct child *child, const struct child_failure *failure);
    /* Once, when it has ended, and others of its group have not; may be NULL. */
    void (*on_exit)(struct child *child, int status);
    /* Once, when nothing is left of its group; it is freed after this. */
    void (*on_end)(struct child *child, int status);
};

enum child_state {
    CHILD_STARTING,
    CHILD_RUNNING,
    CHILD_ENDING,
    CHILD_LINGERING,
};

struct child {
    struct list link; /* the owner's */
    struct loop *loop;
    struct child_recipe *recipe; /* borrows */
    enum child_state state;
    const struct child_hooks *hooks;
    struct spawn_job job;
    char **environment; /* owns; while it is started */
    int errors_fds[2];  /* own; the pipe of its standard error, while it is started */
    struct spawn_child process;
    struct loop_source exit;
    struct stderr_log errors;
    struct loop_timer kill_timer, look_timer;
    struct deadline session;
    bool asked;        /* to end */
    uint64_t grace_ms; /* with which it was, while it was started */
    bool session_over;
    uint64_t started_ms;
    /* When it has exited. */
    uint64_t lived_ms;
    int status;
    bool alone;       /* nobody else is in its group */
    uint64_t look_ms; /* how long until that is looked at again */
    /* For the owner. */
    void *owner;
    struct waiting *client; /* of a program that is started */
    struct addr peer;       /* of a program */
    uint32_t id;            /* of a program, for sockctl; 0: a helper */
    uint64_t since_ms;      /* of a program: when its connection came */
    bool counted_source;    /* of a program: its connection, as one of its source's */
    uint32_t slot;          /* of a helper */
    bool killed;            /* of a helper: as its worker wanted */
    struct attached *asker; /* of a helper; NULL: gone */
    int ours[2], theirs[2]; /* of a helper that is started */
    struct loop_garbage garbage;
};

/*
 * Starts one, soon. FDS are its 0 and 1; they stay the caller's, and are needed until on_started. ENVIRONMENT
 * is taken, also when it fails. 0; or -errno, and on_started is not called.
 */
int child_start(struct child_recipe *recipe, struct loop *loop, struct spawn_pool *pool, const int fds[2],
                char **environment, const struct child_hooks *hooks, struct child **ret);

/* Ends its process group: TERM and CONT, and KILL after GRACE_MS; 0 is KILL now. Asked again, the earlier
 * KILL counts. */
void child_end(struct child *child, uint64_t grace_ms);

/* Watches it no more; it may live. Without on_end. */
void child_forget(struct child *child);

/* "cannot execute /bin/x: Permission denied" */
#define CHILD_FAILURE_MAX 400
char *child_print_failure(char buf[CHILD_FAILURE_MAX], const struct service *service,
                          const struct child_failure *failure);

#endif
