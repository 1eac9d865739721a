/* The table of configuration keys: a new key is one row here, its member in conf.h, and its paragraph in the
 * manual. */
#include "conf_key.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

const char *const transport_words[] = { "tcp", "udp", "unix", "unixgram", NULL };
const char *const handler_words[] = { "", "echo", "discard", "daytime", "helper", "program", "plugin", NULL };
static const char *const helper_protocol_words[] = { "plain", "json", NULL };
static const char *const overload_words[] = { "wait", "refuse", NULL };
static const char *const log_words[] = { "none", "errors", "connections", "requests", NULL };

#define HANDLER(kind) (1u << HANDLER_##kind)

#define ANY_HANDLER UINT32_MAX
#define HELPER      HANDLER(HELPER)
#define PROGRAM     HANDLER(PROGRAM)
#define PLUGIN      HANDLER(PLUGIN)
#define EXECUTES    (HELPER | PROGRAM)             /* handlers with processes of their own */
#define MESSAGES    (ANY_HANDLER & ~PROGRAM)       /* handlers that see messages */
#define REPLIES     (MESSAGES & ~HANDLER(DISCARD)) /* handlers that answer at all */
#define LISTENS     (MESSAGES & ~HANDLER(DAYTIME)) /* handlers that wait for a request on a stream */

#define ANY_TRANSPORT UINT32_MAX
#define UDP_ONLY      (1u << TRANSPORT_UDP)

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
/* Counts in ms pass to the workers in 32 bits. */
#define TIME_MAX ((int64_t)30 * 24 * 3600 * 1000)
#define MANY     1000000

#define DAEMON(key_name, key_type)                                          \
    .name = #key_name, .scope = CONF_DAEMON, .type = &conf_type_##key_type, \
    .offset = offsetof(struct conf, key_name)
#define SERVICE(key_name, key_type, handler_mask, transport_mask)            \
    .name = #key_name, .scope = CONF_SERVICE, .type = &conf_type_##key_type, \
    .offset = offsetof(struct service, key_name), .handlers = (handler_mask), .transports = (transport_mask)
#define BOUNDS(least, most) .lo = (least), .hi = (most)

/* Of a variable the name alone is for everybody. */
static void print_names(const void *field, FILE *out)
{
    const struct words *words = field;

    fputs("[ ", out);
    for (size_t i = 0; i < words->len; i++) {
        const char *word = words->item[i];
        size_t len = strcspn(word, "=");
        fprintf(out, "\"%.*s%s\"%s", (int)len, word, word[len] ? "=***" : "",
                i + 1 < words->len ? ", " : " ");
    }
    fputs("]", out);
}

static bool has_socket_file(const struct service *service)
{
    return !service->path || service->path[0] != '@';
}

static bool has_many_requests(const struct service *service)
{
    return service->framing.kind != FRAME_CLOSE;
}

static bool has_requests(const struct service *service)
{
    return service->handler != HANDLER_DAYTIME || (service->transports & TRANSPORTS_DATAGRAM);
}

static bool speaks_plain(const struct service *service)
{
    return service->helper_protocol == HELPER_PLAIN;
}

static bool has_replies(const struct service *service)
{
    return !service->one_way;
}

/* clang-format off */
const struct conf_key conf_keys[] = {
    { DAEMON(workers, int), BOUNDS(0, CONF_WORKERS_MAX), .preset = "0", .unit = "processes",
      .help = "how many processes serve clients; 0 is one per usable processor" },
    { DAEMON(drain_timeout, time), BOUNDS(1, TIME_MAX), .preset = "\"25s\"",
      .help = "how long a stop lets what is in hand be finished" },
    { DAEMON(reload_drain_timeout, time), BOUNDS(0, TIME_MAX), .preset = "0",
      .help = "how long the old generation may finish after a reload; 0 is until it has ended" },
    { DAEMON(worker_timeout, time), BOUNDS(100, TIME_MAX), .preset = "\"10s\"",
      .help = "how long a worker may be silent before it is replaced" },
    { DAEMON(max_memory, size), BOUNDS(MIB, 1024 * GIB), .preset = "\"256m\"",
      .help = "how much the buffers of one worker may hold" },
    { DAEMON(log_level, level), .preset = "\"info\"",
      .help = "the least urgent lines that are logged" },
    { DAEMON(metrics, metrics), .preset = "{ }",
      .help = "where the metrics are served over HTTP; empty: nowhere" },

    { SERVICE(enabled, bool, ANY_HANDLER, ANY_TRANSPORT), .preset = "true",
      .help = "whether the service is served at all" },
    { .name = "transport", .scope = CONF_SERVICE, .type = &conf_type_transport,
      .offset = offsetof(struct service, transports), .handlers = ANY_HANDLER, .transports = ANY_TRANSPORT,
      .words = transport_words, .preset = "\"tcp\"",
      .help = "the kinds of socket" },
    { SERVICE(host, hosts, ANY_HANDLER, TRANSPORTS_INTERNET), .preset = "\"localhost\"",
      .help = "the names or addresses that are bound; \"*\" is every address" },
    { SERVICE(port, port, ANY_HANDLER, TRANSPORTS_INTERNET), BOUNDS(1, 65535),
      .help = "the port, a number or the name of a service" },
    { SERVICE(path, path, ANY_HANDLER, TRANSPORTS_LOCAL),
      .help = "the socket file; \"@name\" is in the abstract name space" },
    { SERVICE(mode, mode, ANY_HANDLER, TRANSPORTS_LOCAL), BOUNDS(0, 0777), .preset = "\"0660\"",
      .serves = has_socket_file, .unless = "for a name in the abstract name space",
      .help = "the permissions of the socket file" },
    { SERVICE(group, group, ANY_HANDLER, TRANSPORTS_LOCAL), .preset = "\"\"",
      .serves = has_socket_file, .unless = "for a name in the abstract name space",
      .help = "the group of the socket file; \"\" leaves the daemon's own" },
    { SERVICE(backlog, int, ANY_HANDLER, TRANSPORTS_STREAM), BOUNDS(1, MANY), .preset = "4096", .unit = "connections",
      .help = "how many connections may wait to be accepted" },
    { SERVICE(framing, framing, MESSAGES, TRANSPORTS_STREAM), .preset = "\"line\"",
      .help = "how the stream of bytes is cut into messages" },
    { SERVICE(handler, word, ANY_HANDLER, ANY_TRANSPORT), .words = handler_words,
      .help = "who answers" },
    { SERVICE(command, command, EXECUTES, ANY_TRANSPORT),
      .help = "the program that answers, and its arguments" },
    { SERVICE(plugin, plugin, PLUGIN, ANY_TRANSPORT),
      .help = "the shared object that answers" },
    { SERVICE(plugin_options, string, PLUGIN, ANY_TRANSPORT), .preset = "\"\"",
      .help = "text that the plug-in is given at its start" },
    { SERVICE(directory, directory, EXECUTES, ANY_TRANSPORT), .preset = "\"/\"",
      .help = "the working directory of helpers and programs" },
    { SERVICE(environment, environment, EXECUTES, ANY_TRANSPORT), .preset = "[ ]", .print_public = print_names,
      .help = "what is added to their environment; a name alone passes the daemon's own" },
    { SERVICE(helpers, int, HELPER, ANY_TRANSPORT), BOUNDS(0, 4096), .preset = "0", .unit = "processes",
      .help = "how many helpers run; 0 is one for each worker" },
    { SERVICE(helper_protocol, word, HELPER, ANY_TRANSPORT), .words = helper_protocol_words, .preset = "\"plain\"",
      .help = "how requests and replies are written" },
    { SERVICE(helper_framing, helper_framing, HELPER, ANY_TRANSPORT), .preset = "\"\"",
      .serves = speaks_plain, .unless = "for helper_protocol \"json\", which is one object a line",
      .help = "how they are framed; \"\" is as the service's own" },
    { SERVICE(helper_pipeline, int, HELPER, ANY_TRANSPORT), BOUNDS(0, 64), .preset = "0", .unit = "requests",
      .help = "how many requests one helper has in hand; 0 adapts" },
    { SERVICE(helper_queue, int, HELPER, ANY_TRANSPORT), BOUNDS(0, MANY), .preset = "1024", .unit = "requests",
      .help = "how many requests may wait for a helper" },
    { SERVICE(helper_probe, bytes, HELPER, ANY_TRANSPORT), .preset = "\"\"",
      .serves = has_replies, .unless = "for a one_way helper, which never replies",
      .help = "the request that a new helper must answer first" },
    { SERVICE(helper_start_timeout, time, HELPER, ANY_TRANSPORT), BOUNDS(1, TIME_MAX), .preset = "\"1m\"",
      .help = "how long a helper may take until it has answered it" },
    { SERVICE(helper_max_requests, int, HELPER, ANY_TRANSPORT), BOUNDS(0, 1000 * MANY), .preset = "0",
      .unit = "requests",
      .help = "after about how many requests a helper is replaced; 0 is never" },
    { SERVICE(one_way, bool, HELPER, ANY_TRANSPORT), .preset = "false",
      .help = "whether no reply is awaited; what the helpers write goes to the log" },
    { SERVICE(max_request, size, MESSAGES, ANY_TRANSPORT), BOUNDS(1, GIB), .preset = "\"64k\"",
      .serves = has_requests, .unless = "for handler \"daytime\" without datagrams",
      .help = "the longest request" },
    { SERVICE(max_reply, size, REPLIES, ANY_TRANSPORT), BOUNDS(1, GIB), .preset = "\"1m\"",
      .help = "the longest reply" },
    { SERVICE(max_connections, int, ANY_HANDLER, TRANSPORTS_STREAM), BOUNDS(1, MANY), .preset = "10000",
      .unit = "connections",
      .help = "how many connections may be open at once" },
    { SERVICE(max_connections_per_source, int, ANY_HANDLER, TRANSPORTS_STREAM), BOUNDS(0, MANY), .preset = "0",
      .unit = "connections",
      .help = "how many of them one source may have; 0 is no limit" },
    { SERVICE(max_connection_rate, int, ANY_HANDLER, TRANSPORTS_STREAM), BOUNDS(0, MANY), .preset = "0",
      .unit = "connections per second",
      .help = "how many connections are accepted per second; 0 is no limit" },
    { SERVICE(max_programs, int, PROGRAM, TRANSPORTS_STREAM), BOUNDS(1, MANY), .preset = "64", .unit = "processes",
      .help = "how many programs may run at once" },
    { SERVICE(overload, word, ANY_HANDLER, TRANSPORTS_STREAM), .words = overload_words, .preset = "\"wait\"",
      .help = "what happens to a connection at a limit of the service" },
    { SERVICE(overload_reply, bytes, ANY_HANDLER, TRANSPORTS_STREAM), .preset = "\"\"",
      .help = "what a connection that is refused at a limit is told" },
    { SERVICE(max_requests_per_connection, int, LISTENS, TRANSPORTS_STREAM), BOUNDS(0, 1000 * MANY), .preset = "0",
      .unit = "requests", .serves = has_many_requests,
      .unless = "for framing \"close\", one request per connection",
      .help = "after how many requests a connection is closed; 0 is never" },
    { SERVICE(idle_timeout, time, LISTENS, TRANSPORTS_STREAM), BOUNDS(0, TIME_MAX), .preset = "\"10m\"",
      .help = "how long a connection may be without a request; 0 is for ever" },
    { SERVICE(request_timeout, time, LISTENS, TRANSPORTS_STREAM), BOUNDS(0, TIME_MAX), .preset = "\"10s\"",
      .help = "how long a request may take from its first byte to its last; 0 is for ever" },
    { SERVICE(queue_timeout, time, HELPER, ANY_TRANSPORT), BOUNDS(0, TIME_MAX), .preset = "\"10s\"",
      .help = "how long a request may wait for a helper; 0 is for ever" },
    { SERVICE(handler_timeout, time, HELPER | PLUGIN, ANY_TRANSPORT), BOUNDS(0, TIME_MAX), .preset = "\"30s\"",
      .help = "how long a helper or plug-in may work on a request; 0 is for ever" },
    { SERVICE(session_timeout, time, ANY_HANDLER, TRANSPORTS_STREAM), BOUNDS(0, TIME_MAX), .preset = "0",
      .help = "how long a connection may last in all; 0 is for ever" },
    { SERVICE(send_timeout, time, MESSAGES, TRANSPORTS_STREAM), BOUNDS(0, TIME_MAX), .preset = "\"30s\"",
      .help = "how long a client may take nothing of what is sent to it; 0 is for ever" },
    { SERVICE(error_reply, bytes, MESSAGES, TRANSPORTS_STREAM), .preset = "\"\"",
      .help = "what is sent when a request cannot be answered" },
    { SERVICE(allow, nets, ANY_HANDLER, TRANSPORTS_INTERNET), .preset = "[ ]",
      .help = "the addresses and networks that are served; none named: all" },
    { SERVICE(deny, nets, ANY_HANDLER, TRANSPORTS_INTERNET), .preset = "[ ]",
      .help = "the addresses and networks that are refused, whatever allow says" },
    { SERVICE(max_reply_ratio, int, REPLIES, UDP_ONLY), BOUNDS(0, 65535), .preset = "1",
      .unit = "times the request",
      .help = "the longest reply to a datagram, in lengths of the request; 0 is no limit" },
    { SERVICE(max_datagrams_per_source, int, ANY_HANDLER, UDP_ONLY), BOUNDS(1, MANY), .preset = "64",
      .unit = "datagrams per second",
      .help = "how many datagrams of one source are taken per second" },
    { SERVICE(low_ports, bool, ANY_HANDLER, UDP_ONLY), .preset = "false",
      .help = "whether datagrams from ports below 1024 are taken" },
    { SERVICE(log, word, ANY_HANDLER, ANY_TRANSPORT), .words = log_words, .preset = "\"errors\"",
      .help = "what is logged of the service" },
    { .name = NULL },
};
/* clang-format on */

const struct conf_key *conf_key_find(const struct conf_key *keys, const char *name, bool *ret_old)
{
    for (const struct conf_key *key = keys; key->name; key++) {
        bool old = key->old_name && strcmp(key->old_name, name) == 0;

        if (old || strcmp(key->name, name) == 0) {
            *ret_old = old;
            return key;
        }
    }
    return NULL;
}

bool conf_key_serves(const struct conf_key *key, const struct service *service)
{
    return (key->handlers & 1u << service->handler) && (key->transports & service->transports) &&
           (!key->serves || key->serves(service));
}

char *conf_key_text(const struct conf_key *key, const void *base, enum conf_view view)
{
    const void *field = (const char *)base + key->offset;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    if (view == CONF_PUBLIC && key->print_public)
        key->print_public(field, out);
    else
        key->type->print(key, field, out);
    return text_close(out, &text);
}
