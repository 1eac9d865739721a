/*
 * What the parts of the spawner share: workers that are attached, and services with their processes.
 * spawner.c has its life and who says what, spawner_program.c the programs, spawner_helper.c the helpers,
 * spawner_room.c what there are descriptors for.
 */
#ifndef SOCKD_SPAWNED_H
#define SOCKD_SPAWNED_H

#include "spawner.h"
#include "spawner_child.h"
#include "spawner_line.h"

/* Descriptors that a process costs: its pidfd and its standard error; and more of them while it is started.
 */
#define SPAWNED_CHILD_FDS    2
#define SPAWNED_PROGRAM_MORE 1
#define SPAWNED_HELPER_MORE  5

/* Between TERM and KILL. */
#define SPAWNED_GRACE_MS 1000

/* A worker's end. */
struct attached {
    struct spawner_line line;
    struct list link;
    struct spawner *spawner;
    unsigned worker;
    struct loop_garbage garbage;
};

/* Where a helper runs. */
struct slot {
    struct child *child;     /* NULL: none */
    struct attached *wanted; /* who is given the next one, when the last process has gone */
};

/* A connection that waits for its program. */
struct waiting {
    struct list link;
    int fd;          /* owns */
    uint32_t number; /* of the connection in its worker */
    uint32_t id;     /* in this spawner, for sockctl */
    uint64_t since_ms;
    struct addr peer, local;
    bool counted_source; /* as one of its source's */
};

/* One service as the spawner has it. */
struct spawned_service {
    struct spawner *spawner;
    const struct service *conf; /* borrows */
    struct stats_service *stats;
    int stats_slot;
    uint32_t index;
    struct child_recipe recipe;
    struct list children;
    size_t n_programs; /* that run, or are started */
    struct list waiting;
    struct loop_timer again; /* when programs are tried again */
    uint64_t pause_ms;
    uint64_t told_shortage_ms; /* when; 0: never */
    struct slot *slots;        /* owns; of helpers */
    unsigned n_slots;
};

struct spawner {
    const struct spawner_setup *setup;
    struct loop loop;
    struct spawn_pool *pool; /* owns */
    struct stats_page *page;
    struct loop_source channel;
    int channel_fd; /* owns; -1 when the master is gone */
    struct list attached;
    struct spawned_service *services; /* owns; by index; conf is NULL where nothing is to be spawned */
    size_t n_services, n_children, n_waiting;
    size_t starting_fds; /* that children have only while they are started */
    uint32_t last_id;    /* of a program */
    bool leaving, killing;
    struct loop_timer drain_timer, end_timer;
    size_t room;                     /* descriptors for processes and connections */
    struct spawned_service *crowded; /* for want of them no worker is read; NULL: there are enough */
    struct loop_timer room_timer;
};

/* The answer to a worker; takes the N descriptors. */
void spawned_answer(struct attached *to, const struct spawned_service *s, struct spawner_packet *packet,
                    const int *fds, int n);
/* One process or waiting connection less: the spawner may be done. */
void spawned_check_end(struct spawner *spawner);
/* Whether a line about the service may be logged. */
bool spawned_may_tell(struct spawned_service *s, enum service_log what);

/* In spawner_room.c. While there are too few descriptors, workers are not read. To be looked at when the
 * service has got one more connection, and when its descriptor has not come. */
void spawned_init_room(struct spawner *spawner);
void spawned_check_room(struct spawned_service *s, bool came);
/* Some may be free again. */
void spawned_look_for_room(struct spawner *spawner);

/* In spawner_program.c. Takes FD (-1: none came). */
void spawned_take_program(struct attached *from, struct spawned_service *s,
                          const struct spawner_packet *packet, int fd);
/* Closes the one, or all connections that wait for their programs. */
void spawned_drop_one(struct spawned_service *s, struct waiting *w);
void spawned_drop_waiting(struct spawned_service *s);

/* In spawner_listing.c. Programs, and connections that wait for theirs, as connections that sockctl sees. */
void spawned_list_programs(struct spawner *spawner, uint32_t question);
void spawned_kill_program(struct spawner *spawner, uint32_t id);

/* In spawner_helper.c. A worker that asks for a slot's second one gets it in place of the first. */
void spawned_take_helper(struct attached *from, struct spawned_service *s, uint32_t slot);
void spawned_kill_helper(const struct attached *from, struct spawned_service *s, uint32_t slot);
/* The worker is gone, and its helpers end. */
void spawned_detach_helpers(struct spawned_service *s, const struct attached *from);

#endif
