/* The life of helpers as a worker sees it: proof, death, pauses, replacement, a spawner that comes and goes.
 */
#include "helper_world.h"

static void test_a_helper_works_when_it_has_lived_for_200_ms(void **state)
{
    struct world *w = *state;

    begin(w);
    uint64_t before = loop_now(&w->loop);
    struct actor a = enter(w, 0);
    uint64_t due = helper_of(w, 0)->timer.due_ms;
    assert_true(due >= before + 200 && due <= loop_now(&w->loop) + 200);
    assert_int_equal(w->n_well, 0);
    assert_int_equal(FIGURE(w, helpers), 0);
    fire(w, &helper_of(w, 0)->timer);
    assert_int_equal(w->n_well, 1);
    assert_int_equal(w->n_trouble, 0);
    assert_int_equal(FIGURE(w, helpers), 1);
    assert_int_equal(FIGURE(w, helper_starts), 1);
    fall_silent(&a);
}

static void test_all_helpers_must_work_before_the_service_is_well(void **state)
{
    struct world *w = *state;

    w->conf.helpers = 2;
    begin(w);
    struct actor a = enter(w, 0), b = enter(w, 1);
    fire(w, &helper_of(w, 0)->timer);
    assert_int_equal(w->n_well, 0);
    fire(w, &helper_of(w, 1)->timer);
    assert_true(w->n_well > 0);
    fall_silent(&a);
    fall_silent(&b);
}

/* As a worker of three: slots 1, 4 and 7 of eight are its own. */
static void test_a_worker_asks_for_its_own_slots_only(void **state)
{
    struct world *w = *state;

    w->conf.helpers = 8;
    w->host.worker = 2;
    w->host.n_workers = 3;
    begin(w);
    expect_word(w, SPAWNER_HELPER, 1);
    expect_word(w, SPAWNER_HELPER, 4);
    expect_word(w, SPAWNER_HELPER, 7);
    expect_no_word(w);
}

static void test_a_helper_that_cannot_be_executed_is_trouble_with_the_reason(void **state)
{
    struct world *w = *state;
    struct spawner_packet ended = { .word = SPAWNER_ENDED, .service = 3, .status = ENOENT };

    begin(w);
    expect_word(w, SPAWNER_HELPER, 0);
    snprintf(ended.text, sizeof ended.text, "cannot execute /x: No such file or directory");
    assert_int_equal(spawner_send(w->spawner, &ended, NULL, 0), 0);
    settle(w);
    assert_string_equal(w->trouble, "helper 1 cannot execute /x: No such file or directory");
    assert_int_equal(w->n_well, 0);
    assert_int_equal(helper_of(w, 0)->state, HELPER_ABSENT);
    expect_no_word(w);
}

static void test_a_helper_that_dies_early_is_trouble_with_its_last_words(void **state)
{
    struct world *w = *state;

    begin(w);
    struct actor a = enter(w, 0);
    leave(w, &a, EXIT(1), "No module named x");
    assert_string_equal(w->trouble, "helper 1 exited with status 1: No module named x");
    assert_int_equal(w->n_well, 0);
    assert_int_equal(FIGURE(w, helper_deaths), 1);
}

static void test_pauses_grow_to_half_a_minute(void **state)
{
    struct world *w = *state;
    uint64_t expected = 100;

    begin(w);
    for (int i = 0; i < 12; i++) {
        struct actor a = enter(w, 0);
        leave(w, &a, EXIT(1), "");
        expect_no_word(w);
        uint64_t pause = helper_of(w, 0)->timer.due_ms - loop_now(&w->loop);
        assert_true(pause <= expected && pause + 10 >= expected - expected / 4);
        fire(w, &helper_of(w, 0)->timer);
        expected = expected < 15000 ? expected * 2 : 30000;
    }
    expect_word(w, SPAWNER_HELPER, 0);
}

static void test_one_that_had_worked_is_replaced_at_once(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    answer(w, &a, "I\n");
    leave(w, &a, EXIT(0), "");
    assert_int_equal(w->n_trouble, 0);
    expect_word(w, SPAWNER_HELPER, 0);
}

/* It answers nothing itself, but a probe. */
static char probe[] = "ping";

static void test_a_probe_must_be_answered_first(void **state)
{
    struct world *w = *state;
    struct ask one;

    w->conf.helper_probe = (struct bytes){ .data = probe, .len = 4 };
    begin(w);
    struct actor a = enter(w, 0);
    assert_int_equal(helper_of(w, 0)->timer.due_ms - helper_of(w, 0)->started_ms, 60000);
    ask(w, &one, "hello");
    assert_string_equal(hear(w, &a), "ping\n");
    assert_int_equal(w->n_well, 0);
    assert_int_equal(FIGURE(w, helpers_busy), 0);
    say(w, &a, "pong\n");
    assert_int_equal(w->n_well, 1);
    assert_string_equal(hear(w, &a), "hello\n");
    assert_int_equal(FIGURE(w, helpers_busy), 1);
    say(w, &a, "HELLO\n");
    assert_reply(&one, "HELLO");
    fall_silent(&a);
}

/* An answered probe is no work: who dies after it dies early. */
static void test_a_helper_that_dies_after_its_probe_is_replaced_with_pauses(void **state)
{
    struct world *w = *state;

    w->conf.helper_probe = (struct bytes){ .data = probe, .len = 4 };
    begin(w);
    for (int i = 0; i < 3; i++) {
        struct actor a = enter(w, 0);
        answer(w, &a, "pong\n");
        assert_int_equal(helper_of(w, 0)->state, HELPER_UP);
        leave(w, &a, EXIT(0), "");
        expect_no_word(w);
        assert_int_equal(helper_of(w, 0)->failures, i + 1);
        fire(w, &helper_of(w, 0)->timer);
    }
    assert_int_equal(w->n_trouble, 3);
}

static void test_a_probe_without_an_answer_is_trouble(void **state)
{
    struct world *w = *state;

    w->conf.helper_probe = (struct bytes){ .data = probe, .len = 4 };
    begin(w);
    struct actor a = enter(w, 0);
    hear(w, &a);
    fire(w, &helper_of(w, 0)->timer);
    fire(w, &helper_of(w, 0)->timer); /* it does not end at the end of its input either */
    expect_word(w, SPAWNER_KILL, 0);
    leave(w, &a, 9, "loading the model");
    assert_string_equal(w->trouble,
                        "helper 1 did not answer helper_probe within helper_start_timeout and was "
                        "ended; its last line: loading the model");
}

static void test_one_that_failed_before_is_trusted_only_when_it_has_lived(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin(w);
    struct actor a = enter_proved(w, 0);
    leave(w, &a, EXIT(1), "");
    ask(w, &one, "1");
    fire(w, &helper_of(w, 0)->timer);
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "");
    fire(w, &helper_of(w, 0)->timer);
    assert_string_equal(hear(w, &b), "1\n");
    say(w, &b, "I\n");
    assert_reply(&one, "I");
    fall_silent(&b);
}

/* One that dies of the request that it is asked. */
static void die_of_one(struct world *w, struct actor *a)
{
    struct ask one;

    ask(w, &one, "die");
    assert_string_equal(hear(w, a), "die\n");
    leave(w, a, EXIT(1), "");
    assert_failed(&one, REQUEST_FAILED_HANDLER);
}

/* The first at once, the next within a tenth of a second; and each is trusted at once. */
static void test_deadly_requests_make_no_long_pauses(void **state)
{
    struct world *w = *state;

    begin(w);
    struct actor a = enter_proved(w, 0);
    for (int i = 0; i < 10; i++) {
        die_of_one(w, &a);
        if (i > 0) {
            expect_no_word(w);
            assert_true(helper_of(w, 0)->timer.due_ms <= loop_now(&w->loop) + 100);
            fire(w, &helper_of(w, 0)->timer);
        }
        a = enter(w, 0);
        assert_true(helper_takes_requests(helper_of(w, 0)));
    }
    fall_silent(&a);
}

static void test_one_that_is_killed_for_its_first_request_makes_no_pause(void **state)
{
    struct world *w = *state;
    struct ask one;

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "babble");
    answer(w, &a, "half");
    say(w, &a, " a reply\nand more");
    expect_word(w, SPAWNER_KILL, 0);
    leave(w, &a, 9, "");
    a = enter(w, 0);
    fall_silent(&a);
}

static void test_a_service_whose_helpers_die_of_each_request_is_in_trouble_until_a_reply(void **state)
{
    struct world *w = *state;
    struct ask one;
    int well;

    begin(w);
    struct actor a = enter_proved(w, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(w->n_trouble, 0);
        die_of_one(w, &a);
        if (i > 0)
            fire(w, &helper_of(w, 0)->timer);
        a = enter(w, 0);
    }
    assert_string_equal(w->trouble, "helper 1 exited with status 1");
    well = w->n_well;
    fire(w, &helper_of(w, 0)->timer); /* that it lives says nothing */
    assert_int_equal(helper_of(w, 0)->state, HELPER_UP);
    assert_int_equal(w->n_well, well);
    ask(w, &one, "1");
    answer(w, &a, "I\n");
    assert_reply(&one, "I");
    assert_true(w->n_well > well);
    fall_silent(&a);
}

static void test_a_helper_is_replaced_after_its_number_of_requests(void **state)
{
    struct world *w = *state;
    struct ask one;
    unsigned n = 0;

    w->conf.helper_max_requests = 10;
    begin(w);
    struct actor a = enter_proved(w, 0);
    do {
        ask(w, &one, "x");
        answer(w, &a, "X\n");
        assert_reply(&one, "X");
        n++;
    } while (helper_of(w, 0)->state == HELPER_UP);
    assert_in_range(n, 9, 11);
    ask(w, &one, "y");
    settle(w);
    char byte;
    assert_int_equal(read(a.in_fd, &byte, 1), 0); /* it is told by the end of its input */
    leave(w, &a, EXIT(0), "");
    assert_int_equal(FIGURE(w, helper_deaths), 0);
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "y\n");
    say(w, &b, "Y\n");
    assert_reply(&one, "Y");
    fall_silent(&b);
}

static void test_a_roll_replaces_one_after_another_without_losing_a_request(void **state)
{
    struct world *w = *state;
    struct ask asks[3];
    struct actor actors[2];

    w->conf.helpers = 2;
    begin(w);
    actors[0] = enter(w, 0);
    actors[1] = enter(w, 1);
    fire(w, &helper_of(w, 0)->timer);
    fire(w, &helper_of(w, 1)->timer);
    ask(w, &asks[0], "0");
    ask(w, &asks[1], "1");
    ask(w, &asks[2], "2");
    settle(w);
    helper_handler.roll(w->pool);
    answer(w, &actors[0], "O\n");
    assert_reply(&asks[0], "O");
    assert_int_equal(helper_of(w, 0)->state, HELPER_DYING);
    assert_int_equal(helper_of(w, 1)->state, HELPER_UP);
    leave(w, &actors[0], EXIT(0), "");
    actors[0] = enter(w, 0);
    assert_string_equal(hear(w, &actors[0]), "2\n");
    answer(w, &actors[1], "I\n");
    assert_int_equal(helper_of(w, 1)->state, HELPER_UP);
    say(w, &actors[0], "II\n"); /* that proves it: the other's turn */
    assert_int_equal(helper_of(w, 1)->state, HELPER_DYING);
    leave(w, &actors[1], EXIT(0), "");
    actors[1] = enter_proved(w, 1);
    assert_int_equal(helper_of(w, 0)->state, HELPER_UP);
    assert_reply(&asks[1], "I");
    assert_reply(&asks[2], "II");
    assert_int_equal(FIGURE(w, helper_deaths), 0);
    fall_silent(&actors[0]);
    fall_silent(&actors[1]);
}

static void test_one_that_does_not_go_when_it_is_replaced_is_killed(void **state)
{
    struct world *w = *state;

    begin(w);
    struct actor a = enter_proved(w, 0);
    helper_handler.roll(w->pool);
    expect_no_word(w);
    fire(w, &helper_of(w, 0)->timer);
    expect_word(w, SPAWNER_KILL, 0);
    leave(w, &a, 9, "");
    expect_word(w, SPAWNER_HELPER, 0);
}

static void test_a_roll_asks_again_at_once_for_one_that_pauses(void **state)
{
    struct world *w = *state;

    begin(w);
    struct actor a = enter(w, 0);
    leave(w, &a, EXIT(1), "");
    expect_no_word(w);
    helper_handler.roll(w->pool);
    expect_word(w, SPAWNER_HELPER, 0);
}

static void test_requests_wait_for_the_next_spawner(void **state)
{
    struct world *w = *state;
    struct ask one, two;

    begin(w);
    struct actor a = enter_proved(w, 0);
    ask(w, &one, "1");
    hear(w, &a);
    fd_close(&w->spawner);
    settle(w);
    assert_failed(&one, REQUEST_FAILED_HANDLER);
    assert_int_equal(FIGURE(w, helpers), 0);
    ask(w, &two, "2");
    settle(w);
    fall_silent(&a);
    connect_spawner(w);
    struct actor b = enter(w, 0);
    assert_string_equal(hear(w, &b), "2\n");
    say(w, &b, "II\n");
    assert_reply(&two, "II");
    fall_silent(&b);
}

static void test_a_new_spawner_in_place_of_a_living_one_starts_anew(void **state)
{
    struct world *w = *state;

    begin(w);
    struct actor a = enter(w, 0);
    connect_spawner(w);
    char byte;
    assert_int_equal(read(a.in_fd, &byte, 1), 0);
    fall_silent(&a);
    struct actor b = enter_proved(w, 0);
    fall_silent(&b);
}

/* Whatever the spawner says of slots that are not ours, or out of turn. */
static void test_packets_that_mean_nothing_are_ignored(void **state)
{
    struct world *w = *state;
    struct spawner_packet packet = { .word = SPAWNER_STARTED, .service = 3, .slot = 9, .pid = 5 };
    int fds[2];

    begin(w);
    struct actor a = enter_proved(w, 0);
    for (uint32_t slot = 0; slot < 2; slot++) {
        packet.slot = slot;
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(spawner_send(w->spawner, &packet, fds, 2), 0);
        fd_close(&fds[1]);
        settle(w);
        char byte;
        assert_int_equal(read(fds[0], &byte, 1), 0); /* nobody kept the other end */
        fd_close(&fds[0]);
    }
    assert_int_equal(helper_of(w, 0)->pid, a.pid);
    fall_silent(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_helper_works_when_it_has_lived_for_200_ms),
        TEST(test_all_helpers_must_work_before_the_service_is_well),
        TEST(test_a_worker_asks_for_its_own_slots_only),
        TEST(test_a_helper_that_cannot_be_executed_is_trouble_with_the_reason),
        TEST(test_a_helper_that_dies_early_is_trouble_with_its_last_words),
        TEST(test_pauses_grow_to_half_a_minute),
        TEST(test_one_that_had_worked_is_replaced_at_once),
        TEST(test_a_probe_must_be_answered_first),
        TEST(test_a_helper_that_dies_after_its_probe_is_replaced_with_pauses),
        TEST(test_a_probe_without_an_answer_is_trouble),
        TEST(test_one_that_failed_before_is_trusted_only_when_it_has_lived),
        TEST(test_deadly_requests_make_no_long_pauses),
        TEST(test_one_that_is_killed_for_its_first_request_makes_no_pause),
        TEST(test_a_service_whose_helpers_die_of_each_request_is_in_trouble_until_a_reply),
        TEST(test_a_helper_is_replaced_after_its_number_of_requests),
        TEST(test_a_roll_replaces_one_after_another_without_losing_a_request),
        TEST(test_one_that_does_not_go_when_it_is_replaced_is_killed),
        TEST(test_a_roll_asks_again_at_once_for_one_that_pauses),
        TEST(test_requests_wait_for_the_next_spawner),
        TEST(test_a_new_spawner_in_place_of_a_living_one_starts_anew),
        TEST(test_packets_that_mean_nothing_are_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
