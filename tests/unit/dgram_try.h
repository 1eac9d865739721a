/*
 * What the tests of datagrams share: a datagram socket over real UDP or a real Unix socket on loopback,
 * opened as the master opens it, a handler that does what a request says, and clients. That nothing is sent
 * is seen by the next datagram's reply being the first to come.
 */
#ifndef SOCKD_DGRAM_TRY_H
#define SOCKD_DGRAM_TRY_H

#include "dgram.h"

#include "base/fd.h"
#include "listen_socket.h"

#include "test.h" /* behind handler.h, whose `fail` its macro would take */

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#define HELD_MAX 256

/* A handler that does what the first letter of a request says: one of h, a, b, f, s; others are echoed. */
static struct request *held[HELD_MAX];
static int n_held, n_cancelled;
static struct addr last_local;
static char big[DGRAM_MAX + 1];

static inline struct request *take_held(void)
{
    assert_true(n_held > 0);
    return held[--n_held];
}

/* The number behind the first letter. */
static inline size_t number_in(const struct request *request)
{
    char text[16] = "";

    assert_true(request->len < sizeof text);
    memcpy(text, request->data, request->len);
    return (size_t)atoi(text + 1);
}

static inline void on_request(void *context, struct request *request)
{
    (void)context;
    last_local = *request->local;
    switch (request->len ? request->data[0] : 'h') {
    case 'h': /* hold */
        assert_true(n_held < HELD_MAX);
        held[n_held++] = request;
        break;
    case 'a': /* answer the one that is held, then this one */
        request_reply(take_held(), "other", 5);
        request_reply(request, request->data, request->len);
        break;
    case 'b': /* a big one, whose length the request says */
        request_reply(request, big, number_in(request));
        break;
    case 'f':
        request_fail(request, REQUEST_FAILED_HANDLER);
        break;
    case 's':
        request_silence(request);
        break;
    default:
        request_reply(request, request->data, request->len);
    }
}

static inline void on_cancel(void *context, struct request *request)
{
    (void)context;
    for (int i = 0; i < n_held; i++) {
        if (held[i] == request) {
            held[i] = held[--n_held];
            n_cancelled++;
            return;
        }
    }
    fail_msg("a request was cancelled that is not held");
}

static const struct handler obedient = { .request = on_request, .cancel = on_cancel };

static struct loop loop;
static struct stats *stats;
static struct stats_page *page;
static struct work work;
static struct service conf;
static struct served *served;
static struct listener listener;
static struct dgram *dgram;
static char dir[] = "/tmp/sockd-test-dgram-XXXXXX";
static char service_name[] = "test", path[64], client_path[64];

static inline int make_dir(void **state)
{
    (void)state;
    alarm(120); /* what waits would wait for ever */
    memset(big, 'B', sizeof big);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/server", dir);
    snprintf(client_path, sizeof client_path, "%s/client", dir);
    return 0;
}

static inline int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static inline int set_up(void **state)
{
    (void)state;
    n_held = n_cancelled = 0;
    dgram = NULL;
    listener = (struct listener){ .fd = -1 };
    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(stats_create(&stats), 0);
    page = stats_own(stats, stats_take_page(stats), false);
    assert_int_equal(work_init(&work, &loop, stats, page, 4 << 20), 0);
    conf = (struct service){ .name = service_name,
                             .handler = HANDLER_ECHO,
                             .mode = 0600,
                             .max_request = 65536,
                             .max_reply = 1 << 20,
                             .max_reply_ratio = 1,
                             .max_datagrams_per_source = 64,
                             .log = SERVICE_LOG_NONE };
    const struct served_timeouts timeouts = { .datagram = dgram_on_handler_late };
    assert_int_equal(served_new(&work, &conf, 0, &timeouts, &served), 0);
    served->handler = &obedient;
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    dgram_free(dgram);
    assert_int_equal(work.memory.used, 0);
    assert_int_equal(n_held, 0);
    assert_int_equal(stats_get(&served->stats->in_hand), 0);
    served_free(served);
    dgram_batch_free(work.datagrams);
    work_done(&work);
    loop_done(&loop);
    fd_close(&listener.fd);
    unlink(path);
    unlink(client_path);
    stats_disown(page);
    stats_free(stats);
    return 0;
}

#define COUNT(member) stats_get(&served->stats->member)

/* The address that FD is bound to. */
static inline struct addr own_addr(int fd)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t len = sizeof sa;
    struct addr addr;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    addr_from_sockaddr(&addr, &sa);
    return addr;
}

static inline struct addr addr_of(const char *text, uint16_t port)
{
    struct addr addr = { .family = strchr(text, ':') ? AF_INET6 : AF_INET, .port = port };

    assert_int_equal(inet_pton(addr.family, text, addr.ip), 1);
    return addr;
}

static inline void open_dgram(int fd, enum transport transport)
{
    assert_true(fd >= 0);
    listener.fd = fd;
    listener.transport = transport;
    if (transport == TRANSPORT_UDP)
        listener.addr = own_addr(fd);
    assert_int_equal(dgram_open(served, &listener, &dgram), 0);
}

/* Skips the test without that family. */
static inline void open_udp(const char *host)
{
    struct listen_name name = { .transport = TRANSPORT_UDP, .addr = addr_of(host, 0) };
    struct sockfile_id id;
    int fd = listen_socket_open(&name, &conf, &id);

    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
        skip();
    open_dgram(fd, TRANSPORT_UDP);
}

static inline void open_unix(void)
{
    struct listen_name name = { .transport = TRANSPORT_UNIXGRAM };
    struct sockfile_id id;

    memcpy(name.path, path, sizeof path);
    open_dgram(listen_socket_open(&name, &conf, &id), TRANSPORT_UNIXGRAM);
}

/* A client at HOST and PORT (0: any). */
static inline int open_client_at(const char *host, uint16_t port)
{
    struct addr addr = addr_of(host, port);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    int fd = socket(addr.family, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 1 << 20;

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)&sa, len) < 0)
        fd_close(&fd);
    return fd;
}

static inline int open_client(void)
{
    int fd = open_client_at(listener.addr.family == AF_INET6 ? "::1" : "127.0.0.1", 0);

    assert_true(fd >= 0);
    return fd;
}

static inline void connect_unix(int fd)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };

    memcpy(sa.sun_path, path, sizeof path);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
}

static inline int open_unix_client(bool named)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(sa.sun_path, client_path, sizeof client_path);
    if (named)
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    connect_unix(fd);
    return fd;
}

static inline void send_to(int fd, const char *host, const void *data, size_t len)
{
    struct addr addr = addr_of(host, listener.addr.port);
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(&addr, &sa);

    assert_int_equal(sendto(fd, data, len, 0, (struct sockaddr *)&sa, sa_len), (ssize_t)len);
}

static inline const char *loopback(void)
{
    return listener.addr.family == AF_INET6 ? "::1" : "127.0.0.1";
}

/* Lets the loop run until N datagrams have come in, in all. */
static inline void serve_until(uint64_t n)
{
    while (COUNT(datagrams_in) < n)
        assert_int_equal(loop_turn(&loop, -1), 0);
}

static inline void ask(int fd, const char *text)
{
    uint64_t before = COUNT(datagrams_in);

    if (listener.transport == TRANSPORT_UDP)
        send_to(fd, loopback(), text, strlen(text));
    else
        assert_int_equal(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
    serve_until(before + 1);
}

/* The next datagram that comes, as a string, and whence. */
static inline const char *hear_from(int fd, struct addr *ret_from)
{
    static char text[DGRAM_MAX + 2];
    struct sockaddr_storage sa = { 0 };
    socklen_t len = sizeof sa;
    struct pollfd wait = { .fd = fd, .events = POLLIN };

    assert_int_equal(poll(&wait, 1, 10000), 1);
    ssize_t n = recvfrom(fd, text, sizeof text - 1, 0, (struct sockaddr *)&sa, &len);
    assert_true(n >= 0);
    text[n] = '\0';
    if (ret_from)
        addr_from_sockaddr(ret_from, &sa);
    return text;
}

static inline const char *hear(int fd)
{
    return hear_from(fd, NULL);
}

static inline void assert_next_is(int fd, const char *marker)
{
    ask(fd, marker);
    assert_string_equal(hear(fd), marker);
}

static inline void assert_is(const struct addr *addr, const char *host)
{
    struct addr wanted = addr_of(host, addr->port);
    char text[ADDR_TEXT_MAX];

    if (!addr_equal(addr, &wanted))
        fail_msg("%s is not %s", addr_print(text, addr), host);
}

#endif
