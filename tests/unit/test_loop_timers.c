/*
 * Timers of the event loop. A test that needs time to have passed sets the loop's clock to 1 and lets the
 * next turn find the real one.
 */
#include "base/loop.h"

#include "test.h"

#include <sys/eventfd.h>
#include <unistd.h>

struct bell {
    struct loop_timer timer;
    uint64_t due_ms;
    unsigned order; /* of the last set */
    unsigned rings;
    bool set;
};

#define BELLS      300
#define OPERATIONS 10000

static struct bell bells[BELLS];
static struct bell *rung[BELLS];
static unsigned n_rung;

static struct loop loop;
static unsigned seed;

static int set_up(void **state)
{
    (void)state;
    memset(bells, 0, sizeof bells);
    n_rung = 0;
    seed = 4711;
    return loop_init(&loop);
}

static int tear_down(void **state)
{
    (void)state;
    loop_done(&loop);
    return 0;
}

static void turn(void)
{
    assert_int_equal(loop_turn(&loop, 0), 0);
}

/* Pretends that the last turn was long ago, so that all timers set from now on are due in the next. */
static void set_clock_back(void)
{
    loop.now_ms = 1;
}

static void on_ring(struct loop_timer *timer)
{
    struct bell *bell = container_of(timer, struct bell, timer);

    assert_true(bell->due_ms <= loop_now(&loop));
    assert_int_equal(timer->place, 0);
    bell->rings++;
    bell->set = false;
    rung[n_rung++] = bell;
}

static void set_bell(struct bell *bell, uint64_t due_ms, loop_timer_fn *on_timer)
{
    bell->due_ms = due_ms;
    bell->set = true;
    loop_timer_set(&loop, &bell->timer, due_ms, on_timer);
}

static int by_due(const void *a, const void *b)
{
    const struct bell *x = *(struct bell *const *)a, *y = *(struct bell *const *)b;

    if (x->due_ms != y->due_ms)
        return x->due_ms < y->due_ms ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* The model: the bells that are set, sorted. */
static unsigned sort_bells(struct bell *ret[BELLS])
{
    unsigned n = 0;

    for (unsigned i = 0; i < BELLS; i++)
        if (bells[i].set)
            ret[n++] = &bells[i];
    qsort(ret, n, sizeof *ret, by_due);
    return n;
}

static void assert_heap_is_one(void)
{
    for (uint32_t i = 1; i <= loop.heap_len; i++) {
        assert_int_equal(loop.heap[i]->place, i);
        assert_true(i == 1 || loop.heap[i / 2]->due_ms <= loop.heap[i]->due_ms);
    }
}

static void test_heap_keeps_order_under_random_set_and_stop(void **state)
{
    struct bell *model[BELLS];

    (void)state;
    set_clock_back();
    for (unsigned op = 1; op <= OPERATIONS; op++) {
        struct bell *bell = &bells[(unsigned)rand_r(&seed) % BELLS];

        if (rand_r(&seed) % 3) {
            bell->order = op;
            set_bell(bell, 2 + (uint64_t)rand_r(&seed) % 500, on_ring);
        } else {
            loop_timer_stop(&loop, &bell->timer);
            bell->set = false;
        }
        assert_heap_is_one();
        unsigned n = sort_bells(model);
        assert_int_equal(loop.heap_len, n);
        assert_true(n == 0 || loop.heap[1] == &model[0]->timer);
    }
    unsigned n = sort_bells(model);
    turn();
    assert_int_equal(n_rung, n);
    assert_memory_equal(rung, model, n * sizeof *model);
    assert_int_equal(loop.heap_len, 0);
}

static void test_timer_fires_once_after_a_long_pause(void **state)
{
    (void)state;
    set_clock_back();
    set_bell(&bells[0], 2, on_ring);
    turn();
    turn();
    assert_int_equal(bells[0].rings, 1);
}

static void test_timer_fires_when_due_and_not_before(void **state)
{
    (void)state;
    set_bell(&bells[0], loop_now(&loop) + 20, on_ring);
    turn();
    assert_true(bells[0].rings == 0 || loop_now(&loop) >= bells[0].due_ms);
    while (bells[0].rings == 0)
        assert_int_equal(loop_turn(&loop, -1), 0);
    assert_true(loop_now(&loop) >= bells[0].due_ms);
}

static void on_ring_again(struct loop_timer *timer)
{
    struct bell *bell = container_of(timer, struct bell, timer);

    bell->rings++;
    set_bell(bell, 0, on_ring_again);
}

static void test_timer_that_sets_itself_for_now_is_called_once_a_turn(void **state)
{
    (void)state;
    for (int i = 1; i < 100; i++)
        set_bell(&bells[i], loop_now(&loop) + 3600 * 1000, on_ring);
    set_bell(&bells[0], 0, on_ring_again);
    for (unsigned i = 1; i < 5; i++) {
        assert_int_equal(loop_turn(&loop, -1), 0); /* and the loop does not wait */
        assert_int_equal(bells[0].rings, i);
    }
}

static void test_timer_that_sets_itself_for_now_starves_no_other(void **state)
{
    (void)state;
    set_clock_back();
    set_bell(&bells[0], 2, on_ring_again);
    set_bell(&bells[1], 3, on_ring_again);
    set_bell(&bells[2], 4, on_ring);
    turn();
    assert_int_equal(bells[2].rings, 1);
}

static void on_ring_stops_next(struct loop_timer *timer)
{
    struct bell *bell = container_of(timer, struct bell, timer);

    bell->rings++;
    loop_timer_stop(&loop, &bell[1].timer);
    set_bell(&bell[2], loop_now(&loop) + 3600 * 1000, on_ring);
}

static void test_timer_stopped_or_moved_by_one_before_it_is_not_called(void **state)
{
    (void)state;
    set_clock_back();
    set_bell(&bells[0], 2, on_ring_stops_next);
    set_bell(&bells[1], 3, on_ring);
    set_bell(&bells[2], 3, on_ring);
    turn();
    assert_int_equal(bells[0].rings, 1);
    assert_int_equal(n_rung, 0);
    assert_true(bells[2].timer.place > 0);
}

static unsigned n_events;

static void on_event(struct loop_source *source, uint32_t events)
{
    (void)source;
    (void)events;
    n_events++;
}

static void on_ring_after_events(struct loop_timer *timer)
{
    assert_int_equal(n_events, 1);
    on_ring(timer);
}

static void test_h7_what_has_arrived_is_looked_at_before_timers(void **state)
{
    struct loop_source source;
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

    (void)state;
    set_clock_back();
    set_bell(&bells[0], 2, on_ring_after_events);
    assert_true(fd >= 0);
    assert_int_equal(loop_add(&loop, &source, fd, EPOLLIN, on_event), 0);
    turn();
    assert_int_equal(bells[0].rings, 1);
    loop_remove(&loop, &source);
    close(fd);
}

static void on_ring_quits(struct loop_timer *timer)
{
    on_ring(timer);
    loop_quit(&loop);
}

static void test_loop_runs_until_it_is_told_to_quit(void **state)
{
    (void)state;
    set_bell(&bells[0], loop_now(&loop) + 2, on_ring);
    set_bell(&bells[1], loop_now(&loop) + 5, on_ring_quits);
    assert_int_equal(loop_run(&loop), 0);
    assert_int_equal(n_rung, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_heap_keeps_order_under_random_set_and_stop),
        TEST(test_timer_fires_once_after_a_long_pause),
        TEST(test_timer_fires_when_due_and_not_before),
        TEST(test_timer_that_sets_itself_for_now_is_called_once_a_turn),
        TEST(test_timer_that_sets_itself_for_now_starves_no_other),
        TEST(test_timer_stopped_or_moved_by_one_before_it_is_not_called),
        TEST(test_h7_what_has_arrived_is_looked_at_before_timers),
        TEST(test_loop_runs_until_it_is_told_to_quit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
