/* What libconfig would let pass in silence is found before it, and nothing else is. */
#include "test.h"

#include "conf_scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *text, *fault; /* "line: text"; NULL: none */
};

static void check(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct conf_fault fault;
        char said[600];
        int r = conf_scan(rows[i].text, strlen(rows[i].text), &fault);

        if (!rows[i].fault) {
            if (r != 0)
                fail_msg("%s: %s", rows[i].text, fault.text);
            continue;
        }
        assert_int_equal(r, -EINVAL);
        snprintf(said, sizeof(said), "%d: %s", fault.line, fault.text);
        assert_string_equal(said, rows[i].fault);
    }
}
#define CHECK(rows) check(rows, sizeof(rows) / sizeof((rows)[0]))

static void test_number_that_would_be_cut_is_refused(void **state)
{
    static const struct row rows[] = {
        { "a = 2147483648;", "1: the number 2147483648 does not fit 32 bits; write 2147483648L" },
        { "\na = 5000000000;", "2: the number 5000000000 does not fit 32 bits; write 5000000000L" },
        { "a = -2147483649;", "1: the number -2147483649 does not fit 32 bits; write -2147483649L" },
        { "a = 0x1FFFFFFFF;", "1: the number 0x1FFFFFFFF does not fit 32 bits; write 0x1FFFFFFFFL" },
        { "a = 0XFFFFFFFF;", "1: the number 0XFFFFFFFF does not fit 32 bits; write 0xFFFFFFFFL" },
        { "a = 99999999999999999999;", "1: the number 99999999999999999999 does not fit 64 bits" },
        { "a = 9223372036854775808L;", "1: the number 9223372036854775808 does not fit 64 bits" },
        { "a = 0x8000000000000000L;", "1: the number 0x8000000000000000 does not fit 64 bits" },
        { "a = [ 1, 3000000000 ];", "1: the number 3000000000 does not fit 32 bits; write 3000000000L" },
        { "a = 11111111112222222222333333333344444444445;",
          "1: the number 1111111111222222222233333333334444444444... does not fit 64 bits" },
    };

    (void)state;
    CHECK(rows);
}

static void test_number_that_fits_passes(void **state)
{
    static const struct row rows[] = {
        { "a = 2147483647;", NULL },
        { "a = -2147483648; b = +5; c = 00000000000000000000000000001;", NULL },
        { "a = 0x7FFFFFFF; b = 0xFFFFFFFFL;", NULL },
        { "a = 9223372036854775807L; b = 5LL;", NULL },
        { "a = 99999999999.5; b = 1e99999; c = 99999999999e1;", NULL }, /* the wrong type is told later */
    };

    (void)state;
    CHECK(rows);
}

static void test_strings_comments_and_names_are_not_numbers(void **state)
{
    static const struct row rows[] = {
        { "a = \"5000000000 @include \\\" 5000000000\";", NULL },
        { "# 5000000000 @include\n// 5000000000 \" {\n/* 5000000000 \" ( * / \n*/ a = 1;", NULL },
        { "a5000000000 = 1; b-5000000000 = 2; *9999999999 = 3;", NULL },
        { "a = \"/* \"; b = 5000000000;",
          "1: the number 5000000000 does not fit 32 bits; write 5000000000L" },
        { "/* \n\n */ a = 5000000000;", "3: the number 5000000000 does not fit 32 bits; write 5000000000L" },
        { "a = \"x\ny\n\\\nz\"; b = 5000000000;",
          "4: the number 5000000000 does not fit 32 bits; write 5000000000L" },
        { "a = \"\\\\\"; b = 5000000000;",
          "1: the number 5000000000 does not fit 32 bits; write 5000000000L" },
    };

    (void)state;
    CHECK(rows);
}

static void test_lost_nul_byte_is_refused(void **state)
{
    static const struct row rows[] = {
        { "\na = \"delimiter:\\x00\";", "2: \\x00 is lost when a string is read; write \\\\0 instead" },
        { "a = \"\\X00\";", "1: \\x00 is lost when a string is read; write \\\\0 instead" },
        { "a = \"\\\\x00 \\0 \\x01 \\x0\";", NULL },
    };

    (void)state;
    CHECK(rows);
}

static void test_include_is_refused(void **state)
{
    static const struct row rows[] = {
        { "a = 1;\n@include \"/etc/passwd\"\n", "2: @include is not supported; a service may have a file of "
                                                "its own in the directory beside this file" },
        { "@other", NULL },
    };

    (void)state;
    CHECK(rows);
}

static void test_what_does_not_end_is_told_where_it_begins(void **state)
{
    static const struct row rows[] = {
        { "a = 1;\nb = \"x\n\n\n", "2: the string that begins here does not end" },
        { "a = 1;\n/* x\n\n\n", "2: the comment that begins here does not end" },
        { "a = \"x\\", "1: the string that begins here does not end" },
    };

    (void)state;
    CHECK(rows);
}

static void test_nesting_is_bounded(void **state)
{
    char text[CONF_DEPTH_MAX + 2] = "";
    struct conf_fault fault;

    (void)state;
    memset(text, '(', CONF_DEPTH_MAX + 1);
    assert_int_equal(conf_scan(text, CONF_DEPTH_MAX, &fault), 0);
    assert_int_equal(conf_scan(text, CONF_DEPTH_MAX + 1, &fault), -EINVAL);
    assert_string_equal(fault.text, "groups and lists are nested more than 32 deep");
}

static void test_nul_byte_in_the_file_is_told_with_its_line(void **state)
{
    static const char text[] = "a = 1;\n\nb = \0;";
    struct conf_fault fault;

    (void)state;
    assert_int_equal(conf_scan(text, sizeof(text) - 1, &fault), -EINVAL);
    assert_int_equal(fault.line, 3);
    assert_string_equal(fault.text, "a NUL byte; this is no text file");
}

static void test_name_that_is_there_already_is_found_with_its_path(void **state)
{
    static const struct row rows[] = {
        { "a = 1; b = 2; a = 3; b = 4;", "1: a: is in line 1 already" },
        { "a = 1;\nb = true;\nc = 1 b : 5", "3: b: is in line 2 already" },
        { "g: { a = 1; };\nh: { a = 1; b = \"a = 1\"; /* a = 1 */ # a = 1\n a\n = 5; };",
          "3: h.a: is in line 2 already" },
        { "g: { a = 1; };\na = 1;\ng: { };", "3: g: is in line 1 already" },
        { "g = ( { a = 1; },\n { b = 1; a = 2; b = 3; } );", "2: g.b: is in line 2 already" },
        { "g = ( { a = 1; }, { a = 1; } ); h = [ a, a ]; ab = 1; abc = 1; A = 1;", NULL },
        { "", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct conf_fault fault = { .line = 77 };
        char said[600];
        int r = conf_scan_twice(rows[i].text, strlen(rows[i].text), &fault);

        assert_int_equal(r, rows[i].fault ? 0 : -ENOENT);
        snprintf(said, sizeof(said), "%d: %s", fault.line, fault.text);
        assert_string_equal(said, rows[i].fault ? rows[i].fault : "77: ");
    }
}

static void test_byte_order_mark_is_told(void **state)
{
    static const struct row rows[] = {
        { "\xef\xbb\xbf"
          "a = 1;",
          "1: the file begins with a byte order mark; save it as UTF-8 without one" },
        { "\xef\xbb", NULL },
        { "a = \"\xef\xbb\xbf\";", NULL },
    };

    (void)state;
    CHECK(rows);
}

#define QUOTES(word) "syntax error; text goes in double quotes, as in \"" word "\""
#define NAME(word)   "syntax error; " word " is no name; it must begin with a letter"

static void test_what_the_line_of_a_syntax_error_shows_is_told(void **state)
{
    static const struct {
        int line;
        const char *text, *hint; /* NULL: none */
    } rows[] = {
        { 1, "handler = echo;", QUOTES("echo") },
        { 2, "handler =\n echo;", QUOTES("echo") },
        { 1, "handler = 'echo it';", QUOTES("echo it") },
        { 1, "handler = 'echo", QUOTES("echo") },
        { 1, "handler : echo", QUOTES("echo") },
        { 1, "path = /run/x.sock;", QUOTES("/run/x.sock") },
        { 1, "idle_timeout = 5m;", QUOTES("5m") },
        { 1, "idle_timeout = 1d;", QUOTES("1d") },
        { 1, "host = 127.0.0.1;", QUOTES("127.0.0.1") },
        { 1, "host = ::1;", QUOTES("::1") },
        { 1, "allow = [ \"::1\", 10.0.0.0/8 ];", QUOTES("10.0.0.0/8") },
        { 1, "a = [ \"b\", /* c */ d ];", QUOTES("d") },
        { 1, "a = b\x01\xc3;", QUOTES("b\\x01\\xc3") },
        { 2, "services: {\n 1a: { port = 5; };", NAME("1a") },
        { 1, "a = 5; 1a = 6;", NAME("1a") },
        { 1, "a = 5, 1a = 6;", NAME("1a") },
        { 1, "_a\n= 5;", NAME("_a") },
        { 1, "a = \"b = c\" ); # d = e\n/* d = e */", NULL },
        { 2, "/* a = b\n a = b */ );", NULL },
        { 1, "a = true b = FALSE c = 1 d = -5L e = 0x1F f = .5 g = 1e5 h = 5//\n i = 6/**/ );", NULL },
        { 1, "\na = b;", NULL },
        { 2, "a = b;\n)", NULL },
        { 1, "a: b: { c = { d = 1, e = 2 } }, f = ( ), g = [ ] )", NULL },
        { 1, "a b = 1; c = ; d", NULL },
        { 1, "", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct conf_fault fault = { .line = rows[i].line };
        int r = conf_scan_hint(rows[i].text, &fault);

        assert_string_equal(fault.text, rows[i].hint ? rows[i].hint : "");
        assert_int_equal(r, rows[i].hint ? 0 : -ENOENT);
    }
}

static void test_path_of_any_length_is_cut(void **state)
{
    char text[8192] = "";
    struct conf_fault fault;

    (void)state;
    for (int i = 0; i < CONF_DEPTH_MAX; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "g%0100d: { ", i);
    strcat(text, "a = 1; a = 2;");
    assert_int_equal(conf_scan_twice(text, strlen(text), &fault), 0);
    assert_int_equal(fault.line, 1);
    assert_in_range(strlen(fault.text), sizeof(fault.text) - 80, sizeof(fault.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number_that_would_be_cut_is_refused),
        cmocka_unit_test(test_number_that_fits_passes),
        cmocka_unit_test(test_strings_comments_and_names_are_not_numbers),
        cmocka_unit_test(test_lost_nul_byte_is_refused),
        cmocka_unit_test(test_include_is_refused),
        cmocka_unit_test(test_what_does_not_end_is_told_where_it_begins),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_name_that_is_there_already_is_found_with_its_path),
        cmocka_unit_test(test_byte_order_mark_is_told),
        cmocka_unit_test(test_what_the_line_of_a_syntax_error_shows_is_told),
        cmocka_unit_test(test_path_of_any_length_is_cut),
        cmocka_unit_test(test_nul_byte_in_the_file_is_told_with_its_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
