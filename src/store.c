/* What is handed over to the service manager, and what is taken back. */
#include "store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RETRY_MS 100

void store_init(struct store *store, struct sd *sd, struct listeners *listeners, struct loop *loop)
{
    *store = (struct store){ .sd = sd, .listeners = listeners, .loop = loop };
    listeners->store_max = sd->store_max;
}

void store_done(struct store *store)
{
    for (size_t i = 0; i < store->n_removals; i++)
        free(store->removals[i]);
    free(store->removals);
    store->removals = NULL;
    store->n_removals = 0;
    loop_timer_stop(store->loop, &store->retry);
}

static int send_removals(struct store *store)
{
    size_t sent = 0;
    int r = 0;

    while (sent < store->n_removals && (r = sd_unstore(store->sd, store->removals[sent])) == 0)
        free(store->removals[sent++]);
    store->n_removals -= sent;
    if (sent > 0)
        memmove(store->removals, store->removals + sent, store->n_removals * sizeof(*store->removals));
    return r;
}

static int send_sockets(struct store *store)
{
    list_for_each (it, &store->listeners->all) {
        struct listener *l = container_of(it, struct listener, link);
        if (l->store != LISTEN_TO_STORE)
            continue;
        int r = sd_store(store->sd, l->fd, l->store_name);
        if (r < 0)
            return r;
        l->store = LISTEN_STORED;
    }
    return 0;
}

static void send_all(struct store *store);

static void on_retry(struct loop_timer *timer)
{
    send_all(container_of(timer, struct store, retry));
}

/* Removals first: their names may have new owners. */
static void send_all(struct store *store)
{
    int r = send_removals(store);
    if (r == 0)
        r = send_sockets(store);
    if (r < 0)
        loop_timer_set(store->loop, &store->retry, loop_now(store->loop) + RETRY_MS, on_retry);
}

static bool is_in(const struct listen_set *set, const struct listener *l)
{
    for (size_t i = 0; i < set->len; i++)
        if (set->item[i] == l)
            return true;
    return false;
}

void store_remove(struct store *store, const char *name)
{
    char *copy = strdup(name);
    char **all = copy ? reallocarray(store->removals, store->n_removals + 1, sizeof(*all)) : NULL;

    if (!all) {
        free(copy);
        return;
    }
    store->removals = all;
    store->removals[store->n_removals++] = copy;
}

void store_sync(struct store *store, const struct listen_set *set)
{
    list_for_each (it, &store->listeners->all) {
        struct listener *l = container_of(it, struct listener, link);
        if (!l->store_name)
            continue;
        if (is_in(set, l)) {
            if (l->store == LISTEN_NOT_STORED)
                l->store = LISTEN_TO_STORE;
            continue;
        }
        if (l->store == LISTEN_STORED)
            store_remove(store, l->store_name);
        listen_forget(l);
    }
    send_all(store);
}

bool store_release(struct store *store)
{
    bool any = false;

    list_for_each (it, &store->listeners->all) {
        struct listener *l = container_of(it, struct listener, link);
        if (!l->obstructs)
            continue;
        any = true;
        if (l->store == LISTEN_STORED)
            store_remove(store, l->store_name);
        shutdown(l->fd, SHUT_RDWR); /* a stream is out of the way at once, whoever else has it */
        listen_forget(l);
    }
    if (any)
        send_all(store);
    return any;
}
