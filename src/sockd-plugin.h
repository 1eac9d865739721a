/*
 * sockd-plugin.h: how a C function answers the requests of a sockd service.
 *
 * A plug-in is a shared object that exports one `const struct sockd_plugin sockd_plugin`. Every worker
 * process loads it and calls it in its one thread; the master never does. See sockd-plugin(3).
 *
 *     cc -shared -fPIC -o upper.so upper.c $(pkg-config --cflags sockd)
 *
 *     services: { upper: { port = 7000; handler = "plugin"; plugin = "/usr/lib/sockd/upper.so"; }; };
 *
 * A plug-in must not block, since all clients of its worker wait meanwhile; one that does not return for
 * `worker_timeout` is ended with its worker. It must not fork, change signal dispositions, or call exit(3):
 * that costs the worker and its connections. It shares the worker's address space, so it must be trusted like
 * sockd itself. Its static variables are shared by all services of the worker that name it.
 *
 * Everything here is of ABI 1: structs grow at their end only, and `size` tells how much of one is there. The
 * two numbers that a struct begins with stay where they are in every ABI.
 */
#ifndef SOCKD_PLUGIN_H
#define SOCKD_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SOCKD_PLUGIN_ABI 1

/* A request that was received and not yet answered; opaque. */
struct sockd_request;

/* The service that a plug-in instance answers for; opaque. */
struct sockd_service;

/* A descriptor that the worker waits for on behalf of the plug-in; opaque. */
struct sockd_watch;

/* The longest text of sockd_host.peer and sockd_host.local, with its NUL, in bytes. */
#define SOCKD_ADDRESS_MAX 80

/* What a plug-in may call, and only from inside its own functions. The table lives as long as the process. */
struct sockd_host {
    uint32_t size; /* of this struct in the running sockd, in bytes */
    uint32_t abi;  /* SOCKD_PLUGIN_ABI of the running sockd */

    /* The request's bytes, without their framing, and their number in *LEN. They are the host's, not
     * NUL-terminated, valid until the request is answered or cancelled, and may have moved when `handle` has
     * returned: ask anew. */
    const char *(*data)(const struct sockd_request *request, size_t *len);

    /* Writes the peer's or our own address as text ("192.0.2.1:4711", "[2001:db8::1]:53", "uid 1000 pid 77")
     * with a NUL into TEXT, which has SOCKD_ADDRESS_MAX bytes. */
    void (*peer)(const struct sockd_request *request, char *text);
    void (*local)(const struct sockd_request *request, char *text);

    /*
     * Each request is ended by exactly one of these three, inside `handle` or at any time later; afterwards
     * it must not be touched. The bytes of a reply are copied, and dressed in the service's framing; a reply
     * that the framing cannot carry, or over `max_reply`, counts as a failure. After `fail` the client gets
     * `error_reply`, or the end of the connection; WHY goes to the log, bytes of a stranger in it escaped, a
     * flood of it cut. A datagram gets no `error_reply`, and an empty reply to one sends nothing.
     */
    void (*reply)(struct sockd_request *request, const void *data, size_t len);
    void (*silence)(struct sockd_request *request);
    void (*fail)(struct sockd_request *request, const char *why);

    /* A line for the log, with the names of the service and the plug-in, cut to about 1000 bytes. PRIORITY:
     * LOG_ERR to LOG_DEBUG of syslog(3). Never blocks. */
    void (*log)(struct sockd_service *service, int priority, const char *text);

    /* The name of the service in the configuration; lives as long as the instance. */
    const char *(*service_name)(const struct sockd_service *service);

    /*
     * Calls READY(ARG, EVENTS) from the worker's loop whenever FD (the plug-in's, non-blocking) has EVENTS of
     * epoll(7), EPOLLIN and EPOLLOUT; level-triggered. A timer is a timerfd_create(2), the end of a thread's
     * work an eventfd(2). NULL and errno on failure; one descriptor is watched once. `unwatch` before the
     * descriptor is closed; READY is not called any more then.
     */
    struct sockd_watch *(*watch)(struct sockd_service *service, int fd, uint32_t events,
                                 void (*ready)(void *arg, uint32_t events), void *arg);
    void (*unwatch)(struct sockd_watch *watch);
};

struct sockd_plugin {
    uint32_t size; /* sizeof(struct sockd_plugin) */
    uint32_t abi;  /* SOCKD_PLUGIN_ABI */
    const char *name;

    /*
     * Once in every worker for every service that names the plug-in, before its first request. OPTIONS is
     * `plugin_options` of the configuration, "" where there are none; borrowed for the call. *CONTEXT is the
     * instance's own, given back to the other functions. HOST and SERVICE stay valid until `fini`. May be
     * NULL.
     *
     * 0; or a positive errno, when it has undone all it did: then a reload fails with it, and a start of
     * sockd is degraded: the service's requests fail, and the plug-in is loaded again, with pauses, until it
     * works.
     */
    int (*init)(const struct sockd_host *host, struct sockd_service *service, const char *options,
                void **context);

    /* One complete request. Not called again before it has returned. */
    void (*handle)(void *context, struct sockd_request *request);

    /* The client of a request that was not answered yet is gone, or `handler_timeout` passed: forget it. May
     * be NULL for a plug-in that always answers inside `handle`. */
    void (*cancel)(void *context, struct sockd_request *request);

    /* The last call; every request was answered or cancelled. May be NULL. */
    void (*fini)(void *context);
};

#ifdef __cplusplus
}
#endif

#endif
