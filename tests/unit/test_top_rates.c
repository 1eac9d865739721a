/* What happened between two looks at the daemon. */
#include "test.h"

#include "client/top_rates.h"

#include <errno.h>

static struct top_sample parse(const char *text)
{
    struct top_sample s;

    assert_int_equal(top_sample_parse(text, strlen(text), &s), 0);
    return s;
}

#define HEAD "{\"verdict\":\"well\",\"duration_bounds_us\":[100,1000,10000],"

static void assert_near(double found, double wanted)
{
    assert_true(found > wanted - 0.001 && found < wanted + 0.001);
}

static void test_a_status_is_read(void **state)
{
    struct top_sample s = parse(
        HEAD "\"pid\":7,\"spawner\":8,\"generation\":3,\"clock_ms\":5000,\"services\":{\"a\":{\"state\":"
             "\"serves\",\"requests\":5,\"failed_queue\":1,\"failed_handler\":2,\"refused_denied\":4,"
             "\"durations\":[1,2,3,4]}},\"workers\":[{\"number\":1,\"pid\":9,\"cpu_us\":11}],"
             "\"generations\":[{\"number\":2,\"connections\":5},{\"number\":3,\"connections\":6}]}");

    (void)state;
    assert_int_equal(s.n_services, 1);
    assert_string_equal(s.services[0].name, "a");
    assert_int_equal(s.services[0].counters.failed, 3);
    assert_int_equal(s.services[0].counters.refused, 4);
    assert_int_equal(s.services[0].counters.durations[3], 4);
    assert_int_equal(s.n_buckets, 4);
    assert_int_equal(s.connections, 11);
    assert_int_equal(s.leaving, 1);
    assert_int_equal(s.n_processes, 3);
    assert_int_equal(s.processes[0].cpu_us, 11);
    assert_string_equal(s.processes[2].kind, "master");
    top_sample_done(&s);
}

static void test_what_is_no_status_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "x", "[]", "{}", "7", "{\"verdict\":7}", "{\"verdict\":\"well\""
    };
    struct top_sample s;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(top_sample_parse(texts[i], strlen(texts[i]), &s), -EPROTO);
}

static void test_members_of_the_wrong_kind_are_zero(void **state)
{
    struct top_sample s =
        parse("{\"verdict\":\"well\",\"why\":[],\"services\":{\"a\":7,\"b\":{\"requests\":-1}},"
              "\"workers\":{},\"generations\":[1],\"duration_bounds_us\":\"x\",\"pid\":\"x\"}");

    (void)state;
    assert_int_equal(s.n_services, 2);
    assert_int_equal(s.services[1].counters.requests, 0);
    assert_string_equal(s.why, "");
    assert_int_equal(s.n_processes, 1);
    top_sample_done(&s);
}

#define SAMPLE(pid, clock, a, b, buckets, cpu)                                                               \
    HEAD "\"pid\":" #pid ",\"clock_ms\":" #clock ",\"uptime_ms\":500,\"services\":{\"a\":{\"requests\":" #a  \
         ",\"durations\":" buckets "},\"b\":{\"requests\":" #b "}},\"workers\":[{\"pid\":9,\"cpu_us\":" #cpu \
         "}]}"

/* The rates of services a and b, the share of the worker, and the latencies of a. */
static void compare(const char *before, const char *now, double a, double b, double cpu, double p50)
{
    struct top_sample first = parse(before), second = parse(now);
    struct top_view view;

    assert_int_equal(top_view_make(&view, &first, &second), 0);
    assert_near(view.services[0].rates.requests, a);
    assert_near(view.services[1].rates.requests, b);
    assert_near(view.all.requests, a + b);
    assert_near(view.processes[0].cpu, cpu);
    assert_near(view.services[0].rates.p50_ms, p50);
    top_view_done(&view);
    top_sample_done(&first);
    top_sample_done(&second);
}

static void test_rates_are_of_the_interval(void **state)
{
    (void)state;
    compare(SAMPLE(1, 1000, 10, 7, "[5,0,0,0]", 1000000), SAMPLE(1, 3000, 30, 7, "[5,20,0,0]", 2000000), 10,
            0, 0.5, 0.55);
}

static void test_counters_that_begin_anew_never_count_backwards(void **state)
{
    (void)state;
    compare(SAMPLE(1, 1000, 10, 70, "[9,0,0,0]", 9000000), SAMPLE(1, 2000, 4, 71, "[4,0,0,0]", 500000), 4, 1,
            0.5, 0.05);
}

static void test_another_daemon_counts_from_its_start(void **state)
{
    (void)state;
    compare(SAMPLE(1, 1000, 10, 1, "[9,0,0,0]", 9), SAMPLE(2, 61000, 20, 2, "[20,0,0,0]", 250000), 40, 4, 0.5,
            0.05);
}

static void test_a_clock_that_stands_gives_no_rates(void **state)
{
    (void)state;
    compare(SAMPLE(1, 1000, 10, 1, "[9,0,0,0]", 9), SAMPLE(1, 1000, 20, 2, "[20,0,0,0]", 250000), 0, 0, 0,
            -1);
}

static void test_one_look_gives_no_rates(void **state)
{
    struct top_sample s = parse(SAMPLE(1, 1000, 10, 1, "[9,0,0,0]", 9));
    struct top_view view;

    (void)state;
    assert_int_equal(top_view_make(&view, NULL, &s), 0);
    assert_near(view.all.requests, 0);
    assert_near(view.all.p99_ms, -1);
    top_view_done(&view);
    top_sample_done(&s);
}

static void test_quantiles_lie_in_their_bucket(void **state)
{
    static const uint64_t bounds[] = { 100, 1000, 10000 };
    static const struct {
        uint64_t counts[4];
        double fraction, ms;
    } rows[] = {
        { { 0, 0, 0, 0 }, 0.5, -1 },    { { 10, 0, 0, 0 }, 0.5, 0.05 }, { { 0, 10, 0, 0 }, 0.5, 0.55 },
        { { 0, 0, 0, 10 }, 0.5, 10 },   { { 99, 0, 1, 0 }, 0.99, 0.1 }, { { 98, 0, 2, 0 }, 0.99, 5.5 },
        { { 50, 0, 0, 50 }, 0.5, 0.1 }, { { 1, 0, 0, 0 }, 1, 0.1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_near(top_quantile(rows[i].counts, bounds, 4, rows[i].fraction), rows[i].ms);
}

static void test_the_degraded_stand_first_then_the_order(void **state)
{
    struct top_sample s =
        parse("{\"verdict\":\"well\",\"services\":{\"b\":{\"queue\":1,\"connections\":5},\"c\":{\"queue\":2},"
              "\"a\":{\"queue\":1},\"z\":{\"state\":\"degraded\"}}}");
    static const char *const wanted[TOP_ORDERS] = {
        [TOP_BY_REQUESTS] = "zabc",    [TOP_BY_LATENCY] = "zabc", [TOP_BY_WAITING] = "zcab",
        [TOP_BY_CONNECTIONS] = "zbac", [TOP_BY_NAME] = "zabc",
    };
    struct top_view view;

    (void)state;
    assert_int_equal(top_view_make(&view, NULL, &s), 0);
    for (enum top_order order = 0; order < TOP_ORDERS; order++) {
        top_view_sort(&view, order);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(view.services[i].now->name[0], wanted[order][i]);
    }
    top_view_done(&view);
    top_sample_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_status_is_read),
        cmocka_unit_test(test_what_is_no_status_is_refused),
        cmocka_unit_test(test_members_of_the_wrong_kind_are_zero),
        cmocka_unit_test(test_rates_are_of_the_interval),
        cmocka_unit_test(test_counters_that_begin_anew_never_count_backwards),
        cmocka_unit_test(test_another_daemon_counts_from_its_start),
        cmocka_unit_test(test_a_clock_that_stands_gives_no_rates),
        cmocka_unit_test(test_one_look_gives_no_rates),
        cmocka_unit_test(test_quantiles_lie_in_their_bucket),
        cmocka_unit_test(test_the_degraded_stand_first_then_the_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
