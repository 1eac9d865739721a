/*
 * The interface between what receives requests (conn.c, dgram.c) and what answers them. Runs in a worker.
 *
 * A request ends in exactly one way: the handler finishes it with one of the request_* calls below, inside
 * `request` or at any later time, or its connection cancels it. After either, the handler must not touch it.
 */
#ifndef SOCKD_HANDLER_HANDLER_H
#define SOCKD_HANDLER_HANDLER_H

#include "base/addr.h"
#include "base/buf.h"
#include "base/loop.h"
#include "conf.h"
#include "spawner_link.h"
#include "stats.h"

#include <stddef.h>

struct request;

/* What a worker lends to the handler of one service, from `start` until `stop` has returned. */
struct handler_host {
    const struct service *service;
    struct loop *loop;
    struct spawner_link *spawner; /* to the spawner; there from the start, connected later, perhaps anew */
    struct account *memory;       /* all buffers count here */
    const struct stats *stats;
    struct stats_page *page;
    int slot;                   /* of the service in the counters: page->service[slot] */
    uint32_t index;             /* of the service in the configuration, as packets to the spawner name it */
    unsigned worker, n_workers; /* our number, from 1, of how many in this generation */
    void *owner;                /* the worker's */
    /*
     * The handler works, or works again; or it does not, and WHY says what is wrong, as in "a helper does not
     * come up: exited with status 1: No module named x". The master hears of it: a reload fails with it,
     * later the generation is degraded. A handler that `settles` calls one of them, sooner or later; until
     * then the service's listeners are not joined and the worker is not ready. Repeating the same costs
     * nothing.
     */
    void (*well)(const struct handler_host *host);
    void (*trouble)(const struct handler_host *host, const char *why);
    /* `waits` may say something else now. */
    void (*room)(const struct handler_host *host);
    /*
     * Sends a message on a connection that the handler tracks, without being asked. 0; -ENOENT: it is gone;
     * -EMSGSIZE: it is over max_reply; -EBADMSG: the framing cannot carry it.
     */
    int (*push)(const struct handler_host *host, uint64_t connection, const char *data, size_t len);
    /* A line about a request that failed, if the service logs its errors; a flood of them is cut. Bytes of a
     * stranger in TEXT must have gone through text_escape(). */
    void (*report)(const struct handler_host *host, const struct addr *peer, const char *text);
};

/* Why a request cannot be answered. */
enum request_failure {
    REQUEST_FAILED_HANDLER,       /* the handler failed, and has logged why */
    REQUEST_FAILED_REPLY,         /* its reply is over max_reply or does not fit the framing */
    REQUEST_FAILED_TIMEOUT,       /* handler_timeout passed */
    REQUEST_FAILED_QUEUE,         /* too many wait already */
    REQUEST_FAILED_QUEUE_TIMEOUT, /* queue_timeout passed */
};

struct request_ops {
    void (*reply)(struct request *request, const char *data, size_t len);
    void (*silence)(struct request *request);
    void (*fail)(struct request *request, enum request_failure why);
    void (*part)(struct request *request);
};

struct request {
    const struct request_ops *ops;
    const char *
        data; /* borrowed: until the request ends; read it anew after `request` returned, it may have moved */
    size_t len;
    const struct addr *peer, *local; /* borrowed, as long */
    void *held;                      /* the handler's own, while it holds the request */
    uint64_t connection; /* its number, if the handler tracks connections; 0: it does not, or a datagram */
};

/* One message back. LEN bytes are copied or sent before it returns. */
static inline void request_reply(struct request *request, const char *data, size_t len)
{
    request->ops->reply(request, data, len);
}

/* Nothing is sent; the request is done. */
static inline void request_silence(struct request *request)
{
    request->ops->silence(request);
}

/* error_reply is sent if there is one, else the connection ends. */
static inline void request_fail(struct request *request, enum request_failure why)
{
    request->ops->fail(request, why);
}

/* The connection ends when this request does, after its reply. To be called before that. */
static inline void request_part(struct request *request)
{
    request->ops->part(request);
}

struct handler {
    /*
     * The server speaks first: a connection that was opened gets the reply to one empty request, and ends. A
     * datagram is an ordinary request.
     */
    bool speaks_first;
    /* It looks after handler_timeout itself. */
    bool times_itself;
    /* It is not at work when `start` returns, but when it calls host->well() or host->trouble(). */
    bool settles;
    /*
     * Before the first request of a service in this worker: its own context. 0 or -errno. NULL: none needed.
     * HOST is borrowed until `stop`. host->well and host->trouble may be called inside.
     */
    int (*start)(const struct handler_host *host, void **ret_context);
    /* No request is held any more. */
    void (*stop)(void *context);
    /* True while connections should rather wait in the backlog than come in. NULL: never. */
    bool (*waits)(void *context);
    /* True when connections get a number, by which the handler may name them later. NULL: they do not. */
    bool (*tracks)(void *context);
    /* A connection with a number is gone from this worker. */
    void (*on_closed)(void *context, uint64_t connection);
    /* One complete request. */
    void (*request)(void *context, struct request *request);
    /* The client of a held request is gone: forget it. NULL for handlers that answer at once. */
    void (*cancel)(void *context, struct request *request);
    /* Whether a held request only waits until it is its turn. NULL: it never does. */
    bool (*queues)(const struct request *request);
    /* `sockctl restart`: replaces the processes of this worker, without losing a request. NULL: it has none.
     */
    void (*roll)(void *context);
    /*
     * Takes a whole connection instead of requests: the descriptor is the handler's from now on (also when it
     * fails), non-blocking as it is. NULL for all that answer requests. 0: `done` must be called with TOKEN
     * when the connection is over or somebody else counts it, also inside; -errno: it will not be.
     */
    int (*take)(void *context, int fd, const struct addr *peer, const struct addr *local,
                void (*done)(void *token), void *token);
};

#endif
