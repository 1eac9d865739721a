/* Messages to a connection unasked, and replies that come in a turn of the loop in which more happens to it.
 */
#include "conn_world.h"

static uint64_t closed;
static struct conn *conn;

static bool track(void *context)
{
    (void)context;
    return true;
}

static void note_closed(void *context, uint64_t connection)
{
    (void)context;
    closed = connection;
}

static const struct handler tracker = {
    .request = hold, .cancel = forget, .tracks = track, .on_closed = note_closed
};

static int set_up_tracked(void **state)
{
    set_up(state);
    struct world *w = *state;
    w->conf.max_reply = 100000;
    serve(w, &tracker);
    w->served->tracks = true;
    w->client = open_client(w, NULL);
    conn = container_of(w->served->conns.next, struct conn, link);
    closed = 0;
    return 0;
}

static void say_now(struct world *w, const char *text)
{
    say(w->client, text);
    settle(w);
}

static int push(struct world *w, uint64_t connection, const char *text)
{
    return conn_push(w->served, connection, text, strlen(text));
}

static uint64_t number(void)
{
    return conn->request.connection;
}

static void test_a_message_comes_while_the_connection_waits(void **state)
{
    struct world *w = *state;

    assert_int_equal(push(w, number(), "news"), 0);
    assert_string_equal(hear(w, w->client), "news\n");
    say_now(w, "half");
    assert_int_equal(push(w, number(), "more"), 0);
    assert_string_equal(hear(w, w->client), "more\n");
    say_now(w, " a line\n");
    assert_int_equal(held[0]->len, 11);
    answer("ok");
    assert_string_equal(hear(w, w->client), "ok\n");
}

static void test_a_message_comes_before_the_reply_to_what_is_in_hand(void **state)
{
    struct world *w = *state;

    say_now(w, "a\n");
    assert_int_equal(push(w, number(), "news"), 0);
    assert_string_equal(hear(w, w->client), "news\n");
    assert_int_equal(push(w, number(), "more"), 0);
    answer("A");
    assert_int_equal(push(w, number(), "after"), 0);
    assert_string_equal(hear(w, w->client), "more\nA\nafter\n");
}

static void test_what_cannot_be_sent_says_why(void **state)
{
    struct world *w = *state;
    uint64_t one = number();

    assert_int_equal(push(w, one, "a\nb"), -EBADMSG);
    w->conf.max_reply = 2;
    assert_int_equal(push(w, one, "abc"), -EMSGSIZE);
    assert_int_equal(push(w, one + 1, "x"), -ENOENT);
    say_now(w, "a\n");
    request_part(held[0]);
    assert_int_equal(push(w, one, "x"), -ENOENT);
    answer("A");
    assert_int_equal(push(w, one, "x"), -ENOENT);
    assert_string_equal(hear(w, w->client), "A\nEOF");
    conn_close(conn, CONN_END_DONE);
    assert_int_equal(closed, one);
    assert_int_equal(push(w, one, "x"), -ENOENT);
}

static void test_a_client_that_takes_nothing_is_ended_with_its_request(void **state)
{
    struct world *w = *state;
    char *text = calloc(1, 50001);
    uint64_t one = number();
    int r = 0;

    memset(text, 'x', 50000);
    say_now(w, "a\n");
    for (int i = 0; i < 1000 && r == 0; i++) {
        r = push(w, one, text);
        settle(w);
    }
    assert_int_equal(r, -ENOENT);
    assert_int_equal(n_held, 0);
    assert_int_equal(stats_get(&w->served->stats->ended_send), 1);
    free(text);
}

static void test_a_connection_that_never_spoke_is_not_told_as_closed(void **state)
{
    (void)state;
    conn_close(conn, CONN_END_DONE);
    assert_int_equal(closed, 0);
}

static void test_a_reply_in_the_turn_in_which_a_drain_begins_is_sent(void **state)
{
    struct world *w = *state;

    say_now(w, "a\n");
    conn->opened_ms -= CONN_YOUNG_MS;
    answer("A");
    w->work.leaving = true;
    conn_leave(conn);
    assert_string_equal(hear(w, w->client), "A\nEOF");
}

static void test_a_reply_in_the_turn_in_which_connections_move_is_sent_first(void **state)
{
    struct world *w = *state;
    int inbox[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, inbox), 0);
    say_now(w, "a\nb\n");
    answer("A");
    w->work.outbox_fds[HANDOVER_TO_ANY] = inbox[0];
    w->served->moves = true;
    assert_false(conn_move(conn));
    assert_string_equal(hear(w, w->client), "A\n");
    answer("B");
    assert_false(conn_move(conn));
    assert_string_equal(hear(w, w->client), "B\n");
    assert_true(list_empty(&w->served->conns));
    w->work.outbox_fds[HANDOVER_TO_ANY] = -1;
    close(inbox[0]);
    close(inbox[1]);
}

/* A reply is done, and in the same turn more of the next request comes than there is memory for. */
static void answer_one_that_starves(struct world *w)
{
    say_now(w, "a\nhalf");
    answer("A");
    say(w->client, " a line");
    w->work.memory.limit = w->work.memory.used;
}

static void test_a_reply_is_sent_although_the_connection_starves(void **state)
{
    struct world *w = *state;
    size_t limit = w->work.memory.limit;

    answer_one_that_starves(w);
    assert_string_equal(hear(w, w->client), "A\n");
    assert_true(conn->starved);
    w->work.memory.limit = limit;
    while (conn->starved)
        loop_turn(&w->loop, -1);
    say_now(w, "\n");
    assert_int_equal(held[0]->len, 11);
}

static void test_a_reply_is_sent_although_the_connection_starves_and_moves(void **state)
{
    struct world *w = *state;
    int inbox[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, inbox), 0);
    w->work.outbox_fds[HANDOVER_TO_ANY] = inbox[0];
    answer_one_that_starves(w);
    w->served->moves = true;
    loop_turn(&w->loop, 0);
    list_for_each (it, &w->served->conns)
        conn_move(container_of(it, struct conn, link));
    assert_string_equal(hear(w, w->client), "A\n");
    assert_true(list_empty(&w->served->conns));
    w->work.outbox_fds[HANDOVER_TO_ANY] = -1;
    close(inbox[0]);
    close(inbox[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_tracked, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_message_comes_while_the_connection_waits),
        TEST(test_a_message_comes_before_the_reply_to_what_is_in_hand),
        TEST(test_what_cannot_be_sent_says_why),
        TEST(test_a_client_that_takes_nothing_is_ended_with_its_request),
        TEST(test_a_connection_that_never_spoke_is_not_told_as_closed),
        TEST(test_a_reply_in_the_turn_in_which_a_drain_begins_is_sent),
        TEST(test_a_reply_in_the_turn_in_which_connections_move_is_sent_first),
        TEST(test_a_reply_is_sent_although_the_connection_starves),
        TEST(test_a_reply_is_sent_although_the_connection_starves_and_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
