/* mover.c: what a worker does with the ends of the ways that connections go. */
#include "conn_world.h"
#include "crowd.h"
#include "mover.h"

static struct mover mover;

static void ignore(struct mover *closed)
{
    (void)closed;
}

static int set_up_mover(void **state)
{
    int r = set_up(state);
    struct world *w = *state;

    serve(w, NULL);
    mover_init(&mover, &w->work, ignore);
    return r;
}

static int tear_down_mover(void **state)
{
    mover_done(&mover);
    return tear_down(state);
}

/* The other end of an outbox that the worker is given. */
static int give_outbox(enum channel_word word)
{
    struct channel_message message = { .word = word };
    int pair[2];

    assert_int_equal(fd_channel(pair), 0);
    mover_obey(&mover, &message, pair[0]);
    return pair[1];
}

static bool is_closed(int other_end)
{
    char byte;

    return recv(other_end, &byte, 1, MSG_DONTWAIT) == 0;
}

static void test_an_outbox_that_is_replaced_is_closed(void **state)
{
    static const enum channel_word words[] = { CHANNEL_OUTBOX, CHANNEL_OUTBOX_FIRST };

    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        int old = give_outbox(words[i]);
        assert_false(is_closed(old));
        int new = give_outbox(words[i]);
        assert_true(is_closed(old));
        assert_false(is_closed(new));
        mover_close_outboxes(&mover);
        assert_true(is_closed(new));
        fd_close(&old);
        fd_close(&new);
    }
}

/* They are on another pair. How often the loop wakes in a fifth of a second; -1: it has not moved after
 * it. */
static int count_turns_with_too_many_on_their_way(void *arg)
{
    struct world *w = arg;
    struct channel_message move = { .word = CHANNEL_MOVE, .text = { 1 } };
    const struct handover none = { .len = 0 };
    int turns = 0, other[2];

    give_outbox(CHANNEL_OUTBOX);
    mover_obey(&mover, &move, -1);
    if (crowd_enter(other) < 0)
        return -1;
    while (handover_send(other[0], &none, NULL, 0) == 0)
        ;
    open_client(w, NULL);
    mover_start(&mover);
    for (uint64_t until_us = loop_read_clock() + 200000; loop_read_clock() < until_us; turns++)
        loop_turn(&w->loop, 200);
    if (stats_get(&w->page->connections) != 1)
        return -1;
    fd_close(&other[0]);
    fd_close(&other[1]);
    for (int i = 0; stats_get(&w->page->connections) > 0 && i < 100; i++)
        loop_turn(&w->loop, 1000);
    return stats_get(&w->page->connections) == 0 ? turns : -1;
}

static void test_too_many_descriptors_on_their_way_are_no_reason_to_spin(void **state)
{
    crowd_assert_no_spin(count_turns_with_too_many_on_their_way, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_outbox_that_is_replaced_is_closed, set_up_mover,
                                        tear_down_mover),
        cmocka_unit_test_setup_teardown(test_too_many_descriptors_on_their_way_are_no_reason_to_spin,
                                        set_up_mover, tear_down_mover),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
