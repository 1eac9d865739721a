/* Looking up hosts; see names.h. The child writes what it found to a pipe, a host after the other. */
#include "names.h"

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Addresses of one host, more than any machine has. */
#define ADDRS_MAX 1024

struct names_question {
    struct loop *loop; /* borrows */
    struct names names;
    struct spawn_child child;
    struct loop_source source; /* the pipe, whose end is ours */
    struct loop_timer timer;
    struct buf said;
    struct account account;
    names_fn *on_answer;
    void *owner;
    struct loop_garbage garbage;
};

/* What the child says of one host; its addresses follow. */
struct answer {
    int error, system_error;
    uint32_t n_addrs;
};

static bool is_every(const char *host)
{
    return host[0] == '\0' || strcmp(host, "*") == 0;
}

const struct name *names_find(const struct names *names, const char *host)
{
    for (size_t i = 0; i < names->len; i++)
        if (strcmp(names->item[i].host, host) == 0)
            return &names->item[i];
    return NULL;
}

void names_done(struct names *names)
{
    for (size_t i = 0; i < names->len; i++)
        free(names->item[i].addrs);
    free(names->item);
    *names = (struct names){ 0 };
}

static int add_hosts(struct names *names, const struct words *hosts)
{
    for (size_t i = 0; i < hosts->len; i++) {
        if (names_find(names, hosts->item[i]))
            continue;
        struct name *item = reallocarray(names->item, names->len + 1, sizeof(*item));
        if (!item)
            return -ENOMEM;
        names->item = item;
        item[names->len++] = (struct name){ .host = hosts->item[i], .error = EAI_AGAIN };
    }
    return 0;
}

/* All hosts of CONF, none looked up yet. */
static int list_hosts(const struct conf *conf, struct names *ret)
{
    struct names names = { 0 };
    int r = conf->metrics.port > 0 ? add_hosts(&names, &conf->metrics.host) : 0;

    for (size_t i = 0; r == 0 && i < conf->n_services; i++)
        if (conf->services[i].enabled && (conf->services[i].transports & TRANSPORTS_INTERNET))
            r = add_hosts(&names, &conf->services[i].host);
    if (r < 0)
        names_done(&names);
    else
        *ret = names;
    return r;
}

static void take_addresses(struct name *name, const struct addrinfo *list)
{
    size_t n = 0;

    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
        n++;
    name->addrs = calloc(n + 1, sizeof(*name->addrs));
    for (const struct addrinfo *ai = list; name->addrs && ai && name->n_addrs < ADDRS_MAX; ai = ai->ai_next) {
        struct sockaddr_storage sa = { 0 };
        if ((ai->ai_family != AF_INET && ai->ai_family != AF_INET6) || ai->ai_addrlen > sizeof(sa))
            continue;
        memcpy(&sa, ai->ai_addr, ai->ai_addrlen);
        addr_from_sockaddr(&name->addrs[name->n_addrs++], &sa);
    }
    name->error = name->addrs ? 0 : EAI_MEMORY;
}

/* FLAGS: of getaddrinfo(3). */
static void look_up(struct name *name, int flags)
{
    struct addrinfo hints = { .ai_flags = AI_PASSIVE | flags, .ai_socktype = SOCK_STREAM }, *list;

    /* The port is only there because a host or a port must be. */
    name->error = getaddrinfo(is_every(name->host) ? NULL : name->host, "0", &hints, &list);
    if (name->error != 0 && flags == 0 && strcasecmp(name->host, "localhost") == 0) {
        /* Without /etc/hosts too, localhost is the loopback address: RFC 6761, 6.3. */
        hints.ai_flags &= ~AI_PASSIVE;
        name->error = getaddrinfo(NULL, "0", &hints, &list);
    }
    name->system_error = name->error == EAI_SYSTEM ? errno : 0;
    if (name->error != 0)
        return;
    take_addresses(name, list);
    freeaddrinfo(list);
}

int names_look_up(const struct conf *conf, struct names *ret)
{
    int r = list_hosts(conf, ret);

    for (size_t i = 0; r == 0 && i < ret->len; i++)
        look_up(&ret->item[i], 0);
    return r;
}

/* Those that are addresses, which no server is asked for. True when that was all. */
static bool take_numbers(struct names *names)
{
    bool all = true;

    for (size_t i = 0; i < names->len; i++) {
        look_up(&names->item[i], AI_NUMERICHOST);
        if (names->item[i].error != 0) {
            names->item[i].error = EAI_AGAIN; /* until somebody knows better */
            all = false;
        }
    }
    return all;
}

/* In the child. */
static void say(const struct names *names, int fd)
{
    for (size_t i = 0; i < names->len; i++) {
        struct name *name = &names->item[i];

        if (name->error != 0)
            look_up(name, 0);
        struct answer answer = { name->error, name->system_error, (uint32_t)name->n_addrs };
        size_t len = name->n_addrs * sizeof(*name->addrs);
        if (write(fd, &answer, sizeof(answer)) != sizeof(answer) ||
            (len > 0 && write(fd, name->addrs, len) != (ssize_t)len))
            _exit(EXIT_FAILURE);
    }
    _exit(EXIT_SUCCESS);
}

static void work(const struct names *names, struct stats *stats, int fd, pid_t master)
{
    int keep[] = { fd, log_fd() };

    prctl(PR_SET_NAME, "sockd-names");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != master)
        _exit(EXIT_FAILURE);
    stats_leave(stats);
    fd_close_others(keep, 2);
    say(names, fd);
}

/* One answer at the front of DATA; the bytes that it takes, 0 when it is not whole, or not to be believed. */
static size_t take_answer(struct name *name, const char *data, size_t len)
{
    struct answer answer;

    if (len < sizeof(answer))
        return 0;
    memcpy(&answer, data, sizeof(answer));
    if (answer.n_addrs > ADDRS_MAX)
        return 0;
    size_t bytes = answer.n_addrs * sizeof(*name->addrs);
    if (len - sizeof(answer) < bytes)
        return 0;
    free(name->addrs);
    name->addrs = malloc(bytes + 1);
    name->n_addrs = name->addrs ? answer.n_addrs : 0;
    name->error = name->addrs ? answer.error : EAI_MEMORY;
    name->system_error = answer.system_error;
    if (name->addrs && bytes > 0)
        memcpy(name->addrs, data + sizeof(answer), bytes);
    return sizeof(answer) + bytes;
}

static void take_answers(struct names *names, const char *data, size_t len)
{
    size_t used;

    for (size_t i = 0; i < names->len && (used = take_answer(&names->item[i], data, len)) > 0; i++) {
        data += used;
        len -= used;
    }
}

static void free_question(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct names_question, garbage));
}

/* The child is reaped as a stranger. */
static void close_question(struct names_question *q)
{
    int fd = q->source.fd;

    loop_remove(q->loop, &q->source);
    loop_timer_stop(q->loop, &q->timer);
    fd_close(&fd);
    if (q->child.pidfd >= 0)
        spawn_signal(q->child.pidfd, SIGKILL);
    fd_close(&q->child.pidfd);
    buf_done(&q->said, &q->account);
    loop_free_later(q->loop, &q->garbage, free_question);
}

void names_forget(struct names_question *q)
{
    if (!q)
        return;
    names_done(&q->names);
    close_question(q);
}

/* With what was said until now. */
static void answer(struct names_question *q)
{
    struct names names = q->names;

    if (q->said.len > 0)
        take_answers(&names, buf_data(&q->said), q->said.len);
    q->names = (struct names){ 0 };
    close_question(q);
    q->on_answer(q->owner, names);
}

static void on_late(struct loop_timer *timer)
{
    answer(container_of(timer, struct names_question, timer));
}

static void on_said(struct loop_source *source, uint32_t events)
{
    struct names_question *q = container_of(source, struct names_question, source);
    char some[4096];
    ssize_t n = read(source->fd, some, sizeof(some));

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || buf_append(&q->said, &q->account, some, (size_t)n) < 0)
        answer(q);
}

/* A child that looks up what is missing. 0 or -errno. */
static int start(struct names_question *q, struct stats *stats)
{
    pid_t master = getpid();
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    int r = spawn_fork(&q->child);
    if (r == 1)
        work(&q->names, stats, fds[1], master);
    fd_close(&fds[1]);
    if (r == 0)
        r = fd_set_nonblock(fds[0], 1);
    if (r == 0)
        r = loop_add(q->loop, &q->source, fds[0], EPOLLIN, on_said);
    if (r < 0)
        fd_close(&fds[0]);
    return r;
}

int names_ask(struct loop *loop, const struct conf *conf, struct stats *stats, names_fn *on_answer,
              void *owner, struct names_question **ret)
{
    struct names_question *q = calloc(1, sizeof(*q));

    if (!q)
        return -ENOMEM;
    *q = (struct names_question){ .loop = loop,
                                  .child.pidfd = -1,
                                  .source.fd = -1,
                                  .account.limit = SIZE_MAX,
                                  .on_answer = on_answer,
                                  .owner = owner };
    int r = list_hosts(conf, &q->names);
    *ret = NULL;
    if (r == 0 && take_numbers(&q->names)) {
        answer(q);
        return 0;
    }
    if (r == 0)
        r = start(q, stats);
    if (r < 0) {
        names_forget(q);
        return r;
    }
    loop_timer_set(loop, &q->timer, loop_now(loop) + NAMES_WITHIN_MS, on_late);
    *ret = q;
    return 0;
}
