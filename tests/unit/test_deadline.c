/*
 * Lists of equally long timeouts. Long pauses are made by setting the loop's clock back, so that the next
 * turn finds that hours have passed.
 */
#include "base/deadline.h"

#include "test.h"

#define MANY (3 * DEADLINES_PER_TURN + 7)
#define SPAN 10

struct client {
    struct deadline deadline;
    unsigned calls;
};

static struct loop loop;
static struct deadlines list, other;
static struct client clients[MANY];
static struct client *called[2 * MANY];
static unsigned n_called;

static void on_passed(struct deadline *deadline, void *owner)
{
    struct client *c = container_of(deadline, struct client, deadline);

    assert_ptr_equal(owner, &n_called);
    assert_false(deadline_is_set(deadline));
    assert_true(deadline->due_ms <= loop_now(&loop));
    c->calls++;
    called[n_called++] = c;
}

static int set_up(void **state)
{
    (void)state;
    n_called = 0;
    if (loop_init(&loop) < 0)
        return -1;
    deadlines_init(&list, &loop, SPAN, on_passed, &n_called);
    deadlines_init(&other, &loop, 2 * SPAN, on_passed, &n_called);
    for (int i = 0; i < MANY; i++) {
        clients[i].calls = 0;
        deadline_init(&clients[i].deadline);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < MANY; i++)
        deadline_clear(&clients[i].deadline);
    deadlines_done(&list);
    deadlines_done(&other);
    assert_int_equal(loop.heap_len, 0);
    loop_done(&loop);
    return 0;
}

static void turn(void)
{
    assert_int_equal(loop_turn(&loop, 0), 0);
}

/* Sets the deadlines of clients FIRST to LAST as if long ago; the next turn finds all of them overdue. */
static void set_long_ago(int first, int last)
{
    loop.now_ms = 1;
    for (int i = first; i <= last; i++)
        deadline_set(&list, &clients[i].deadline);
}

static void nothing(struct loop_timer *timer)
{
    (void)timer;
}

static void test_h7_after_a_long_pause_so_many_are_called_a_turn_in_order_and_once(void **state)
{
    static struct loop_timer others[50];
    unsigned turns = 0;

    (void)state;
    set_long_ago(0, MANY - 1);
    /* Other timers are no reason to be called more often. */
    for (int i = 0; i < 50; i++)
        loop_timer_set(&loop, &others[i], i % 2 ? 2 : UINT64_MAX, nothing);
    while (n_called < MANY) {
        unsigned before = n_called;

        turn();
        turns++;
        assert_int_equal(n_called - before,
                         MANY - before < DEADLINES_PER_TURN ? MANY - before : DEADLINES_PER_TURN);
    }
    assert_int_equal(turns, MANY / DEADLINES_PER_TURN + 1);
    turn();
    for (int i = 0; i < MANY; i++) {
        assert_ptr_equal(called[i], &clients[i]);
        assert_int_equal(clients[i].calls, 1);
    }
    for (int i = 0; i < 50; i++)
        loop_timer_stop(&loop, &others[i]);
}

static void test_h7_a_fresh_deadline_survives_the_pause_of_the_others(void **state)
{
    (void)state;
    set_long_ago(0, MANY - 1);
    turn();
    deadline_set(&list, &clients[0].deadline);
    uint64_t due = clients[0].deadline.due_ms;
    while (n_called < MANY)
        turn();
    while (deadline_is_set(&clients[0].deadline))
        assert_int_equal(loop_turn(&loop, -1), 0);
    assert_int_equal(clients[0].calls, 2);
    assert_true(loop_now(&loop) >= due);
    assert_ptr_equal(called[MANY], &clients[0]);
}

static void test_deadline_passes_once_and_not_before_its_time(void **state)
{
    (void)state;
    turn();
    deadline_set(&list, &clients[0].deadline);
    uint64_t due = loop_now(&loop) + SPAN;
    assert_int_equal(clients[0].deadline.due_ms, due);
    while (n_called == 0)
        assert_int_equal(loop_turn(&loop, -1), 0);
    assert_true(loop_now(&loop) >= due);
    turn();
    assert_int_equal(n_called, 1);
}

static void test_cleared_deadline_never_passes(void **state)
{
    (void)state;
    set_long_ago(0, 2);
    deadline_clear(&clients[0].deadline);
    deadline_clear(&clients[2].deadline);
    deadline_clear(&clients[2].deadline);
    turn();
    assert_int_equal(n_called, 1);
    assert_ptr_equal(called[0], &clients[1]);
}

static void test_deadline_set_again_moves_behind_the_others(void **state)
{
    (void)state;
    set_long_ago(0, 2);
    loop.now_ms = 2;
    deadline_set(&list, &clients[0].deadline);
    turn();
    assert_int_equal(n_called, 3);
    assert_ptr_equal(called[0], &clients[1]);
    assert_ptr_equal(called[2], &clients[0]);
}

static void test_deadline_moves_from_one_list_to_another(void **state)
{
    (void)state;
    set_long_ago(0, 0);
    deadline_set(&other, &clients[0].deadline);
    assert_int_equal(clients[0].deadline.due_ms, 1 + 2 * SPAN);
    assert_true(list_empty(&list.all));
    turn();
    assert_int_equal(clients[0].calls, 1);
}

static void test_span_of_zero_never_passes(void **state)
{
    struct deadlines never;

    (void)state;
    deadlines_init(&never, &loop, 0, on_passed, NULL);
    deadline_set(&list, &clients[0].deadline);
    deadline_set(&never, &clients[0].deadline);
    assert_false(deadline_is_set(&clients[0].deadline));
    assert_false(never.timer.place);
    deadlines_done(&never);
}

static struct deadlines chain;

/* Ends the one behind it, as a connection that closes another does, and starts anew itself. */
static void on_passed_ends_next(struct deadline *deadline, void *owner)
{
    struct client *c = container_of(deadline, struct client, deadline);

    (void)owner;
    c->calls++;
    deadline_clear(&c[1].deadline);
    deadline_set(&chain, deadline);
}

static void test_callback_may_clear_the_next_and_set_its_own_anew(void **state)
{
    (void)state;
    deadlines_init(&chain, &loop, SPAN, on_passed_ends_next, NULL);
    loop.now_ms = 1;
    for (int i = 0; i < 4; i++)
        deadline_set(&chain, &clients[i].deadline);
    turn();
    turn();
    for (int i = 0; i < 4; i++) {
        assert_int_equal(clients[i].calls, i % 2 == 0);
        assert_int_equal(deadline_is_set(&clients[i].deadline), i % 2 == 0);
        deadline_clear(&clients[i].deadline);
    }
    deadlines_done(&chain);
}

static void test_loop_wakes_for_the_new_head_when_the_old_one_is_gone(void **state)
{
    (void)state;
    turn();
    deadline_set(&list, &clients[0].deadline);
    deadline_set(&list, &clients[1].deadline);
    deadline_clear(&clients[0].deadline);
    while (n_called == 0)
        assert_int_equal(loop_turn(&loop, -1), 0);
    assert_ptr_equal(called[0], &clients[1]);
}

/* With slices of 16 ms; the last slices end about now. */
static void test_deadline_set_anew_keeps_its_place_within_its_slice_and_is_not_early(void **state)
{
    struct deadlines sliced;
    uint64_t long_ago;

    (void)state;
    deadlines_init(&sliced, &loop, 320, on_passed, &n_called);
    assert_int_equal(sliced.slice_bits, 4);
    turn();
    long_ago = loop.now_ms = (loop_now(&loop) & ~UINT64_C(15)) - 320;
    for (int i = 0; i < 3; i++)
        deadline_set(&sliced, &clients[i].deadline);
    loop.now_ms = long_ago + 15;
    deadline_set_anew(&sliced, &clients[0].deadline);
    assert_int_equal(clients[0].deadline.due_ms, long_ago + 320 + 15);
    loop.now_ms = long_ago + 16;
    deadline_set_anew(&sliced, &clients[1].deadline);
    while (n_called < 3)
        assert_int_equal(loop_turn(&loop, -1), 0);
    assert_ptr_equal(called[0], &clients[0]);
    assert_ptr_equal(called[1], &clients[2]);
    assert_ptr_equal(called[2], &clients[1]);
    deadlines_done(&sliced);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_h7_after_a_long_pause_so_many_are_called_a_turn_in_order_and_once),
        TEST(test_h7_a_fresh_deadline_survives_the_pause_of_the_others),
        TEST(test_deadline_passes_once_and_not_before_its_time),
        TEST(test_deadline_set_anew_keeps_its_place_within_its_slice_and_is_not_early),
        TEST(test_cleared_deadline_never_passes),
        TEST(test_deadline_set_again_moves_behind_the_others),
        TEST(test_deadline_moves_from_one_list_to_another),
        TEST(test_span_of_zero_never_passes),
        TEST(test_callback_may_clear_the_next_and_set_its_own_anew),
        TEST(test_loop_wakes_for_the_new_head_when_the_old_one_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
