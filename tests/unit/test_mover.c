/* mover.c: what a worker does with the ends of the ways that connections go. */
#include "conn_world.h"
#include "mover.h"

#include <fcntl.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_outbox_that_is_replaced_is_closed, set_up_mover,
                                        tear_down_mover),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
