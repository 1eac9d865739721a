/* The effective configuration loads again to the same; the difference of two is told in one line. */
#include "conf_try.h"

#define ECHO "port = 1; handler = \"echo\"; "

static const char *const samples[] = {
    "services: { a: { " ECHO "}; };",
    ("workers = 3; drain_timeout = 1; reload_drain_timeout = \"1h\"; worker_timeout = \"1500ms\";"
     "max_memory = 5000000; log_level = \"debug\"; handler = \"echo\"; port = 5; idle_timeout = \"7s\";"
     "services: { a: { };"
     " b: { transport = ( \"udp\", \"tcp\" ); port = \"77\"; host = [ \"::\", \"\" ]; }; };"),
    ("services: {"
     " u: { transport = \"unix\"; path = \"@a\\\"b\\\\c\\x01\"; handler = \"discard\"; log = \"requests\"; };"
     " g: { transport = \"unixgram\"; path = \"/x y\"; mode = \"007\"; handler = \"daytime\"; enabled = "
     "false; };"
     "};"),
    ("services: { a: { " ECHO "framing = \"delimiter:\\r\\n\"; error_reply = \"\\\\0001\\\\n\\n\\\\\\\\\";"
     "overload = \"refuse\"; overload_reply = \"\\\"\\xc3\\xa4\\xff\\x7f\"; allow = [ \"10.0.0.0/8\", "
     "\"::1\" ];"
     "deny = \"10.1.1.1\"; }; };"),
    "services: { a: { " ECHO "framing = \"length:u16be,offset=4,adjust=-3,whole\"; }; };",
    "services: { a: { " ECHO "framing = \"close\"; }; };",
};

static void test_what_is_shown_loads_again_to_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct conf *conf = try_text(samples[i], NULL), *again;
        char *text = shown(conf), *text_again;

        again = try_text(text, NULL);
        text_again = shown(again);
        assert_string_equal(text, text_again);
        free(text);
        free(text_again);
        conf_unref(conf);
        conf_unref(again);
    }
}

static void test_value_at_its_default_is_marked(void **state)
{
    struct conf *conf =
        try_text("workers = 2; services: { a: { port = 1; handler = \"echo\"; backlog = 4096; }; };", NULL);
    char *text = shown(conf);

    (void)state;
    assert_non_null(strstr(text, "\nmax_memory = \"256m\"; # default\n"));
    assert_int_equal(strncmp(text, "workers = 2;\n", 13), 0);
    assert_non_null(strstr(text, "        backlog = 4096; # default\n"));
    assert_non_null(strstr(text, "        port = 1;\n"));
    free(text);
    conf_unref(conf);
}

static void test_key_that_means_nothing_is_not_shown(void **state)
{
    struct conf *conf = try_text("services: { a: { port = 1; handler = \"discard\"; }; };", NULL);
    char *text = shown(conf);

    (void)state;
    assert_null(strstr(text, "max_reply"));
    assert_null(strstr(text, "path"));
    assert_null(strstr(text, "handler_timeout"));
    free(text);
    conf_unref(conf);
}

static void assert_diff(const char *from, const char *to, const char *expected)
{
    struct conf *a = try_text(from, NULL), *b = try_text(to, NULL);
    char *text = conf_diff(a, b);

    assert_string_equal(text, expected);
    free(text);
    conf_unref(a);
    conf_unref(b);
}

#define SERVICE_A "a: { port = 1; handler = \"echo\"; };"

static void test_difference_is_told_in_one_line(void **state)
{
    (void)state;
    assert_diff("services: { " SERVICE_A " };", "services: { " SERVICE_A " };", "nothing changed");
    assert_diff(
        "services: { " SERVICE_A
        " policy: { port = 2; handler = \"echo\"; }; old: { port = 3; handler = \"echo\"; }; };",
        "workers = 4; services: { greet: { port = 4; handler = \"echo\"; }; " SERVICE_A
        " policy: { port = 2; handler = \"echo\"; max_request = \"128k\"; error_reply = \"no\\t\"; }; };",
        "workers 0 -> 4; greet added; policy: max_request 64k -> 128k, error_reply none -> \"no\\\\t\";"
        " old removed");
    assert_diff("services: { " SERVICE_A " };",
                "services: { a: { port = 1; handler = \"echo\"; allow = [ \"10.0.0.0/8\", \"::1\" ]; host = "
                "\"*\"; }; };",
                "a: host localhost -> *, allow none -> [ \"10.0.0.0/8\", \"::1\" ]");
}

static void test_default_that_is_written_out_is_no_difference(void **state)
{
    (void)state;
    assert_diff("services: { " SERVICE_A " };",
                "max_request = 65536; handler_timeout = 1; services: { a: { port = 1; handler = \"echo\"; "
                "host = [ \"localhost\" ]; }; };",
                "nothing changed");
}

static void test_many_changes_are_counted(void **state)
{
    char *text = NULL, *said;
    FILE *out = open_text(&text);
    struct conf *a = try_text("services: { " SERVICE_A " };", NULL), *b;

    (void)state;
    fputs("services: { " SERVICE_A, out);
    for (int i = 0; i < 40; i++)
        fprintf(out, "s%d: { port = %d; handler = \"echo\"; };", i, i + 2);
    fputs("};", out);
    fclose(out);
    b = try_text(text, NULL);
    free(text);
    said = conf_diff(a, b);
    assert_int_equal(strncmp(said, "s0 added; s1 added; ", 20), 0);
    assert_non_null(strstr(said, "; s31 added; and 8 more"));
    free(said);
    conf_unref(a);
    conf_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_shown_loads_again_to_the_same),
        cmocka_unit_test(test_value_at_its_default_is_marked),
        cmocka_unit_test(test_key_that_means_nothing_is_not_shown),
        cmocka_unit_test(test_difference_is_told_in_one_line),
        cmocka_unit_test(test_default_that_is_written_out_is_no_difference),
        cmocka_unit_test(test_many_changes_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
