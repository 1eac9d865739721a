/* base/cpus.c: a control group's quota as whole processors. */
#include "test.h"

#include "base/cpus.h"

#include <sched.h>

static void test_a_quota_is_rounded_up_to_whole_processors(void **arg)
{
    static const struct {
        const char *text;
        unsigned cpus;
    } rows[] = {
        { "max 100000\n", 0 },
        { "200000 100000\n", 2 },
        { "150000 100000\n", 2 },
        { "1000 100000\n", 1 },
        { "100000 100000", 1 },
        { "", 0 },
        { "x y", 0 },
        { "100000", 0 },
        { "100000 0", 0 },
        { "0 100000", 0 },
        { "18446744073709551615 1", 0 },
    };

    (void)arg;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(cpus_parse_max(rows[i].text), rows[i].cpus);
}

static void test_no_more_than_the_affinity_allows_and_at_least_one(void **arg)
{
    cpu_set_t all, one;

    (void)arg;
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    assert_in_range(cpus_usable(), 1, CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all) && CPU_COUNT(&one) == 0)
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(cpus_usable(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_quota_is_rounded_up_to_whole_processors),
        cmocka_unit_test(test_no_more_than_the_affinity_allows_and_at_least_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
