/* When a shortage is told, and how long it was and what it cost. */
#include "shortage.h"

#include "test.h"

static void test_one_that_lasts_is_told_at_both_edges(void **state)
{
    struct shortage s = { 0 };

    (void)state;
    assert_int_equal(shortage_step(&s, 1000, 0, 10), SHORTAGE_NONE);
    assert_int_equal(shortage_step(&s, 2000, 1600, 12), SHORTAGE_NONE);
    assert_int_equal(shortage_step(&s, 6000, 1600, 20), SHORTAGE_NONE);
    assert_int_equal(shortage_step(&s, 7000, 1600, 30), SHORTAGE_BEGAN);
    assert_true(s.told);
    assert_int_equal(s.since_ms, 1600);
    assert_int_equal(s.now - s.before, 20);
    assert_int_equal(shortage_step(&s, 8000, 1600, 40), SHORTAGE_NONE);
    assert_int_equal(shortage_step(&s, 9000, 0, 44), SHORTAGE_NONE);
    assert_int_equal(shortage_step(&s, 10000, 0, 45), SHORTAGE_ENDED);
    assert_int_equal(s.length_ms, 6400);
    assert_int_equal(s.now - s.before, 35);
    assert_false(s.told);
    assert_int_equal(shortage_step(&s, 11000, 0, 45), SHORTAGE_NONE);
}

static void test_a_short_one_is_not_told(void **state)
{
    struct shortage s = { 0 };

    (void)state;
    for (uint64_t now = 1000; now < 60000; now += 1000)
        assert_int_equal(shortage_step(&s, now, now % 5000 ? now : 0, now), SHORTAGE_NONE);
    assert_false(s.told);
}

static void test_one_that_pauses_shortly_is_one(void **state)
{
    struct shortage s = { 0 };
    unsigned told = 0;

    (void)state;
    for (uint64_t now = 1000; now <= 60000; now += 1000)
        told += shortage_step(&s, now, now < 8000 || now % 3000 ? now : 0, 0) != SHORTAGE_NONE;
    assert_int_equal(told, 1);
    assert_true(s.told);
}

static void test_second_one_counts_for_itself(void **state)
{
    struct shortage s = { 0 };
    uint64_t clients = 100;

    (void)state;
    shortage_step(&s, 1000, 0, clients);
    for (uint64_t now = 2000; now <= 7000; now += 1000)
        shortage_step(&s, now, now, ++clients);
    assert_int_equal(s.now - s.before, 6);
    assert_int_equal(shortage_step(&s, 9000, 0, clients), SHORTAGE_ENDED);
    for (uint64_t now = 20000; now < 25000; now += 1000)
        assert_int_equal(shortage_step(&s, now, now, ++clients), SHORTAGE_NONE);
    assert_int_equal(shortage_step(&s, 25000, 25000, ++clients), SHORTAGE_BEGAN);
    assert_int_equal(s.since_ms, 20000);
    assert_int_equal(s.now - s.before, 6);
}

static void test_what_was_counted_before_the_first_look_costs_nothing(void **state)
{
    struct shortage s = { 0 };

    (void)state;
    for (uint64_t now = 1000; now < 6000; now += 1000)
        shortage_step(&s, now, now, 5000);
    assert_int_equal(shortage_step(&s, 6000, 6000, 5003), SHORTAGE_BEGAN);
    assert_int_equal(s.now - s.before, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_lasts_is_told_at_both_edges),
        cmocka_unit_test(test_a_short_one_is_not_told),
        cmocka_unit_test(test_one_that_pauses_shortly_is_one),
        cmocka_unit_test(test_second_one_counts_for_itself),
        cmocka_unit_test(test_what_was_counted_before_the_first_look_costs_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
