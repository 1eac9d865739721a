/* That the table of metrics and the table of counters are about the same things. */
#include "test.h"

#include "metrics.h"

#include <string.h>

static int count_metrics(const char *stat)
{
    int n = 0;

    for (const struct metric_row *row = metric_rows; row->family; row++)
        n += strcmp(row->stat, stat) == 0;
    return n;
}

static void test_every_counter_and_gauge_has_one_metric(void **state)
{
    (void)state;
    for (const struct stats_row *row = stats_rows; row->name; row++)
        if (count_metrics(row->name) != 1)
            fail_msg("%s stands %d times in the table of metrics", row->name, count_metrics(row->name));
}

static const struct stats_row *find(const char *name)
{
    const struct stats_row *row = stats_rows;

    while (row->name && strcmp(row->name, name) != 0)
        row++;
    return row->name ? row : NULL;
}

static void test_counters_are_totals_and_gauges_are_not(void **state)
{
    (void)state;
    for (const struct metric_row *row = metric_rows; row->family; row++) {
        const struct stats_row *stat = find(row->stat);
        size_t len = strlen(row->family);
        bool total = len > 6 && strcmp(row->family + len - 6, "_total") == 0;

        assert_non_null(stat);
        if (total == stat->gauge)
            fail_msg("%s is badly named", row->family);
    }
}

static void test_rows_of_a_family_stand_together(void **state)
{
    (void)state;
    for (const struct metric_row *row = metric_rows; row->family; row++)
        for (const struct metric_row *later = row + 1; later->family; later++)
            if (strcmp(row->family, later->family) == 0 && strcmp(later[-1].family, later->family) != 0)
                fail_msg("%s stands in two places", row->family);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_counter_and_gauge_has_one_metric),
        cmocka_unit_test(test_counters_are_totals_and_gauges_are_not),
        cmocka_unit_test(test_rows_of_a_family_stand_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
