/* base/text.c: numbers and units both ways, escapes both ways, and no byte of a stranger that ends a line. */
#include "test.h"

#include "base/text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct number_row {
    const char *text;
    int result;
    uint64_t value;
};

static void test_times_are_read_with_their_unit(void **arg)
{
    static const struct number_row rows[] = {
        { "250ms", 0, 250 },
        { "30s", 0, 30000 },
        { "30", 0, 30000 },
        { "5m", 0, 300000 },
        { "2h", 0, 7200000 },
        { "1d", 0, 86400000 },
        { "0", 0, 0 },
        { "18446744073709551615ms", 0, UINT64_MAX },
        { "18446744073709551616ms", -ERANGE, 0 },
        { "18446744073709551615s", -ERANGE, 0 },
        { "99999999999999999999999999x", -EINVAL, 0 },
        { "", -EINVAL, 0 },
        { "s", -EINVAL, 0 },
        { "-1s", -EINVAL, 0 },
        { "+1s", -EINVAL, 0 },
        { " 1s", -EINVAL, 0 },
        { "1 s", -EINVAL, 0 },
        { "1s ", -EINVAL, 0 },
        { "1.5s", -EINVAL, 0 },
        { "1S", -EINVAL, 0 },
        { "1min", -EINVAL, 0 },
        { "0x10", -EINVAL, 0 },
    };

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t ms = 7;

        assert_int_equal(text_parse_time(rows[i].text, &ms), rows[i].result);
        assert_int_equal(ms, rows[i].result == 0 ? rows[i].value : 7);
    }
}

static void test_sizes_are_read_with_their_unit(void **arg)
{
    static const struct number_row rows[] = {
        { "64k", 0, 65536 },
        { "1m", 0, 1048576 },
        { "2g", 0, 2147483648 },
        { "1000", 0, 1000 },
        { "17179869183g", 0, 17179869183u * (1ull << 30) },
        { "17179869184g", -ERANGE, 0 },
        { "64kb", -EINVAL, 0 },
        { "64K", -EINVAL, 0 },
        { "k", -EINVAL, 0 },
        { "", -EINVAL, 0 },
    };

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t bytes = 7;

        assert_int_equal(text_parse_size(rows[i].text, &bytes), rows[i].result);
        assert_int_equal(bytes, rows[i].result == 0 ? rows[i].value : 7);
    }
}

static void test_what_is_printed_is_read_back(void **arg)
{
    static const uint64_t values[] = { 0,        1,          999,        1000,       1001,
                                       1024,     60000,      65536,      90000,      3600000,
                                       86400000, 90000000,   1ull << 30, 1ull << 31, 1ull << 40,
                                       1234567,  UINT64_MAX, INT64_MAX,  1000000,    1000000000000,
                                       3 };

    (void)arg;
    for (size_t i = 0; i < COUNT(values); i++) {
        char text[TEXT_NUMBER_MAX];
        uint64_t back = 7;

        assert_int_equal(text_parse_time(text_print_time(text, values[i]), &back), 0);
        assert_int_equal(back, values[i]);
        assert_int_equal(text_parse_size(text_print_size(text, values[i]), &back), 0);
        assert_int_equal(back, values[i]);
    }
}

static void test_numbers_are_printed_in_the_largest_unit_that_divides(void **arg)
{
    char text[TEXT_NUMBER_MAX];

    (void)arg;
    assert_string_equal(text_print_time(text, 0), "0");
    assert_string_equal(text_print_time(text, 250), "250ms");
    assert_string_equal(text_print_time(text, 30000), "30s");
    assert_string_equal(text_print_time(text, 90000), "90s");
    assert_string_equal(text_print_time(text, 600000), "10m");
    assert_string_equal(text_print_time(text, 86400000), "1d");
    assert_string_equal(text_print_size(text, 0), "0");
    assert_string_equal(text_print_size(text, 1000), "1000");
    assert_string_equal(text_print_size(text, 65536), "64k");
    assert_string_equal(text_print_size(text, 256 << 20), "256m");
    assert_string_equal(text_print_size(text, 3ull << 30), "3g");
}

static void test_durations_are_printed_for_people(void **arg)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        { 0, "0 s" },
        { 7, "0.007 s" },
        { 10, "0.01 s" },
        { 120, "0.12 s" },
        { 999, "0.99 s" },
        { 1000, "1.0 s" },
        { 4800, "4.8 s" },
        { 9999, "9.9 s" },
        { 10000, "10 s" },
        { 74000, "74 s" },
        { 119999, "119 s" },
        { 180000, "3 min" },
        { 3599999, "59 min" },
        { 3600000, "1 h" },
        { 7500000, "2 h 5 min" },
        { 172799999, "47 h 59 min" },
        { 172800000, "2 d" },
        { 183600000, "2 d 3 h" },
        { UINT64_MAX, "213503982334 d 14 h" },
    };

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[TEXT_NUMBER_MAX];

        assert_string_equal(text_print_duration(text, rows[i].ms), rows[i].text);
    }
}

static void test_integers_are_read_within_their_range(void **arg)
{
    static const struct {
        const char *text;
        int64_t lo, hi;
        int result;
        int64_t value;
    } rows[] = {
        { "0", 0, 10, 0, 0 },
        { "10", 0, 10, 0, 10 },
        { "11", 0, 10, -ERANGE, 0 },
        { "-1", 0, 10, -ERANGE, 0 },
        { "-7", -10, 10, 0, -7 },
        { "007", 0, 10, 0, 7 },
        { "-0", 0, 0, 0, 0 },
        { "9223372036854775807", INT64_MIN, INT64_MAX, 0, INT64_MAX },
        { "9223372036854775808", INT64_MIN, INT64_MAX, -ERANGE, 0 },
        { "-9223372036854775808", INT64_MIN, INT64_MAX, 0, INT64_MIN },
        { "-9223372036854775809", INT64_MIN, INT64_MAX, -ERANGE, 0 },
        { "99999999999999999999999", INT64_MIN, INT64_MAX, -ERANGE, 0 },
        { "", 0, 10, -EINVAL, 0 },
        { "-", 0, 10, -EINVAL, 0 },
        { "--1", -10, 10, -EINVAL, 0 },
        { "+1", 0, 10, -EINVAL, 0 },
        { " 1", 0, 10, -EINVAL, 0 },
        { "1 ", 0, 10, -EINVAL, 0 },
        { "1\n", 0, 10, -EINVAL, 0 },
        { "1e3", 0, 10000, -EINVAL, 0 },
        { "0x1", 0, 10, -EINVAL, 0 },
    };

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t value = 77;

        assert_int_equal(text_parse_int(rows[i].text, rows[i].lo, rows[i].hi, &value), rows[i].result);
        assert_int_equal(value, rows[i].result == 0 ? rows[i].value : 77);
    }
}

static void test_escapes_are_read_as_c_reads_them(void **arg)
{
    static const char text[] = "a\\n\\r\\t\\a\\b\\e\\f\\v\\\\\\\"\\'\\x0a\\xFf\\0\\012\\101z\\0001\\377";
    static const char bytes[] = "a\n\r\t\a\b\033\f\v\\\"'\x0a\xff\0\012\101z\0001\377";
    char ret[sizeof(text)];

    (void)arg;
    assert_int_equal(text_unescape(text, ret), sizeof(bytes) - 1);
    assert_memory_equal(ret, bytes, sizeof(bytes) - 1);
    assert_int_equal(text_unescape("", ret), 0);
}

static void test_unknown_and_unfinished_escapes_are_refused(void **arg)
{
    static const char *const rows[] = { "\\",  "a\\", "\\x",   "\\x1",  "\\xg0", "\\x0g", "\\q",
                                        "\\N", "\\8", "\\400", "\\777", "\\ ",   "\\%" };
    char ret[16];

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(text_unescape(rows[i], ret), -EINVAL);
}

/* FAULTS.md H4 */
static void test_every_pair_of_bytes_is_escaped_to_one_safe_line_and_reads_back(void **arg)
{
    (void)arg;
    for (unsigned i = 0; i < 65536; i++) {
        const char in[2] = { (char)(i >> 8), (char)i };
        char text[16], back[16];
        size_t len = text_escape(text, sizeof(text), in, 2);

        assert_int_equal(len, strlen(text));
        for (size_t j = 0; j < len; j++)
            assert_true((unsigned char)text[j] >= 0x20 && text[j] != 0x7f);
        assert_int_equal(text_unescape(text, back), 2);
        assert_memory_equal(back, in, 2);
    }
}

struct escape_row {
    const char *in;
    const char *out;
};

/* FAULTS.md H4 */
static void test_what_could_fool_a_reader_is_escaped(void **arg)
{
    static const struct escape_row rows[] = {
        { "plain text, with %n and %s", "plain text, with %n and %s" },
        { "gr\u00fc\u00df \u65e5\u672c \U0001f600", "gr\u00fc\u00df \u65e5\u672c \U0001f600" },
        { "a\nMESSAGE=b\r\t", "a\\nMESSAGE=b\\r\\t" },
        { "\033[2J\033]0;x\a", "\\x1b[2J\\x1b]0;x\\x07" },
        { "back\\slash", "back\\\\slash" },
        { "\x7f", "\\x7f" },
        { "\xc2\x9b", "\\xc2\\x9b" },                    /* C1: CSI */
        { "x\u202egnp.exe", "x\\xe2\\x80\\xaegnp.exe" }, /* right-to-left override */
        { "\u2066\u2069\u200f", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9\\xe2\\x80\\x8f" },
        { "\u2028\u2029", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9" },
        { "a\u200bb\ufeff", "a\\xe2\\x80\\x8bb\\xef\\xbb\\xbf" },
        { "\U000e0041", "\\xf3\\xa0\\x81\\x81" }, /* a tag character */
        { "\xc0\x80", "\\xc0\\x80" },             /* overlong */
        { "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
        { "\xed\xa0\x80", "\\xed\\xa0\\x80" },          /* surrogate */
        { "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" }, /* above U+10FFFF */
        { "\xff\xfe", "\\xff\\xfe" },
        { "\xe2\x82", "\\xe2\\x82" }, /* cut */
        { "\xe2\x82z", "\\xe2\\x82z" },
        { "\x80", "\\x80" },
    };

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[200];

        text_escape(text, sizeof(text), rows[i].in, strlen(rows[i].in));
        assert_string_equal(text, rows[i].out);
    }
}

static void test_zero_byte_before_a_digit_stays_itself(void **arg)
{
    char text[32];

    (void)arg;
    text_escape(text, sizeof(text), "\0x\0007\0009", 6);
    assert_string_equal(text, "\\0x\\x007\\09");
}

static void test_make_safe_leaves_the_backslash_and_is_done_once(void **arg)
{
    char once[64], twice[64];

    (void)arg;
    text_make_safe(once, sizeof(once), "a\\nb\nc\033", 7);
    assert_string_equal(once, "a\\nb\\nc\\x1b");
    text_make_safe(twice, sizeof(twice), once, strlen(once));
    assert_string_equal(twice, once);
}

static void test_what_does_not_fit_ends_with_dots_between_characters(void **arg)
{
    static const struct {
        const char *in;
        size_t size;
        const char *out;
    } rows[] = {
        { "abcdef", 7, "abcdef" },
        { "abcdef", 6, "ab..." },
        { "abcdef", 4, "..." },
        { "abcdef", 3, ".." },
        { "abcdef", 1, "" },
        { "a", 2, "a" },
        { "", 1, "" },
        { "ab\n\n\n", 9, "ab\\n\\n\\n" },
        { "ab\n\n\n", 8, "ab\\n..." },
        { "ab\n\n\n", 7, "ab..." },
        { "\u00e9\u00e9\u00e9\u00e9", 9, "\u00e9\u00e9\u00e9\u00e9" },
        { "\u00e9\u00e9\u00e9\u00e9", 8, "\u00e9\u00e9..." },
        { "\u00e9\u00e9\u00e9\u00e9", 7, "\u00e9..." },
    };

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = malloc(rows[i].size); /* of exactly the size, for the sanitizers */
        size_t len = text_escape(text, rows[i].size, rows[i].in, strlen(rows[i].in));

        assert_string_equal(text, rows[i].out);
        assert_int_equal(len, strlen(rows[i].out));
        free(text);
    }
    assert_int_equal(text_escape(NULL, 0, "abc", 3), 0);
}

static void test_near_words_are_suggested_and_far_ones_not(void **arg)
{
    static const char *const words[] = { "line",           "delimiter",    "netstring", "length",
                                         "content-length", "fixed",        "close",     "block",
                                         "max_request",    "max_requests", NULL };
    static const struct {
        const char *text, *word;
    } rows[] = {
        { "lin", "line" },
        { "lnie", "line" }, /* neighbours swapped */
        { "lines", "line" },
        { "delimeter", "delimiter" },
        { "netstirng", "netstring" },
        { "max_reqests", "max_requests" },
        { "max_request", "max_request" },
        { "net", "netstring" }, /* the only one that begins so */
        { "content", "content-length" },
        { "max_r", NULL }, /* two begin so */
        { "ne", NULL },
        { "l", NULL },
        { "", NULL },
        { "cl", NULL },
        { "clxx", NULL },
        { "xyzzy", NULL },
        { "a_word_that_is_so_long_that_nobody_can_have_meant_any_of_those_above_by_it", NULL },
    };

    (void)arg;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *word = text_suggest(rows[i].text, words);

        if (!rows[i].word)
            assert_null(word);
        else
            assert_string_equal(word ? word : "(none)", rows[i].word);
    }
    assert_null(text_suggest("line", (const char *const[]){ NULL }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_are_read_with_their_unit),
        cmocka_unit_test(test_sizes_are_read_with_their_unit),
        cmocka_unit_test(test_what_is_printed_is_read_back),
        cmocka_unit_test(test_numbers_are_printed_in_the_largest_unit_that_divides),
        cmocka_unit_test(test_durations_are_printed_for_people),
        cmocka_unit_test(test_integers_are_read_within_their_range),
        cmocka_unit_test(test_escapes_are_read_as_c_reads_them),
        cmocka_unit_test(test_unknown_and_unfinished_escapes_are_refused),
        cmocka_unit_test(test_every_pair_of_bytes_is_escaped_to_one_safe_line_and_reads_back),
        cmocka_unit_test(test_what_could_fool_a_reader_is_escaped),
        cmocka_unit_test(test_zero_byte_before_a_digit_stays_itself),
        cmocka_unit_test(test_make_safe_leaves_the_backslash_and_is_done_once),
        cmocka_unit_test(test_what_does_not_fit_ends_with_dots_between_characters),
        cmocka_unit_test(test_near_words_are_suggested_and_far_ones_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
