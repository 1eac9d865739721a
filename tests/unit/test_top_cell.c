/* Figures as top shows them. */
#include "test.h"

#include "client/top_cell.h"

#include <locale.h>

static void test_rates_are_short(void **state)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = { { 0, "0" },        { 0.04, "0" },      { 0.44, "0.4" },       { 9.96, "10" },
                 { 12.3, "12" },    { 9999.4, "9999" }, { 9999.6, "10.0k" },   { 12345, "12.3k" },
                 { 99960, "100k" }, { 999600, "1.0M" }, { 123456789, "123M" }, { 1e13, "10.0T" },
                 { 1e16, "10000T" } };
    char buf[TOP_CELL_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(top_cell_rate(buf, rows[i].value), rows[i].text);
    assert_string_equal(top_cell_bytes(buf, 0), "0 B/s");
    assert_string_equal(top_cell_bytes(buf, 3100000), "3.1 MB/s");
}

static void test_latencies_have_their_unit(void **state)
{
    static const struct {
        double ms;
        const char *text;
    } rows[] = { { -1, "-" },       { 0.05, "<0.1 ms" }, { 0.1, "0.1 ms" }, { 1.25, "1.2 ms" },
                 { 45.4, "45 ms" }, { 999.4, "999 ms" }, { 1000, "1.0 s" }, { 30000, "30 s" } };
    char buf[TOP_CELL_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(top_cell_latency(buf, rows[i].ms, 0.1), rows[i].text);
}

static void test_text_is_cut_to_columns(void **state)
{
    static const struct {
        const char *text;
        unsigned width;
        const char *cut;
        unsigned columns;
    } rows[] = { { "", 5, "", 0 },
                 { "abc", 3, "abc", 3 },
                 { "abcd", 3, "ab~", 3 },
                 { "abc", 1, "~", 1 },
                 { "abc", 0, "", 0 },
                 { "\xc3\xbc", 1, "\xc3\xbc", 1 },
                 { "a\xff", 5, "a?", 2 },
                 { "\xe4\xb8\x96x", 2, "~", 1 },
                 { "\xe4\xb8\x96x", 3, "\xe4\xb8\x96x", 3 },
                 { "a\x1b", 5, "a?", 2 } };

    (void)state;
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        skip();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);

        assert_int_equal(top_cell_cut(rows[i].text, rows[i].width, out), rows[i].columns);
        fclose(out);
        assert_string_equal(text, rows[i].cut);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates_are_short),
        cmocka_unit_test(test_latencies_have_their_unit),
        cmocka_unit_test(test_text_is_cut_to_columns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
