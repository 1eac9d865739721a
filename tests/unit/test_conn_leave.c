/* Connections whose last reply is sent: how long they linger, and what a drain makes of that. */
#include "conn_world.h"

#include "steered.h"

static void test_D5_lingering_ends_although_the_client_never_does(void **state)
{
    struct world *w = *state;

    w->conf.max_requests_per_connection = 1;
    serve(w, NULL);
    assert_in_range(w->served->timing[TIMING_LINGER].span_ms, 1, 5000);
    w->served->timing[TIMING_LINGER].span_ms = 20;
    int client = open_client(w, NULL);
    say(client, "1\n");
    assert_string_equal(hear(w, client), "1\nEOF");
    for (int i = 0; i < 5 && stats_get(&w->page->connections) > 0; i++)
        loop_turn(&w->loop, 10000);
    assert_int_equal(stats_get(&w->page->connections), 0);
    close(client);
}

/* A client that has sent its last request, and is told to leave when it did or did not take the reply. */
static int linger_in_a_drain(struct world *w, bool taken)
{
    w->conf.max_requests_per_connection = 1;
    serve(w, NULL);
    w->served->timing[TIMING_LINGER].span_ms = 3600000;
    int client = open_client(w, NULL);
    say(client, "1\n");
    settle(w);
    if (taken)
        assert_string_equal(hear(w, client), "1\nEOF");
    w->work.leaving = true;
    steered_leave(&w->work);
    return client;
}

static void test_drain_ends_at_once_who_lingers_and_has_taken_all(void **state)
{
    struct world *w = *state;
    int client = linger_in_a_drain(w, true);

    assert_int_equal(stats_get(&w->page->connections), 0);
    close(client);
}

static void test_drain_spares_who_lingers_until_it_has_taken_all(void **state)
{
    struct world *w = *state;
    int client = linger_in_a_drain(w, false);

    for (int i = 0; i < 3; i++)
        loop_turn(&w->loop, CONN_YOUNG_MS);
    assert_int_equal(stats_get(&w->page->connections), 1);
    assert_string_equal(hear(w, client), "1\nEOF");
    for (int i = 0; i < 10 && stats_get(&w->page->connections) > 0; i++)
        loop_turn(&w->loop, 1000);
    assert_int_equal(stats_get(&w->page->connections), 0);
    close(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_D5_lingering_ends_although_the_client_never_does),
        TEST(test_drain_ends_at_once_who_lingers_and_has_taken_all),
        TEST(test_drain_spares_who_lingers_until_it_has_taken_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
