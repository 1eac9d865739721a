/*
 * Whom a client talks to. A look-up of a name counts against the same limit as the connection, therefore it
 * is made with getaddrinfo_a(3).
 */
#include "client/target.h"

#include "base/fd.h"
#include "base/text.h"
#include "client/clock.h"
#include "client/say.h"
#include "conf.h"
#include "control_path.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int copy(char *ret, size_t size, const char *text, const char *what)
{
    if ((size_t)snprintf(ret, size, "%s", text) < size)
        return 0;
    return say_misuse("the %s is too long: %s", what, text);
}

/* The transport of S that is spoken to: TRANSPORT_COUNT when it has none of the kind that O wants. */
static enum transport choose_transport(const struct service *s, bool datagrams)
{
    enum transport first = TRANSPORT_COUNT;

    for (unsigned i = TRANSPORT_COUNT; i-- > 0;) {
        enum transport t = (enum transport)i;

        if ((s->transports & (1U << i)) && (transport_is_stream(t) == !datagrams))
            first = t;
    }
    return first;
}

static int fill_from_service(struct target *ret, const struct service *s)
{
    enum transport t = choose_transport(s, ret->datagrams);
    const char *host = s->host.len ? s->host.item[0] : "localhost";

    if (t == TRANSPORT_COUNT && !ret->datagrams) {
        ret->datagrams = true;
        t = choose_transport(s, true);
    }
    if (t == TRANSPORT_COUNT)
        return say_misuse("service %s has no datagrams", s->name);
    ret->framing = s->framing;
    if (t == TRANSPORT_UNIX || t == TRANSPORT_UNIXGRAM)
        return copy(ret->path, sizeof(ret->path), s->path ? s->path : "", "path");
    snprintf(ret->port, sizeof(ret->port), "%u", s->port);
    if (!host[0] || strcmp(host, "*") == 0)
        host = "localhost";
    return copy(ret->host, sizeof(ret->host), host, "host");
}

static int say_unknown_service(const struct conf *conf, const char *name)
{
    const char **names = calloc(conf->n_services + 1, sizeof(*names));
    const char *near = NULL;
    int r;

    if (names) {
        for (size_t i = 0; i < conf->n_services; i++)
            names[i] = conf->services[i].name;
        near = text_suggest(name, names);
    }
    if (near)
        r = say_misuse("%s has no service %s; did you mean %s?", conf->file, name, near);
    else
        r = say_misuse("%s has no service %s", conf->file, name);
    free(names);
    return r;
}

/* The file of --config, of -i, or the usual one: 0 or an exit status. */
static int find_file(char *ret, size_t size, const struct options *o)
{
    char path[CONTROL_PATH_MAX];

    if (o->config)
        return copy(ret, size, o->config, "path");
    if (!o->instance)
        return copy(ret, size, CONF_FILE, "path");
    if (control_path_instance(o->instance, path, sizeof(path)) < 0)
        return say_misuse("\"%s\" is no name of an instance", o->instance);
    snprintf(ret, size, CONF_FILE_OF_INSTANCE, o->instance);
    return 0;
}

static int read_service(struct target *ret, const struct options *o)
{
    struct complaints complaints;
    struct conf *conf = NULL;
    const struct service *s;
    char file[PATH_MAX];
    int r = find_file(file, sizeof(file), o);

    if (r)
        return r;
    complaints_init(&complaints);
    r = conf_load(file, &complaints, &conf);
    if (r < 0) {
        r = EXIT_MISUSED;
        for (const struct complaint *c = complaints.first; c; c = c->next)
            if (complaint_is_fatal(c))
                say("%s", c->text);
    } else {
        s = conf_find(conf, o->service);
        r = s ? fill_from_service(ret, s) : say_unknown_service(conf, o->service);
        if (s && r == 0 && !s->enabled)
            say("service %s is not enabled in %s", s->name, s->file);
    }
    conf_unref(conf);
    complaints_done(&complaints);
    return r;
}

int target_init(struct target *ret, const struct options *o)
{
    int r = 0;

    if (o->path && (o->host || o->port))
        return say_misuse("-U cannot stand with -H or -p");
    if (o->host && !o->host[0])
        return say_misuse("-H needs HOST, and it is empty");
    if (o->host && o->host[0] == '[')
        return say_misuse("\"%s\" is no host; write an IPv6 address without brackets", o->host);
    if (o->path && !o->path[0])
        return say_misuse("-U needs PATH, and it is empty");
    if (o->ipv4 && o->ipv6)
        return say_misuse("-4 cannot stand with -6");
    *ret = (struct target){ .host = "localhost",
                            .port = "50000",
                            .datagrams = o->datagrams,
                            .framing = o->framing,
                            .timeout_ms = o->timeout_ms };
    ret->family = o->ipv4 ? AF_INET : o->ipv6 ? AF_INET6 : AF_UNSPEC;
    if (o->service)
        r = read_service(ret, o);
    if (r)
        return r;
    if (o->framing_given)
        ret->framing = o->framing;
    if (o->host || o->port)
        ret->path[0] = '\0';
    if (o->host)
        r = copy(ret->host, sizeof(ret->host), o->host, "host");
    if (!r && o->port)
        r = copy(ret->port, sizeof(ret->port), o->port, "port");
    if (!r && o->path)
        r = copy(ret->path, sizeof(ret->path), o->path, "path");
    return r;
}

char *target_print(char buf[TARGET_TEXT_MAX], const struct target *t)
{
    if (t->path[0])
        snprintf(buf, TARGET_TEXT_MAX, "%s", t->path);
    else
        snprintf(buf, TARGET_TEXT_MAX, "%s port %s", t->host, t->port);
    return buf;
}

char *target_print_short(char buf[TARGET_TEXT_MAX], const struct target *t)
{
    if (t->path[0])
        snprintf(buf, TARGET_TEXT_MAX, "%s", t->path);
    else if (strchr(t->host, ':'))
        snprintf(buf, TARGET_TEXT_MAX, "[%s]:%s", t->host, t->port);
    else
        snprintf(buf, TARGET_TEXT_MAX, "%s:%s", t->host, t->port);
    return buf;
}

int target_connect_fd(int fd, const void *address, unsigned address_len, int limit_ms)
{
    struct pollfd wait = { .fd = fd, .events = POLLOUT };
    socklen_t len = sizeof(int);
    uint64_t start = clock_ns();
    int error = 0, left = limit_ms, n;

    if (connect(fd, address, address_len) == 0)
        return 0;
    /* A Unix socket whose queue is full says EAGAIN, and poll(2) cannot wait for a place in it. */
    while (errno == EAGAIN && left != 0) {
        poll(NULL, 0, 10);
        left = limit_ms < 0 ? -1 : clock_left_ms(start, (uint64_t)limit_ms);
        if (connect(fd, address, address_len) == 0)
            return 0;
    }
    if (errno == EAGAIN)
        return -ETIMEDOUT;
    if (errno != EINPROGRESS && errno != EINTR)
        return -errno;
    do {
        if (limit_ms > 0)
            left = clock_left_ms(start, (uint64_t)limit_ms);
        n = poll(&wait, 1, left);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : -ETIMEDOUT;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return -error;
}

static void say_cannot_connect(const struct target *t, int error, bool is_here)
{
    char text[TARGET_TEXT_MAX], after[TEXT_NUMBER_MAX + 16] = "";
    bool is_absent = error == ECONNREFUSED || (t->path[0] && error == ENOENT);

    if (error == ETIMEDOUT && t->timeout_ms) {
        char span[TEXT_NUMBER_MAX];
        snprintf(after, sizeof(after), " (%s)", text_print_time(span, t->timeout_ms));
    }
    say("cannot connect to %s: %s%s%s", target_print(text, t), strerror(error), after,
        is_absent && is_here ? "; is sockd running? see sockctl status" : "");
}

static int connect_unix(const struct target *t)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX }, unbound = { .sun_family = AF_UNIX };
    size_t len = strlen(t->path);
    int type = t->datagrams ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (t->path[0] != '@'));
    int r;

    memcpy(sa.sun_path, t->path, len);
    if (t->path[0] == '@')
        sa.sun_path[0] = '\0';
    /* A datagram's reply needs an address to go to: the kernel gives an abstract one. */
    if (fd >= 0 && t->datagrams && bind(fd, (struct sockaddr *)&unbound, sizeof(sa_family_t)) < 0)
        fd_close(&fd);
    r = fd < 0 ? -errno : target_connect_fd(fd, &sa, sa_len, clock_left_ms(clock_ns(), t->timeout_ms));
    if (r < 0) {
        say_cannot_connect(t, -r, true);
        fd_close(&fd);
    }
    return fd;
}

/* A look-up on its way, in memory of its own: one that was given up goes on in the resolver's thread. */
struct look_up {
    struct gaicb request;
    struct addrinfo hints;
    char host[256], port[32];
};

/* Waits until it is done; 0 or an EAI_ code, EAI_INPROGRESS when the time is over. */
static int wait_for(struct look_up *l, uint64_t start_ns, uint64_t span_ms)
{
    const struct gaicb *const list[] = { &l->request };
    struct timespec limit;
    int left, r;

    while ((r = gai_error(&l->request)) == EAI_INPROGRESS) {
        left = clock_left_ms(start_ns, span_ms);
        if (left == 0)
            return r;
        limit = (struct timespec){ .tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000L };
        gai_suspend(list, 1, left < 0 ? NULL : &limit);
    }
    return r;
}

/* 0 and a list for freeaddrinfo, or an EAI_ code. */
static int look_up(const struct target *t, uint64_t start_ns, struct addrinfo **ret)
{
    struct look_up *l = calloc(1, sizeof(*l));
    struct gaicb *list[1];
    int r;

    if (!l)
        return EAI_MEMORY;
    memcpy(l->host, t->host, sizeof(l->host));
    memcpy(l->port, t->port, sizeof(l->port));
    l->hints.ai_family = t->family;
    l->hints.ai_socktype = t->datagrams ? SOCK_DGRAM : SOCK_STREAM;
    l->request = (struct gaicb){ .ar_name = l->host, .ar_service = l->port, .ar_request = &l->hints };
    list[0] = &l->request;
    r = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
    if (r == 0)
        r = wait_for(l, start_ns, t->timeout_ms);
    if (r == 0)
        *ret = l->request.ar_result;
    else if (r != EAI_INPROGRESS && strcasecmp(t->host, "localhost") == 0)
        /* Without /etc/hosts too, localhost is the loopback address: RFC 6761, 6.3. */
        r = getaddrinfo(NULL, l->port, &l->hints, ret);
    if (r != EAI_INPROGRESS)
        free(l);
    return r;
}

/* The same. An address is read at once, without the resolver's thread: `bench` forks while that lives on. */
static int find_addresses(const struct target *t, uint64_t start_ns, struct addrinfo **ret)
{
    const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST,
                                    .ai_family = t->family,
                                    .ai_socktype = t->datagrams ? SOCK_DGRAM : SOCK_STREAM };

    return getaddrinfo(t->host, t->port, &hints, ret) == 0 ? 0 : look_up(t, start_ns, ret);
}

static bool is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr) >> 24 == 127;
    return sa->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
}

/* A descriptor or -errno. */
static int connect_one(const struct addrinfo *ai, int limit_ms)
{
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
    int one = 1, r;

    if (fd < 0)
        return -errno;
    if (ai->ai_socktype == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    r = target_connect_fd(fd, ai->ai_addr, ai->ai_addrlen, limit_ms);
    if (r < 0)
        fd_close(&fd);
    return r < 0 ? r : fd;
}

static int connect_any(const struct target *t, const struct addrinfo *list, uint64_t start_ns)
{
    int error = ETIMEDOUT, n = 0, fd, left;
    bool is_here = false;

    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
        n++;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next, n--) {
        left = clock_left_ms(start_ns, t->timeout_ms);
        if (left == 0)
            break;
        fd = connect_one(ai, left < 0 ? -1 : (left + n - 1) / n);
        if (fd >= 0)
            return fd;
        error = -fd;
        is_here |= is_loopback(ai->ai_addr);
    }
    say_cannot_connect(t, error, is_here);
    return -1;
}

int target_connect(const struct target *t)
{
    struct addrinfo *list = NULL;
    uint64_t start = clock_ns();
    int r, fd;

    if (t->path[0])
        return connect_unix(t);
    r = find_addresses(t, start, &list);
    if (r) {
        if (r == EAI_SERVICE)
            say("there is no port named %s", t->port);
        else if (r == EAI_INPROGRESS)
            say("cannot find %s: the name server does not answer", t->host);
        else
            say("cannot find %s: %s", t->host, r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
        return -1;
    }
    fd = connect_any(t, list, start);
    freeaddrinfo(list);
    return fd;
}
