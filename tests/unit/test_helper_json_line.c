/* The pool in the json protocol: answers by number, in any order; what is too late, too much, or not asked
 * for. */
#include "helper_world.h"

static const struct addr client_addr = { .family = AF_UNIX, .uid = 7 };

static int n_parted;
static uint64_t pushed_to;
static char pushed[256];
static int push_result;
static char reported[256];

static void note_part(struct request *request)
{
    assert_int_equal(container_of(request, struct ask, request)->outcome, WAITS);
    n_parted++;
}

static const struct request_ops json_ops = {
    .reply = note_reply, .silence = note_silence, .fail = note_failure, .part = note_part
};

static int note_push(const struct handler_host *host, uint64_t connection, const char *data, size_t len)
{
    (void)host;
    pushed_to = connection;
    snprintf(pushed, sizeof pushed, "%.*s", (int)len, data);
    return push_result;
}

static void note_report(const struct handler_host *host, const struct addr *peer, const char *text)
{
    (void)host;
    assert_ptr_equal(peer, &client_addr);
    snprintf(reported, sizeof reported, "%s", text);
}

static void begin_json(struct world *w)
{
    n_parted = push_result = 0;
    pushed_to = 0;
    w->conf.helper_protocol = HELPER_JSON;
    w->host.push = note_push;
    w->host.report = note_report;
    begin(w);
}

static void ask_from(struct world *w, struct ask *ask, const char *text, uint64_t connection)
{
    *ask = (struct ask){ .request = { .ops = &json_ops,
                                      .data = text,
                                      .len = strlen(text),
                                      .peer = &client_addr,
                                      .local = &client_addr,
                                      .connection = connection } };
    helper_handler.request(w->pool, &ask->request);
}

/* The requests "a", "b", "c" ..., with the numbers 1, 2, 3 ..., as the helper has read them. */
static void ask_several(struct world *w, const struct actor *a, struct ask *asks, int n)
{
    static const char *const texts[] = { "a", "b", "c", "d" };
    const char *line;

    for (int i = 0; i < n; i++)
        ask_from(w, &asks[i], texts[i], (uint64_t)i + 10);
    line = hear(w, a);
    for (int i = 0; i < n; i++) {
        char id[32];

        snprintf(id, sizeof id, "{\"id\":%d,", i + 1);
        line = strstr(line, id);
        assert_non_null(line);
    }
}

/* handler_timeout passes for a request that is with a helper. */
static void be_late(struct world *w, const struct ask *ask)
{
    struct job *job = ask->request.held;

    assert_true(deadline_is_set(&job->working));
    deadline_clear(&job->working);
    helper_job_late(job);
    settle(w);
}

static void test_answers_come_in_any_order(void **state)
{
    struct world *w = *state;
    struct ask asks[3];

    begin_json(w);
    struct actor a = enter_proved(w, 0);
    ask_several(w, &a, asks, 3);
    say(w, &a, "{\"id\":3,\"reply\":\"C\"}\n{\"id\":1,\"reply\":\"A\"}\n{\"id\":2}\n");
    assert_reply(&asks[2], "C");
    assert_reply(&asks[0], "A");
    assert_int_equal(asks[1].outcome, SILENCED);
    assert_true(asks[2].rank < asks[0].rank && asks[0].rank < asks[1].rank);
    assert_int_equal(n_parted, 0);
    fall_silent(&a);
}

static void test_a_request_is_one_object_on_a_line(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin_json(w);
    struct actor a = enter_proved(w, 0);
    ask_from(w, &one, "two\nlines", 5);
    const char *line = hear(w, &a);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_non_null(strstr(line, "\"service\":\"test\""));
    assert_non_null(strstr(line, "\"transport\":\"unix\""));
    assert_non_null(strstr(line, "\"connection\":5"));
    assert_non_null(strstr(line, "\"request\":\"two\\nlines\""));
    say(w, &a, "{\"id\":1,\"close\":true}\n");
    assert_int_equal(one.outcome, SILENCED);
    assert_int_equal(n_parted, 1);
    fall_silent(&a);
}

static void test_an_error_is_reported_with_its_words_escaped(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin_json(w);
    struct actor a = enter_proved(w, 0);
    ask_several(w, &a, &one, 1);
    say(w, &a, "{\"id\":1,\"error\":\"no\\nsuch thing\"}\n");
    assert_failed(&one, REQUEST_FAILED_HANDLER);
    assert_string_equal(reported, "no\\nsuch thing");
    fall_silent(&a);
}

static void test_a_push_needs_no_request(void **state)
{
    struct world *w = *state;

    begin_json(w);
    struct actor a = enter_proved(w, 0);
    say(w, &a, "{\"connection\":77,\"push\":\"news\"}\n");
    assert_int_equal(pushed_to, 77);
    assert_string_equal(pushed, "news");
    assert_int_equal(w->pool->helpers[0].state, HELPER_UP);
    take_log(w);
    push_result = -EBADMSG;
    say(w, &a, "{\"connection\":77,\"push64\":\"bmV3cw==\"}\n");
    assert_string_equal(pushed, "news");
    assert_logged(w, "pushed 4 bytes that do not fit the framing");
    push_result = -EMSGSIZE;
    say(w, &a, "{\"connection\":77,\"push\":\"news\"}\n");
    assert_logged(w, "pushed 4 bytes that are over max_reply");
    push_result = -ENOENT;
    say(w, &a, "{\"connection\":78,\"push\":\"\"}\n");
    assert_int_equal(w->pool->helpers[0].state, HELPER_UP);
    fall_silent(&a);
}

static void test_what_is_no_answer_ends_the_helper(void **state)
{
    static const char *const lines[] = { "hello\n",
                                         "\n",
                                         "[1]\n",
                                         "{\"id\":\"1\"}\n",
                                         "{\"id\":-1}\n",
                                         "{\"id\":1,\"reply\":5}\n",
                                         "{\"push\":\"\"}\n",
                                         "{\"id\":1,\"reply64\":\"%\"}\n",
                                         "{\"id\":2}\n" /* never given out */ };
    struct world *w = *state;

    begin_json(w);
    take_log(w);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct actor a = enter(w, 0);
        struct ask one;
        char line[64];

        w->pool->last_id = 0;
        fire(w, &w->pool->helpers[0].timer);
        ask_several(w, &a, &one, 1);
        snprintf(line, sizeof line, "%s", lines[i]);
        say(w, &a, line);
        assert_int_equal(one.outcome, FAILED);
        expect_word(w, SPAWNER_KILL, 0);
        leave(w, &a, SIGKILL, "");
        if (w->pool->helpers[0].timer.place)
            fire(w, &w->pool->helpers[0].timer);
    }
    assert_logged(w, "wrote a line that is no JSON object (hello) and was ended");
    enter(w, 0);
}

static void test_an_answer_to_a_request_of_another_helper_is_nobodys(void **state)
{
    struct world *w = *state;
    struct ask asks[2];

    w->conf.helpers = 2;
    begin_json(w);
    struct actor a = enter(w, 0), b = enter(w, 1);
    fire(w, &w->pool->helpers[0].timer);
    fire(w, &w->pool->helpers[1].timer);
    ask_from(w, &asks[0], "a", 1);
    ask_from(w, &asks[1], "b", 2);
    assert_non_null(strstr(hear(w, &a), "\"id\":1,"));
    assert_non_null(strstr(hear(w, &b), "\"id\":2,"));
    say(w, &b, "{\"id\":1,\"reply\":\"stolen\"}\n");
    assert_int_equal(asks[0].outcome, WAITS);
    say(w, &b, "{\"id\":2,\"reply\":\"B\"}\n");
    say(w, &a, "{\"id\":1,\"reply\":\"A\"}\n");
    assert_reply(&asks[0], "A");
    assert_reply(&asks[1], "B");
    fall_silent(&a);
    fall_silent(&b);
}

static void test_an_answer_to_what_was_not_read_ends_the_helper(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin_json(w);
    take_log(w);
    struct actor a = enter_proved(w, 0);
    ask_from(w, &one, "a", 1);
    settle(w);
    say(w, &a, "{\"id\":1,\"reply\":\"guessed\"}\n");
    assert_int_equal(one.outcome, WAITS);
    expect_word(w, SPAWNER_KILL, 0);
    leave(w, &a, SIGKILL, "");
    assert_int_equal(w->pool->n_queued, 1);
    cancel(w, &one);
}

static void test_an_answer_to_a_cancelled_request_is_ignored(void **state)
{
    struct world *w = *state;
    struct ask asks[2];

    begin_json(w);
    struct actor a = enter_proved(w, 0);
    ask_several(w, &a, asks, 2);
    cancel(w, &asks[0]);
    say(w, &a, "{\"id\":1,\"reply\":\"A\"}\n{\"id\":1,\"reply\":\"again\"}\n{\"id\":2,\"reply\":\"B\"}\n");
    assert_reply(&asks[1], "B");
    fall_silent(&a);
}

static void test_one_late_request_fails_alone_where_others_are_answered(void **state)
{
    struct world *w = *state;
    struct ask asks[3];

    w->conf.handler_timeout = 3600 * 1000;
    begin_json(w);
    struct actor a = enter_proved(w, 0);
    ask_several(w, &a, asks, 3);
    say(w, &a, "{\"id\":2,\"reply\":\"B\"}\n");
    be_late(w, &asks[0]);
    assert_failed(&asks[0], REQUEST_FAILED_TIMEOUT);
    assert_int_equal(asks[2].outcome, WAITS);
    say(w, &a, "{\"id\":1,\"reply\":\"late\"}\n{\"id\":3,\"reply\":\"C\"}\n");
    assert_reply(&asks[2], "C");
    assert_int_equal(w->pool->helpers[0].state, HELPER_UP);
    fall_silent(&a);
}

/* It works on all that it has read. */
static void test_queue_timeout_ends_requests_that_were_not_read(void **state)
{
    struct world *w = *state;
    struct ask asks[3];

    w->conf.queue_timeout = 3600 * 1000;
    begin_json(w);
    struct actor a = enter_proved(w, 0);
    ask_several(w, &a, asks, 2);
    ask_from(w, &asks[2], "c", 12);
    settle(w);
    for (int i = 1; i < 3; i++) {
        struct job *job = asks[i].request.held;

        deadline_clear(&job->waiting);
        helper_job_waited(job);
    }
    assert_failed(&asks[2], REQUEST_FAILED_QUEUE_TIMEOUT);
    hear(w, &a);
    say(w, &a, "{\"id\":3,\"reply\":\"C\"}\n{\"id\":2,\"reply\":\"B\"}\n{\"id\":1,\"reply\":\"A\"}\n");
    assert_reply(&asks[0], "A");
    assert_reply(&asks[1], "B");
    fall_silent(&a);
}

static void test_a_helper_that_answers_nothing_in_time_is_ended(void **state)
{
    struct world *w = *state;
    struct ask asks[2];

    w->conf.handler_timeout = 3600 * 1000;
    begin_json(w);
    take_log(w);
    struct actor a = enter_proved(w, 0);
    ask_several(w, &a, asks, 2);
    be_late(w, &asks[0]);
    assert_failed(&asks[0], REQUEST_FAILED_TIMEOUT);
    assert_failed(&asks[1], REQUEST_FAILED_HANDLER);
    assert_int_equal(w->pool->helpers[0].state, HELPER_DYING);
    fall_silent(&a);
}

static void test_a_helper_that_is_rolled_goes_after_its_last_request_was_late(void **state)
{
    struct world *w = *state;
    struct ask asks[2];

    w->conf.handler_timeout = 3600 * 1000;
    begin_json(w);
    struct actor a = enter_proved(w, 0);
    ask_several(w, &a, asks, 2);
    helper_handler.roll(w->pool);
    say(w, &a, "{\"id\":2,\"reply\":\"B\"}\n");
    assert_int_equal(w->pool->helpers[0].state, HELPER_UP);
    be_late(w, &asks[0]);
    assert_int_equal(w->pool->helpers[0].state, HELPER_DYING);
    leave(w, &a, EXIT(0), "");
    a = enter(w, 0);
    fall_silent(&a);
}

/* Who left lies before the helper's input in the turn that brings its last answer. */
static void test_a_helper_that_is_rolled_goes_after_it_was_told_who_left(void **state)
{
    struct world *w = *state;
    struct ask one;
    char byte;

    begin_json(w);
    struct actor a = enter_proved(w, 0);
    ask_several(w, &a, &one, 1);
    helper_handler.roll(w->pool);
    helper_handler.on_closed(w->pool, 12);
    say(w, &a, "{\"id\":1,\"reply\":\"A\"}\n");
    assert_reply(&one, "A");
    assert_string_equal(hear(w, &a), "{\"closed\":12}\n");
    assert_int_equal(read(a.in_fd, &byte, 1), 0);
    assert_int_equal(w->pool->helpers[0].state, HELPER_DYING);
    leave(w, &a, EXIT(0), "");
    a = enter_proved(w, 0);
    helper_handler.on_closed(w->pool, 13);
    helper_handler.roll(w->pool);
    settle(w);
    assert_int_equal(w->pool->helpers[0].state, HELPER_DYING);
    fall_silent(&a);
}

static void test_a_helper_that_is_rolled_and_reads_nothing_goes_too(void **state)
{
    struct world *w = *state;

    begin_json(w);
    struct actor a = enter_proved(w, 0);
    for (uint64_t n = 0; n < 10000; n++)
        helper_handler.on_closed(w->pool, n);
    settle(w);
    helper_handler.roll(w->pool);
    assert_int_equal(w->pool->helpers[0].state, HELPER_UP);
    fire(w, &w->pool->helpers[0].timer);
    assert_int_equal(w->pool->helpers[0].state, HELPER_DYING);
    fall_silent(&a);
}

static void test_requests_that_a_dead_helper_never_read_go_to_the_next_with_a_new_number(void **state)
{
    struct world *w = *state;
    struct ask asks[2];

    begin_json(w);
    take_log(w);
    struct actor a = enter_proved(w, 0);
    ask_several(w, &a, asks, 1);
    ask_from(w, &asks[1], "b", 11);
    settle(w);
    leave(w, &a, SIGKILL, "");
    assert_failed(&asks[0], REQUEST_FAILED_HANDLER);
    assert_int_equal(asks[1].outcome, WAITS);
    if (w->pool->helpers[0].timer.place)
        fire(w, &w->pool->helpers[0].timer);
    a = enter(w, 0);
    if (w->pool->helpers[0].state == HELPER_PROVING)
        fire(w, &w->pool->helpers[0].timer);
    assert_non_null(strstr(hear(w, &a), "\"id\":3,"));
    say(w, &a, "{\"id\":3,\"reply\":\"B\"}\n");
    assert_reply(&asks[1], "B");
    fall_silent(&a);
}

static void test_all_helpers_are_told_who_left(void **state)
{
    struct world *w = *state;

    w->conf.helpers = 2;
    begin_json(w);
    struct actor a = enter(w, 0), b = enter(w, 1);
    fire(w, &w->pool->helpers[0].timer);
    fire(w, &w->pool->helpers[1].timer);
    assert_true(helper_handler.tracks(w->pool));
    helper_handler.on_closed(w->pool, 12);
    assert_string_equal(hear(w, &a), "{\"closed\":12}\n");
    assert_string_equal(hear(w, &b), "{\"closed\":12}\n");
    fall_silent(&a);
    fall_silent(&b);
}

static void test_a_helper_that_reads_nothing_cannot_fill_the_memory_with_who_left(void **state)
{
    struct world *w = *state;
    uint64_t n = 0;

    begin_json(w);
    take_log(w);
    struct actor a = enter_proved(w, 0);
    while (w->pool->helpers[0].state == HELPER_UP && ++n < 1000000) {
        helper_handler.on_closed(w->pool, n);
        if (n % 1000 == 0)
            settle(w);
    }
    assert_int_equal(w->pool->helpers[0].state, HELPER_DYING);
    assert_true(n > 10000);
    expect_word(w, SPAWNER_KILL, 0);
    leave(w, &a, SIGKILL, "");
    assert_logged(w, "does not read what it is told");
}

static void test_a_one_way_helper_is_told_and_not_asked(void **state)
{
    struct world *w = *state;
    struct ask one;

    w->conf.one_way = true;
    begin_json(w);
    take_log(w);
    struct actor a = enter_proved(w, 0);
    ask_from(w, &one, "a", 0);
    assert_non_null(strstr(hear(w, &a), "\"transport\":\"unixgram\""));
    assert_int_equal(one.outcome, SILENCED);
    say(w, &a, "{\"id\":1,\"reply\":\"A\"}\n");
    assert_logged(w, "says: {\"id\":1");
    fall_silent(&a);
}

static void test_the_probe_is_a_request_of_nobody(void **state)
{
    struct world *w = *state;

    w->conf.helper_probe = (struct bytes){ .data = (char[]){ "ping" }, .len = 4 };
    begin_json(w);
    struct actor a = enter(w, 0);
    const char *line = hear(w, &a);
    assert_non_null(strstr(line, "\"id\":1,"));
    assert_non_null(strstr(line, "\"transport\":\"probe\""));
    assert_non_null(strstr(line, "\"request\":\"ping\""));
    assert_null(strstr(line, "connection"));
    assert_int_equal(w->pool->helpers[0].state, HELPER_PROVING);
    say(w, &a, "{\"id\":1}\n");
    assert_int_equal(w->pool->helpers[0].state, HELPER_UP);
    fall_silent(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers_come_in_any_order),
        TEST(test_a_request_is_one_object_on_a_line),
        TEST(test_an_error_is_reported_with_its_words_escaped),
        TEST(test_a_push_needs_no_request),
        TEST(test_what_is_no_answer_ends_the_helper),
        TEST(test_an_answer_to_a_request_of_another_helper_is_nobodys),
        TEST(test_an_answer_to_what_was_not_read_ends_the_helper),
        TEST(test_an_answer_to_a_cancelled_request_is_ignored),
        TEST(test_one_late_request_fails_alone_where_others_are_answered),
        TEST(test_queue_timeout_ends_requests_that_were_not_read),
        TEST(test_a_helper_that_answers_nothing_in_time_is_ended),
        TEST(test_a_helper_that_is_rolled_goes_after_its_last_request_was_late),
        TEST(test_a_helper_that_is_rolled_goes_after_it_was_told_who_left),
        TEST(test_a_helper_that_is_rolled_and_reads_nothing_goes_too),
        TEST(test_requests_that_a_dead_helper_never_read_go_to_the_next_with_a_new_number),
        TEST(test_all_helpers_are_told_who_left),
        TEST(test_a_helper_that_reads_nothing_cannot_fill_the_memory_with_who_left),
        TEST(test_a_one_way_helper_is_told_and_not_asked),
        TEST(test_the_probe_is_a_request_of_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
