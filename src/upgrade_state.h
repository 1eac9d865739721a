/*
 * What a master leaves to the program that takes its place (see upgrade.h), as values: which descriptors it
 * has and what they are, and which processes it looks after. And the same as a text of lines, `KEY VALUE...`,
 * the first of which names the version. Pure: nothing is opened, closed or looked at here.
 *
 * The version also stands for what processes of two programs say to each other: channel.h, listing.h,
 * handover.h, spawner.h. When any of these changes its meaning, the version grows, and the new program is not
 * taken. A reader knows one version, and refuses lines that it does not know.
 */
#ifndef SOCKD_UPGRADE_STATE_H
#define SOCKD_UPGRADE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define UPGRADE_STATE_FIRST   "sockd-upgrade" /* and the version, on the first line */
#define UPGRADE_STATE_VERSION 1

/* A worker's or the spawner's place; pid 0: it is empty. */
struct upgrade_process {
    int64_t place; /* of the worker, from 1; 0: the spawner */
    int64_t pid, pidfd, channel_fd, page;
    bool ready, left, aborted;
    int64_t started_ms, failures;
};

struct upgrade_use {
    int64_t listener, service; /* indexes */
};

struct upgrade_trouble {
    int64_t place, service;
    char *why; /* owns */
};

/* A service that workers leave out; see trial.h. */
struct upgrade_shelved {
    int64_t service;
    char *why; /* owns */
};

struct upgrade_generation {
    int64_t number, state, since, end_due_ms, n_workers, inbox_fd;
    bool has_spawner;
    char *conf; /* owns; as conf_show() prints it */
    struct upgrade_use *uses;
    struct upgrade_process *processes;
    struct upgrade_trouble *troubles;
    struct upgrade_shelved *shelved; /* owns all four arrays */
    size_t n_uses, n_processes, n_troubles, n_shelved;
};

struct upgrade_listener {
    int64_t fd, store, dev, ino;
    char *path, *inherited, *store_name; /* owns; NULL: none */
};

/* Pages of counters; see stats.h. */
struct upgrade_stats {
    int64_t fd;
    char *layout; /* owns */
};

struct upgrade_slot {
    int64_t slot;
    char *name; /* owns */
};

struct upgrade_state {
    char *version;    /* owns; of the program before */
    int64_t began_ms; /* CLOCK_MONOTONIC */
    int64_t secret[2];

    int64_t control_fd, control_dev, control_ino; /* fd -1: there is none */
    char *control_path;                           /* owns */
    int64_t *clients;                             /* owns; descriptors of those who wait for the upgrade */
    size_t n_clients;

    struct upgrade_stats *stats; /* owns; its own, then those of programs before it */
    struct upgrade_slot *slots;
    struct upgrade_listener *listeners;
    struct upgrade_generation *generations; /* owns all three arrays; the oldest generation first */
    size_t n_stats, n_slots, n_listeners, n_generations;
    int64_t last_number, soft_descriptors, log_level; /* -1: as the configuration says */
    char **drained;                                   /* owns both; names of services */
    char **unstored; /* owns both; names of sockets that the service manager is still to let go */
    size_t n_drained, n_unstored;
    bool told_descriptors;

    struct upgrade_process exporter; /* pid 0: there is none */
    int64_t *doors;                  /* owns; descriptors that it listens on */
    size_t n_doors;

    int64_t reloads_ok, reloads_failed, reload_time;
    bool reload_was_ok;
    char *reload_message; /* owns; NULL: there was none */
};

/* ITEMS, an array of *N of SIZE bytes each, with one more, all zero; NULL without memory, and it is as it
 * was. */
void *upgrade_state_grow(void *items, size_t *n, size_t size);

/* Nothing: no descriptor is named. */
void upgrade_state_init(struct upgrade_state *state);

void upgrade_state_print(const struct upgrade_state *state, FILE *out);

/*
 * Takes LINES, which have a NUL behind their LEN bytes, apart in place. 0 with *RET; else -EINVAL or -ENOMEM,
 * and WHY says in words what is wrong.
 */
#define UPGRADE_WHY_MAX 160
int upgrade_state_read(char *lines, size_t len, struct upgrade_state *ret, char why[UPGRADE_WHY_MAX]);
void upgrade_state_done(struct upgrade_state *state);

/* Calls FN for every descriptor that the state names. */
void upgrade_state_each_fd(const struct upgrade_state *state, void (*fn)(int fd, void *owner), void *owner);

#endif
