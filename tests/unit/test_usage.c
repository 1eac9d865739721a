/* What the kernel knows of a process. */
#include "test.h"

#include "base/usage.h"

#include <unistd.h>

static void test_the_start_is_found_behind_any_name(void **state)
{
    static const struct {
        const char *text;
        uint64_t start;
    } rows[] = {
        { "7 (sockd) S 1 7 7 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 12345 1 1", 12345 },
        { "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 77 1 1", 77 },
        { "7 (sockd) S 1 7", 0 },
        { "7 sockd", 0 },
        { "", 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(usage_parse_start(rows[i].text), rows[i].start);
}

static void test_a_process_that_works_takes_time(void **state)
{
    uint64_t before = usage_cpu_us(getpid());

    (void)state;
    while (usage_cpu_us(getpid()) < before + 1000)
        ;
    assert_in_range(usage_age_ms(), 1, 3600 * 1000);
}

static void test_one_that_is_not_there_takes_none(void **state)
{
    (void)state;
    assert_int_equal(usage_cpu_us(0), 0);
    assert_int_equal(usage_cpu_us(-1), 0);
    assert_int_equal(usage_cpu_us(4194305), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_start_is_found_behind_any_name),
        cmocka_unit_test(test_a_process_that_works_takes_time),
        cmocka_unit_test(test_one_that_is_not_there_takes_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
