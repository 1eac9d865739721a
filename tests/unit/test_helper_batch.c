/* How many requests a helper is given at once: as many as are done quickly, or as the configuration says. */
#include "helper_world.h"

static void ask_many(struct world *w, struct ask *asks, int n)
{
    for (int i = 0; i < n; i++)
        ask(w, &asks[i], "x");
    settle(w);
}

/* Answers all that it has in hand; how many that were. */
static unsigned answer_all(struct world *w, const struct actor *a)
{
    const char *requests = hear(w, a);
    unsigned n = 0;
    char replies[256] = "";

    for (; *requests; requests++)
        n += *requests == '\n';
    assert_true(n < sizeof replies / 2);
    for (unsigned i = 0; i < n; i++)
        strcat(replies, "X\n");
    say(w, a, replies);
    return n;
}

static void test_quick_helpers_are_fed_in_batches(void **state)
{
    struct world *w = *state;
    struct ask asks[200];
    unsigned expected[] = { 1, 2, 4, 8, 16, 32, 64, 64, 9 };

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask_many(w, asks, 200);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(answer_all(w, &a), expected[i]);
    for (int i = 0; i < 200; i++)
        assert_reply(&asks[i], "X");
    fall_silent(&a);
}

static void test_slow_helpers_get_one_at_a_time(void **state)
{
    struct world *w = *state;
    struct ask asks[20];

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask_many(w, asks, 20);
    assert_int_equal(answer_all(w, &a), 1);
    assert_int_equal(answer_all(w, &a), 2);
    be_slow(w);
    assert_int_equal(answer_all(w, &a), 4);
    for (int i = 0; i < 13; i++)
        assert_int_equal(answer_all(w, &a), 1);
    assert_reply(&asks[19], "X");
    fall_silent(&a);
}

static void test_no_batches_while_another_helper_is_idle(void **state)
{
    struct world *w = *state;
    struct ask asks[3];

    w->conf.helpers = 2;
    begin(w);
    struct actor a = enter(w, 0), b = enter(w, 1);
    fire(w, &w->pool->helpers[0].timer);
    fire(w, &w->pool->helpers[1].timer);
    ask_many(w, asks, 2);
    answer(w, &a, "X\n");
    assert_int_equal(w->pool->helpers[0].depth, 1);
    answer(w, &b, "X\n");
    assert_int_equal(w->pool->helpers[1].depth, 1);
    fall_silent(&a);
    fall_silent(&b);
}

static void test_a_fixed_depth_stays(void **state)
{
    struct world *w = *state;
    struct ask asks[7];

    w->conf.helper_pipeline = 3;
    begin(w);
    be_slow(w);
    struct actor a = enter_proved(w, 0);
    ask_many(w, asks, 7);
    assert_int_equal(answer_all(w, &a), 3);
    assert_int_equal(answer_all(w, &a), 3);
    assert_int_equal(answer_all(w, &a), 1);
    fall_silent(&a);
}

/* So a reply too many, which had moved all others by one, comes when nobody asked. */
static void test_a_line_that_was_long_not_empty_runs_empty_for_a_moment(void **state)
{
    struct world *w = *state;
    struct ask asks[4];

    w->conf.helper_pipeline = 2;
    begin(w);
    struct actor a = enter_proved(w, 0);
    for (int i = 0; i < 4; i++)
        ask(w, &asks[i], "x");
    assert_string_equal(hear(w, &a), "x\nx\n");
    helper_of(w, 0)->filled_us -= 2000000;
    say(w, &a, "0\n");
    assert_reply(&asks[0], "0");
    assert_string_equal(hear(w, &a), "");
    say(w, &a, "1\n");
    assert_reply(&asks[1], "1");
    assert_string_equal(hear(w, &a), "");
    fire(w, &helper_of(w, 0)->timer);
    assert_string_equal(hear(w, &a), "x\nx\n");
    helper_of(w, 0)->filled_us -= 2000000;
    say(w, &a, "1 again\n");
    say(w, &a, "2\n");
    assert_int_equal(helper_of(w, 0)->state, HELPER_UP);
    say(w, &a, "3\n");
    expect_word(w, SPAWNER_KILL, 0);
    fall_silent(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_quick_helpers_are_fed_in_batches),
        TEST(test_slow_helpers_get_one_at_a_time),
        TEST(test_no_batches_while_another_helper_is_idle),
        TEST(test_a_fixed_depth_stays),
        TEST(test_a_line_that_was_long_not_empty_runs_empty_for_a_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
