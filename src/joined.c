/* The listeners of one worker; see joined.h. */
#include "joined.h"

#include "accept.h"
#include "dgram.h"

#include <errno.h>
#include <stdlib.h>

static int collect_own_ports(struct work *work, const struct listen_set *set)
{
    work->own_ports = calloc(set->len + 1, sizeof *work->own_ports);
    if (!work->own_ports)
        return -ENOMEM;
    for (size_t i = 0; i < set->len; i++)
        if (set->item[i]->transport == TRANSPORT_UDP)
            work->own_ports[work->n_own_ports++] = set->item[i]->addr.port;
    return 0;
}

int joined_init(struct joined *joined, struct work *work, const struct listen_set *listeners)
{
    *joined = (struct joined){ .work = work, .listeners = listeners };
    list_init(&joined->acceptors);
    list_init(&joined->dgrams);
    return collect_own_ports(work, listeners);
}

void joined_done(struct joined *joined)
{
    if (!joined->work)
        return;
    list_for_each (it, &joined->acceptors)
        acceptor_free(container_of(it, struct acceptor, link));
    joined_end_datagrams(joined);
}

static int join(struct joined *joined, const struct listener *listener, struct served *served)
{
    struct acceptor *acceptor;
    struct dgram *dgram;
    int r;

    if (transport_is_stream(listener->transport)) {
        r = acceptor_open(served, listener, &acceptor);
        if (r == 0)
            list_append(&joined->acceptors, &acceptor->link);
    } else {
        r = dgram_open(served, listener, &dgram);
        if (r == 0)
            list_append(&joined->dgrams, &dgram->link);
    }
    return r;
}

int joined_add(struct joined *joined, struct served *served)
{
    const struct listen_set *set = joined->listeners;
    int r = 0;

    served->listens = true;
    for (size_t i = 0; r == 0 && i < set->len; i++)
        if (set->service[i] == served->conf)
            r = join(joined, set->item[i], served);
    return r;
}

void joined_rearm(struct joined *joined)
{
    list_for_each (it, &joined->acceptors)
        acceptor_rearm(container_of(it, struct acceptor, link));
    list_for_each (it, &joined->dgrams)
        dgram_rearm(container_of(it, struct dgram, link));
}

void joined_resume(struct joined *joined)
{
    list_for_each (it, &joined->acceptors)
        acceptor_resume(container_of(it, struct acceptor, link));
}

/* Its place among them; their number when it is not there. */
static size_t place_of(const struct joined *joined, const struct listener *listener)
{
    size_t i = 0;

    while (i < joined->listeners->len && joined->listeners->item[i] != listener)
        i++;
    return i;
}

void joined_forget(struct joined *joined, const struct channel_message *set)
{
    list_for_each (it, &joined->acceptors) {
        struct acceptor *acceptor = container_of(it, struct acceptor, link);
        size_t i = place_of(joined, acceptor->listener) - set->value;

        if (i < CHANNEL_SET_SPAN && channel_set_has(set, (uint32_t)i))
            acceptor->removed = true;
    }
}

void joined_leave(struct joined *joined, bool all_stops)
{
    list_for_each (it, &joined->acceptors) {
        struct acceptor *acceptor = container_of(it, struct acceptor, link);

        bool stays = acceptor->listener->inherited || acceptor->listener->store_name;
        acceptor_leave(acceptor, !all_stops || !stays);
    }
    list_for_each (it, &joined->dgrams)
        dgram_leave(container_of(it, struct dgram, link), !all_stops);
}

bool joined_is_busy(const struct joined *joined)
{
    list_for_each (it, &joined->dgrams)
        if (dgram_is_busy(container_of(it, struct dgram, link)))
            return true;
    return false;
}

void joined_end_datagrams(struct joined *joined)
{
    list_for_each (it, &joined->dgrams)
        dgram_free(container_of(it, struct dgram, link));
}
