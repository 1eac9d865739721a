/* Histograms of times: what goes in comes out, to the precision of a step. */
#include "test.h"

#include "client/histogram.h"

#include <stdlib.h>

static struct histogram *new_histogram(void)
{
    struct histogram *h = calloc(1, sizeof(*h));

    assert_non_null(h);
    return h;
}

/* One percent above the true value at most, and never below it. */
static void assert_near(uint64_t found, uint64_t true_value)
{
    assert_in_range(found, true_value, true_value + true_value / 100);
}

static void test_an_empty_one_says_zero(void **state)
{
    struct histogram *h = new_histogram();

    (void)state;
    assert_int_equal(histogram_quantile(h, 0.5), 0);
    assert_true(histogram_mean(h) < 0.1);
    assert_int_equal(histogram_count_between(h, 0, UINT64_MAX), 0);
    free(h);
}

static void test_one_value_is_every_quantile(void **state)
{
    static const uint64_t values[] = { 0, 1, 127, 128, 255, 256, 1000003, UINT64_C(1) << 39, UINT64_MAX / 2 };

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct histogram *h = new_histogram();

        histogram_add(h, values[i]);
        assert_int_equal(histogram_quantile(h, 0), values[i]);
        assert_int_equal(histogram_quantile(h, 0.5), values[i]);
        assert_int_equal(histogram_quantile(h, 1), values[i]);
        assert_int_equal(h->min, values[i]);
        assert_int_equal(h->max, values[i]);
        free(h);
    }
}

static void test_quantiles_are_off_by_less_than_one_percent(void **state)
{
    struct histogram *h = new_histogram();

    (void)state;
    for (uint64_t v = 1; v <= 100000; v++)
        histogram_add(h, v * 1000);
    for (unsigned permille = 1; permille <= 1000; permille++)
        assert_near(histogram_quantile(h, permille / 1000.0), permille * UINT64_C(100000));
    assert_int_equal(histogram_mean(h), 50000500);
    free(h);
}

static void test_each_value_lies_in_exactly_one_place(void **state)
{
    struct histogram *h = new_histogram();
    uint64_t bounds[] = { 0, 128, 256, 512, UINT64_C(1) << 20, UINT64_C(1) << 39, UINT64_MAX };
    uint64_t n = 0;

    (void)state;
    for (uint64_t v = 1; v < UINT64_C(1) << 39; v += v / 3 + 1) {
        histogram_add(h, v);
        n++;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i + 1 < sizeof(bounds) / sizeof(bounds[0]); i++)
        sum += histogram_count_between(h, bounds[i], bounds[i + 1]);
    assert_int_equal(sum, n);
    free(h);
}

static void test_merged_ones_are_as_if_all_had_gone_into_one(void **state)
{
    struct histogram *both = new_histogram(), *a = new_histogram(), *b = new_histogram();

    (void)state;
    for (uint64_t v = 10; v < 1000; v++) {
        histogram_add(v % 3 ? a : b, v * v);
        histogram_add(both, v * v);
    }
    histogram_merge(a, b);
    assert_memory_equal(a, both, sizeof(*a));
    memset(b, 0, sizeof(*b));
    histogram_merge(b, a);
    assert_memory_equal(b, both, sizeof(*a));
    memset(a, 0, sizeof(*a));
    histogram_merge(b, a);
    assert_memory_equal(b, both, sizeof(*a));
    free(both);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_one_says_zero),
        cmocka_unit_test(test_one_value_is_every_quantile),
        cmocka_unit_test(test_quantiles_are_off_by_less_than_one_percent),
        cmocka_unit_test(test_each_value_lies_in_exactly_one_place),
        cmocka_unit_test(test_merged_ones_are_as_if_all_had_gone_into_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
