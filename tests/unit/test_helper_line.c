/* The line of one helper: how long a request may wait in it, and what of it moves when its helper is killed.
 */
#include "helper_world.h"

/* queue_timeout passes for a request that is with a helper. */
static void be_impatient(struct world *w, const struct ask *ask)
{
    struct job *job = ask->request.held;

    assert_true(deadline_is_set(&job->waiting));
    deadline_clear(&job->waiting);
    helper_job_waited(job);
    settle(w);
}

/* Its place is kept: the replies behind it go where they belong. */
static void test_queue_timeout_bounds_the_wait_behind_others_in_a_line(void **state)
{
    struct world *w = *state;
    struct ask asks[3];

    w->conf.queue_timeout = 3600 * 1000;
    w->conf.helper_pipeline = 3;
    begin(w);
    struct actor a = enter_proved(w, 0);
    for (int i = 0; i < 3; i++)
        ask(w, &asks[i], "x");
    assert_string_equal(hear(w, &a), "x\nx\nx\n");
    be_impatient(w, &asks[1]);
    assert_failed(&asks[1], REQUEST_FAILED_QUEUE_TIMEOUT);
    say(w, &a, "0\n1\n");
    assert_reply(&asks[0], "0");
    be_impatient(w, &asks[2]); /* its turn has come, and it was read */
    assert_int_equal(asks[2].outcome, WAITS);
    say(w, &a, "2\n");
    assert_reply(&asks[2], "2");
    fall_silent(&a);
}

static void test_queue_timeout_bounds_the_wait_for_a_helper_that_does_not_read(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    w->conf.queue_timeout = 20;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    await(w, &one);
    assert_failed(&one, REQUEST_FAILED_QUEUE_TIMEOUT);
    assert_int_equal(helper_of(w, 0)->state, HELPER_UP);
    w->pool->waiting.span_ms = 3600 * 1000;
    ask(w, &two, "2");
    assert_string_equal(hear(w, &a), "1\n");
    say(w, &a, "I\n");
    assert_string_equal(hear(w, &a), "2\n");
    say(w, &a, "II\n");
    assert_reply(&two, "II");
    fall_silent(&a);
}

static void test_a_client_that_leaves_waits_no_longer(void **state)
{
    struct world *w = *state;
    struct ask one;

    w->conf.queue_timeout = 3600 * 1000;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    settle(w);
    cancel(w, &one);
    assert_true(list_empty(&w->pool->waiting.all));
    answer(w, &a, "I\n");
    fall_silent(&a);
}

static void test_a_request_that_moves_waits_no_longer_for_that(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    w->conf.queue_timeout = 3600 * 1000;
    w->conf.helper_pipeline = 2;
    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    assert_string_equal(hear(w, &a), "1\n");
    ask(w, &two, "2");
    settle(w);
    struct job *job = two.request.held;
    job->waiting.due_ms = 7;
    leave(w, &a, 9, "");
    assert_int_equal(w->pool->n_queued, 1);
    assert_int_equal(job->waiting.due_ms, 7);
    cancel(w, &two);
}

/* What it reads before it is gone fails with it; what it did not read is given to another. */
static void test_requests_that_a_killed_helper_never_read_move(void **state)
{
    struct world *w = *state;
    struct ask asks[5];
    char bytes[3];

    w->conf.helper_pipeline = 4;
    begin(w);
    struct actor a = enter_proved(w, 0);
    for (int i = 0; i < 2; i++)
        ask(w, &asks[i], "read");
    assert_string_equal(hear(w, &a), "read\nread\n");
    ask(w, &asks[2], "2");
    ask(w, &asks[3], "3");
    settle(w);
    say(w, &a, "one\n");
    assert_reply(&asks[0], "one");
    ask(w, &asks[4], "4");
    settle(w);
    struct job *job = asks[1].request.held;
    deadline_clear(&job->working);
    helper_job_late(job);
    expect_word(w, SPAWNER_KILL, 0);
    assert_failed(&asks[1], REQUEST_FAILED_TIMEOUT);
    assert_int_equal(asks[2].outcome, WAITS);
    assert_int_equal(write(a.out_fd, "late\n", 5), -1);
    assert_int_equal(read(a.in_fd, bytes, 3), 3);
    leave(w, &a, 9, "");
    assert_failed(&asks[2], REQUEST_FAILED_HANDLER);
    assert_failed(&asks[3], REQUEST_FAILED_HANDLER); /* of which it had read a byte */
    assert_int_equal(asks[4].outcome, WAITS);
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "4\n");
    say(w, &b, "IV\n");
    assert_reply(&asks[4], "IV");
    fall_silent(&b);
}

/* Nobody knows who could still read it. */
static void test_requests_of_a_killed_helper_that_does_not_end_fail(void **state)
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
    say(w, &a, "I\nbabble\n");
    expect_word(w, SPAWNER_KILL, 0);
    assert_int_equal(two.outcome, WAITS);
    fire(w, &helper_of(w, 0)->timer);
    assert_failed(&two, REQUEST_FAILED_HANDLER);
    expect_no_word(w);
    leave(w, &a, 9, "");
    expect_word(w, SPAWNER_HELPER, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_queue_timeout_bounds_the_wait_behind_others_in_a_line),
        TEST(test_queue_timeout_bounds_the_wait_for_a_helper_that_does_not_read),
        TEST(test_a_client_that_leaves_waits_no_longer),
        TEST(test_a_request_that_moves_waits_no_longer_for_that),
        TEST(test_requests_that_a_killed_helper_never_read_move),
        TEST(test_requests_of_a_killed_helper_that_does_not_end_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
