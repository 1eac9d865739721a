/* What becomes of requests whose helper dies, is late, takes nothing, or is busy; and of those that get no
 * reply. */
#include "helper_world.h"

/* What it wrote before it ended counts, also when its end is known first. */
static void test_last_words_of_a_helper_are_still_a_reply(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    hear(w, &a);
    assert_int_equal(write(a.out_fd, "I\n", 2), 2);
    leave(w, &a, EXIT(0), "");
    assert_reply(&one, "I");
}

static void test_of_a_dead_helpers_requests_the_written_fail_and_the_others_move(void **state)
{
    struct world *w = *state;
    size_t size = 60000;
    char *large = malloc(size);
    struct ask asks[4];

    memset(large, 'x', size);
    w->conf.helpers = 2;
    w->conf.helper_pipeline = 2;
    begin(w);
    struct actor a = enter(w, 0), b = enter(w, 1);
    fire(w, &helper_of(w, 0)->timer);
    fire(w, &helper_of(w, 1)->timer);
    ask_bytes(w, &asks[0], large, size);
    ask(w, &asks[1], "to b");
    ask_bytes(w, &asks[2], large, size); /* its beginning fits the pipe of a */
    settle(w);
    assert_int_equal(helper_of(w, 0)->in_line, 2);
    assert_string_equal(hear(w, &b), "to b\n");
    hear(w, &a);
    leave(w, &a, 11, "");
    assert_failed(&asks[0], REQUEST_FAILED_HANDLER);
    assert_failed(&asks[2], REQUEST_FAILED_HANDLER);
    assert_int_equal(asks[1].outcome, WAITS);
    say(w, &b, "B\n");
    assert_reply(&asks[1], "B");
    fall_silent(&b);
    free(large);
}

/* It ended before it took the next one out of its pipe, and nobody else can. */
static void test_a_request_that_a_dead_helper_never_read_moves(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    w->conf.helper_pipeline = 2;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    assert_string_equal(hear(w, &a), "1\n");
    ask(w, &two, "2");
    settle(w);
    leave(w, &a, 9, "");
    assert_failed(&one, REQUEST_FAILED_HANDLER);
    assert_int_equal(two.outcome, WAITS);
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "2\n");
    say(w, &b, "II\n");
    assert_reply(&two, "II");
    fall_silent(&b);
}

/* The pipe is full of the first, so that the second and the third were never written. */
static void test_unwritten_requests_move_to_another_helper_in_order(void **state)
{
    struct world *w = *state;
    size_t size = 1 << 17;
    char *huge = malloc(size);
    struct ask asks[3];

    memset(huge, 'x', size);
    w->conf.helper_pipeline = 3;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask_bytes(w, &asks[0], huge, 65536 - 1);
    settle(w);
    ask(w, &asks[1], "b");
    ask(w, &asks[2], "c");
    settle(w);
    assert_int_equal(helper_of(w, 0)->in_line, 3);
    char byte;
    assert_int_equal(read(a.in_fd, &byte, 1), 1);
    leave(w, &a, 9, "");
    assert_failed(&asks[0], REQUEST_FAILED_HANDLER);
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "b\nc\n");
    say(w, &b, "B\nC\n");
    assert_reply(&asks[1], "B");
    assert_reply(&asks[2], "C");
    fall_silent(&b);
    free(huge);
}

static void test_a_helper_that_closes_its_input_still_answers_what_it_has(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    w->conf.helper_pipeline = 2;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    assert_string_equal(hear(w, &a), "1\n");
    fd_close(&a.in_fd);
    settle(w);
    ask(w, &two, "2");
    settle(w);
    assert_int_equal(helper_of(w, 0)->in_line, 1);
    say(w, &a, "I\n");
    assert_reply(&one, "I");
    leave(w, &a, EXIT(0), "");
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "2\n");
    say(w, &b, "II\n");
    assert_reply(&two, "II");
    fall_silent(&b);
}

static void test_a_helper_that_closes_its_output_is_killed(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    hear(w, &a);
    fd_close(&a.out_fd);
    expect_no_word(w);
    fire(w, &helper_of(w, 0)->timer);
    assert_failed(&one, REQUEST_FAILED_HANDLER);
    expect_word(w, SPAWNER_KILL, 0);
    fall_silent(&a);
}

static void test_one_way_requests_are_done_when_they_are_written(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    w->conf.one_way = true;
    begin(w);
    take_log(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    ask(w, &two, "2");
    assert_string_equal(hear(w, &a), "1\n2\n");
    assert_int_equal(one.outcome, SILENCED);
    assert_int_equal(two.outcome, SILENCED);
    say(w, &a, "half");
    say(w, &a, " a line\nand \x1b[31m\nrest");
    assert_logged(w, "helper 1 [pid 1001] says: half a line\n");
    assert_logged(w, "says: and \\x1b[31m\n");
    assert_null(strstr(read_log(w), "rest"));
    fall_silent(&a);
}

static void test_one_way_requests_that_were_not_written_move(void **state)
{
    struct world *w = *state;
    size_t size = 65536 - 1;
    char *large = malloc(size);
    struct ask asks[2];

    memset(large, 'x', size);
    w->conf.one_way = true;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask_bytes(w, &asks[0], large, size);
    settle(w);
    assert_int_equal(asks[0].outcome, SILENCED);
    ask(w, &asks[1], "next");
    settle(w);
    assert_int_equal(asks[1].outcome, WAITS);
    leave(w, &a, 9, "");
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "next\n");
    assert_int_equal(asks[1].outcome, SILENCED);
    fall_silent(&b);
    free(large);
}

static void test_a_one_way_helper_that_takes_nothing_is_killed(void **state)
{
    struct world *w = *state;
    size_t size = 100000;
    char *large = malloc(size);
    struct ask one;

    memset(large, 'x', size);
    w->conf.one_way = true;
    w->conf.handler_timeout = 20;
    w->conf.helper_start_timeout = 1;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask_bytes(w, &one, large, size);
    await(w, &one);
    assert_failed(&one, REQUEST_FAILED_TIMEOUT);
    expect_word(w, SPAWNER_KILL, 0);
    fall_silent(&a);
    free(large);
}

static void test_output_that_comes_only_at_the_end_of_input_gets_a_hint(void **state)
{
    struct world *w = *state;
    struct ask one;

    w->conf.handler_timeout = 20;
    begin(w);
    take_log(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    assert_string_equal(hear(w, &a), "1\n");
    await(w, &one);
    assert_failed(&one, REQUEST_FAILED_TIMEOUT);
    char byte;
    assert_int_equal(read(a.in_fd, &byte, 1), 0);
    assert_int_equal(write(a.out_fd, "I\n", 2), 2);
    leave(w, &a, EXIT(0), "");
    assert_logged(w, "did not reply within handler_timeout and was ended (is its output buffered?");
}

/* Its client is told in time, but who starts slowly is not killed in a loop. */
static void test_a_helper_that_has_read_nothing_yet_may_still_start(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    w->conf.handler_timeout = 20;
    w->conf.queue_timeout = 50;
    w->conf.helper_start_timeout = 60000;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    await(w, &one);
    assert_failed(&one, REQUEST_FAILED_QUEUE_TIMEOUT);
    assert_true(loop_now(&w->loop) - helper_of(w, 0)->started_ms >= 50);
    ask(w, &two, "2");
    expect_no_word(w);
    assert_string_equal(hear(w, &a), "1\n");
    say(w, &a, "I\n");
    assert_string_equal(hear(w, &a), "2\n");
    say(w, &a, "II\n");
    assert_reply(&two, "II");
    fall_silent(&a);
}

static void test_a_helper_that_reads_nothing_for_ever_is_ended(void **state)
{
    struct world *w = *state;
    struct ask one;

    w->conf.handler_timeout = 20;
    w->conf.helper_start_timeout = 1;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    while (helper_of(w, 0)->state != HELPER_DYING)
        assert_int_equal(loop_turn(&w->loop, -1), 0);
    assert_failed(&one, REQUEST_FAILED_TIMEOUT);
    fire(w, &helper_of(w, 0)->timer);
    expect_word(w, SPAWNER_KILL, 0);
    fall_silent(&a);
}

static void test_since_when_requests_wait_is_told_to_the_master(void **state)
{
    struct world *w = *state;
    struct ask asks[3];

    w->conf.helper_pipeline = 1;
    begin(w);
    struct actor a = enter_proved(w, 0);
    assert_int_equal(FIGURE(w, queue_since), 0);
    for (int i = 0; i < 3; i++) {
        ask(w, &asks[i], "x");
        settle(w);
        assert_int_equal(FIGURE(w, queue_since) > 0, i > 0);
    }
    uint64_t since = FIGURE(w, queue_since);
    assert_int_equal(FIGURE(w, queue_oldest), container_of(w->pool->queue.next, struct job, link)->since_ms);
    answer(w, &a, "X\n");
    assert_int_equal(FIGURE(w, queue_since), since);
    answer(w, &a, "X\n");
    assert_int_equal(FIGURE(w, queue_since), 0);
    assert_int_equal(FIGURE(w, queue_oldest), 0);
    answer(w, &a, "X\n");
    assert_reply(&asks[2], "X");
    fall_silent(&a);
}

static void test_a_queue_that_empties_by_itself_is_not_busy(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin(w);
    ask(w, &one, "x");
    settle(w);
    assert_true(FIGURE(w, queue_since) > 0);
    cancel(w, &one);
    assert_int_equal(FIGURE(w, queue_since), 0);
    assert_int_equal(FIGURE(w, queue_oldest), 0);
}

/* A client that can make helpers die must not fill the log. */
static void test_lines_of_the_log_are_bounded(void **state)
{
    struct world *w = *state;
    struct ask one;
    const char *log;
    int lines = 0;

    begin(w);
    take_log(w);
    struct actor a = enter_proved(w, 0);
    for (int i = 0; i < 500; i++) {
        ask(w, &one, "two\nlines");
        assert_int_equal(loop_turn(&w->loop, 0), 0);
    }
    settle(w);
    for (log = read_log(w); *log; log++)
        lines += *log == '\n';
    assert_in_range(lines, 1, 60);
    fall_silent(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_last_words_of_a_helper_are_still_a_reply),
        TEST(test_of_a_dead_helpers_requests_the_written_fail_and_the_others_move),
        TEST(test_a_request_that_a_dead_helper_never_read_moves),
        TEST(test_unwritten_requests_move_to_another_helper_in_order),
        TEST(test_a_helper_that_closes_its_input_still_answers_what_it_has),
        TEST(test_a_helper_that_closes_its_output_is_killed),
        TEST(test_one_way_requests_are_done_when_they_are_written),
        TEST(test_one_way_requests_that_were_not_written_move),
        TEST(test_a_one_way_helper_that_takes_nothing_is_killed),
        TEST(test_output_that_comes_only_at_the_end_of_input_gets_a_hint),
        TEST(test_a_helper_that_has_read_nothing_yet_may_still_start),
        TEST(test_a_helper_that_reads_nothing_for_ever_is_ended),
        TEST(test_since_when_requests_wait_is_told_to_the_master),
        TEST(test_a_queue_that_empties_by_itself_is_not_busy),
        TEST(test_lines_of_the_log_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
