/* Questions over HTTP, and the way of their answers; see exporter.h. */
#include "exporter.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/spawn.h"
#include "channel.h"
#include "exporter_library.h"
#include "log_ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* So long the master may take for an answer, and a connection in all. */
#define ANSWER_MS 3000
#define CLIENT_MS 5000
/* Nobody is accepted for so long, when that has failed. */
#define PAUSE_MS 50
/* Of a connection, for its request and ours. */
#define CLIENT_MEMORY 8192
/* More than it ever has open: connections, answers, listeners and its own few. */
#define DESCRIPTORS 256

#define METRICS_PATH "/metrics"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct exporter;

/* A listener. */
struct door {
    struct loop_source source;
    struct exporter *exporter;
    int fd; /* owns */
};

/* A connection. */
struct client {
    struct loop_timer timer;
    int fd; /* the library's; -1: the place is free */
};

/* A request for the metrics, until the library is done with it. */
struct scrape {
    struct list link;
    struct loop_timer timer;
    struct exporter *exporter;
    struct MHD_Connection *connection;
    uint32_t number;
    bool waits; /* the connection is suspended */
    int fd;     /* owns; the answer, -1: there is none */
};

struct exporter {
    struct loop loop;
    struct loop_source channel, http;
    int channel_fd; /* owns */
    struct MHD_Daemon *daemon;
    struct loop_timer http_timer, end_timer, door_timer;
    struct door *doors; /* owns */
    size_t n_doors;
    struct client clients[EXPORTER_CLIENTS_MAX];
    size_t n_clients;
    struct list scrapes;
    uint32_t last_number;
    bool leaving;
};

static struct exporter_library http;

static void run_http(struct exporter *e);

static void on_http(struct loop_source *source, uint32_t events)
{
    (void)events;
    run_http(container_of(source, struct exporter, http));
}

static void on_http_timer(struct loop_timer *timer)
{
    run_http(container_of(timer, struct exporter, http_timer));
}

static void check_end(struct exporter *e)
{
    if (e->leaving && e->n_clients == 0)
        loop_quit(&e->loop);
}

/* Lets the library do what it can, and plans when it must be let again. */
static void run_http(struct exporter *e)
{
    MHD_UNSIGNED_LONG_LONG pause_ms;

    http.run(e->daemon);
    if (http.get_timeout(e->daemon, &pause_ms) == MHD_YES)
        loop_timer_set(&e->loop, &e->http_timer, loop_now(&e->loop) + pause_ms, on_http_timer);
    else
        loop_timer_stop(&e->loop, &e->http_timer);
    check_end(e);
}

/* Later, since the library may be the caller. */
static void run_http_soon(struct exporter *e)
{
    loop_timer_set(&e->loop, &e->http_timer, loop_now(&e->loop), on_http_timer);
}

/* Connections. */

static void on_door(struct loop_source *source, uint32_t events);

/* Those that are shut. 0 or -errno. */
static int open_doors(struct exporter *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < e->n_doors; i++)
        if (e->doors[i].source.fd < 0)
            r = loop_add(&e->loop, &e->doors[i].source, e->doors[i].fd, EPOLLIN | EPOLLEXCLUSIVE, on_door);
    return r;
}

static void on_open_again(struct loop_timer *timer)
{
    struct exporter *e = container_of(timer, struct exporter, door_timer);

    if (open_doors(e) < 0)
        loop_timer_set(&e->loop, timer, loop_now(&e->loop) + PAUSE_MS, on_open_again);
}

static void open_doors_in(struct exporter *e, uint64_t ms)
{
    loop_timer_set(&e->loop, &e->door_timer, loop_now(&e->loop) + ms, on_open_again);
}

/* What a source waits for cannot be changed when it does so exclusively (epoll_ctl(2)). */
static void shut_doors(struct exporter *e)
{
    for (size_t i = 0; i < e->n_doors; i++)
        loop_remove(&e->loop, &e->doors[i].source);
}

static struct client *find_client(struct exporter *e, int fd)
{
    for (size_t i = 0; i < EXPORTER_CLIENTS_MAX; i++)
        if (e->clients[i].fd == fd)
            return &e->clients[i];
    return NULL;
}

static void forget_client(struct exporter *e, int fd)
{
    struct client *client = find_client(e, fd);

    if (!client)
        return;
    loop_timer_stop(&e->loop, &client->timer);
    client->fd = -1;
    e->n_clients--;
    open_doors_in(e, 0);
}

/* However slowly it goes on, it had its time. The library sees the end and closes. */
static void on_client_late(struct loop_timer *timer)
{
    shutdown(container_of(timer, struct client, timer)->fd, SHUT_RDWR);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    const union MHD_ConnectionInfo *info =
        http.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    (void)context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED && info)
        forget_client(cls, info->connect_fd);
}

static void on_door(struct loop_source *source, uint32_t events)
{
    struct door *door = container_of(source, struct door, source);
    struct exporter *e = door->exporter;
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    (void)events;
    struct client *client = find_client(e, -1);
    if (!client) {
        shut_doors(e);
        return;
    }
    int fd = accept4(door->fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && errno != EAGAIN && errno != EINTR) {
        shut_doors(e);
        open_doors_in(e, PAUSE_MS);
    }
    if (fd < 0)
        return;
    client->fd = fd;
    e->n_clients++;
    loop_timer_set(&e->loop, &client->timer, loop_now(&e->loop) + CLIENT_MS, on_client_late);
    /* Closes it when it fails. */
    if (http.add_connection(e->daemon, fd, (struct sockaddr *)&sa, len) != MHD_YES)
        forget_client(e, fd);
    run_http_soon(e);
}

/* Answers. */

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
    struct MHD_Response *response =
        http.create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result r = MHD_NO;

    if (!response)
        return MHD_NO;
    http.add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
    http.add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        http.add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    r = http.queue_response(connection, status, response);
    http.destroy_response(response);
    return r;
}

static enum MHD_Result answer_metrics(struct scrape *scrape)
{
    struct MHD_Response *response = NULL;
    enum MHD_Result r = MHD_NO;
    struct stat st;

    if (scrape->fd >= 0 && fstat(scrape->fd, &st) == 0)
        response = http.create_response_from_fd((size_t)st.st_size, scrape->fd);
    if (!response)
        return answer_text(scrape->connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                           "sockd gave no answer in time\n");
    scrape->fd = -1; /* the response closes it */
    http.add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, METRICS_TYPE);
    http.add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    r = http.queue_response(scrape->connection, MHD_HTTP_OK, response);
    http.destroy_response(response);
    return r;
}

static void go_on(struct scrape *scrape)
{
    struct exporter *e = scrape->exporter;

    if (!scrape->waits)
        return;
    scrape->waits = false;
    loop_timer_stop(&e->loop, &scrape->timer);
    http.resume_connection(scrape->connection);
    run_http_soon(e);
}

static void on_no_answer(struct loop_timer *timer)
{
    go_on(container_of(timer, struct scrape, timer));
}

/* Takes FD. One that comes too late is for nobody. */
static void take_answer(struct exporter *e, uint32_t number, int fd)
{
    list_for_each (it, &e->scrapes) {
        struct scrape *scrape = container_of(it, struct scrape, link);
        if (scrape->number == number && scrape->waits) {
            scrape->fd = fd;
            go_on(scrape);
            return;
        }
    }
    fd_close(&fd);
}

/* The connection rests until the master has answered. */
static enum MHD_Result ask(struct exporter *e, struct MHD_Connection *connection, void **context)
{
    struct scrape *scrape = malloc(sizeof(*scrape));

    if (!scrape)
        return MHD_NO;
    *scrape = (struct scrape){ .exporter = e, .connection = connection, .fd = -1 };
    scrape->number = ++e->last_number;
    list_init(&scrape->link);
    list_append(&e->scrapes, &scrape->link);
    *context = scrape;
    if (e->channel_fd < 0 || channel_send(e->channel_fd, CHANNEL_SCRAPE, scrape->number) < 0)
        return answer_metrics(scrape);
    scrape->waits = true;
    loop_timer_set(&e->loop, &scrape->timer, loop_now(&e->loop) + ANSWER_MS, on_no_answer);
    http.suspend_connection(connection);
    return MHD_YES;
}

/* Called again, with its scrape, for a connection that rested. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **context)
{
    (void)version;
    (void)upload;
    (void)upload_len;
    if (*context)
        return answer_metrics(*context);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (strcmp(url, METRICS_PATH) == 0)
        return ask(cls, connection, context);
    if (strcmp(url, "/") == 0)
        return answer_text(connection, MHD_HTTP_OK, "sockd: the metrics are at " METRICS_PATH "\n");
    return answer_text(connection, MHD_HTTP_NOT_FOUND, "not found; the metrics are at " METRICS_PATH "\n");
}

static void on_request_over(void *cls, struct MHD_Connection *connection, void **context,
                            enum MHD_RequestTerminationCode how)
{
    struct exporter *e = cls;
    struct scrape *scrape = *context;

    (void)connection;
    (void)how;
    if (!scrape)
        return;
    loop_timer_stop(&e->loop, &scrape->timer);
    list_remove(&scrape->link);
    fd_close(&scrape->fd);
    free(scrape);
    *context = NULL;
}

/* The master. */

static void close_doors(struct exporter *e)
{
    for (size_t i = 0; i < e->n_doors; i++) {
        loop_remove(&e->loop, &e->doors[i].source);
        fd_close(&e->doors[i].fd);
    }
    e->n_doors = 0;
}

static void on_end(struct loop_timer *timer)
{
    loop_quit(&container_of(timer, struct exporter, end_timer)->loop);
}

/* Those that are connected are served, for VALUE ms. */
static void leave(struct exporter *e, uint32_t value_ms)
{
    e->leaving = true;
    close_doors(e);
    loop_timer_set(&e->loop, &e->end_timer, loop_now(&e->loop) + value_ms, on_end);
    check_end(e);
}

/* Takes FD, which came with the message. */
static void obey(struct exporter *e, const struct channel_message *message, int fd)
{
    switch (message->word) {
    case CHANNEL_PING:
        log_tell_losses();
        channel_send(e->channel_fd, CHANNEL_PONG, 0);
        break;
    case CHANNEL_DRAIN:
        leave(e, message->value);
        break;
    case CHANNEL_LOG_LEVEL:
        log_set_level((int)message->value);
        break;
    case CHANNEL_METRICS:
        take_answer(e, message->value, fd);
        fd = -1;
        break;
    }
    fd_close(&fd);
}

static void on_channel(struct loop_source *source, uint32_t events)
{
    struct exporter *e = container_of(source, struct exporter, channel);
    struct channel_message message;
    int r, fd;

    (void)events;
    while ((r = channel_receive(e->channel_fd, &message, &fd)) > 0)
        obey(e, &message, fd);
    if (r != -EAGAIN)
        loop_quit(&e->loop);
}

/* The beginning and the end. */

static int start_http(struct exporter *e)
{
    e->daemon = http.start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0,
                                  NULL, NULL, on_request, e, MHD_OPTION_CONNECTION_LIMIT,
                                  (unsigned)EXPORTER_CLIENTS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                  (size_t)CLIENT_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT,
                                  (unsigned)(CLIENT_MS / 1000), MHD_OPTION_NOTIFY_COMPLETED, on_request_over,
                                  e, MHD_OPTION_NOTIFY_CONNECTION, on_connection, e, MHD_OPTION_END);
    if (!e->daemon)
        return -ENOMEM;
    const union MHD_DaemonInfo *info = http.get_daemon_info(e->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return info ? loop_add(&e->loop, &e->http, info->epoll_fd, EPOLLIN, on_http) : -ENOTSUP;
}

/* The library wants no connection at rest when it ends. */
static void stop_http(struct exporter *e)
{
    if (!e->daemon)
        return;
    list_for_each (it, &e->scrapes)
        go_on(container_of(it, struct scrape, link));
    http.run(e->daemon);
    loop_remove(&e->loop, &e->http);
    http.stop_daemon(e->daemon);
    e->daemon = NULL;
}

static int make_doors(struct exporter *e, const struct listen_set *set)
{
    e->doors = calloc(set->len + 1, sizeof(*e->doors));
    if (!e->doors)
        return -ENOMEM;
    for (size_t i = 0; i < set->len; i++)
        e->doors[e->n_doors++] = (struct door){ .exporter = e, .source.fd = -1, .fd = set->item[i]->fd };
    return open_doors(e);
}

static int start(struct exporter *e, const struct exporter_setup *setup)
{
    int r = loop_init(&e->loop);
    if (r == 0)
        r = start_http(e);
    if (r == 0)
        r = loop_add(&e->loop, &e->channel, e->channel_fd, EPOLLIN, on_channel);
    if (r == 0)
        r = make_doors(e, setup->listeners);
    if (r == 0)
        r = channel_send(e->channel_fd, CHANNEL_READY, 0);
    return r;
}

static void stop(struct exporter *e)
{
    stop_http(e);
    close_doors(e);
    free(e->doors);
    loop_remove(&e->loop, &e->channel);
    fd_close(&e->channel_fd);
    loop_done(&e->loop);
}

/* It talks to the network and to its master, and that is all that it may. */
static int drop_rights(const struct exporter_setup *setup)
{
    const int ours[] = { setup->channel_fd, log_fd() };
    struct rlimit limit = { DESCRIPTORS, DESCRIPTORS };

    stats_free(setup->stats);
    int r = listen_close_others(setup->listeners, ours, sizeof(ours) / sizeof(ours[0]));
    if (r < 0)
        return r;
    setrlimit(RLIMIT_NOFILE, &limit);
    return spawn_drop_rights();
}

int exporter_main(const struct exporter_setup *setup)
{
    static struct exporter e; /* reachable, for those who look for leaks */

    prctl(PR_SET_NAME, "sockd-exporter");
    log_set_process("exporter", 0, 0);
    e = (struct exporter){ .channel = { .fd = -1 }, .http = { .fd = -1 }, .channel_fd = setup->channel_fd };
    list_init(&e.scrapes);
    for (size_t i = 0; i < EXPORTER_CLIENTS_MAX; i++)
        e.clients[i].fd = -1;
    int r = exporter_library_load(&http);
    if (r == 0)
        r = drop_rights(setup);
    if (r == 0)
        r = start(&e, setup);
    if (r == 0)
        r = loop_run(&e.loop);
    if (r < 0)
        log_event(LOG_ERR, LOG_ID_FAULT, "the exporter cannot go on: %s", strerror(-r));
    stop(&e);
    return r < 0 ? EX_OSERR : 0;
}
