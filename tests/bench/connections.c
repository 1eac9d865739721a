/*
 * Load of whole connections: so many at a time, each sends a line, ends its side, and reads until the server
 * ends the other.
 *
 *   connections [-c AT_A_TIME] [-n CONNECTIONS] [-H ADDRESS] PORT
 *
 * Prints one line: connections=N seconds=S rate=R. A connection that does not get its line back is an error.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINE "a line of sixty-four bytes, counted with the one that ends it...\n"

struct client {
    int fd;
    size_t received;
};

static struct {
    long at_a_time, connections;
    const char *host;
    uint16_t port;
} options = { .at_a_time = 16, .connections = 2000, .host = "127.0.0.1" };

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void begin(struct client *c, int epoll_fd)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(options.port) };
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };

    inet_pton(AF_INET, options.host, &sa.sin_addr);
    c->received = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        err(1, "connect");
    if (send(c->fd, LINE, strlen(LINE), MSG_NOSIGNAL) != (ssize_t)strlen(LINE) ||
        shutdown(c->fd, SHUT_WR) < 0)
        err(1, "send");
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        err(1, "epoll");
}

/* True when the connection is over. */
static int take(struct client *c)
{
    char data[1024];
    ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0)
        err(1, "recv");
    c->received += (size_t)n;
    if (n > 0)
        return 0;
    if (c->received != strlen(LINE))
        errx(1, "a connection got %zu bytes back", c->received);
    close(c->fd);
    return 1;
}

static void run(void)
{
    struct client *clients = calloc((size_t)options.at_a_time, sizeof(*clients));
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    long begun = 0, ended = 0;
    double started = now();

    if (!clients || epoll_fd < 0)
        err(1, "start");
    for (; begun < options.at_a_time && begun < options.connections; begun++)
        begin(&clients[begun], epoll_fd);
    while (ended < options.connections) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll_fd, events, 64, 10000);
        if (n == 0)
            errx(1, "nothing came for 10 seconds");
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (!take(c))
                continue;
            ended++;
            if (begun < options.connections) {
                begun++;
                begin(c, epoll_fd);
            }
        }
    }
    double seconds = now() - started;
    printf("connections=%ld seconds=%.3f rate=%.1f\n", ended, seconds, (double)ended / seconds);
    free(clients);
}

int main(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:n:H:")) != -1) {
        switch (option) {
        case 'c':
            options.at_a_time = atol(optarg);
            break;
        case 'n':
            options.connections = atol(optarg);
            break;
        case 'H':
            options.host = optarg;
            break;
        default:
            return 2;
        }
    }
    if (optind != argc - 1)
        errx(2, "usage: connections [-c AT_A_TIME] [-n CONNECTIONS] [-H ADDRESS] PORT");
    options.port = (uint16_t)atoi(argv[optind]);
    run();
    return 0;
}
