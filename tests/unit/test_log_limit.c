/* So many lines in a second: which are told, how many were not, and when that is said (FAULTS.md H5). */
#include "base/log_limit.h"

#include "log_stderr.h"

#define PER_SECOND 20

static struct loop loop;
static struct log_limit limit;
static int log_lines;

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(loop_init(&loop), 0);
    log_limit_init(&limit, &loop, "flooded", " about it", PER_SECOND);
    log_lines = pipe_as_stderr();
    log_open("sockd", LOG_INFO);
    return 0;
}

static int tear_down(void **state)
{
    log_limit_done(&limit);
    assert_int_equal(loop.heap_len, 0);
    loop_done(&loop);
    fd_close(&log_lines);
    return reset(state);
}

static void set_clock(uint64_t ms)
{
    loop.now_ms = ms;
}

/* N lines, of which so many were told. */
static unsigned flood(unsigned n)
{
    unsigned told = 0;

    while (n-- > 0)
        told += log_limit_take(&limit, LOG_INFO);
    return told;
}

static void assert_told(const char *text)
{
    const char *lines = read_now(log_lines);

    assert_int_equal(count(lines, '\n'), 1);
    if (!strstr(lines, text))
        fail_msg("\"%s\" does not have \"%s\"", lines, text);
}

static void test_h5_first_lines_of_a_second_are_told(void **state)
{
    (void)state;
    set_clock(5700);
    assert_int_equal(flood(PER_SECOND), PER_SECOND);
    set_clock(6699);
    assert_int_equal(flood(3), 0);
    assert_string_equal(read_now(log_lines), "");
}

static void test_h5_lines_that_are_few_are_all_told(void **state)
{
    (void)state;
    for (uint64_t ms = 1000; ms < 60000; ms += 1000) {
        set_clock(ms);
        assert_int_equal(flood(PER_SECOND), PER_SECOND);
    }
    assert_string_equal(read_now(log_lines), "");
}

static void test_h5_next_second_begins_with_the_exact_count(void **state)
{
    (void)state;
    set_clock(5000);
    flood(PER_SECOND);
    set_clock(5250);
    flood(7);
    set_clock(6000);
    assert_int_equal(flood(2 * PER_SECOND), PER_SECOND);
    assert_told(" warning: flooded: 7 more lines about it suppressed in 0.75 s\n");
}

static void test_h5_count_is_told_also_when_nothing_follows(void **state)
{
    (void)state;
    set_clock(5000);
    flood(PER_SECOND + 1);
    /* The next turn finds that seconds have passed. */
    assert_int_equal(loop_turn(&loop, -1), 0);
    assert_told(": 1 more line about it suppressed in ");
    assert_int_equal(loop_turn(&loop, 0), 0);
    assert_int_equal(flood(PER_SECOND), PER_SECOND);
    assert_string_equal(read_now(log_lines), "");
}

static void test_h5_count_is_told_at_the_end(void **state)
{
    (void)state;
    set_clock(5000);
    flood(PER_SECOND + 7);
    log_limit_done(&limit);
    assert_told(": 7 more lines about it suppressed in ");
    log_limit_done(&limit);
    assert_string_equal(read_now(log_lines), "");
}

static void test_h5_no_line_of_a_long_flood_is_missing_in_the_counts(void **state)
{
    unsigned told = 0, suppressed = 0, n;

    (void)state;
    for (uint64_t ms = 5000; ms < 9000; ms++) {
        set_clock(ms);
        told += flood(1 + (unsigned)(ms % 7));
    }
    log_limit_done(&limit);
    for (const char *at = read_now(log_lines); (at = strstr(at, "flooded: ")); suppressed += n)
        n = (unsigned)strtoul(at += strlen("flooded: "), NULL, 10);
    n = 0;
    for (uint64_t ms = 5000; ms < 9000; ms++)
        n += 1 + (unsigned)(ms % 7);
    assert_int_equal(told, 4 * PER_SECOND);
    assert_int_equal(told + suppressed, n);
}

static void test_lines_that_the_level_hides_are_not_counted(void **state)
{
    (void)state;
    set_clock(5000);
    log_set_level(LOG_NOTICE);
    assert_int_equal(flood(2 * PER_SECOND), 0);
    assert_true(log_limit_take(&limit, LOG_NOTICE));
    log_limit_done(&limit);
    assert_string_equal(read_now(log_lines), "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_h5_first_lines_of_a_second_are_told),
        TEST(test_h5_lines_that_are_few_are_all_told),
        TEST(test_h5_next_second_begins_with_the_exact_count),
        TEST(test_h5_count_is_told_also_when_nothing_follows),
        TEST(test_h5_count_is_told_at_the_end),
        TEST(test_h5_no_line_of_a_long_flood_is_missing_in_the_counts),
        TEST(test_lines_that_the_level_hides_are_not_counted),
    };

    return cmocka_run_group_tests(tests, prepare, clean_up);
}
