/* Requests and replies of the handler "helper": who gets what, in which order, and what nobody gets. */
#include "helper_world.h"

static const char *const small[] = { "a", "b", "c", "d", "e" }, *const large[] = { "A", "B", "C", "D", "E" };

static void test_a_request_comes_back_as_its_reply(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "hello");
    assert_string_equal(hear(w, &a), "hello\n");
    assert_int_equal(FIGURE(w, helpers_busy), 1);
    say(w, &a, "HELLO\n");
    assert_reply(&one, "HELLO");
    assert_int_equal(FIGURE(w, helpers_busy), 0);
    fall_silent(&a);
}

static void test_replies_go_to_their_requests_in_order(void **state)
{
    struct world *w = *state;
    struct ask asks[4];

    w->conf.helper_pipeline = 4;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &asks[0], "a");
    ask(w, &asks[1], "b");
    ask(w, &asks[2], "c");
    ask(w, &asks[3], "d");
    assert_string_equal(hear(w, &a), "a\nb\nc\nd\n");
    say(w, &a, "A\nB");
    assert_reply(&asks[0], "A");
    assert_int_equal(asks[1].outcome, WAITS);
    say(w, &a, "\nC\nD\n");
    for (int i = 1; i < 4; i++) {
        assert_reply(&asks[i], large[i]);
        assert_true(asks[i].rank > asks[i - 1].rank);
    }
    fall_silent(&a);
}

static void test_a_reply_to_a_cancelled_request_is_swallowed(void **state)
{
    struct world *w = *state;
    struct ask asks[3];

    w->conf.helper_pipeline = 3;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &asks[0], "a");
    ask(w, &asks[1], "b");
    ask(w, &asks[2], "c");
    assert_string_equal(hear(w, &a), "a\nb\nc\n");
    cancel(w, &asks[1]);
    say(w, &a, "A\nB\nC\n");
    assert_reply(&asks[0], "A");
    assert_reply(&asks[2], "C");
    fall_silent(&a);
}

static void test_a_request_cancelled_in_the_queue_is_never_written(void **state)
{
    struct world *w = *state;
    struct ask asks[3];

    begin(w);
    w->conf.helper_pipeline = 1;
    struct actor a = enter_proved(w, 0);
    for (int i = 0; i < 3; i++)
        ask(w, &asks[i], small[i]);
    assert_string_equal(hear(w, &a), "a\n");
    assert_int_equal(FIGURE(w, queue), 2);
    cancel(w, &asks[1]);
    assert_int_equal(FIGURE(w, queue), 1);
    say(w, &a, "A\n");
    assert_string_equal(hear(w, &a), "c\n");
    say(w, &a, "C\n");
    assert_reply(&asks[2], "C");
    fall_silent(&a);
}

static void test_requests_go_to_the_least_busy_helper(void **state)
{
    struct world *w = *state;
    struct ask asks[5];

    w->conf.helpers = 2;
    w->conf.helper_pipeline = 2;
    begin(w);
    struct spawner_packet second;
    struct actor a = enter(w, 0), b = enter(w, 1);
    assert_int_equal(hear_word(w, &second), 0);
    fire(w, &w->pool->helpers[0].timer);
    fire(w, &w->pool->helpers[1].timer);
    for (int i = 0; i < 5; i++)
        ask(w, &asks[i], small[i]);
    assert_string_equal(hear(w, &a), "a\nc\n");
    assert_string_equal(hear(w, &b), "b\nd\n");
    say(w, &b, "B\n");
    assert_string_equal(hear(w, &b), "e\n");
    say(w, &b, "D\nE\n");
    say(w, &a, "A\nC\n");
    for (int i = 0; i < 5; i++)
        assert_reply(&asks[i], large[i]);
    fall_silent(&a);
    fall_silent(&b);
}

static void test_a_full_queue_refuses_at_once(void **state)
{
    struct world *w = *state;
    struct ask asks[5];

    w->conf.helper_queue = 2;
    begin(w);
    struct actor a = enter_proved(w, 0);
    for (int i = 0; i < 5; i++)
        ask(w, &asks[i], "x");
    assert_failed(&asks[3], REQUEST_FAILED_QUEUE);
    assert_failed(&asks[4], REQUEST_FAILED_QUEUE);
    assert_string_equal(hear(w, &a), "x\n");
    for (int i = 0; i < 3; i++)
        answer(w, &a, "X\n");
    for (int i = 0; i < 3; i++)
        assert_reply(&asks[i], "X");
    fall_silent(&a);
}

static void test_the_queue_is_that_of_all_workers(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    w->conf.helper_queue = 10;
    struct stats_page *other = stats_own(w->stats, stats_take_page(w->stats), false);
    stats_set(&other->service[0].queue, 10);
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1"); /* a helper is free: it need not wait */
    settle(w);
    ask(w, &two, "2");
    assert_failed(&two, REQUEST_FAILED_QUEUE);
    answer(w, &a, "I\n");
    assert_reply(&one, "I");
    stats_disown(other);
    fall_silent(&a);
}

static void test_without_a_queue_a_free_helper_still_serves(void **state)
{
    struct world *w = *state;
    struct ask one, two, three;

    w->conf.helper_queue = 0;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    ask(w, &two, "2");
    assert_failed(&two, REQUEST_FAILED_QUEUE);
    assert_string_equal(hear(w, &a), "1\n");
    ask(w, &three, "3");
    assert_failed(&three, REQUEST_FAILED_QUEUE);
    answer(w, &a, "I\n");
    assert_reply(&one, "I");
    fall_silent(&a);
}

static void test_queue_timeout_ends_that_request_alone(void **state)
{
    struct world *w = *state;
    struct ask one, two, three;

    w->conf.queue_timeout = 30;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    assert_string_equal(hear(w, &a), "1\n");
    ask(w, &two, "2");
    await(w, &two);
    assert_failed(&two, REQUEST_FAILED_QUEUE_TIMEOUT);
    ask(w, &three, "3");
    say(w, &a, "I\n");
    assert_reply(&one, "I");
    assert_string_equal(hear(w, &a), "3\n");
    say(w, &a, "III\n");
    assert_reply(&three, "III");
    fall_silent(&a);
}

/* The time of the second begins when the first is answered. */
static void test_handler_timeout_starts_when_the_helper_can_work_on_it(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    w->conf.handler_timeout = 200;
    w->conf.helper_pipeline = 2;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    ask(w, &two, "2");
    settle(w);
    struct job *second = two.request.held;
    assert_false(deadline_is_set(&second->working));
    answer(w, &a, "I\n");
    assert_true(deadline_is_set(&second->working));
    uint64_t due = second->working.due_ms;
    assert_true(due >= loop_now(&w->loop) + 190);
    await(w, &two);
    assert_true(loop_now(&w->loop) >= due);
    assert_failed(&two, REQUEST_FAILED_TIMEOUT);
    expect_word(w, SPAWNER_KILL, 0);
    fall_silent(&a);
}

static void test_late_bytes_reach_nobody(void **state)
{
    struct world *w = *state;
    struct ask one, two, three, four;

    w->conf.handler_timeout = 20;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    settle(w);
    answer(w, &a, "I\n");
    ask(w, &two, "2");
    ask(w, &three, "3");
    await(w, &two);
    assert_failed(&two, REQUEST_FAILED_TIMEOUT);
    expect_word(w, SPAWNER_KILL, 0);
    /* Nobody can read it any more: the pipe is closed. */
    assert_int_equal(write(a.out_fd, "II\n", 3), -1);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(three.outcome, WAITS);
    leave(w, &a, 9, "");
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "3\n");
    say(w, &b, "III\n");
    assert_reply(&three, "III");
    ask(w, &four, "4");
    answer(w, &b, "IV\n");
    assert_reply(&four, "IV");
    fall_silent(&b);
}

/* A pool with one helper of depth 3 that has two requests in hand, and a third that waits. */
static struct actor begin_with_two(struct world *w, struct ask asks[3])
{
    w->conf.helper_pipeline = 2;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &asks[0], "a");
    ask(w, &asks[1], "b");
    ask(w, &asks[2], "c");
    assert_string_equal(hear(w, &a), "a\nb\n");
    return a;
}

static void check_killed(struct world *w, struct actor *a, struct ask asks[3], enum request_failure why)
{
    expect_word(w, SPAWNER_KILL, 0);
    assert_failed(&asks[0], why);
    assert_failed(&asks[1], REQUEST_FAILED_HANDLER);
    assert_int_equal(asks[2].outcome, WAITS);
    leave(w, a, 9, "");
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "c\n");
    say(w, &b, "C\n");
    assert_reply(&asks[2], "C");
    fall_silent(&b);
}

static void test_an_oversized_reply_kills(void **state)
{
    struct world *w = *state;
    struct ask asks[3];

    w->conf.max_reply = 10;
    struct actor a = begin_with_two(w, asks);
    say(w, &a, "12345678901");
    check_killed(w, &a, asks, REQUEST_FAILED_REPLY);
}

static void test_garbage_kills(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    w->conf.framing.kind = FRAME_NETSTRING;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "x");
    ask(w, &two, "y");
    assert_string_equal(hear(w, &a), "1:x,");
    say(w, &a, "1:X;");
    assert_failed(&one, REQUEST_FAILED_REPLY);
    expect_word(w, SPAWNER_KILL, 0);
    leave(w, &a, 9, "");
    assert_int_equal(two.outcome, WAITS);
    cancel(w, &two);
}

/* Bytes too many come at once with a reply, when the line is empty. */
static void test_bytes_after_the_last_reply_kill(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    ask(w, &two, "2");
    answer(w, &a, "I\nI too\n");
    assert_reply(&one, "I");
    expect_word(w, SPAWNER_KILL, 0);
    assert_int_equal(two.outcome, WAITS);
    leave(w, &a, 9, "");
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "2\n");
    say(w, &b, "II\n");
    assert_reply(&two, "II");
    fall_silent(&b);
}

static void test_half_a_line_unasked_kills(void **state)
{
    struct world *w = *state;

    take_log(w);
    begin(w);
    struct actor a = enter_proved(w, 0);
    say(w, &a, "hell\b");
    expect_word(w, SPAWNER_KILL, 0);
    leave(w, &a, 9, "");
    assert_logged(w, "wrote without being asked (hell\\x08) and was ended; ");
}

/* It writes a line too many before it has read the next request: that line answers nothing. */
static void test_a_reply_to_what_was_not_read_kills(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    assert_string_equal(hear(w, &a), "1\n");
    say(w, &a, "I\n");
    assert_reply(&one, "I");
    ask(w, &two, "2");
    settle(w);
    say(w, &a, "debug: one done\n");
    expect_word(w, SPAWNER_KILL, 0);
    leave(w, &a, 9, "");
    a = enter(w, 0);
    assert_string_equal(hear(w, &a), "2\n");
    say(w, &a, "II\n");
    assert_reply(&two, "II");
    fall_silent(&a);
}

/* A request and a reply of a megabyte each, through pipes of 64 KiB. */
static void test_large_messages_go_both_ways_at_once(void **state)
{
    struct world *w = *state;
    size_t size = 1 << 20, got = 0, sent = 0;
    char *data = malloc(size + 1), *heard = malloc(size + 1);
    struct ask one;

    for (size_t i = 0; i < size; i++)
        data[i] = (char)('a' + i * 7 % 26);
    data[size] = '\n';
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask_bytes(w, &one, data, size);
    while (one.outcome == WAITS) {
        assert_int_equal(loop_turn(&w->loop, 0), 0);
        ssize_t n = read(a.in_fd, heard + got, size + 1 - got);
        got += n > 0 ? (size_t)n : 0;
        n = got > 0 ? write(a.out_fd, data + sent, size + 1 - sent) : 0;
        sent += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(one.outcome, REPLIED);
    assert_int_equal(one.reply_len, size);
    assert_int_equal(got, size + 1);
    assert_memory_equal(heard, data, size + 1);
    fall_silent(&a);
    free(data);
    free(heard);
}

static void test_a_request_that_the_helpers_framing_cannot_carry_fails_alone(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "two\nlines");
    ask(w, &two, "fine");
    settle(w);
    assert_failed(&one, REQUEST_FAILED_HANDLER);
    assert_string_equal(hear(w, &a), "fine\n");
    say(w, &a, "FINE\n");
    assert_reply(&two, "FINE");
    fall_silent(&a);
}

/* While another worker that listens has helpers that work; not at once, and not when we leave. */
static void test_connections_wait_while_only_other_workers_have_a_helper(void **state)
{
    struct world *w = *state;

    begin(w);
    int number = stats_take_page(w->stats);
    struct stats_page *other = stats_own(w->stats, number, false);
    stats_set(&w->page->listening, 1);
    struct actor a = enter_proved(w, 0);
    stats_set(&other->service[0].helpers, 1);
    stats_set(&other->listening, 1);
    assert_false(helper_handler.waits(w->pool));
    leave(w, &a, EXIT(1), "");
    assert_false(helper_handler.waits(w->pool));
    w->pool->down_ms -= 250;
    assert_true(helper_handler.waits(w->pool));
    stats_set(&other->listening, 0);
    assert_false(helper_handler.waits(w->pool));
    stats_set(&other->listening, 1);
    stats_set(&w->page->listening, 0);
    assert_false(helper_handler.waits(w->pool));
    stats_disown(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_request_comes_back_as_its_reply),
        TEST(test_replies_go_to_their_requests_in_order),
        TEST(test_a_reply_to_a_cancelled_request_is_swallowed),
        TEST(test_a_request_cancelled_in_the_queue_is_never_written),
        TEST(test_requests_go_to_the_least_busy_helper),
        TEST(test_a_full_queue_refuses_at_once),
        TEST(test_the_queue_is_that_of_all_workers),
        TEST(test_without_a_queue_a_free_helper_still_serves),
        TEST(test_queue_timeout_ends_that_request_alone),
        TEST(test_handler_timeout_starts_when_the_helper_can_work_on_it),
        TEST(test_late_bytes_reach_nobody),
        TEST(test_an_oversized_reply_kills),
        TEST(test_garbage_kills),
        TEST(test_bytes_after_the_last_reply_kill),
        TEST(test_half_a_line_unasked_kills),
        TEST(test_a_reply_to_what_was_not_read_kills),
        TEST(test_large_messages_go_both_ways_at_once),
        TEST(test_a_request_that_the_helpers_framing_cannot_carry_fails_alone),
        TEST(test_connections_wait_while_only_other_workers_have_a_helper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
