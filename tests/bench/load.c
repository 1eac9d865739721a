/*
 * Load for an echo of lines, and what it cost the server: a number of connections, each with a fixed number
 * of lines in flight. All replies are compared with what was sent. The processor time of the server is that
 * of its process, as its clock says (clock_getcpuclockid), between the first and the last moment that counts.
 *
 *   load [-C CPU] [-c CONNECTIONS] [-P DEPTH] [-s SIZE] [-w WARMUP_SECONDS] [-d SECONDS] [-p PID]
 *        [-H ADDRESS] PORT
 *
 * Prints one line: requests=N seconds=S rate=R cpu_us=U own_us=U. Processor time for a request: cpu_us of PID
 * (0 without -p), own_us of the load itself.
 */
#include "bare.h"

#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    size_t received; /* of the DEPTH lines in flight */
};

static struct {
    int connections, depth, size, cpu;
    double warmup, seconds;
    pid_t pid;
    const char *host;
    uint16_t port;
} options = {
    .connections = 64, .depth = 1, .size = 64, .cpu = -1, .warmup = 0.5, .seconds = 2, .host = "127.0.0.1"
};

static char *batch; /* DEPTH lines of SIZE bytes */
static size_t batch_len;
static uint64_t requests;

static double now(clockid_t clock)
{
    struct timespec ts;
    if (clock_gettime(clock, &ts) < 0)
        err(1, "clock");
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void make_batch(void)
{
    size_t size = (size_t)options.size;
    batch_len = size * (size_t)options.depth;
    batch = malloc(batch_len);
    if (!batch)
        err(1, "memory");
    for (size_t i = 0; i < batch_len; i++)
        batch[i] = i % size == size - 1 ? '\n' : (char)('a' + i % 26);
}

static void send_batch(const struct client *c)
{
    if (send(c->fd, batch, batch_len, MSG_NOSIGNAL) != (ssize_t)batch_len)
        err(1, "send");
}

static void open_client(struct client *c, int epoll_fd)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(options.port) };
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, options.host, &sa.sin_addr) != 1)
        errx(64, "%s is no IPv4 address", options.host);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        err(1, "connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        err(1, "epoll_ctl");
    send_batch(c);
}

static void read_replies(struct client *c)
{
    static char buffer[65536];
    size_t size = (size_t)options.size;
    ssize_t n = recv(c->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n <= 0)
        err(1, "the server ended a connection");
    if (c->received + (size_t)n > batch_len || memcmp(buffer, batch + c->received, (size_t)n) != 0)
        errx(1, "a reply is not what was sent");
    requests += (c->received + (size_t)n) / size - c->received / size;
    c->received += (size_t)n;
    if (c->received == batch_len) {
        c->received = 0;
        send_batch(c);
    }
}

static void run_for(int epoll_fd, double seconds)
{
    for (double end = now(CLOCK_MONOTONIC) + seconds; now(CLOCK_MONOTONIC) < end;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, 5000);
        if (n == 0)
            errx(1, "no reply for 5 seconds");
        for (int i = 0; i < n; i++)
            read_replies(events[i].data.ptr);
    }
}

static void read_options(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "C:c:P:s:w:d:p:H:")) != -1;) {
        switch (option) {
        case 'C':
            options.cpu = atoi(optarg);
            break;
        case 'c':
            options.connections = atoi(optarg);
            break;
        case 'P':
            options.depth = atoi(optarg);
            break;
        case 's':
            options.size = atoi(optarg);
            break;
        case 'w':
            options.warmup = atof(optarg);
            break;
        case 'd':
            options.seconds = atof(optarg);
            break;
        case 'p':
            options.pid = atoi(optarg);
            break;
        case 'H':
            options.host = optarg;
            break;
        default:
            exit(64);
        }
    }
    if (optind + 1 != argc || options.connections < 1 || options.depth < 1 || options.size < 1)
        errx(64,
             "usage: load [-C CPU] [-c CONNECTIONS] [-P DEPTH] [-s SIZE] [-w WARMUP] [-d SECONDS] [-p PID] "
             "[-H ADDRESS] PORT");
    options.port = (uint16_t)atoi(argv[optind]);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    if (options.cpu >= 0)
        pin(options.cpu);
    make_batch();
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct client *clients = calloc((size_t)options.connections, sizeof(*clients));
    if (epoll_fd < 0 || !clients)
        err(1, "start");
    for (int i = 0; i < options.connections; i++)
        open_client(&clients[i], epoll_fd);

    clockid_t server = 0;
    if (options.pid && clock_getcpuclockid(options.pid, &server) != 0)
        errx(1, "no process %d", (int)options.pid);
    run_for(epoll_fd, options.warmup);
    requests = 0;
    double began = now(CLOCK_MONOTONIC), cpu = options.pid ? now(server) : 0;
    double own = now(CLOCK_PROCESS_CPUTIME_ID);
    run_for(epoll_fd, options.seconds);
    double took = now(CLOCK_MONOTONIC) - began;
    cpu = options.pid ? now(server) - cpu : 0;
    own = now(CLOCK_PROCESS_CPUTIME_ID) - own;

    double each = requests ? 1e6 / (double)requests : 0;
    printf("requests=%llu seconds=%.3f rate=%.0f cpu_us=%.3f own_us=%.3f\n", (unsigned long long)requests,
           took, (double)requests / took, cpu * each, own * each);
    free(clients);
    free(batch);
    return 0;
}
