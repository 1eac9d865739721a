/* Numbers that find their objects as long as these are there, and nothing afterwards. */
#include "test.h"

#include "roster.h"

static void test_a_number_finds_its_object_until_it_is_removed(void **state)
{
    struct roster roster = { 0 };
    int one, two;
    uint64_t first = roster_add(&roster, &one), second = roster_add(&roster, &two);

    (void)state;
    assert_true(first > 0 && second > 0 && first != second);
    assert_ptr_equal(roster_find(&roster, first), &one);
    assert_ptr_equal(roster_find(&roster, second), &two);
    roster_remove(&roster, first);
    assert_null(roster_find(&roster, first));
    assert_ptr_equal(roster_find(&roster, second), &two);
    roster_remove(&roster, first);
    roster_done(&roster);
}

static void test_a_place_is_used_again_but_no_number(void **state)
{
    struct roster roster = { 0 };
    int object;
    uint64_t before = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = roster_add(&roster, &object);

        assert_true(number > before);
        assert_null(roster_find(&roster, before));
        roster_remove(&roster, number);
        before = number;
    }
    assert_int_equal(roster.n_places, 64);
    roster_done(&roster);
}

static void test_numbers_of_nobody_find_nothing(void **state)
{
    struct roster roster = { 0 };
    int object;

    (void)state;
    assert_null(roster_find(&roster, 0));
    assert_null(roster_find(&roster, UINT64_MAX));
    uint64_t number = roster_add(&roster, &object);
    for (int bit = 0; bit < 64; bit++)
        assert_null(roster_find(&roster, number ^ (uint64_t)1 << bit));
    roster_done(&roster);
}

static void test_many_at_once(void **state)
{
    enum { N = 5000 };
    static uint64_t numbers[N];
    static int objects[N];
    struct roster roster = { 0 };

    (void)state;
    for (int i = 0; i < N; i++)
        numbers[i] = roster_add(&roster, &objects[i]);
    for (int i = 0; i < N; i += 2)
        roster_remove(&roster, numbers[i]);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(roster_find(&roster, numbers[i]), i % 2 ? &objects[i] : NULL);
    roster_done(&roster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_number_finds_its_object_until_it_is_removed),
        cmocka_unit_test(test_a_place_is_used_again_but_no_number),
        cmocka_unit_test(test_numbers_of_nobody_find_nothing),
        cmocka_unit_test(test_many_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
