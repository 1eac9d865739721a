/*
 * What the tests of connections share: a service in a loop, clients over real sockets, and a handler that
 * keeps its requests until the test answers them.
 */
#ifndef SOCKD_TEST_CONN_WORLD_H
#define SOCKD_TEST_CONN_WORLD_H

#include "conn.h"

#include "base/fd.h"

#include "test.h" /* behind handler.h, whose `fail` its macro would take */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct world {
    struct loop loop;
    struct stats *stats;
    struct stats_page *page;
    struct work work;
    struct service conf; /* may be changed until the first client comes */
    struct served *served;
    int client; /* of a test that has but one; closed at its end */
};

#define HELD_MAX 8
static struct request *held[HELD_MAX]; /* the oldest first */
static int n_held, n_cancelled;

static inline void hold(void *context, struct request *request)
{
    (void)context;
    assert_true(n_held < HELD_MAX);
    held[n_held++] = request;
}

static inline struct request *take_held_at(int i)
{
    struct request *request = held[i];

    memmove(&held[i], &held[i + 1], (size_t)(--n_held - i) * sizeof held[0]);
    return request;
}

static inline struct request *take_held(void)
{
    assert_true(n_held > 0);
    return take_held_at(0);
}

static inline void forget(void *context, struct request *request)
{
    (void)context;
    for (int i = 0; i < n_held; i++) {
        if (held[i] == request) {
            take_held_at(i);
            n_cancelled++;
            return;
        }
    }
    fail_msg("a request was cancelled that is not held");
}

static const struct handler late = { .request = hold, .cancel = forget };

/* Answers the oldest request that is held. */
static inline void answer(const char *text)
{
    request_reply(take_held(), text, strlen(text));
}

static inline int set_up(void **state)
{
    static char name[] = "test";
    struct world *w = calloc(1, sizeof *w);

    n_held = n_cancelled = 0;
    w->client = -1;
    assert_int_equal(loop_init(&w->loop), 0);
    assert_int_equal(stats_create(&w->stats), 0);
    w->page = stats_own(w->stats, stats_take_page(w->stats), false);
    assert_int_equal(work_init(&w->work, &w->loop, w->stats, w->page, 4 << 20), 0);
    w->conf = (struct service){ .name = name,
                                .handler = HANDLER_ECHO,
                                .max_request = 65536,
                                .max_reply = 1 << 20,
                                .max_connections = 100 };
    *state = w;
    return 0;
}

static inline int tear_down(void **state)
{
    struct world *w = *state;

    list_for_each (it, &w->served->conns)
        conn_close(container_of(it, struct conn, link), CONN_END_DRAIN);
    fd_close(&w->client);
    assert_int_equal(w->work.n_corked, 0);
    assert_int_equal(w->work.memory.used, 0);
    assert_int_equal(stats_get(&w->page->connections), 0);
    assert_int_equal(stats_get(&w->served->stats->in_hand), 0);
    served_free(w->served);
    work_done(&w->work);
    loop_done(&w->loop);
    stats_disown(w->page);
    stats_free(w->stats);
    free(w);
    return 0;
}

/* The service, as the test has configured it; by HANDLER if there is one. */
static inline void serve(struct world *w, const struct handler *handler)
{
    if (!w->served)
        assert_int_equal(served_new(&w->work, &w->conf, 0, &conn_timeouts, &w->served), 0);
    if (handler)
        w->served->handler = handler;
}

/* The client's end of a new connection to HANDLER (NULL: as before). */
static inline int open_client(struct world *w, const struct handler *handler)
{
    static const struct addr nobody = { .family = AF_UNIX, .uid = 7 };
    int pair[2];

    serve(w, handler);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(conn_open(w->served, pair[0], &nobody, &nobody, false), 0);
    return pair[1];
}

/* Lets the loop do all that can be done now, and what is held back for a moment. */
static inline void settle(struct world *w)
{
    for (int i = 0; i < 20; i++)
        assert_int_equal(loop_turn(&w->loop, 0), 0);
    while (w->work.cork_timer.place)
        assert_int_equal(loop_turn(&w->loop, -1), 0);
}

static inline void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* All that has come, as a string; "EOF" is appended at the end of input. */
static inline const char *hear(struct world *w, int fd)
{
    static char text[4096];
    size_t len = 0;
    ssize_t n;

    settle(w);
    while ((n = recv(fd, text + len, sizeof text - len - 4, MSG_DONTWAIT)) > 0)
        len += (size_t)n;
    strcpy(text + len, n == 0 ? "EOF" : "");
    return text;
}

#endif
