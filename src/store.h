/*
 * The fd store: the service manager keeps the sockets that sockd bound itself, and hands them over at the
 * next start, so that a restart or a crash turns no client away. Runs in the master; listen.c knows the
 * sockets again.
 *
 * Nothing here blocks: what the service manager has no room for is sent later.
 */
#ifndef SOCKD_STORE_H
#define SOCKD_STORE_H

#include "base/loop.h"
#include "listen.h"
#include "sd.h"

#include <stdbool.h>

struct store {
    struct sd *sd;               /* borrows */
    struct listeners *listeners; /* borrows */
    struct loop *loop;           /* borrows */
    struct loop_timer retry;
    char **removals; /* owns both; names that are still to be taken from the store */
    size_t n_removals;
};

/* Sets how many LISTENERS are kept, so before the first is opened. */
void store_init(struct store *store, struct sd *sd, struct listeners *listeners, struct loop *loop);
void store_done(struct store *store);

/* NAME is taken from the store with the next store_sync(). Without memory the service manager keeps it for
 * longer than it must; the next start finds that out. */
void store_remove(struct store *store, const char *name);

/* SET serves from now on: its sockets are kept, and others no more. Those that no generation uses are closed.
 */
void store_sync(struct store *store, const struct listen_set *set);

/*
 * At the start: gives up what listen_open() found in the way of the configuration. False when that was
 * nothing. The service manager may take a moment until it has let go of it too.
 */
bool store_release(struct store *store);

#endif
