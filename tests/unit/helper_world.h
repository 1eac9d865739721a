/*
 * What the tests of the handler "helper" share: a pool in a loop, a spawner and processes that the test plays
 * itself, over real packets and real pipes, and requests that remember how they ended.
 */
#ifndef SOCKD_TEST_HELPER_WORLD_H
#define SOCKD_TEST_HELPER_WORLD_H

#include "base/fd.h"
#include "handler/helper.h"
#include "handler/helper_pool.h"
#include "spawner.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum outcome {
    WAITS,
    REPLIED,
    SILENCED,
    FAILED,
};

/* A client's request. */
struct ask {
    struct request request;
    enum outcome outcome;
    enum request_failure why;
    unsigned rank; /* the how manieth that ended */
    size_t reply_len;
    char reply[256]; /* its beginning */
};

/* A helper, as the test plays it. */
struct actor {
    int in_fd, out_fd; /* it reads requests, writes replies */
    int32_t pid;
    uint32_t slot;
};

struct world {
    struct loop loop;
    struct stats *stats;
    struct stats_page *page;
    struct account memory;
    struct service conf;
    struct spawner_link link;
    struct handler_host host;
    struct pool *pool;
    int spawner; /* our end */
    int32_t last_pid;
    int n_well, n_trouble;
    char trouble[512];
    int log, real_stderr;
};

static unsigned last_rank;

static void note(struct request *request, enum outcome outcome)
{
    struct ask *ask = container_of(request, struct ask, request);

    assert_int_equal(ask->outcome, WAITS);
    ask->outcome = outcome;
    ask->rank = ++last_rank;
}

static void note_reply(struct request *request, const char *data, size_t len)
{
    struct ask *ask = container_of(request, struct ask, request);

    note(request, REPLIED);
    ask->reply_len = len;
    memcpy(ask->reply, data, len < sizeof ask->reply ? len : sizeof ask->reply - 1);
}

static void note_silence(struct request *request)
{
    note(request, SILENCED);
}

static void note_failure(struct request *request, enum request_failure why)
{
    note(request, FAILED);
    container_of(request, struct ask, request)->why = why;
}

static const struct request_ops ask_ops = { .reply = note_reply,
                                            .silence = note_silence,
                                            .fail = note_failure };

static void on_well(const struct handler_host *host)
{
    struct world *w = host->owner;

    w->n_well++;
}

static void on_trouble(const struct handler_host *host, const char *why)
{
    struct world *w = host->owner;

    w->n_trouble++;
    snprintf(w->trouble, sizeof w->trouble, "%s", why);
}

/* Lets the loop do all that can be done now. */
static inline void settle(struct world *w)
{
    for (int i = 0; i < 12; i++)
        assert_int_equal(loop_turn(&w->loop, 0), 0);
}

/* Lets a timer's time come. */
static inline void fire(struct world *w, struct loop_timer *timer)
{
    assert_true(timer->place > 0);
    loop_timer_set(&w->loop, timer, 0, timer->on_timer);
    settle(w);
}

static inline int set_up(void **state)
{
    static char name[] = "test";
    struct world *w = calloc(1, sizeof *w);

    alarm(60);
    signal(SIGPIPE, SIG_IGN);
    last_rank = 0;
    w->log = w->real_stderr = w->spawner = -1;
    assert_int_equal(loop_init(&w->loop), 0);
    assert_int_equal(stats_create(&w->stats), 0);
    w->page = stats_own(w->stats, stats_take_page(w->stats), false);
    w->memory.limit = 64 << 20;
    w->last_pid = 1000;
    w->conf = (struct service){ .name = name,
                                .handler = HANDLER_HELPER,
                                .helpers = 1,
                                .helper_queue = 1024,
                                .helper_start_timeout = 60000,
                                .max_request = 1 << 21,
                                .max_reply = 1 << 21 };
    spawner_link_init(&w->link, &w->loop);
    w->host = (struct handler_host){ .service = &w->conf,
                                     .loop = &w->loop,
                                     .spawner = &w->link,
                                     .memory = &w->memory,
                                     .stats = w->stats,
                                     .page = w->page,
                                     .index = 3,
                                     .worker = 1,
                                     .n_workers = 1,
                                     .owner = w,
                                     .well = on_well,
                                     .trouble = on_trouble };
    *state = w;
    return 0;
}

static inline int tear_down(void **state)
{
    struct world *w = *state;

    if (w->pool)
        helper_handler.stop(w->pool);
    assert_int_equal(w->memory.used, 0);
    assert_int_equal(stats_get(&w->page->service[0].queue), 0);
    assert_int_equal(stats_get(&w->page->service[0].helpers_busy), 0);
    spawner_link_done(&w->link);
    fd_close(&w->spawner);
    loop_done(&w->loop);
    stats_disown(w->page);
    stats_free(w->stats);
    if (w->real_stderr >= 0)
        dup2(w->real_stderr, STDERR_FILENO);
    fd_close(&w->real_stderr);
    fd_close(&w->log);
    free(w);
    return 0;
}

/* A spawner, or another one. */
static inline void connect_spawner(struct world *w)
{
    int pair[2];

    fd_close(&w->spawner);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    w->spawner = pair[1];
    assert_int_equal(spawner_link_connect(&w->link, pair[0]), 0);
}

/* The pool, by the configuration as the test has set it. */
static inline void begin(struct world *w)
{
    void *context;

    w->conf.helper_framing.is = w->conf.framing;
    connect_spawner(w);
    assert_int_equal(helper_handler.start(&w->host, &context), 0);
    w->pool = context;
    w->pool->slow_us = 3600u * 1000000; /* however slow the machine is; see be_slow() */
}

/* Every reply counts as slow from now on. */
static inline void be_slow(struct world *w)
{
    w->pool->slow_us = 0;
}

static inline struct helper *helper_of(struct world *w, unsigned i)
{
    return &w->pool->helpers[i];
}

/* What the worker said to the spawner; 0 when it said nothing. */
static inline uint32_t hear_word(struct world *w, struct spawner_packet *ret)
{
    int fds[SPAWNER_FDS_MAX];

    settle(w);
    int r = spawner_receive(w->spawner, ret, fds);
    if (r == -EAGAIN)
        return 0;
    assert_int_equal(r, 1);
    assert_int_equal(ret->service, 3);
    return ret->word;
}

static inline void expect_word(struct world *w, uint32_t word, uint32_t slot)
{
    struct spawner_packet packet;

    assert_int_equal(hear_word(w, &packet), word);
    assert_int_equal(packet.slot, slot);
}

static inline void expect_no_word(struct world *w)
{
    struct spawner_packet packet;

    assert_int_equal(hear_word(w, &packet), 0);
}

/* The spawner has started what it was asked for. */
static inline struct actor enter(struct world *w, uint32_t slot)
{
    struct spawner_packet started = { .word = SPAWNER_STARTED, .service = 3, .slot = slot };
    struct actor actor = { .slot = slot, .pid = ++w->last_pid };
    int in[2], out[2];

    expect_word(w, SPAWNER_HELPER, slot);
    assert_int_equal(pipe2(in, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
    started.pid = actor.pid;
    assert_int_equal(spawner_send(w->spawner, &started, (int[]){ in[1], out[0] }, 2), 0);
    fd_close(&in[1]);
    fd_close(&out[0]);
    actor.in_fd = in[0];
    actor.out_fd = out[1];
    settle(w);
    return actor;
}

/* And it has lived for long enough. */
static inline struct actor enter_proved(struct world *w, uint32_t slot)
{
    struct actor actor = enter(w, slot);
    struct helper *helper = &w->pool->helpers[slot];

    assert_int_equal(helper->state, HELPER_PROVING);
    fire(w, &helper->timer);
    assert_int_equal(helper->state, HELPER_UP);
    return actor;
}

/* Closes its pipes. */
static inline void fall_silent(struct actor *actor)
{
    fd_close(&actor->in_fd);
    fd_close(&actor->out_fd);
}

/* Its process is gone, with a status of wait(2). */
static inline void leave(struct world *w, struct actor *actor, int status, const char *last_words)
{
    struct spawner_packet ended = {
        .word = SPAWNER_ENDED, .service = 3, .slot = actor->slot, .pid = actor->pid, .status = status
    };

    fall_silent(actor);
    snprintf(ended.text, sizeof ended.text, "%s", last_words);
    assert_int_equal(spawner_send(w->spawner, &ended, NULL, 0), 0);
    settle(w);
}

#define EXIT(status) ((status) << 8)

static inline void ask_bytes(struct world *w, struct ask *ask, const char *data, size_t len)
{
    *ask = (struct ask){ .request = { .ops = &ask_ops, .data = data, .len = len } };
    helper_handler.request(w->pool, &ask->request);
}

static inline void ask(struct world *w, struct ask *ask, const char *text)
{
    ask_bytes(w, ask, text, strlen(text));
}

/* Lets the loop run until the request has ended. */
static inline void await(struct world *w, const struct ask *ask)
{
    while (ask->outcome == WAITS)
        assert_int_equal(loop_turn(&w->loop, -1), 0);
}

static inline void cancel(struct world *w, struct ask *ask)
{
    assert_int_equal(ask->outcome, WAITS);
    helper_handler.cancel(w->pool, &ask->request);
    ask->outcome = FAILED;
}

/* All that the helper can read now. */
static inline const char *hear(struct world *w, const struct actor *actor)
{
    static char text[1 << 18];
    size_t len = 0;
    ssize_t n;

    settle(w);
    while ((n = read(actor->in_fd, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

static inline void say(struct world *w, const struct actor *actor, const char *text)
{
    assert_int_equal(write(actor->out_fd, text, strlen(text)), (ssize_t)strlen(text));
    settle(w);
}

/* Reads what there is, and writes TEXT. */
static inline void answer(struct world *w, const struct actor *actor, const char *text)
{
    hear(w, actor);
    say(w, actor, text);
}

static inline void assert_reply(const struct ask *ask, const char *text)
{
    assert_int_equal(ask->outcome, REPLIED);
    assert_string_equal(ask->reply, text);
}

static inline void assert_failed(const struct ask *ask, enum request_failure why)
{
    assert_int_equal(ask->outcome, FAILED);
    assert_int_equal(ask->why, why);
}

static inline uint64_t figure(const struct world *w, size_t offset)
{
    const char *service = (const char *)&w->page->service[0];

    return stats_get((const stats_number *)(const void *)(service + offset));
}
#define FIGURE(w, name) figure(w, offsetof(struct stats_service, name))

/* From here on the log is kept for the test. */
static inline void take_log(struct world *w)
{
    w->real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    w->log = memfd_create("log", MFD_CLOEXEC);
    assert_true(w->log >= 0);
    assert_int_equal(dup2(w->log, STDERR_FILENO), STDERR_FILENO);
}

static inline const char *read_log(struct world *w)
{
    static char text[65536];
    ssize_t n = pread(w->log, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static inline void assert_logged(struct world *w, const char *part)
{
    const char *log = read_log(w);

    if (!strstr(log, part))
        fail_msg("\"%s\" is not in the log:\n%s", part, log);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
