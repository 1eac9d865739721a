/* The lines of the json protocol, both ways. */
#include "test.h"

#include "handler/helper_json.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct addr peer = { .family = AF_INET, .port = 4711, .ip = { 192, 0, 2, 1 } };
static const struct addr local = { .family = AF_INET, .port = 80, .ip = { 192, 0, 2, 2 } };

static void expect_request(const char *data, size_t len, uint64_t connection, const char *line)
{
    const struct json_request request = {
        .id = 7,
        .connection = connection,
        .service = "price",
        .transport = "tcp",
        .peer = &peer,
        .local = &local,
        .data = data,
        .len = len,
    };
    size_t line_len = 0;
    char *text = json_print_request(&request, &line_len);

    assert_string_equal(text, line);
    assert_int_equal(line_len, strlen(line));
    free(text);
}

static void test_a_request_is_one_line(void **state)
{
    (void)state;
    expect_request(
        "hello", 5, 3,
        "{\"id\":7,\"service\":\"price\",\"transport\":\"tcp\",\"connection\":3,\"peer\":\"192.0.2.1:4711\","
        "\"local\":\"192.0.2.2:80\",\"request\":\"hello\"}\n");
    expect_request("a\nb\"\0", 5, 0,
                   "{\"id\":7,\"service\":\"price\",\"transport\":\"tcp\",\"peer\":\"192.0.2.1:4711\","
                   "\"local\":\"192.0.2.2:80\",\"request\":\"a\\nb\\\"\\u0000\"}\n");
}

static void test_bytes_that_are_no_text_go_as_base64(void **state)
{
    (void)state;
    expect_request(
        "\xff\x00\x01", 3, 3,
        "{\"id\":7,\"service\":\"price\",\"transport\":\"tcp\",\"connection\":3,\"peer\":\"192.0.2.1:4711\","
        "\"local\":\"192.0.2.2:80\",\"request64\":\"/wAB\"}\n");
}

static void test_a_client_that_left_is_told(void **state)
{
    size_t len = 0;
    char *line = json_print_closed(12, &len);

    (void)state;
    assert_string_equal(line, "{\"closed\":12}\n");
    free(line);
}

static void test_answers(void **state)
{
    const struct {
        const char *line;
        struct json_answer answer;
    } rows[] = {
        { "{\"id\":7,\"reply\":\"x\"}", { JSON_REPLY, 7, 0, false, (char[]){ "x" }, 1 } },
        { " { \"reply\" : \"\" , \"id\" : 8 } ", { JSON_REPLY, 8, 0, false, (char[]){ "" }, 0 } },
        { "{\"id\":7,\"reply\":\"a\\u0000b\"}", { JSON_REPLY, 7, 0, false, (char[]){ "a\0b" }, 3 } },
        { "{\"id\":7,\"reply64\":\"/wAB\"}", { JSON_REPLY, 7, 0, false, (char[]){ "\xff\x00\x01" }, 3 } },
        { "{\"id\":7,\"reply\":\"x\",\"close\":true}", { JSON_REPLY, 7, 0, true, (char[]){ "x" }, 1 } },
        { "{\"id\":7}", { JSON_SILENCE, 7, 0, false, NULL, 0 } },
        { "{\"id\":7,\"close\":true}", { JSON_SILENCE, 7, 0, true, NULL, 0 } },
        { "{\"id\":7,\"error\":\"why\"}", { JSON_ERROR, 7, 0, false, (char[]){ "why" }, 3 } },
        { "{\"id\":7,\"error\":\"why\",\"error64\":\"eA==\"}",
          { JSON_ERROR, 7, 0, false, (char[]){ "why" }, 3 } },
        { "{\"connection\":3,\"push\":\"x\"}", { JSON_PUSH, 0, 3, false, (char[]){ "x" }, 1 } },
        { "{\"connection\":3,\"push64\":\"/wAB\"}",
          { JSON_PUSH, 0, 3, false, (char[]){ "\xff\x00\x01" }, 3 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct json_answer *want = &rows[i].answer;
        struct json_answer got;
        const char *why = "";

        if (json_parse_answer(rows[i].line, strlen(rows[i].line), &got, &why) < 0)
            fail_msg("%s: %s", rows[i].line, why);
        assert_int_equal(got.kind, want->kind);
        assert_int_equal(got.id, want->id);
        assert_int_equal(got.connection, want->connection);
        assert_int_equal(got.close, want->close);
        assert_int_equal(got.len, want->len);
        assert_int_equal(got.data != NULL, want->data != NULL);
        if (want->data)
            assert_memory_equal(got.data, want->data, want->len);
        json_answer_done(&got);
    }
}

static void test_what_is_no_answer_is_told_why(void **state)
{
    static const char *const rows[][2] = {
        { "", "is no JSON object" },
        { "hello", "is no JSON object" },
        { "[1]", "is no JSON object" },
        { "{\"id\":7,\"id\":8}", "is no JSON object" },
        { "{\"id\":7} x", "is no JSON object" },
        { "{\"id\":\"7\",\"reply\":\"x\"}", "has an \"id\" that is no number" },
        { "{\"id\":0,\"reply\":\"x\"}", "has an \"id\" that is no number" },
        { "{\"id\":-1}", "has an \"id\" that is no number" },
        { "{\"id\":1.5}", "has an \"id\" that is no number" },
        { "{\"id\":7,\"reply\":5}", "has a \"reply\" that is no text, or a \"reply64\" that is no base64" },
        { "{\"id\":7,\"reply64\":\"*\"}",
          "has a \"reply\" that is no text, or a \"reply64\" that is no base64" },
        { "{\"id\":7,\"reply64\":\"eA==\\u0000eA==\"}",
          "has a \"reply\" that is no text, or a \"reply64\" that is no base64" },
        { "{\"id\":7,\"reply\":\"x\",\"reply64\":\"eA==\"}",
          "has a \"reply\" that is no text, or a \"reply64\" that is no base64" },
        { "{\"id\":7,\"reply\":\"x\",\"error\":\"y\"}",
          "has an \"error\" that is no text, or beside a \"reply\"" },
        { "{\"push\":\"x\"}", "has a \"push\" without a \"connection\"" },
        { "{}", "has neither \"id\" nor \"push\"" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct json_answer got;
        const char *why = "";

        assert_int_equal(json_parse_answer(rows[i][0], strlen(rows[i][0]), &got, &why), -EINVAL);
        assert_string_equal(why, rows[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_one_line),
        cmocka_unit_test(test_bytes_that_are_no_text_go_as_base64),
        cmocka_unit_test(test_a_client_that_left_is_told),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_what_is_no_answer_is_told_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
