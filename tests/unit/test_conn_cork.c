/* Replies of a client that has sent more already leave together, over real TCP connections; none waits for
 * long. */
#include "conn_world.h"

#include <netinet/in.h>

/* A connection over the loopback device: the client's end; the other one is served. */
static int connect_client(struct world *w)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct addr peer = { .family = AF_INET };
    socklen_t len = sizeof sa;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&sa, len), 0);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    fd_close(&listener);
    assert_int_equal(conn_open(w->served, fd, &peer, &peer, false), 0);
    return client;
}

static int set_up_tcp(void **state)
{
    set_up(state);
    struct world *w = *state;
    serve(w, &late);
    w->client = connect_client(w);
    return 0;
}

static void test_the_only_reply_leaves_at_once(void **state)
{
    struct world *w = *state;

    say(w->client, "a\n");
    settle(w);
    answer("A");
    assert_int_equal(loop_turn(&w->loop, 0), 0);
    assert_int_equal(w->work.n_corked, 0);
    settle(w);
    assert_string_equal(hear(w, w->client), "A\n");
    assert_int_equal(w->work.n_corked, 0);
}

static void test_replies_of_pipelined_requests_leave_with_the_last(void **state)
{
    struct world *w = *state;

    say(w->client, "a\nb\nc\n");
    settle(w);
    for (const char *text = "ABC"; *text; text++) {
        answer((char[]){ *text, '\0' });
        assert_int_equal(loop_turn(&w->loop, 0), 0);
        loop_timer_stop(&w->loop, &w->work.cork_timer); /* for it no time passes */
        settle(w);
        assert_string_equal(hear(w, w->client), *text == 'C' ? "A\nB\nC\n" : "");
    }
    assert_int_equal(w->work.n_corked, 0);
}

static void test_a_reply_waits_a_moment_at_most_for_the_next_one(void **state)
{
    struct world *w = *state;

    say(w->client, "a\nb\n");
    settle(w);
    uint64_t before = loop_now(&w->loop);
    answer("A");
    assert_int_equal(loop_turn(&w->loop, 0), 0);
    assert_true(w->work.cork_timer.place > 0);
    assert_true(w->work.cork_timer.due_ms <= before + 100);
    while (w->work.cork_timer.place > 0)
        assert_int_equal(loop_turn(&w->loop, -1), 0);
    assert_string_equal(hear(w, w->client), "A\n");
    answer("B");
    settle(w);
    assert_string_equal(hear(w, w->client), "B\n");
}

static void test_not_more_than_16_KiB_are_held_back(void **state)
{
    struct world *w = *state;
    char text[6001] = { 0 };

    memset(text, 'x', sizeof text - 1);
    say(w->client, "a\nb\nc\nd\n");
    settle(w);
    for (int i = 1; i <= 3; i++) {
        answer(text);
        assert_int_equal(loop_turn(&w->loop, 0), 0);
        loop_timer_stop(&w->loop, &w->work.cork_timer);
        settle(w);
        assert_int_equal(w->work.n_corked, i < 3);
        assert_int_equal(w->served->stats->bytes_out, i < 3 ? 0 : 3 * sizeof text);
    }
}

static void test_an_unfinished_request_holds_no_reply_back(void **state)
{
    struct world *w = *state;

    say(w->client, "a\nunfin");
    settle(w);
    answer("A");
    assert_int_equal(loop_turn(&w->loop, 0), 0);
    assert_int_equal(w->work.n_corked, 0);
    settle(w);
    assert_string_equal(hear(w, w->client), "A\n");
    assert_int_equal(w->work.n_corked, 0);
    say(w->client, "ished\n");
    settle(w);
    answer("B");
    settle(w);
    assert_string_equal(hear(w, w->client), "B\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_tcp, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_only_reply_leaves_at_once),
        TEST(test_replies_of_pipelined_requests_leave_with_the_last),
        TEST(test_a_reply_waits_a_moment_at_most_for_the_next_one),
        TEST(test_not_more_than_16_KiB_are_held_back),
        TEST(test_an_unfinished_request_holds_no_reply_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
