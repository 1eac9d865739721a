/* control_parse.c: the words of a control line, and what is none. */
#include "test.h"

#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Parses TEXT and prints what came of it: "command|json|arg|arg". */
static int parse(const char *text, size_t len, char *ret, size_t size)
{
    static char room[CONTROL_LINE_MAX + 1];
    struct control_line line;

    memcpy(room, text, len);
    int r = control_parse(room, len, &line);
    if (r < 0)
        return r;
    int n = snprintf(ret, size, "%s%s", line.command, line.json ? "|json" : "");
    for (size_t i = 0; i < line.n_args; i++)
        n += snprintf(ret + n, size - (size_t)n, "|%s", line.arg[i]);
    return 0;
}

static void test_words_are_taken_apart(void **arg)
{
    static const struct {
        const char *line, *words;
    } rows[] = {
        { "status", "status" },
        { "status --json", "status|json" },
        { "status\r", "status" },
        { "  status   --json  ", "status|json" },
        { "kill 7", "kill|7" },
        { "drain json", "drain|json" },
        { "x --json json", "x|json|json" },
        { "json", "json" },
    };
    char words[128];

    (void)arg;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(parse(rows[i].line, strlen(rows[i].line), words, sizeof(words)), 0);
        assert_string_equal(words, rows[i].words);
    }
}

static void test_what_is_no_line_is_refused(void **arg)
{
    static const struct {
        const char *line;
        size_t len;
    } rows[] = {
        { "", 0 },
        { "   ", 3 },
        { "\r", 1 },
        { "sta\0tus", 7 },
        { "a\tb", 3 },
        { "\x1b[31mred", 8 },
        { "st\xc3\xa4tus", 7 },
        { "a\rb", 3 },
        { "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8", 35 },
    };
    char words[128];

    (void)arg;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(parse(rows[i].line, rows[i].len, words, sizeof(words)), -EINVAL);
}

static void test_the_longest_line_is_one_word(void **arg)
{
    static char line[CONTROL_LINE_MAX], words[CONTROL_LINE_MAX + 1];

    (void)arg;
    memset(line, 'x', sizeof(line));
    assert_int_equal(parse(line, sizeof(line), words, sizeof(words)), 0);
    assert_int_equal(strlen(words), sizeof(line));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_are_taken_apart),
        cmocka_unit_test(test_what_is_no_line_is_refused),
        cmocka_unit_test(test_the_longest_line_is_one_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
