/*
 * The configuration: what a loaded file becomes. The one table of keys is in conf_key.c; the only file that
 * knows libconfig is conf_node.c.
 *
 * A struct conf never changes after it was loaded; it is shared by reference count within a process, and by
 * fork between processes. Runs in the master, in `sockd --check` and in sockctl; it never binds, connects or
 * logs: all complaints go to a list.
 */
#ifndef SOCKD_CONF_H
#define SOCKD_CONF_H

#include "base/addr.h"
#include "complaints.h"
#include "frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONF_FILE             "/etc/sockd.conf"
#define CONF_FILE_OF_INSTANCE "/etc/sockd-%s.conf"
/* The directory of services beside a file has its name without ".conf", with ".d": /etc/sockd.d. */

/* Services in one configuration. */
#define CONF_SERVICES_MAX 1024
#define CONF_WORKERS_MAX  256

enum transport {
    TRANSPORT_TCP,
    TRANSPORT_UDP,
    TRANSPORT_UNIX,
    TRANSPORT_UNIXGRAM,
    TRANSPORT_COUNT,
};
/* "tcp", "udp", "unix", "unixgram"; NULL-terminated. */
extern const char *const transport_words[];

/* Sets of them, as in `transports` of a service. */
#define TRANSPORTS_STREAM   (1u << TRANSPORT_TCP | 1u << TRANSPORT_UNIX)
#define TRANSPORTS_DATAGRAM (1u << TRANSPORT_UDP | 1u << TRANSPORT_UNIXGRAM)
#define TRANSPORTS_INTERNET (1u << TRANSPORT_TCP | 1u << TRANSPORT_UDP)
#define TRANSPORTS_LOCAL    (1u << TRANSPORT_UNIX | 1u << TRANSPORT_UNIXGRAM)

static inline bool transport_is_stream(enum transport t)
{
    return TRANSPORTS_STREAM & 1u << t;
}

enum handler_kind {
    HANDLER_NONE, /* not said */
    HANDLER_ECHO,
    HANDLER_DISCARD,
    HANDLER_DAYTIME,
    HANDLER_HELPER,
    HANDLER_PROGRAM,
    HANDLER_PLUGIN,
};
/* By enum handler_kind, the first one empty; NULL-terminated. */
extern const char *const handler_words[];

enum overload {
    OVERLOAD_WAIT,
    OVERLOAD_REFUSE,
};

/* What a service logs; each includes the ones before it. */
enum service_log {
    SERVICE_LOG_NONE,
    SERVICE_LOG_ERRORS,
    SERVICE_LOG_CONNECTIONS,
    SERVICE_LOG_REQUESTS,
};

enum helper_protocol {
    HELPER_PLAIN,
    HELPER_JSON,
};

/* A list of words. */
struct words {
    char **item; /* owns both */
    size_t len;
};

struct nets {
    struct net *item; /* owns */
    size_t len;
};

/* Bytes that may hold NUL; data is NULL when the key was not set. */
struct bytes {
    char *data; /* owns */
    size_t len;
};

/* The framing between a worker and a helper. */
struct helper_framing {
    bool said;         /* in the configuration */
    struct framing is; /* what is used, said or not; set by conf_check.c */
};

/* Where the exporter serves the metrics. */
struct conf_metrics {
    struct words host;
    uint32_t port; /* 0: nowhere, there is none */
    int line;      /* where it is written, for messages */
};

struct service {
    char *name; /* owns */
    char *file; /* owns; where it is written, for messages */
    int line;

    bool enabled;
    uint32_t transports; /* bit 1 << enum transport */
    struct words host;   /* a name, an address, "*" or "": every address */
    uint32_t port;       /* 0: none */
    char *path;          /* owns; unix and unixgram; "@name" is in the abstract name space */
    uint32_t mode;       /* permission bits of path */
    char *group;         /* owns; NULL: none */
    gid_t gid;           /* of group */
    int64_t backlog;
    struct framing framing;
    int handler; /* enum handler_kind */
    struct words command;
    char *plugin;             /* owns; the shared object */
    char *plugin_options;     /* owns; NULL: none */
    char *directory;          /* owns */
    struct words environment; /* "NAME=value", or "NAME": the daemon's own */
    int64_t helpers, helper_pipeline, helper_queue;
    int helper_protocol; /* enum helper_protocol */
    struct helper_framing helper_framing;
    struct bytes helper_probe;
    uint64_t helper_start_timeout; /* ms */
    int64_t helper_max_requests;
    bool one_way;
    uint64_t max_request, max_reply; /* bytes */
    int64_t max_connections, max_connections_per_source, max_connection_rate, max_programs;
    int overload; /* enum overload */
    struct bytes overload_reply;
    int64_t max_requests_per_connection;
    uint64_t idle_timeout, request_timeout, queue_timeout, handler_timeout, session_timeout,
        send_timeout; /* ms; 0: none */
    struct bytes error_reply;
    struct nets allow, deny;
    int64_t max_reply_ratio, max_datagrams_per_source;
    bool low_ports;
    int log; /* enum service_log */
};

struct conf {
    unsigned refs;
    char *file;                                                   /* owns */
    int64_t workers;                                              /* 0: one per usable processor */
    uint64_t drain_timeout, reload_drain_timeout, worker_timeout; /* ms */
    uint64_t max_memory;                                          /* bytes, of a worker */
    int log_level;                                                /* LOG_INFO and so on */
    struct conf_metrics metrics;
    struct service *services; /* owns; in the order of the files, the disabled ones included */
    size_t n_services;
};

/*
 * Loads FILE and the directory beside it. 0 and a new *RET (one reference, the caller's); -EINVAL when there
 * are fatal complaints; -ENOENT, -EACCES, ... when FILE itself cannot be read, which is complained of too.
 */
int conf_load(const char *file, struct complaints *complaints, struct conf **ret);

/* The same for the LEN bytes of TEXT, called NAME in complaints, without a directory. */
int conf_load_text(const char *name, const char *text, size_t len, struct complaints *complaints,
                   struct conf **ret);

struct conf *conf_ref(struct conf *conf);
/* Gives a reference back; NULL is fine. */
void conf_unref(struct conf *conf);

/* Borrowed, while CONF lives; NULL when there is none of this name. */
const struct service *conf_find(const struct conf *conf, const char *name);

/* Secrets are shown, or hidden: the values of `environment`. */
enum conf_view {
    CONF_WHOLE,
    CONF_PUBLIC,
};

/* Prints the effective configuration in a form that loads again, to the same when it is whole. */
void conf_show(const struct conf *conf, enum conf_view view, FILE *out);

/*
 * Says in one line what FROM and TO differ in: "greet added; policy: max_request 64k -> 128k; old removed",
 * or "nothing changed". Many changes are cut short with a count, and secrets are not told. The caller frees
 * it; NULL without memory.
 */
char *conf_diff(const struct conf *from, const struct conf *to);

#endif
