/*
 * Short conversations in great number, each held to its own words: the load of reload.py.
 *
 *   clients [-c AT_A_TIME] [-r CONNECTIONS_PER_SECOND] [-s SEED] [-b SOURCES]
 *
 * It obeys lines on standard input and answers each with "ok" and the number of connections so far: "+
 * FRAMING ADDRESS" and "- ADDRESS" add and remove a server that answers each message with itself, ADDRESS
 * being 127.0.0.1:7000 or the path of a Unix socket. Once "-" is answered no connection to it is begun any
 * more. It ends when its input does and the last connection is over, and prints what it counted in one line.
 *
 * A conversation is a few rounds of messages with a tag that nobody else has, whole or in two pieces, the
 * last round half-closed or not. A connection that is refused, reset, ended early or answered with anything
 * but its own bytes is told in a line that begins with "failure"; so is one that waits longer than PATIENCE.
 * Connections come from many addresses (127.SOURCES.x.y), since one has no more than 28,000 ports.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SERVERS_MAX  32
#define NAME_MAX_LEN 108 /* as sun_path of unix(7) */
#define AT_ONCE_MAX  1024
#define ROUNDS_MAX   3
#define MESSAGES_MAX 4
#define PADDING      160
#define LONG_PADDING 20000
#define ROUND_MAX    (MESSAGES_MAX * (LONG_PADDING + 100))
#define PATIENCE_MS  30000
#define FAILURES_MAX 20

struct server {
    bool netstring;
    struct sockaddr_storage sa;
    socklen_t len;
    char name[NAME_MAX_LEN];
};

struct client {
    int fd; /* -1: none */
    char server[NAME_MAX_LEN];
    bool netstring;
    unsigned rounds;
    bool half_closes; /* in the last round */
    bool closed;      /* our side is */
    char *sent;       /* owns; what was sent of this round, and is expected back */
    size_t len, written, received;
    uint64_t piece_ms; /* when the rest is written */
    uint64_t since_ms;
};

static struct {
    unsigned at_a_time, sources;
    double rate;
    uint64_t seed;
} options = { .at_a_time = 64, .sources = 77, .rate = 5000, .seed = 1 };

static struct server servers[SERVERS_MAX];
static struct client clients[AT_ONCE_MAX];
static unsigned n_servers, n_active;
static int epoll_fd;
static uint64_t n_connections, n_messages, n_failures, n_tags;

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* xorshift64*, Vigna 2016. Less than N. */
static unsigned chance(unsigned n)
{
    options.seed ^= options.seed >> 12;
    options.seed ^= options.seed << 25;
    options.seed ^= options.seed >> 27;
    return (unsigned)((options.seed * 2685821657736338717u) >> 33) % n;
}

static void __attribute__((format(printf, 2, 3))) fail(const struct client *c, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n_failures++ < FAILURES_MAX) {
        printf("failure: %s: %s (after %llu ms; %zu of %zu bytes sent, %zu received; first \"%.30s\")\n",
               c->server, text, (unsigned long long)(now_ms() - c->since_ms), c->written, c->len, c->received,
               c->sent ? c->sent : "");
        fflush(stdout);
    }
}

static void end(struct client *c)
{
    close(c->fd);
    c->fd = -1;
    n_active--;
}

static void write_round(struct client *c)
{
    unsigned n = 1 + chance(MESSAGES_MAX);

    c->rounds--;
    c->len = c->written = c->received = 0;
    for (unsigned i = 0; i < n; i++) {
        char message[LONG_PADDING + 100];
        unsigned padding = chance(500) ? chance(PADDING) : LONG_PADDING;
        int len = snprintf(message, sizeof(message), "tag %llx.%u %0*d", (unsigned long long)++n_tags,
                           getpid(), (int)padding + 1, 0);
        bool unended = c->half_closes && c->rounds == 0 && i == n - 1 && chance(2);

        if (c->netstring)
            c->len += (size_t)snprintf(c->sent + c->len, ROUND_MAX - c->len, "%d:%s,", len, message);
        else
            c->len +=
                (size_t)snprintf(c->sent + c->len, ROUND_MAX - c->len, "%s%s", message, unended ? "" : "\n");
        n_messages++;
    }
}

/* Sends up to UPTO of the round. False: the connection is over. */
static bool send_until(struct client *c, size_t upto)
{
    while (c->written < upto) {
        ssize_t n = send(c->fd, c->sent + c->written, upto - c->written, MSG_NOSIGNAL);

        if (n < 0) {
            fail(c, "cannot send: %s", strerror(errno));
            end(c);
            return false;
        }
        c->written += (size_t)n;
    }
    if (c->written == c->len && c->rounds == 0 && c->half_closes && !c->closed) {
        shutdown(c->fd, SHUT_WR);
        c->closed = true;
    }
    return true;
}

static void begin_round(struct client *c)
{
    write_round(c);
    bool pieces = chance(4) == 0;
    c->piece_ms = pieces ? now_ms() + chance(30) : 0;
    send_until(c, pieces ? 1 + chance((unsigned)c->len - 1) : c->len);
}

static void bind_source(int fd)
{
    struct sockaddr_in sa = { .sin_family = AF_INET };
    int on = 1;

    sa.sin_addr.s_addr = htonl(0x7f000000u | options.sources << 16 | chance(250) << 8 | (1 + chance(250)));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        err(1, "bind");
}

static void begin(struct client *c)
{
    const struct server *server = &servers[chance(n_servers)];
    int on = 1;

    memcpy(c->server, server->name, sizeof(c->server));
    c->netstring = server->netstring;
    c->rounds = 1 + chance(ROUNDS_MAX);
    c->half_closes = chance(2);
    c->closed = false;
    c->since_ms = now_ms();
    c->len = c->written = c->received = 0;
    c->fd = socket(server->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        err(1, "socket");
    n_active++;
    n_connections++;
    if (server->sa.ss_family == AF_INET) {
        bind_source(c->fd);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    if (connect(c->fd, (const struct sockaddr *)&server->sa, server->len) < 0) {
        fail(c, "cannot connect: %s", strerror(errno));
        end(c);
        return;
    }
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        err(1, "epoll_ctl");
    begin_round(c);
}

/* All of the round is here. */
static void end_round(struct client *c)
{
    if (c->rounds > 0)
        begin_round(c);
    else if (!c->closed)
        end(c);
}

static void take(struct client *c)
{
    char data[65536];
    ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        fail(c, "cannot receive: %s", strerror(errno));
    } else if (n == 0 && c->received < c->len) {
        fail(c, "truncated");
    } else if (n == 0 && !c->closed) {
        fail(c, "closed between two rounds");
    } else if (n > 0 && ((size_t)n > c->written - c->received ||
                         memcmp(data, c->sent + c->received, (size_t)n) != 0)) {
        fail(c, "not its own bytes: \"%.40s\"", data);
    } else if (n > 0) {
        c->received += (size_t)n;
        if (c->received == c->len)
            end_round(c);
        return;
    }
    end(c);
}

/* What is due without an event: second pieces, and those who wait for ever. */
static void look_after(struct client *c, uint64_t now)
{
    if (c->fd < 0)
        return;
    if (c->piece_ms && now >= c->piece_ms) {
        c->piece_ms = 0;
        send_until(c, c->len);
    } else if (now - c->since_ms > PATIENCE_MS) {
        fail(c, "waits for ever");
        end(c);
    }
}

static struct server *find_server(const char *name)
{
    for (unsigned i = 0; i < n_servers; i++)
        if (strcmp(servers[i].name, name) == 0)
            return &servers[i];
    return NULL;
}

static void add_server(const char *framing, const char *address)
{
    struct server *server = &servers[n_servers];
    char host[64];
    unsigned port;

    if (n_servers == SERVERS_MAX)
        errx(1, "too many servers");
    *server = (struct server){ .netstring = strcmp(framing, "netstring") == 0 };
    snprintf(server->name, sizeof(server->name), "%s", address);
    if (sscanf(address, "%63[0-9.]:%u", host, &port) == 2) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
        inet_pton(AF_INET, host, &sa.sin_addr);
        memcpy(&server->sa, &sa, server->len = sizeof(sa));
    } else {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        memcpy(sa.sun_path, server->name, strlen(server->name) + 1);
        memcpy(&server->sa, &sa, server->len = sizeof(sa));
    }
    n_servers++;
}

static void obey(char *line)
{
    char framing[32], address[NAME_MAX_LEN];
    struct server *server;

    if (sscanf(line, "+ %31s %107s", framing, address) == 2)
        add_server(framing, address);
    else if (sscanf(line, "- %107s", address) == 1 && (server = find_server(address)))
        *server = servers[--n_servers];
    else if (strcmp(line, "?") != 0)
        errx(1, "no command: %s", line);
    printf("ok %llu\n", (unsigned long long)n_connections);
    fflush(stdout);
}

/* False at the end of the input. */
static bool listen_to_input(void)
{
    static char buffer[4096];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, buffer + len, sizeof(buffer) - 1 - len);
    char *lf;

    if (n <= 0)
        return false;
    len += (size_t)n;
    buffer[len] = '\0';
    while ((lf = strchr(buffer, '\n'))) {
        *lf = '\0';
        obey(buffer);
        len -= (size_t)(lf + 1 - buffer);
        memmove(buffer, lf + 1, len + 1);
    }
    return true;
}

static void begin_due(double *credit, uint64_t *last_ms, uint64_t now)
{
    *credit += (double)(now - *last_ms) * options.rate / 1000;
    *last_ms = now;
    if (*credit > options.rate / 10)
        *credit = options.rate / 10;
    for (unsigned i = 0; i < options.at_a_time && *credit >= 1 && n_servers > 0; i++) {
        if (clients[i].fd >= 0)
            continue;
        *credit -= 1;
        begin(&clients[i]);
    }
}

static void run(void)
{
    struct epoll_event input = { .events = EPOLLIN }, events[256];
    uint64_t last_ms = now_ms(), now;
    double credit = 0;
    bool over = false;

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0)
        err(1, "epoll");
    while (!over || n_active > 0) {
        int n = epoll_wait(epoll_fd, events, 256, 2);

        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c && c->fd >= 0)
                take(c);
            else if (!c && !listen_to_input() && (over = true))
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        }
        now = now_ms();
        for (unsigned i = 0; i < options.at_a_time; i++)
            look_after(&clients[i], now);
        if (!over)
            begin_due(&credit, &last_ms, now);
    }
}

static void parse(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:r:s:b:")) != -1) {
        switch (option) {
        case 'c':
            options.at_a_time = (unsigned)atoi(optarg);
            break;
        case 'r':
            options.rate = atof(optarg);
            break;
        case 's':
            options.seed = strtoull(optarg, NULL, 10) * 0x9e3779b97f4a7c15u + 1; /* never 0 */
            break;
        case 'b':
            options.sources = (unsigned)atoi(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (optind != argc || options.at_a_time > AT_ONCE_MAX)
        errx(2, "usage: clients [-c AT_A_TIME] [-r CONNECTIONS_PER_SECOND] [-s SEED] [-b SOURCES]");
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    for (unsigned i = 0; i < options.at_a_time; i++) {
        clients[i] = (struct client){ .fd = -1, .sent = malloc(ROUND_MAX) };
        if (!clients[i].sent)
            err(1, "malloc");
    }
    run();
    for (unsigned i = 0; i < options.at_a_time; i++)
        free(clients[i].sent);
    printf("connections=%llu messages=%llu failures=%llu\n", (unsigned long long)n_connections,
           (unsigned long long)n_messages, (unsigned long long)n_failures);
    return n_failures > 0;
}
