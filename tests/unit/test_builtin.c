/* The built-in handlers, asked directly. */
#include "handler/builtin.h"
#include "handler/handlers.h"
#include "handler/helper.h"
#include "handler/plugin.h"
#include "handler/program.h"

#include "test.h"

#include <regex.h>
#include <string.h>
#include <time.h>

static char answer[128];
static size_t answer_len;
static int n_replies, n_silences;

static void on_reply(struct request *request, const char *data, size_t len)
{
    (void)request;
    assert_true(len < sizeof answer);
    memcpy(answer, data, len);
    answer[len] = '\0';
    answer_len = len;
    n_replies++;
}

static void on_silence(struct request *request)
{
    (void)request;
    n_silences++;
}

static const struct request_ops ops = { .reply = on_reply, .silence = on_silence };

static void ask(const struct handler *handler, const char *data, size_t len)
{
    struct request request = { .ops = &ops, .data = data, .len = len };

    n_replies = n_silences = 0;
    handler->request(NULL, &request);
}

static void test_echo_answers_with_the_same_bytes(void **state)
{
    (void)state;
    ask(&builtin_echo, "a\0b", 3);
    assert_int_equal(n_replies, 1);
    assert_int_equal(answer_len, 3);
    assert_memory_equal(answer, "a\0b", 3);
    ask(&builtin_echo, "", 0);
    assert_int_equal(n_replies, 1);
    assert_int_equal(answer_len, 0);
}

static void test_discard_answers_with_silence(void **state)
{
    (void)state;
    ask(&builtin_discard, "x", 1);
    assert_int_equal(n_silences, 1);
    assert_int_equal(n_replies, 0);
}

/* RFC 867: "Tuesday, February 22, 1982 17:37:43-PST" */
static void test_daytime_tells_local_time_as_the_rfc_writes_it(void **state)
{
    struct tm told = { 0 };
    regex_t regex;

    (void)state;
    setenv("TZ", "XYZ-3", 1);
    tzset();
    time_t before = time(NULL);
    ask(&builtin_daytime, "", 0);
    assert_int_equal(n_replies, 1);
    assert_int_equal(regcomp(&regex,
                             "^[A-Z][a-z]+day, [A-Z][a-z]+ [0-3][0-9], 20[0-9]{2} "
                             "[0-2][0-9]:[0-5][0-9]:[0-6][0-9]-XYZ$",
                             REG_EXTENDED | REG_NOSUB),
                     0);
    assert_int_equal(regexec(&regex, answer, 0, NULL, 0), 0);
    regfree(&regex);
    assert_non_null(strptime(answer, "%A, %B %d, %Y %T", &told));
    assert_in_range(mktime(&told), before, time(NULL));
}

static void test_only_daytime_speaks_first(void **state)
{
    (void)state;
    assert_true(builtin_daytime.speaks_first);
    assert_false(builtin_echo.speaks_first);
    assert_false(builtin_discard.speaks_first);
}

static void test_every_handler_is_found_by_its_kind(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        const struct handler *handler;
    } rows[] = {
        { "echo", &builtin_echo },     { "discard", &builtin_discard }, { "daytime", &builtin_daytime },
        { "helper", &helper_handler }, { "plugin", &plugin_handler },   { "program", &program_handler },
    };

    for (int kind = HANDLER_NONE + 1; handler_words[kind]; kind++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            assert_int_equal(handlers_find((enum handler_kind)kind) == rows[i].handler,
                             strcmp(handler_words[kind], rows[i].word) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_answers_with_the_same_bytes),
        cmocka_unit_test(test_discard_answers_with_silence),
        cmocka_unit_test(test_daytime_tells_local_time_as_the_rfc_writes_it),
        cmocka_unit_test(test_only_daytime_speaks_first),
        cmocka_unit_test(test_every_handler_is_found_by_its_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
