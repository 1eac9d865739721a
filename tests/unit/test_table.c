/* table.c: columns as wide as their widest cell, to the left or to the right. */
#include "table.h"

#include "test.h"

#include <stdio.h>

/* The table as it is printed; the caller frees it. */
static char *printed(struct table *t)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    table_end(t, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_prints(struct table *t, const char *expected)
{
    char *text = printed(t);

    assert_string_equal(text, expected);
    free(text);
}

static void test_a_table_without_cells_prints_nothing(void **state)
{
    struct table t;

    (void)state;
    assert_int_equal(table_init(&t, 3, 0), 0);
    assert_prints(&t, "");
}

static void test_a_column_is_as_wide_as_its_widest_cell(void **state)
{
    struct table t;

    (void)state;
    assert_int_equal(table_init(&t, 2, 0), 0);
    for (int i = 1; i <= 10000; i *= 100) {
        table_add(&t, "%d", i);
        table_add(&t, "x");
    }
    assert_prints(&t, "1      x\n"
                      "100    x\n"
                      "10000  x\n");
}

static void test_numbers_stand_to_the_right(void **state)
{
    struct table t;

    (void)state;
    assert_int_equal(table_init(&t, 3, 1u << 0 | 1u << 2), 0);
    table_add(&t, "7");
    table_add(&t, "name");
    table_add(&t, "8");
    table_add(&t, "42");
    table_add(&t, "n");
    table_add(&t, "1000");
    assert_prints(&t, " 7  name     8\n"
                      "42  n     1000\n");
}

static void test_the_last_column_leaves_no_blanks_behind_it(void **state)
{
    struct table t;

    (void)state;
    assert_int_equal(table_init(&t, 1, 0), 0);
    table_add(&t, "a long one");
    table_add(&t, "short");
    assert_prints(&t, "a long one\nshort\n");
}

static void test_an_empty_cell_keeps_its_place(void **state)
{
    struct table t;

    (void)state;
    assert_int_equal(table_init(&t, 3, 0), 0);
    table_add(&t, "a");
    table_add(&t, "%s", "");
    table_add(&t, "c");
    table_add(&t, "%s", "");
    table_add(&t, "bb");
    table_add(&t, "%s", "");
    assert_prints(&t, "a      c\n"
                      "   bb  \n");
}

static void test_a_cell_of_any_length_is_whole(void **state)
{
    struct table t;
    char *cell = malloc(100001), *expected;

    (void)state;
    memset(cell, 'x', 100000);
    cell[100000] = '\0';
    assert_int_equal(table_init(&t, TABLE_COLUMNS_MAX, 0), 0);
    for (int i = 0; i < TABLE_COLUMNS_MAX; i++)
        table_add(&t, "%s", i == TABLE_COLUMNS_MAX - 1 ? cell : "-");
    assert_true(asprintf(&expected, "-  -  -  -  -  -  -  -  -  -  -  -  -  -  -  %s\n", cell) > 0);
    assert_prints(&t, expected);
    free(expected);
    free(cell);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_table_without_cells_prints_nothing),
        cmocka_unit_test(test_a_column_is_as_wide_as_its_widest_cell),
        cmocka_unit_test(test_numbers_stand_to_the_right),
        cmocka_unit_test(test_the_last_column_leaves_no_blanks_behind_it),
        cmocka_unit_test(test_an_empty_cell_keeps_its_place),
        cmocka_unit_test(test_a_cell_of_any_length_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
